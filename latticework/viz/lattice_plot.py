"""Tiles at their positions in micrometres, drawn with matplotlib."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from latticework.errors import LatticeError
from latticework.lattice import Lattice, State
from latticework.viz.figure import INK, PAPER, Picture, saved
from latticework.viz.folding import Folding
from latticework.viz.lattice_facts import lattice_title, tile_extents_um
from latticework.viz.states import Theme, state_colours
from latticework.viz.words import plain

_MAX_PLANES = 24
_MAX_TILES = 60_000
_BLUE = "#4f87b8"


def plot_lattice(
    lattice: Lattice,
    *,
    ax: Axes | None = None,
    names: bool | None = None,
    order: bool | None = None,
    theme: Theme = "light",
    path: Path | str | None = None,
) -> Figure:
    """Every tile as a rectangle at its position, overlaps darker, y downwards as in images.

    Lattices with several planes get a picture per plane, the first 24 of them; choose others with
    ``lattice.sel`` or draw one plane into `ax`.

    Parameters
    ----------
    lattice
        What to draw; of more than 60,000 tiles a plane, every n-th is drawn.
    ax
        Axes to draw all tiles into, whatever their plane.
    names
        Write names into the tiles; by default where they can be read.
    order
        Draw the path of the stage from tile to tile; by default below 400 tiles a plane.
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
        If there are no tiles, or the lattice has no y and x.

    Examples
    --------
    >>> from latticework import Lattice
    >>> lattice = Lattice.from_grid({"z": 2, "y": 2, "x": 3}, tile_shape={"y": 9, "x": 9}, dtype="u1")
    >>> len(plot_lattice(lattice).axes)
    2
    """
    if not lattice.n_tiles or not {"y", "x"} <= set(lattice.spatial_dims):
        raise LatticeError("a plot needs tiles with positions in y and x")
    if ax is not None:
        _draw(ax, lattice, np.arange(lattice.n_tiles), names, order, theme)
        return ax.get_figure(root=True) or Picture(theme=theme)
    planes, hidden = _plane_rows(lattice)
    figure = _figure(lattice, planes, hidden, names, order, theme)
    saved(figure, path)
    return figure


def _plane_rows(lattice: Lattice) -> tuple[list[tuple[str, np.ndarray]], int]:
    """Title and rows of the first planes, and how many planes are left out."""
    columns = [c for c, dim in enumerate(lattice.dims) if dim not in ("tile_y", "tile_x")]
    if not columns:
        return [("", np.arange(lattice.n_tiles))], 0
    dims = tuple(lattice.dims[c] for c in columns)
    folding = Folding(dims, dims, None, None, lattice.labels)
    shape = tuple(lattice.shape[c] for c in columns)
    numbers = np.ravel_multi_index(tuple(lattice.index[:, c] for c in columns), shape)
    present = np.unique(numbers)
    shown = present[:_MAX_PLANES].tolist()
    planes = [(folding.plane_title(p, p + 1), np.flatnonzero(numbers == p)) for p in shown]
    return planes, len(present) - len(shown)


def _figure(
    lattice: Lattice,
    planes: list[tuple[str, np.ndarray]],
    hidden: int,
    names: bool | None,
    order: bool | None,
    theme: Theme,
) -> Figure:
    yx = [lattice.spatial_dims.index(axis) for axis in ("y", "x")]
    near = lattice.position_um[:, yx].min(axis=0)
    far = (lattice.position_um + tile_extents_um(lattice))[:, yx].max(axis=0)
    aspect = min(4.0, max(0.15, float((far - near)[0] / (far - near)[1])))
    n = len(planes)
    across = min(n, max(1, round(math.sqrt(n * 1.6 * aspect))))
    down = -(-n // across)
    width = 8.0 if n == 1 else min(12.0, 4.0 * across)
    each = min((width - 0.8) / across - 0.25, 7.0 / aspect)
    width = max(5.0, 0.8 + across * (each + 0.25))
    height = 0.95 + down * (each * aspect + 0.45)
    figure = Picture(theme=theme, figsize=(width, height))
    figure.text(
        0.2 / width, 1 - 0.25 / height, lattice_title(lattice), color=INK[theme], size=11,
        weight="bold", va="center", parse_math=False,
    )  # fmt: skip
    for number, (title, rows) in enumerate(planes):
        row, column = divmod(number, across)
        left = 0.7 + column * (each + 0.25)
        bottom = height - 0.5 - (row + 1) * (each * aspect + 0.45) + 0.2
        axes = figure.add_axes((left / width, bottom / height, each / width, each * aspect / height))
        _draw(axes, lattice, rows, names, order, theme)
        axes.set_xlim(near[1], far[1])
        axes.set_ylim(far[0], near[0])
        axes.set_title(title, size=9, loc="left", color=INK[theme], pad=3)
        last_row = number + across >= n
        axes.tick_params(labelbottom=last_row, labelleft=column == 0)
        axes.set_xlabel("x (µm)" if last_row else "", size=8)
        axes.set_ylabel("y (µm)" if column == 0 else "", size=8)
    if hidden:
        note = f"and {hidden:,} more planes"
        figure.text(1 - 0.2 / width, 1 - 0.25 / height, note, ha="right", size=8, color=INK[theme])
    return figure


def _draw(
    axes: Axes,
    lattice: Lattice,
    rows: np.ndarray,
    names: bool | None,
    order: bool | None,
    theme: Theme,
) -> None:
    """Tiles of these rows, with what there is room for."""
    rows = rows[:: max(1, -(-len(rows) // _MAX_TILES))]
    yx = [lattice.spatial_dims.index(axis) for axis in ("y", "x")]
    near = lattice.position_um[rows][:, yx]
    extents = tile_extents_um(lattice)
    size = np.broadcast_to(extents[:, yx] if len(extents) == 1 else extents[rows][:, yx], near.shape)
    y, x = near.T
    h, w = size.T
    corners = np.stack([np.stack([x, y], -1), np.stack([x + w, y], -1)], 1)
    corners = np.concatenate(
        [corners, np.stack([np.stack([x + w, y + h], -1), np.stack([x, y + h], -1)], 1)], 1
    )
    bad = np.isin(lattice.ids[rows], np.fromiter(lattice.problems, dtype=np.int64))
    many = len(rows) > 2000
    for mask, colour in ((~bad, _BLUE), (bad, state_colours[State.FAILED].on(theme))):
        tiles = PolyCollection(
            list(corners[mask]), facecolors=_faded(colour, 0.35), edgecolors=colour,
            linewidths=0.2 if many else 0.7,
        )  # fmt: skip
        axes.add_collection(tiles)
    centre = near + size / 2
    if order or (order is None and 1 < len(rows) < 400):
        axes.plot(centre[:, 1], centre[:, 0], "-", color=INK[theme], lw=0.6, alpha=0.35)
        axes.plot(centre[0, 1], centre[0, 0], "o", color=INK[theme], ms=3, alpha=0.6)
    axes.set_aspect("equal")
    axes.autoscale_view()
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    _style(axes, theme)
    if names or (names is None and len(rows) <= 400):
        _write_names(axes, lattice, rows, centre, size, force=bool(names), theme=theme)


def _write_names(
    axes: Axes,
    lattice: Lattice,
    rows: np.ndarray,
    centre: np.ndarray,
    size: np.ndarray,
    *,
    force: bool,
    theme: Theme,
) -> None:
    """The name of each tile, or its id where only that has room, or nothing."""
    texts = [plain(lattice.tile(int(tile_id)).name, 40) for tile_id in lattice.ids[rows]]
    box = axes.get_window_extent()
    span_um = float(np.ptp(centre[:, 1])) + float(size[:, 1].max())
    points = 0.85 * box.width / axes.figure.dpi * 72 * float(size[:, 1].min()) / max(span_um, 1e-9)
    letter = points / (0.6 * max(len(text) for text in texts))
    if letter < 4.5:
        texts = [str(tile_id) for tile_id in lattice.ids[rows]]
        letter = points / (0.6 * max(len(text) for text in texts))
    if letter < 4.5 and not force:
        return
    for text, (y, x) in zip(texts, centre, strict=True):
        axes.text(
            x, y, text, size=min(8.0, max(4.5, letter)), ha="center", va="center",
            color=INK[theme], parse_math=False, clip_on=True,
        )  # fmt: skip


def _style(axes: Axes, theme: Theme) -> None:
    axes.set_facecolor(PAPER[theme])
    axes.tick_params(colors=INK[theme], labelsize=7, length=2)
    axes.xaxis.label.set_color(INK[theme])
    axes.yaxis.label.set_color(INK[theme])
    for spine in axes.spines.values():
        spine.set_color(_faded(INK[theme], 0.3))


def _faded(colour: str, opacity: float) -> Any:
    from matplotlib.colors import to_rgba

    return to_rgba(colour, opacity)
