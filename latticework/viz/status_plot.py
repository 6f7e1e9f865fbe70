"""A picture of all stages: every tile in the colour of its state, plane by plane."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from latticework.lattice.states import State
from latticework.viz.figure import INK, PAPER, Picture, saved
from latticework.viz.folding import Folding, axis_name
from latticework.viz.states import Theme, counted, counts_text, state_cmap, state_colours, urgency
from latticework.viz.words import plain

if TYPE_CHECKING:
    import xarray as xr

_NO_PLANE = 255
_HEAD = 0.68
"""Inches above a panel."""
_MAX_CELLS = 520
"""Cells across or down a panel beyond which several tiles share one."""
_SQUARE = 0.6
"""Inches of the one square of a reduction."""
_TILES, _OWN, _WHOLE = range(3)
"""Groups of panels, from the top: on tiles, on lattices of their own, made once."""


class HasStatus(Protocol):
    """A project, or one stage of it."""

    @property
    def status(self) -> "xr.Dataset":
        """The state of its units."""
        ...


def plot_status(
    status: "xr.Dataset | HasStatus",
    path: Path | str | None = None,
    *,
    title: str = "",
    theme: Theme = "light",
) -> Figure:
    """A panel per stage with every tile in the colour of its state, planes side by side.

    Where tiles are smaller than a pixel, one pixel shows the most urgent state beneath it, so
    that a single failed tile of a million still shows. Stages on planes show in every tile the
    state of its plane. Stages on a lattice of their own have panels with that grid below, and
    reductions, made once for all tiles, one square each.

    Parameters
    ----------
    status
        A project, a stage (``project["clean"]``), or the ``status`` of either: a dataset with the
        variable ``state`` (state numbers) over the lattice dims, and over ``stage`` if there are
        several; with ``reduction_state`` over ``reduction`` where there are reductions, and with
        ``means.state`` over ``means.tile_z`` for each stage ``means`` in ``other_stage`` (with the
        attribute ``unit``, ``"plane"`` where its units are planes of the tiles).
    path
        Where to write the picture (``.png``, ``.pdf``, ``.svg``), if anywhere.
    title
        Text above all panels.
    theme
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        A matplotlib figure; notebooks show it, ``figure.savefig`` writes it.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> states = np.full((2, 7, 9), 4, dtype="u1")
    >>> dims = ("stage", "tile_y", "tile_x")
    >>> status = xr.Dataset({"state": (dims, states)}, {"stage": ["clean", "spots"]})
    >>> len(plot_status(status).axes)
    2
    """
    import xarray as xr

    data = status if isinstance(status, xr.Dataset) else status.status
    state = data["state"]
    if "stage" not in state.dims:
        state = state.expand_dims(stage=[data.attrs.get("stage", "")])
    dims = [str(dim) for dim in state.dims if dim != "stage"]
    labels = {dim: _labels(state, dim) for dim in dims}
    folding = Folding.of(dims, labels)
    found = {
        name: _Panel.of(
            plain(name, 60),
            folding.fold(np.asarray(values)),
            folding,
            group=_TILES if dims else _WHOLE,
        )
        for name, values in zip(
            _labels(state, "stage").tolist(), state.transpose("stage", *dims).values, strict=True
        )
    }
    if "reduction_state" in data:
        made = data["reduction_state"]
        for name, value in zip(_labels(made, "reduction").tolist(), made.values, strict=True):
            square = np.full((1, 1, 1), value)
            found[name] = _Panel.of(plain(name, 60), square, folding, group=_WHOLE)
    for name in _labels(data, "other_stage").tolist() if "other_stage" in data.coords else []:
        found[name] = _other(data, name, folding)
    order = data["any_stage"].values.tolist() if "any_stage" in data.coords else []
    rank = {name: k for k, name in enumerate(order)}
    panels = [found[name] for name in sorted(found, key=lambda name: rank.get(name, len(rank)))]
    figure = _draw(panels, title, theme)
    saved(figure, path)
    return figure


def _other(data: "xr.Dataset", name: str, folding: Folding) -> "_Panel":
    """The panel of a stage on planes, or on a lattice of its own."""
    state = data[f"{name}.state"]
    dims = [str(dim).removeprefix(f"{name}.") for dim in state.dims]
    labels = {dim: _labels(state, f"{name}.{dim}") for dim in dims}
    values = np.asarray(state.values)
    if state.attrs.get("unit") == "plane" and dims[0] in folding.dims:
        sizes = [len(folding.labels[dim]) for dim in folding.dims]
        shape = [-1 if dim == dims[0] else 1 for dim in folding.dims]
        spread = np.broadcast_to(values.reshape(shape), sizes)
        if "present" in data:
            spread = np.where(data["present"].values, spread, np.uint8(State.ABSENT))
        title = f"{plain(name, 60)} (one unit per plane)"
        return _Panel.of(title, folding.fold(spread), folding, counts=_counts(values))
    own = Folding.of(dims, labels)
    return _Panel.of(plain(name, 60), own.fold(values), own, group=_OWN)


def _counts(states: np.ndarray) -> dict[State, int]:
    """Units in each state."""
    numbers = np.bincount(states.ravel().astype(np.uint8), minlength=len(State))
    return {state: int(numbers[state]) for state in State if numbers[state]}


def _labels(array: "xr.DataArray | xr.Dataset", dim: str) -> np.ndarray:
    """Labels along a dim, or numbers where it has none."""
    found = array[dim].values if dim in array.coords else np.arange(array.sizes[dim])
    return np.asarray(found)


@dataclass(frozen=True, slots=True)
class _Panel:
    """One stage: its planes laid side by side on one image of state numbers."""

    name: str
    image: np.ndarray
    counts: Mapping[State, int]
    across: int
    n_planes: int
    plane_shape: tuple[int, int]
    factor: int
    folding: Folding
    group: int

    @property
    def whole(self) -> bool:
        """Whether it is the one square of a reduction."""
        return self.group == _WHOLE

    @property
    def aspect(self) -> float:
        """Height by width."""
        rows, columns = self.image.shape
        return float(min(3.0, max(0.04, rows / columns)))

    @classmethod
    def of(
        cls,
        name: str,
        planes: np.ndarray,
        folding: Folding,
        *,
        group: int = 0,
        counts: Mapping[State, int] | None = None,
    ) -> "_Panel":
        counts = _counts(planes) if counts is None else counts
        planes, factor = _shrunk(planes.astype(np.uint8))
        n, rows, columns = planes.shape
        gap = _gap(rows, columns) if n > 1 else 0
        across = _columns_of_planes(n, rows, columns, gap)
        down = -(-n // across)
        image = np.full((down * (rows + gap), across * (columns + gap)), _NO_PLANE, dtype=np.uint8)
        for plane in range(n):
            top, left = plane // across * (rows + gap), plane % across * (columns + gap)
            image[top : top + rows, left : left + columns] = planes[plane]
        used = image[: image.shape[0] - gap, : image.shape[1] - gap]
        return cls(name, used, counts, across, n, (rows, columns), factor, folding, group)

    def corner(self, plane: int) -> tuple[int, int]:
        """Row and column of a plane's first cell."""
        rows, columns = self.plane_shape
        gap = _gap(rows, columns)
        return plane // self.across * (rows + gap), plane % self.across * (columns + gap)


