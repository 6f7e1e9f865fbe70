"""The part of a report that is about light: the flat-field, the gains, and why they were used."""

from typing import Any

import numpy as np

from latticework.lattice.places import extents_um
from latticework.stitch import report_page as page
from latticework.stitch.report_charts import Series, profile
from latticework.stitch.report_facts import Findings
from latticework.stitch.report_words import light_in_words
from latticework.viz.figure import INK, Picture
from latticework.viz.html import escaped
from latticework.viz.planes import plane_numbers
from latticework.viz.states import Theme

MOST_CHANNELS = 4
"""Flat-fields that are shown."""
EVEN = 1e-3
"""A flat-field that differs by less than this shows nothing."""


def light_section(found: Findings) -> str:
    """What was done about uneven light."""
    caption = " ".join(light_in_words(found))
    cards = []
    if found.light is not None:
        fields = found.light if found.light.ndim == 3 else found.light[None]
        for number, field in enumerate(fields[:MOST_CHANNELS]):
            names = found.nominal.channels
            if float(np.ptp(field)) < EVEN:
                continue
            of = "" if len(fields) == 1 else f", channel {names[number] if names else number}"
            cards.append(_field(field, of, used=found.light_used))
    if found.gains_used:
        cards.append(_gains(found))
    return page.section("light", "Light", caption, f'<div class="thirds">{"".join(cards)}</div>')


def _field(field: np.ndarray, of: str, *, used: bool) -> str:
    """A flat-field as a picture, and lines through its middle."""
    low, high = float(field.min()), float(field.max())

    def draw(theme: Theme) -> Picture:
        height, width = field.shape
        aspect = min(2.0, max(0.3, height / width))
        figure = Picture(theme=theme, figsize=(3.4, 2.6 * aspect + 0.25))
        across, tall = figure.get_size_inches()
        axes = figure.add_axes((0.02, 0.1 / tall, 2.6 / across, 2.6 * aspect / tall))
        step = max(1, max(field.shape) // 512)
        shown = axes.imshow(field[::step, ::step], cmap="cividis", aspect="auto")
        axes.set_axis_off()
        if high - low > 1e-6:
            axes.contour(field[::step, ::step], levels=8, colors="white", linewidths=0.5, alpha=0.6)
        _bar(figure, shown, theme, (2.75 / across, 0.1 / tall, 0.1 / across, 2.6 * aspect / tall))
        return figure

    lines = [
        Series("along x, in the middle", field[field.shape[0] // 2], "var(--blue)"),
        Series("along y, in the middle", field[:, field.shape[1] // 2], "var(--third)"),
    ]
    word = "Taken out of every tile" if used else "Estimated, and not used"
    return (
        f'<div class="card"><h3>{escaped(f"Flat-field{of}")}</h3>'
        f'<p class="caption">{word}; {low:.2f} to {high:.2f} of the mean. It should be smooth, '
        f"without shapes of the specimen.</p>"
        f'<div class="field">{page.picture(draw, "flat-field")}</div></div>'
        f'<div class="card"><h3>{escaped(f"Profile{of}")}</h3>'
        f"{profile(lines, 'across the tile', 'light')}</div>"
    )


def _bar(
    figure: Picture, shown: Any, theme: Theme, place: tuple[float, float, float, float]
) -> None:
    bar = figure.colorbar(shown, cax=figure.add_axes(place))
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK[theme], labelsize=7.5, length=2)


def _gains(found: Findings) -> str:
    """The gains where their tiles lie; of several planes the median of those above each other."""
    lattice = found.placement.lattice
    gains = found.tiles["gain"].to_numpy("f8")
    yx = [lattice.spatial_dims.index(axis) for axis in ("y", "x")]
    extents = np.broadcast_to(extents_um(lattice), lattice.position_um.shape)
    near, sides = lattice.position_um[:, yx], extents[:, yx]
    numbers, titles = plane_numbers(lattice)
    present = np.unique(numbers)
    number = int(present[len(present) // 2])
    rows = np.flatnonzero(numbers == number)
    far = max(1.02, float(np.exp(np.abs(np.log(gains)).max())))

    def draw(theme: Theme) -> Picture:
        from matplotlib.collections import PolyCollection
        from matplotlib.colors import LogNorm

        low, high = near[rows].min(axis=0), (near + sides)[rows].max(axis=0)
        aspect = min(2.0, max(0.3, float((high - low)[0] / (high - low)[1])))
        figure = Picture(theme=theme, figsize=(3.4, 2.6 * aspect + 0.25))
        across, tall = figure.get_size_inches()
        axes = figure.add_axes((0.02, 0.1 / tall, 2.6 / across, 2.6 * aspect / tall))
        corners = near[rows][:, None, ::-1] + sides[rows][:, None, ::-1] * [
            [[0, 0], [1, 0], [1, 1], [0, 1]]
        ]
        tiles = PolyCollection(
            list(corners), array=gains[rows], cmap="PuOr", norm=LogNorm(1 / far, far), linewidths=0
        )
        axes.add_collection(tiles)
        axes.set_xlim(low[1], high[1])
        axes.set_ylim(high[0], low[0])
        axes.set_axis_off()
        _bar(figure, tiles, theme, (2.75 / across, 0.1 / tall, 0.1 / across, 2.6 * aspect / tall))
        labels = [1 / far, 1.0, far]
        figure.axes[-1].set_yticks(labels, [f"{value:.2f}" for value in labels])
        figure.axes[-1].minorticks_off()
        return figure

    plane = f" of plane {titles(number)}" if len(present) > 1 else ""
    return (
        f'<div class="card"><h3>{escaped(f"Gains{plane}")}</h3>'
        f'<p class="caption">{gains.min():.2f} to {gains.max():.2f} over all tiles. Neighbours may '
        "differ; a trend over many tiles means that the light within a tile is not even, rather "
        "than that tiles differ.</p>"
        f'<div class="field">{page.picture(draw, "gains")}</div></div>'
    )


__all__ = ["light_section"]
