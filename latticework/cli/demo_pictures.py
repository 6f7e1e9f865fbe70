"""Pictures that the demo leaves: overview, status, mosaic before and after."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.lattice.states import State

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from latticework.lattice import Lattice, Tile
    from latticework.project import Project
    from latticework.viz.progress import Progress


class Halfway:
    """A progress that shows what another one shows and keeps the status from about half-way.

    Parameters
    ----------
    project
        The project that runs.
    shown
        What shows the progress.
    """

    def __init__(self, project: "Project", shown: "Progress") -> None:
        self.project = project
        self.shown = shown
        self.status: xr.Dataset | None = None
        self._done: dict[str, float] = {}

    def start(self, stages: Mapping[str, int]) -> None:
        """See `Progress.start`."""
        self._done = dict.fromkeys(stages, 0.0)
        self.shown.start(stages)

    def update(self, name: str, counts: Mapping[State, int], **more: Any) -> None:
        """See `Progress.update`."""
        self.shown.update(name, counts, **more)
        self._done[name] = counts.get(State.COMPLETE, 0) / max(1, sum(counts.values()))
        share = sum(self._done.values()) / max(1, len(self._done))
        if self.status is None and share >= 0.55:
            self.status = self.project.status

    def say(self, text: str) -> None:
        """See `Progress.say`."""
        self.shown.say(text)

    def finish(self, summary: object | None = None) -> None:
        """See `Progress.finish`."""
        self.shown.finish(summary)

    def __getattr__(self, name: str) -> Any:
        """What only some displays have, such as a place for the dashboard's link."""
        return getattr(self.shown, name)


def mosaics(project: "Project", stage: str, *, max_px: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """The acquisition, and what a stage made of it, as two grey pictures."""
    from latticework.viz import mosaic_picture

    made = project[stage]
    lattice = project.lattice

    def read(tile: "Tile") -> np.ndarray:
        return np.asarray(made.tile(tile.id))

    before = mosaic_picture(lattice, max_px=max_px, scale=False)
    after = mosaic_picture(lattice, read, max_px=max_px, scale=False)
    return grey(before), grey(after)


def grey(picture: np.ndarray) -> np.ndarray:
    """A picture as uint8; the square root brings out what is dim."""
    from latticework.viz.pictures import contrasted

    low = np.nanmin(picture) if np.isfinite(picture).any() else 0.0
    return contrasted(np.sqrt(np.maximum(picture - low, 0.0)), (1.0, 99.8))


def draw_overview(
    lattice: "Lattice",
    status: "xr.Dataset",
    pictures: tuple[np.ndarray, np.ndarray],
    path: Path,
    *,
    when: str,
) -> None:
    """One picture of it all: lattice, states by stage, mosaic before and after."""
    from latticework.viz.figure import INK, Picture, saved
    from latticework.viz.lattice_plot import plot_lattice

    aspect = min(1.6, max(0.4, pictures[0].shape[0] / pictures[0].shape[1]))
    wide, gap, head, side = 5.2, 0.3, 0.42, 0.15
    tall = wide * aspect
    width, height = 2 * wide + gap + 2 * side, 2 * (tall + head) + side + 0.1
    figure = Picture(theme="light", figsize=(width, height))

    def place(column: int, row: int, title: str) -> tuple[float, float]:
        left = side + column * (wide + gap)
        bottom = height - (row + 1) * (tall + head) - 0.05
        figure.text(
            left / width, (bottom + tall + 0.14) / height, title, size=11.5, weight="bold",
            color=INK["light"], va="center",
        )  # fmt: skip
        return left, bottom

    left, bottom = place(0, 0, f"{lattice.n_tiles} overlapping tiles, in the order of the stage")
    axes = figure.add_axes((left / width, bottom / height, wide / width, tall / height))
    plot_lattice(lattice, ax=axes, names=False, order=True)
    axes.set_axis_off()
    left, bottom = place(1, 0, f"Every tile in every stage, {when}")
    _draw_states(figure, status, (left, bottom, wide, tall))
    for column, (picture, title) in enumerate(
        zip(pictures, ("As acquired", "After the pipeline"), strict=True)
    ):
        left, bottom = place(column, 1, title)
        axes = figure.add_axes((left / width, bottom / height, wide / width, tall / height))
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
        axes.set_axis_off()
    saved(figure, path, dpi=110)


def _draw_states(
    figure: Any, status: "xr.Dataset", place: tuple[float, float, float, float]
) -> None:
    """A small map of states for each stage, and a legend."""
    from latticework.viz.figure import INK
    from latticework.viz.states import counted, state_colours

    left, bottom, wide, tall = place
    width, height = figure.get_size_inches()
    names = status["any_stage"].values.tolist()
    across = 3 if len(names) > 2 else len(names)
    down = -(-len(names) // across)
    each = wide / across
    grid = status.sizes["tile_y"] / status.sizes["tile_x"]
    high = min((tall - 0.3) / down, (each - 0.15) * grid + 0.45)
    totals: dict[State, int] = {}
    for number, name in enumerate(names):
        counts = dict(zip(State, status["count"].sel(any_stage=name).values.tolist(), strict=True))
        for state, n in counts.items():
            totals[state] = totals.get(state, 0) + n
        x = left + number % across * each
        y = bottom + tall - (number // across + 1) * high
        axes = figure.add_axes(
            (x / width, y / height, (each - 0.15) / width, (high - 0.32) / height)
        )
        _draw_stage(axes, status, name)
        axes.set_title(name, size=10, loc="left", color=INK["light"], pad=3)
    x, bottom = left, bottom + tall - down * high - 0.28
    for state, _ in counted(totals):
        axes = figure.add_axes((x / width, (bottom + 0.04) / height, 0.14 / width, 0.14 / height))
        axes.set_facecolor(state_colours[state].light)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        figure.text(
            (x + 0.2) / width,
            (bottom + 0.11) / height,
            state.label,
            size=9,
            va="center",
            color=INK["light"],
        )
        x += 0.4 + 0.085 * len(state.label)


def _draw_stage(axes: "Axes", status: "xr.Dataset", name: str) -> None:
    """States of a stage on the grid; a reduction is one square as large as the grid."""
    from latticework.viz.figure import INK
    from latticework.viz.states import state_cmap

    cmap, norm = state_cmap("light")
    whole = name in status["reduction"].values.tolist()
    if whole:
        states = status["reduction_state"].sel(reduction=name).values.reshape(1, 1)
        rows, columns = status.sizes["tile_y"], status.sizes["tile_x"]
    else:
        states = status["state"].sel(stage=name).values
        rows, columns = states.shape
    axes.imshow(states, cmap=cmap, norm=norm, extent=(0, columns, rows, 0), interpolation="nearest")
    if not whole:
        axes.vlines(np.arange(columns + 1), 0, rows, color="white", lw=1.5)
        axes.hlines(np.arange(rows + 1), 0, columns, color="white", lw=1.5)
    axes.set_aspect("equal")
    axes.set_anchor("NW")
    axes.set_axis_off()
    if whole:
        colour = "white" if states[0, 0] == State.COMPLETE else INK["light"]
        look: dict[str, Any] = {"ha": "center", "va": "center", "size": 9, "color": colour}
        axes.text(columns / 2, rows / 2, "all tiles", **look)
