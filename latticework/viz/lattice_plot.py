"""Tiles at their positions in micrometres, drawn with matplotlib."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from latticework.errors import LatticeError
from latticework.lattice import Lattice, State
from latticework.lattice.places import extents_um
from latticework.viz.figure import INK, PAPER, Picture, saved
from latticework.viz.lattice_facts import lattice_title
from latticework.viz.planes import plane_numbers, planes_present
from latticework.viz.states import Theme, state_colours
from latticework.viz.words import plain

_MAX_PLANES = 24
_MAX_TILES = 20_000
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
        What to draw; more than 20,000 tiles a plane are drawn as a density.
    ax
        Axes to draw all tiles into, whatever their plane.
    names
        Write names into the tiles, or ids where only these have room; by default up to 150 tiles.
    order
        Draw the path of the stage from tile to tile; by default up to 150 tiles a plane.
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
    >>> grid = {"z": 2, "y": 2, "x": 3}
    >>> lattice = Lattice.from_grid(grid, tile_shape={"y": 9, "x": 9}, dtype="u1")
    >>> len(plot_lattice(lattice).axes)
    2
    """
    if not lattice.n_tiles or not {"y", "x"} <= set(lattice.spatial_dims):
        raise LatticeError("a plot needs tiles with positions in y and x")
    if ax is not None:
        _draw(ax, lattice, np.arange(lattice.n_tiles), names=names, order=order, theme=theme)
        return ax.get_figure(root=True) or Picture(theme=theme)
    planes, hidden = _plane_rows(lattice)
    figure = _figure(lattice, planes, hidden, names=names, order=order, theme=theme)
    saved(figure, path)
    return figure


def _plane_rows(lattice: Lattice) -> tuple[list[tuple[str, np.ndarray]], int]:
    """Title and rows of the first planes, and how many planes are left out."""
    numbers, title = plane_numbers(lattice)
    present = planes_present(numbers)
    shown = present[:_MAX_PLANES].tolist()
    planes = [(title(plane), np.flatnonzero(numbers == plane)) for plane in shown]
    return planes, len(present) - len(shown)


def _figure(
    lattice: Lattice,
    planes: list[tuple[str, np.ndarray]],
    hidden: int,
    *,
    names: bool | None,
    order: bool | None,
    theme: Theme,
) -> Figure:
    yx = [lattice.spatial_dims.index(axis) for axis in ("y", "x")]
    near = lattice.position_um[:, yx].min(axis=0)
    far = (lattice.position_um + extents_um(lattice))[:, yx].max(axis=0)
    aspect = min(4.0, max(0.15, float((far - near)[0] / (far - near)[1])))
    n = len(planes)
    largest = max(len(rows) for _, rows in planes)
    names = largest <= 150 if names is None else names
    order = largest <= 150 if order is None else order
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
        axes = figure.add_axes(
            (left / width, bottom / height, each / width, each * aspect / height)
        )
        axes.set_xlim(near[1], far[1])
        axes.set_ylim(far[0], near[0])
        _draw(axes, lattice, rows, names=names, order=order, theme=theme)
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
    *,
    names: bool | None,
    order: bool | None,
    theme: Theme,
) -> None:
    """Tiles of these rows, with what there is room for."""
    yx = [lattice.spatial_dims.index(axis) for axis in ("y", "x")]
    near = lattice.position_um[rows][:, yx]
    extents = extents_um(lattice)
    size = np.broadcast_to(
        extents[:, yx] if len(extents) == 1 else extents[rows][:, yx], near.shape
    )
    bad = np.isin(lattice.ids[rows], np.fromiter(lattice.problems, dtype=np.int64))
    free = axes.get_autoscale_on()
    if len(rows) > _MAX_TILES:
        _draw_density(axes, near, size)
    else:
        _draw_tiles(axes, near[~bad], size[~bad], _BLUE)
    _draw_tiles(axes, near[bad], size[bad], state_colours[State.FAILED].on(theme))
    axes.set_aspect("equal")
    if free:
        axes.autoscale_view()
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    _style(axes, theme)
    centre = near + size / 2
    if order or (order is None and 1 < len(rows) <= 150):
        axes.plot(centre[:, 1], centre[:, 0], "-", color=INK[theme], lw=0.6, alpha=0.35)
        axes.plot(centre[0, 1], centre[0, 0], "o", color=INK[theme], ms=9, alpha=0.25, mew=0)
    if names or (names is None and len(rows) <= 150):
        _write_names(axes, lattice, rows, centre, size, theme)