def _gap(rows: int, columns: int) -> int:
    """Cells between planes."""
    return max(1, round(max(rows, columns) * 0.16))


def _columns_of_planes(n: int, rows: int, columns: int, gap: int) -> int:
    """Planes side by side that make the panel nearly as wide as 1.5 times its height."""
    best = math.sqrt(1.5 * n * (rows + gap) / (columns + gap))
    return min(n, max(1, round(best)))


def _shrunk(planes: np.ndarray) -> tuple[np.ndarray, int]:
    """Planes small enough to draw, and how many tiles a cell then is wide; the most urgent wins."""
    n, rows, columns = planes.shape
    side = math.sqrt(n * rows * columns)
    factor = max(1, math.ceil(side / _MAX_CELLS))
    if factor == 1:
        return planes, 1
    rank = np.empty(len(State), dtype=np.uint8)
    rank[list(urgency)] = np.arange(len(State))
    ranked = rank[planes]
    for axis in (1, 2):
        starts = np.arange(0, ranked.shape[axis], factor)
        ranked = np.maximum.reduceat(ranked, starts, axis=axis)
    return np.array(urgency, dtype=np.uint8)[ranked], factor


def _draw(panels: list[_Panel], title: str, theme: Theme) -> Figure:
    groups = [[panel for panel in panels if panel.group == k] for k in (_TILES, _OWN, _WHOLE)]
    n = max(1, *(len(group) for group in groups[:2])) if any(groups[:2]) else max(1, len(panels))
    aspect = next((group[0].aspect for group in groups[:2] if group), 1.0)
    across = min(n, 4 if aspect > 1.2 else 3 if n > 4 or n == 3 else 2)
    # All lengths in inches: panels with a head for name, counts and bar, then the legend.
    side, between, below, foot, top = 0.55, 0.55, 0.5, 0.45, 0.5 if title else 0.12
    panel_width = min((12.0 - 2 * side - (across - 1) * between) / across, 5.2)
    width = max(7.0, 2 * side + across * panel_width + (across - 1) * between)
    rows = [group[k : k + across] for group in groups for k in range(0, len(group), across)]
    inside = [
        _SQUARE if row[0].whole else min(panel_width * max(p.aspect for p in row), 7.0)
        for row in rows
    ]
    height = top + sum(_HEAD + inner + below for inner in inside) + foot
    figure = Picture(theme=theme, figsize=(width, height))
    write = _Writer(figure, width, height, INK[theme])
    if title:
        write.text(side, height - 0.3, plain(title, 120), size=13, weight="bold", va="center")
    ceiling = height - top
    for row, inner in zip(rows, inside, strict=True):
        ceiling -= _HEAD
        for number, panel in enumerate(row):
            left = side + number * (panel_width + between)
            w, h = (_SQUARE, _SQUARE) if panel.whole else (panel_width, inner)
            axes = figure.add_axes((left / width, (ceiling - h) / height, w / width, h / height))
            _draw_panel(axes, panel, theme, (w, h))
            _head(write, panel, theme, (left, ceiling, panel_width))
        ceiling -= inner + below
    _legend(write, panels, theme, side)
    return figure


