"""Where tiles were found to lie beside where they should: outlines, fillings, arrows."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure

from latticework.errors import LatticeError
from latticework.lattice import Lattice
from latticework.lattice.places import extents_um
from latticework.viz.figure import INK, Picture, arranged, round_number, saved
from latticework.viz.links_map import blue
from latticework.viz.planes import plane_numbers, planes_present
from latticework.viz.states import Theme
from latticework.viz.words import length, plural

WIDTH, HIGHEST = 10.4, 7.0
"""Inches of all panels."""
MOST_TILES = 20_000
"""Tiles of a plane that are drawn one by one; of more, the middle of groups."""
MOST_ARROWS = 500
"""Arrows of a plane; of more tiles, the mean of groups."""
SMALL = 9.0
"""Points across a tile below which it has no outline of its own."""


def plot_positions(
    nominal: Lattice,
    found: Any,
    *,
    planes: int = 6,
    theme: Theme = "light",
    path: Path | str | None = None,
) -> Figure:
    """Tiles where they were found, in a colour that says how far they moved.

    Arrows point from where they nominally are, drawn longer than they are; y downwards as in
    images.

    Parameters
    ----------
    nominal
        The tiles where the stage said they are.
    found
        A lattice of the same tiles where they were found, or what has one (a `Placement`).
    planes
        Planes that are drawn at most: those with tiles that moved furthest.
    theme
        ``"light"`` or ``"dark"``.
    path
        Where to write the picture, if anywhere.

    Returns
    -------
    Figure
        A matplotlib figure; notebooks show it, ``figure.savefig`` writes it.

    Raises
    ------
    LatticeError
        If these are not the same tiles, or have no y and x.

    Examples
    --------
    >>> grid, shape = {"y": 2, "x": 3}, {"y": 64, "x": 64}
    >>> nominal = Lattice.from_grid(grid, tile_shape=shape, dtype="u2")
    >>> found = nominal.replace(position_um=nominal.position_um + [3.0, -2.0])
    >>> len(plot_positions(nominal, found).axes)
    2
    """
    found = getattr(found, "lattice", found)
    if not isinstance(found, Lattice) or len(found) != len(nominal):
        what = plural(len(found), "tile") if isinstance(found, Lattice) else repr(found)
        raise LatticeError(
            f"found={what}: expected a lattice of the same {plural(len(nominal), 'tile')}, or a "
            "Placement of them"
        )
    if not len(nominal) or not {"y", "x"} <= set(nominal.spatial_dims):
        raise LatticeError("a plot of positions needs tiles with positions in y and x")
    figure = _Positions(nominal, found, theme).drawn(planes)
    saved(figure, path)
    return figure


class _Positions:
    """Draws planes of tiles that moved."""

    def __init__(self, nominal: Lattice, found: Lattice, theme: Theme) -> None:
        yx = [nominal.spatial_dims.index(axis) for axis in ("y", "x")]
        other = [found.spatial_dims.index(axis) for axis in ("y", "x")]
        self.lattice, self.theme, self.ink = nominal, theme, INK[theme]
        self.colours = LinearSegmentedColormap.from_list("moved", COLOURS[theme])
        self.nominal, self.near = nominal.position_um[:, yx], found.position_um[:, other]
        self.size = np.broadcast_to(extents_um(nominal), nominal.position_um.shape)[:, yx]
        self.moved = self.near - self.nominal
        self.by = np.linalg.norm(self.moved, axis=1)
        self.norm = Normalize(0, max(float(np.percentile(self.by, 99)), 1e-9))
        typical = float(np.percentile(self.by, 90))
        room = 0.4 * float(np.median(self.size.min(axis=1)))
        self.larger = round_number(room / typical) if typical > 1e-6 * room else 0.0

    def drawn(self, planes: int) -> Figure:
        """A panel for each plane."""
        numbers, title = plane_numbers(self.lattice)
        present = planes_present(numbers)
        furthest = np.array([self.by[numbers == plane].max() for plane in present.tolist()])
        chosen = np.sort(np.argsort(-furthest, kind="stable")[: max(1, planes)])
        low = np.minimum(self.near, self.nominal).min(axis=0)
        high = (np.maximum(self.near, self.nominal) + self.size).max(axis=0)
        aspect = min(3.0, max(0.12, float((high - low)[0] / (high - low)[1])))
        across, each = arranged(len(chosen), aspect, width=WIDTH, height=HIGHEST)
        tiles = float((high - low)[1]) / float(np.median(self.size[:, 1]))
        each = min(each, max(3.0, 2.0 * tiles))
        titled = len(present) > 1
        tall = each * aspect + (0.34 if titled else 0.12)
        width = max(6.4, 0.75 + across * (each + 0.25))
        height = 0.42 + -(-len(chosen) // across) * tall + 1.0
        figure = Picture(theme=self.theme, figsize=(width, height))
        for number, k in enumerate(chosen.tolist()):
            row, column = divmod(number, across)
            x, y = 0.62 + column * (each + 0.25), height - 0.42 - (row + 1) * tall + 0.04
            axes = figure.add_axes((x / width, y / height, each / width, each * aspect / height))
            axes.set_xlim(low[1], high[1])
            axes.set_ylim(high[0], low[0])
            points = each * 72 / float((high - low)[1])
            self._panel(axes, np.flatnonzero(numbers == present[k]), points)
            if titled:
                axes.set_title(title(int(present[k])), size=9, loc="left", color=self.ink, pad=3)
            self._ticks(axes, bottom=number + across >= len(chosen), side=column == 0)
        self._words(figure, len(chosen), len(present))
        return figure

    def _words(self, figure: Figure, shown: int, planes: int) -> None:
        width, height = figure.get_figwidth(), figure.get_figheight()
        look: dict[str, Any] = {"color": self.ink, "parse_math": False, "va": "center"}
        text = (
            f"{plural(len(self.by), 'tile')}: moved by {_rounded(np.median(self.by))} in the "
            f"median, {_rounded(self.by.max())} at most"
        )
        if planes > shown:
            text += f"; {shown} of {planes:,} planes"
        figure.text(0.62 / width, 1 - 0.2 / height, text, size=9.5, **look)
        axes = figure.add_axes((0.62 / width, 0.42 / height, 2.2 / width, 0.1 / height))
        top = float(self.norm.vmax or 1.0)
        bar = np.linspace(0, 1, 256)[None]
        axes.imshow(bar, aspect="auto", cmap=self.colours, extent=(0, top, 0, 1))
        axes.set_yticks([])
        axes.tick_params(colors=self.ink, labelsize=7.5, length=2)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("moved (µm)", size=8, color=self.ink, labelpad=2)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if self.larger:
            times = f", drawn {self.larger:,.4g} times as long" if self.larger > 1 else ""
            text = f"→  from the nominal place{times}"
            look["color"] = blue(self.theme)
            figure.text(3.1 / width, 0.47 / height, text, size=8.5, **look)

    def _ticks(self, axes: Axes, *, bottom: bool, side: bool) -> None:
        axes.set_facecolor("none")
        axes.tick_params(
            colors=self.ink, labelsize=7.5, length=2, labelbottom=bottom, labelleft=side
        )
        axes.set_xlabel("x (µm)" if bottom else "", size=8, color=self.ink, labelpad=2)
        axes.set_ylabel("y (µm)" if side else "", size=8, color=self.ink, labelpad=2)
        for spine in axes.spines.values():
            spine.set_color(to_rgba(self.ink, 0.25))

    def _panel(self, axes: Axes, rows: np.ndarray, points: float) -> None:
        drawn = rows if len(rows) <= MOST_TILES else rows[:: -(-len(rows) // MOST_TILES)]
        across = points * float(np.median(self.size[rows].min(axis=1)))
        edge = 0.4 if across > SMALL else 0.0
        tiles = PolyCollection(
            _corners(self.near[drawn], self.size[drawn]), cmap=self.colours, norm=self.norm,
            linewidths=edge, edgecolors=to_rgba(self.ink, 0.5), alpha=0.75,
        )  # fmt: skip
        tiles.set_array(self.by[drawn])
        axes.add_collection(tiles)
        if across > SMALL:
            axes.add_collection(
                PolyCollection(
                    _corners(self.nominal[drawn], self.size[drawn]), facecolors="none",
                    edgecolors=to_rgba(self.ink, 0.45), linewidths=0.6, linestyles=(0, (3, 2)),
                )
            )  # fmt: skip
        self._arrows(axes, rows, across)

    def _arrows(self, axes: Axes, rows: np.ndarray, across: float) -> None:
        if not self.larger:
            return
        start, by = (self.nominal + self.size / 2)[rows], self.moved[rows]
        group = 1.0
        if len(rows) > MOST_ARROWS:
            start, by, group = _grouped(start, by, MOST_ARROWS)
        tip = self.larger * group * by
        axes.quiver(
            start[:, 1], start[:, 0], tip[:, 1], tip[:, 0], angles="xy", scale_units="xy", scale=1,
            color=blue(self.theme), width=float(np.clip(0.02 * across * group, 0.7, 2)),
            units="dots", headwidth=4, headlength=5, headaxislength=4.2, minlength=0, minshaft=0.5,
        )  # fmt: skip


COLOURS = {
    "light": ("#f1efe9", "#f7d27c", "#e5863a"),
    "dark": ("#2b2f35", "#7d6330", "#d98a35"),
}
"""From tiles that did not move to those that moved furthest, by theme."""


def _rounded(micrometres: Any) -> str:
    """A length with three digits."""
    return length(float(f"{float(micrometres):.3g}"))


def _corners(near: np.ndarray, size: np.ndarray) -> list[np.ndarray]:
    far = near + size
    corners = [
        near[:, ::-1],
        np.stack([far[:, 1], near[:, 0]], axis=1),
        far[:, ::-1],
        np.stack([near[:, 1], far[:, 0]], axis=1),
    ]
    return list(np.stack(corners, axis=1))


def _grouped(start: np.ndarray, by: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Means over squares, so many that there are no more than `most`; about how many tiles wide."""
    low, high = start.min(axis=0), start.max(axis=0)
    side = float(np.sqrt(np.prod(np.maximum(high - low, 1e-9)) / most))
    cells = ((start - low) / side).astype(int)
    number = cells[:, 0] * (cells[:, 1].max() + 1) + cells[:, 1]
    _, which, counts = np.unique(number, return_inverse=True, return_counts=True)
    totals = [
        np.stack([np.bincount(which.ravel(), of[:, axis]) for axis in (0, 1)], axis=1)
        for of in (start, by)
    ]
    return totals[0] / counts[:, None], totals[1] / counts[:, None], float(np.sqrt(counts.mean()))


__all__ = ["plot_positions"]