def _draw_tiles(axes: Axes, near: np.ndarray, size: np.ndarray, colour: str) -> None:
    """Rectangles, darker where they lie on each other."""
    far = near + size
    corners = np.stack(
        [
            near[:, ::-1],
            np.stack([far[:, 1], near[:, 0]], axis=1),
            far[:, ::-1],
            np.stack([near[:, 1], far[:, 0]], axis=1),
        ],
        axis=1,
    )
    tiles = PolyCollection(
        list(corners), facecolors=_faded(colour, 0.35), edgecolors=colour,
        linewidths=0.2 if len(near) > 500 else 0.7,
    )  # fmt: skip
    axes.add_collection(tiles)


def _draw_density(axes: Axes, near: np.ndarray, size: np.ndarray) -> None:
    """How densely tiles lie, where they are too many to draw one by one."""
    centre = near + size / 2
    low, high = near.min(axis=0), (near + size).max(axis=0)
    bins = np.clip((high - low) / (4 * size.max(axis=0)), 1, 300).astype(int)
    ranges = list(zip(low.tolist(), high.tolist(), strict=True))
    density, _, _ = np.histogram2d(centre[:, 0], centre[:, 1], bins=bins.tolist(), range=ranges)
    full = max(1.0, float(np.percentile(density[density > 0], 90)))
    image = np.empty((*density.shape, 4))
    image[:] = _faded(_BLUE, 1.0)
    image[..., 3] = 0.8 * np.clip(density / full, 0, 1)
    extent = (float(low[1]), float(high[1]), float(high[0]), float(low[0]))
    axes.imshow(image, extent=extent, interpolation="nearest", origin="upper")


def _write_names(
    axes: Axes,
    lattice: Lattice,
    rows: np.ndarray,
    centre: np.ndarray,
    size: np.ndarray,
    theme: Theme,
) -> None:
    """The name of each tile, or its id where only that has room, or nothing."""
    left, right = axes.get_xlim()
    inches = axes.get_window_extent().width / axes.figure.dpi
    room = 0.85 * 72 * inches * float(size[:, 1].min()) / max(abs(right - left), 1e-9)
    texts: list[str] = []
    for texts in (
        [plain(lattice.tile(int(tile_id)).name, 40) for tile_id in lattice.ids[rows]],
        [str(tile_id) for tile_id in lattice.ids[rows]],
    ):
        letter = room / (0.62 * max(len(text) for text in texts))
        if letter >= 4.5:
            break
    else:
        return
    halo = [withStroke(linewidth=2, foreground=PAPER[theme], alpha=0.6)]
    for text, (y, x) in zip(texts, centre, strict=True):
        axes.text(
            x, y, text, size=min(8.0, max(4.5, letter)), ha="center", va="center",
            color=INK[theme], parse_math=False, clip_on=True, path_effects=halo,
        )  # fmt: skip


def _style(axes: Axes, theme: Theme) -> None:
    axes.set_facecolor(PAPER[theme])
    axes.tick_params(colors=INK[theme], labelsize=7, length=2)
    axes.xaxis.label.set_color(INK[theme])
    axes.yaxis.label.set_color(INK[theme])
    for spine in axes.spines.values():
        spine.set_color(_faded(INK[theme], 0.3))


def _faded(colour: str, opacity: float) -> Any:
    return to_rgba(colour, opacity)