@dataclass(frozen=True, slots=True)
class _Writer:
    """Puts text and bars on a figure at places given in inches."""

    figure: Figure
    width: float
    height: float
    ink: str

    def text(self, x: float, y: float, text: str, **look: Any) -> None:
        """Text at (x, y)."""
        look = {"color": self.ink, "parse_math": False, **look}
        self.figure.text(x / self.width, y / self.height, text, **look)

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A filled rectangle."""
        self.figure.add_artist(
            Rectangle(
                (x / self.width, y / self.height),
                width / self.width,
                height / self.height,
                facecolor=colour,
                linewidth=0,
            )
        )


def _draw_panel(axes: Axes, panel: _Panel, theme: Theme, inches: tuple[float, float]) -> None:
    cmap, norm = state_cmap(theme)
    image = np.ma.masked_equal(panel.image, _NO_PLANE)
    axes.imshow(image, cmap=cmap, norm=norm, interpolation="nearest", aspect="equal")
    axes.set_anchor("NW")
    axes.set_facecolor("none")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(colors=INK[theme], labelsize=7.5, length=0, pad=2)
    rows, columns = panel.image.shape
    cell = 72 * min(inches[0] / columns, inches[1] / rows)
    if cell > 4 and not panel.whole:
        _grid(axes, rows, columns, PAPER[theme], min(2.0, cell / 10))
    _mark_failed(axes, panel, theme, cell)
    if panel.whole:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel("all tiles", size=8, color=INK[theme])
    elif panel.n_planes == 1:
        _ticks(axes, panel, panel.folding, theme)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        _plane_names(axes, panel, panel.folding, theme, cell)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)


def _mark_failed(axes: Axes, panel: _Panel, theme: Theme, cell: float) -> None:
    """Crosses on failed tiles; where tiles are tiny, dots larger than they are."""
    failed = np.argwhere(panel.image == State.FAILED)
    if cell > 7:
        axes.plot(failed[:, 1], failed[:, 0], "x", color="white", ms=cell * 0.35, mew=cell * 0.05)
    elif cell < 3.5 and len(failed) <= 2000:
        colour = state_colours[State.FAILED].on(theme)
        axes.plot(
            failed[:, 1], failed[:, 0], "o", color=colour, ms=3.5, mew=0.4, mec=PAPER[theme],
            clip_on=False,
        )  # fmt: skip


def _grid(axes: Axes, rows: int, columns: int, colour: Any, width: float) -> None:
    """Lines between cells, in the colour of the paper.

    Not clipped: the image reaches a pixel beyond the axes, which must not show at the rim.
    """
    look: dict[str, Any] = {
        "color": colour,
        "lw": width,
        "clip_on": False,
        "capstyle": "projecting",
    }
    axes.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, **look)
    axes.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, **look)


def _ticks(axes: Axes, panel: _Panel, folding: Folding, theme: Theme) -> None:
    """Labels of rows and columns, at most a dozen each."""
    for dim, axis, n in (
        (folding.column, axes.xaxis, panel.plane_shape[1]),
        (folding.row, axes.yaxis, panel.plane_shape[0]),
    ):
        if dim is None:
            axis.set_ticks([])
            continue
        ticks = np.arange(0, n, max(1, -(-n // 12)))
        labels = [plain(folding.labels[dim][tick * panel.factor], 12) for tick in ticks]
        axis.set_ticks(ticks, labels)
        axis.set_label_text(axis_name(dim), size=8, color=INK[theme])


def _plane_names(axes: Axes, panel: _Panel, folding: Folding, theme: Theme, cell: float) -> None:
    """The label of every plane above it, or of the first of each row where planes are small."""
    rows, columns = panel.plane_shape
    size = min(8.0, _gap(rows, columns) * cell * 0.8)
    roomy = columns * cell > 26 and size >= 4.5
    pitch = (rows + _gap(rows, columns)) * cell
    every = 1 if roomy else panel.across * max(1, math.ceil(8 / pitch))
    for plane in range(0, panel.n_planes, every):
        top, left = panel.corner(plane)
        look: dict[str, Any] = {"ha": "left", "va": "bottom", "size": size}
        at, shift = (left - 0.5, top - 0.5), (0.0, 1.5)
        if not roomy:
            look = {"ha": "right", "va": "center", "size": 6}
            at, shift = (left - 0.5, top - 0.5 + rows / 2), (-3.0, 0.0)
        axes.annotate(
            folding.plane_title(plane, plane + 1), at, shift, textcoords="offset points",
            color=INK[theme], alpha=0.75, parse_math=False, annotation_clip=False, **look,
        )  # fmt: skip


def _head(write: _Writer, panel: _Panel, theme: Theme, place: tuple[float, float, float]) -> None:
    """Name, counts and stacked bar above a panel; `place` is its left, top and width."""
    left, top, width = place
    total = max(1, sum(n for _, n in counted(panel.counts)))
    base, start = top + (0.2 if panel.n_planes > 1 else 0.08), left
    for state, n in counted(panel.counts):
        share = max(n / total * width, 0.02)
        write.bar(
            min(start, left + width - share), base, share, 0.045, state_colours[state].on(theme)
        )
        start += n / total * width
    text = counts_text(panel.counts)
    size = min(7.5, max(4.5, width * 72 / (0.55 * max(1, len(text)))))
    write.text(left, base + 0.07, text, size=size, alpha=0.85, va="bottom")
    write.text(left, base + 0.21, panel.name, size=10.5, weight="bold", va="bottom")


def _legend(write: _Writer, panels: list[_Panel], theme: Theme, left: float) -> None:
    """Colours that occur with their totals, and what a square stands for."""
    totals: dict[State, int] = {}
    for panel in panels:
        for state, n in panel.counts.items():
            totals[state] = totals.get(state, 0) + n
    x = left
    for state in State:
        if not totals.get(state):
            continue
        text = state.label if state is State.ABSENT else f"{state.label} {totals[state]:,}"
        write.bar(x, 0.2, 0.13, 0.13, state_colours[state].on(theme))
        write.text(x + 0.19, 0.265, text, size=8.5, va="center")
        x += 0.19 + 0.075 * len(text) + 0.22
    factor = max((panel.factor for panel in panels), default=1)
    if factor > 1:
        note = f"a square is {factor} × {factor} tiles and shows the most urgent state among them"
        write.text(left, 0.4, note, size=7.5, alpha=0.75, va="bottom")
