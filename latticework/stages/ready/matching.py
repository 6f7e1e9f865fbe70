"""Which spot of a tile is which of its neighbours."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from latticework.errors import StageError
from latticework.stages.collections import Tiles
from latticework.stages.ready.labelled import SPATIAL
from latticework.stages.ready.points import match_points


def match_spots(
    spots: pd.DataFrame,
    neighbours: Tiles,
    *,
    reach_px: float | None = 60.0,
    most: int = 5000,
    channel: str | int | None = None,
) -> pd.DataFrame:
    """A table of the spots that a tile and its neighbours both show, one row for each.

    For a stage below `detect_spots` that reads `latticework.neighbours`; tiles may be moved, a
    little turned and smoothly bent against each other, and most spots may be in one of them only.

    Parameters
    ----------
    spots
        Of the tile, as `detect_spots` gives them.
    neighbours
        Those of its neighbours.
    reach_px
        How far a neighbour may lie from where it should, in pixels along each axis; None for
        anywhere. It has no effect where the positions of the tiles are not known.
    most
        Of each tile, where the two overlap, the so many that stand out most.
    channel
        Whose spots are compared; the first one of the table if not given.

    Returns
    -------
    DataFrame
        ``neighbour`` (its name, such as ``+z``), ``z y x`` (pixels of the tile), ``neighbour_z
        neighbour_y neighbour_x`` (pixels of the neighbour; axes that the spots have),
        ``residual_px`` (how far the spot is from where the spots around it say), ``quality`` (share
        of the spots around it that have a partner as well), ``match_rate`` and ``by_chance`` (of
        the neighbour as a whole: share of the spots that are matched, and how many would be, as
        near to where they should, if nothing were the same). No rows where there are no
        neighbours, or less than 6 spots in common.

    Raises
    ------
    StageError
        If a table is not of spots, or there is no such channel.

    See Also
    --------
    latticework.stages.ready.points.match_points : How it is done.

    Examples
    --------
    >>> from latticework import Lattice
    >>> lattice = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 90, "x": 90}, dtype="u1")
    >>> here = pd.DataFrame(np.random.default_rng(0).uniform(0, 90, (40, 2)), columns=["y", "x"])
    >>> there = here + [2.0, -70.0]
    >>> tiles = Tiles.of(lattice.tile(y=0, x=0), {"+x": there[there.x > 0], "-x": None})
    >>> found = match_spots(here, tiles)
    >>> bool(np.allclose(found["neighbour_x"] - found["x"], -70)), set(found["neighbour"])
    (True, {'+x'})
    """
    axes = _axes(spots, neighbours)
    tables = [_empty(axes)]
    for name, theirs in neighbours.items():
        if theirs is None:
            continue
        if _axes(theirs, neighbours) != axes:
            raise StageError(
                f"the spots of {name!r} have the axes {_axes(theirs, neighbours)}, but those of "
                f"{neighbours.unit.name} {axes}"
            )
        chosen = _of_a_channel(spots, theirs, channel)
        tables.append(_matched(chosen, neighbours, str(name), axes, reach_px, most))
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


def _axes(spots: Any, neighbours: Tiles) -> tuple[str, ...]:
    axes = tuple(axis for axis in SPATIAL if axis in getattr(spots, "columns", ()))
    if axes[-2:] != ("y", "x"):
        raise StageError(
            f"match_spots for tile {neighbours.unit.name} takes tables of spots with columns y and "
            f"x, as detect_spots gives them, but was given {type(spots).__name__}"
        )
    return axes


def _of_a_channel(
    spots: pd.DataFrame, theirs: pd.DataFrame, channel: str | int | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The spots of one channel in both."""
    if "c" not in spots.columns or "c" not in theirs.columns:
        return spots, theirs
    if channel is None:
        shared = sorted(set(spots["c"]) & set(theirs["c"]))
        channel = shared[0] if shared else None
    return spots[spots["c"] == channel], theirs[theirs["c"] == channel]


def _empty(axes: tuple[str, ...]) -> pd.DataFrame:
    places = [*axes, *(f"neighbour_{axis}" for axis in axes)]
    numbers = [*places, "residual_px", "quality", "match_rate", "by_chance"]
    table = pd.DataFrame({name: np.zeros(0) for name in numbers})
    table.insert(0, "neighbour", pd.Series([], dtype="str"))
    return table


def _matched(
    spots: tuple[pd.DataFrame, pd.DataFrame],
    neighbours: Tiles,
    name: str,
    axes: tuple[str, ...],
    reach_px: float | None,
    most: int,
) -> pd.DataFrame:
    expected, size = _expected(neighbours, name, axes)
    reach = None if reach_px is None or expected is None else reach_px
    first, second = (of[list(axes)].to_numpy("f8") for of in spots)
    if expected is not None and reach is not None and len(first) and len(second):
        inside = _within(first + expected, second, reach), _within(second - expected, first, reach)
        spots = spots[0][inside[0]], spots[1][inside[1]]
    first, second = (_brightest(of, most)[list(axes)].to_numpy("f8") for of in spots)
    found = match_points(first, second, offset=expected, reach=reach, pixel_size=size, chance=True)
    columns: dict[str, Any] = {"neighbour": [name] * len(found.first)}
    columns |= {axis: first[found.first, k] for k, axis in enumerate(axes)}
    columns |= {f"neighbour_{axis}": second[found.second, k] for k, axis in enumerate(axes)}
    columns |= {"residual_px": found.residual_px, "quality": found.quality}
    columns |= {"match_rate": found.match_rate, "by_chance": found.by_chance}
    return pd.DataFrame(columns)


def _expected(
    neighbours: Tiles, name: str, axes: tuple[str, ...]
) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.float64]]:
    """What is added to a place in the tile to come to the neighbour's pixel; and pixel sizes."""
    unit = neighbours.unit
    size = np.array([unit.pixel_size_um.get(axis, 1.0) for axis in axes])
    try:
        other = neighbours.tile(name)
    except KeyError:  # made by hand, without addresses
        return None, size
    if other is None or any(axis not in unit.position_um for axis in axes):
        return None, size
    apart = [unit.position_um[axis] - other.position_um[axis] for axis in axes]
    return np.array(apart) / size, size


def _within(
    points: npt.NDArray[np.float64], others: npt.NDArray[np.float64], reach: float
) -> npt.NDArray[np.bool_]:
    """Which points lie where others are, give or take the reach."""
    low, high = others.min(axis=0) - reach, others.max(axis=0) + reach
    return np.asarray(((points >= low) & (points <= high)).all(axis=1))


def _brightest(spots: pd.DataFrame, most: int) -> pd.DataFrame:
    if len(spots) <= most or "score" not in spots.columns:
        return spots.iloc[:most] if len(spots) > most else spots
    return spots.nlargest(most, "score").sort_index()


__all__ = ["match_spots"]
