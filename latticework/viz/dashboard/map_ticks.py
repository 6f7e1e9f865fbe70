"""Where the axes of the map have labels, and which."""

import math

from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import spatial_axis
from latticework.viz.dashboard.map_axes import step_um
from latticework.viz.dashboard.map_scene import Pane, Sight
from latticework.viz.folding import axis_name
from latticework.viz.words import plain

ACROSS_PX, DOWN_PX = 64, 26
"""Pixels between two lengths across, and between two labels down, at least."""
CHARACTER_PX = 8
"""Pixels that a character of a label takes across."""
Ticks = dict[float, str]


def ticks_of(pane: Pane, sight: Sight, *, in_um: bool) -> tuple[Ticks, Ticks]:
    """Labels of the columns and of the rows that are in view, by x and by y.

    Parameters
    ----------
    pane
        The only pane of the picture.
    sight
        What is in view.
    in_um
        Whether lengths are shown, where a dim is one.

    Examples
    --------
    >>> from latticework.viz.dashboard.map_axes import MapAxes
    >>> lattice = Lattice.from_grid(
    ...     {"y": 2, "x": 3}, tile_shape={"y": 8, "x": 8}, dtype="u2", pixel_size_um=0.5
    ... )
    >>> pane = Pane("clean", MapAxes.of(lattice), lattice, ())
    >>> ticks_of(pane, Sight(0, 3, 0, 2, 600, 400), in_um=False)
    ({0.5: '0', 1.5: '1', 2.5: '2'}, {0.5: '0', 1.5: '1'})
    """
    (rows, columns), axes = pane.seen(sight), pane.axes
    across = _ticks(pane.lattice, axes.across, columns, sight.width_px, ACROSS_PX, in_um=in_um)
    down = _ticks(pane.lattice, axes.down, rows, sight.height_px, DOWN_PX, in_um=in_um)
    return (
        {pane.x + place * pane.width: text for place, text in across.items()},
        {pane.y + place * pane.height: text for place, text in down.items()},
    )


def _ticks(
    lattice: Lattice,
    dim: str | None,
    seen: tuple[float, float],
    view_px: float,
    each_px: float,
    *,
    in_um: bool,
) -> Ticks:
    """Labels along a dim by their places, each with room for itself.

    `seen` is what the whole view of `view_px` pixels holds; the lattice may fill a part of it.
    """
    if dim is None:
        return {}
    low, high = max(0.0, seen[0]), min(float(len(lattice.labels[dim])), seen[1])
    if high <= low:
        return {}
    filled_px = view_px * (high - low) / (seen[1] - seen[0])
    step = step_um(lattice, dim)
    if in_um and step is not None:
        origin = origin_um(lattice, dim)
        every = round_step((high - low) * step / max(1.0, filled_px / each_px))
        first = math.ceil((origin + low * step) / every)
        last = math.floor((origin + high * step) / every)
        return {(k * every - origin) / step: f"{k * every:g}" for k in range(first, last + 1)}
    labels = lattice.labels[dim]
    widest = max(len(str(labels[0])), len(str(labels[-1])))
    room_px = max(DOWN_PX, CHARACTER_PX * widest) if each_px == ACROSS_PX else each_px
    every = max(1, round(round_step((high - low) / max(1.0, filled_px / room_px))))
    first = math.ceil(max(0.0, low - 0.5) / every) * every
    places = range(first, min(len(labels), math.ceil(high)), every)
    return {place + 0.5: plain(labels[place], 16) for place in places}


def origin_um(lattice: Lattice, dim: str) -> float:
    """Where the first tile along a dim begins, in micrometres; 0 unless positions are given."""
    axis = spatial_axis(dim)
    given = lattice.given_position_um
    if given is None or axis is None or not len(given):
        return 0.0
    return float(given[:, lattice.spatial_dims.index(axis)].min())


def axis_title(lattice: Lattice, dim: str | None, *, in_um: bool) -> str:
    """What an axis is called.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    >>> axis_title(lattice, "tile_x", in_um=False), axis_title(lattice, "tile_x", in_um=True)
    ('x (tile)', 'x (µm)')
    """
    if dim is None:
        return ""
    name = axis_name(dim)
    if spatial_axis(dim) is None:
        return name
    return f"{name} (µm)" if in_um and step_um(lattice, dim) is not None else f"{name} (tile)"


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20 ... (and of 0.5, 0.2 ...) that is at least so much.

    Examples
    --------
    >>> round_step(3.0), round_step(0.013), round_step(11)
    (5.0, 0.02, 20.0)
    """
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return float(next(f * power for f in (1.0, 2.0, 5.0, 10.0) if f * power >= least * 0.999999))
