"""Stage of a pipeline: each tile beside the neighbours after it, read in strips.

A unit is a tile. It looks at the next tile along each axis and keeps where that may lie, as rows
of a table; a first row says what the tile itself is, so that a reduction over all tables knows the
lattice without its pixels::

    first second axis rank  correlation  overlap  by_chance  offset_y_px ...
        5     -1        -1                                               the tile itself
        5      6    x    0         0.83     0.97       0.09         -1.2   the best place of tile 6
        5      6    x    1         0.21     1.10       0.09         14.0   the next best
        5     13    y   -1                                               nothing to compare with 13
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import spatial_axis
from latticework.lattice.tile import Tile
from latticework.stages.collections import Tiles
from latticework.stages.reads import Reads, neighbours
from latticework.stitch.corrections import apply_corrections
from latticework.stitch.large_pairs import match_strips
from latticework.stitch.pairs import Candidate
from latticework.stitch.placement import Placement, place
from latticework.stitch.registration import judge
from latticework.stitch.tiles import NO_OVERLAP, Pairs, of_channel, overlap_at, overlapping

if TYPE_CHECKING:
    import pandas as pd

ITSELF = -1
"""In place of a second tile: the row tells of the tile itself."""
NEAR = 4
"""Tiles near one that could not be read, which tell how far it moved."""
NONE = (np.nan,) * 3
NOTHING = -1
"""In place of a rank: there is no place at which the second tile may lie."""
UNREADABLE = "it cannot be read"


def next_tiles(lattice: Lattice, across: str | None = None) -> Reads:
    """How `compare_tile` reads: the next tile along each axis of space, in parts.

    Parameters
    ----------
    lattice
        Whose tiles they are.
    across
        A lattice dim whose labels are views of the same: those after the tile's own, too.

    Examples
    --------
    >>> next_tiles(Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1"))
    Reads(pattern='neighbours', missing='run', offsets=('+y', '+x'), whole=False)
    """
    axes = [axis for axis in map(spatial_axis, lattice.dims) if axis is not None]
    offsets: list[Any] = [f"+{axis}" for axis in axes]
    if across is not None:
        offsets += [{across: step} for step in range(1, len(lattice.labels[across]))]
    return neighbours(*offsets, missing="run", whole=False)


def compare_tile(
    tile: Tile,
    others: Tiles,
    *,
    channel: int = 0,
    reach: Sequence[float] | None = None,
    dark: float | None = None,
    beyond: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> "pd.DataFrame":
    """Where the tiles after a tile may lie, from what both show; a stage.

    Parameters
    ----------
    tile, others
        The tile's address, and those after it; see `next_tiles`.
    channel, reach, dark
        As for `latticework.stitch.register`.
    beyond
        By axis, how far from their nominal places neighbours are looked for, in pixels along the
        tiles' spatial dims; see `latticework.stitch.far_pairs`.

    Returns
    -------
    pandas.DataFrame
        See the top of the module.
    """
    import pandas as pd

    dims = tuple(dim for dim in tile.dims if dim != "c")
    rows = [_itself(tile)]
    for key in others.present:
        other = others.tile(key)
        if other is None or tile.problem is not None or other.problem is not None:
            continue
        axis = _axis(tile, other)
        if axis is None:
            continue
        nominal = _offset(tile, other, dims)
        shapes = _sides(tile, dims), _sides(other, dims)
        found = None
        if overlap_at(nominal, *map(np.array, shapes)):
            found = match_strips(
                of_channel(tile.dims, channel, others.own),
                of_channel(other.dims, channel, partial(others.read, key)),
                shapes,
                tuple(nominal + np.asarray(beyond.get(axis, 0.0))),
                dims,
                reach=reach,
                dark=dark,
            )
        rows += _rows(tile, other, axis, found, dims)
    return pd.DataFrame.from_records(rows)


def _axis(tile: Tile, other: Tile) -> str | None:
    """Along which axis, or across which lattice dim, two tiles are compared; None if they are not.

    Views are compared with the first one of all.
    """
    steps = zip(tile.labels, tile.index, other.index, strict=True)
    dim, first = next((dim, a) for dim, a, b in steps if a != b)
    axis = spatial_axis(dim)
    if axis is None and first != 0:
        return None
    return dim if axis is None else axis


def _itself(tile: Tile) -> dict[str, Any]:
    row: dict[str, Any] = {"first": tile.id, "second": ITSELF, "axis": "", "rank": NOTHING}
    row |= {"why": "" if tile.problem is None else UNREADABLE, "dims": "".join(tile.dims)}
    row |= {"pixels": tile.dtype.name}
    for dim, index in zip(tile.labels, tile.index, strict=True):
        row[f"index_{dim}"] = index
    for axis, position in tile.position_um.items():
        row |= {f"position_{axis}_um": position, f"pixel_{axis}_um": tile.pixel_size_um[axis]}
    return row | {f"size_{dim}_px": n for dim, n in zip(tile.dims, tile.shape, strict=True)}


def _rows(
    tile: Tile, other: Tile, axis: str, found: Sequence[Candidate] | None, dims: Sequence[str]
) -> list[dict[str, Any]]:
    about = {"first": tile.id, "second": other.id, "axis": axis}
    if not found:
        return [{**about, "rank": NOTHING, "why": NO_OVERLAP if found is None else ""}]
    return [
        {
            **about,
            "rank": rank,
            "why": "",
            "correlation": of.correlation,
            "overlap": of.overlap,
            "by_chance": of.by_chance,
            "likeness": of.likeness,
            **{f"error_{d}_px": v for d, v in zip(dims, of.error_px or NONE, strict=False)},
            **{f"offset_{d}_px": v for d, v in zip(dims, of.offset_px, strict=True)},
        }
        for rank, of in enumerate(found)
    ]


def _offset(tile: Tile, other: Tile, dims: Sequence[str]) -> np.ndarray:
    """Nominal position of another tile from this one, in pixels."""
    apart = [(other.position_um[d] - tile.position_um[d]) / tile.pixel_size_um[d] for d in dims]
    return np.asarray(apart, "f8")


def _sides(tile: Tile, dims: Sequence[str]) -> tuple[int, ...]:
    sizes = dict(zip(tile.dims, tile.shape, strict=True))
    return tuple(sizes[dim] for dim in dims)


# -------------------------------------------------------------------- all tables together


def lattice_of(table: "pd.DataFrame") -> Lattice:
    """The lattice of all tiles that tell of themselves in a table of `compare_tile`, no pixels.

    Tiles keep their ids and places in the grid; labels are numbers.
    """
    own = table[table["second"] == ITSELF].sort_values("first")
    dims = _suffixes(own, "index_", "")
    axes = _suffixes(own, "position_", "_um")
    tile_dims = tuple(str(own["dims"].iloc[0]))
    index = own[[f"index_{dim}" for dim in dims]].to_numpy(np.int64)
    shapes = own[[f"size_{dim}_px" for dim in tile_dims]].to_numpy(np.int64)
    return Lattice(
        dims=dims,
        labels={dim: np.arange(index[:, k].max() + 1) for k, dim in enumerate(dims)},
        index=index,
        tile_dims=tile_dims,
        tile_shape=tuple(shapes.max(axis=0).tolist()),
        dtype=np.dtype(str(own["pixels"].iloc[0])),
        pixel_size_um={axis: float(own[f"pixel_{axis}_um"].iloc[0]) for axis in axes},
        position_um=own[[f"position_{axis}_um" for axis in axes]].to_numpy("f8"),
        names=own["tile"].tolist(),
        shapes=shapes,
        ids=own["first"].to_numpy(np.int64),
    )


def _suffixes(table: "pd.DataFrame", before: str, after: str) -> tuple[str, ...]:
    return tuple(
        str(name)[len(before) : len(str(name)) - len(after)]
        for name in table.columns
        if str(name).startswith(before) and str(name).endswith(after)
    )


def placed_by(
    table: "pd.DataFrame",
    *,
    across: str | None = None,
    corrections: Sequence[Mapping[str, Any]] = (),
    anchors: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> Placement:
    """Where all tiles lie, from the tables of `compare_tile`.

    Parameters
    ----------
    table
        The rows of all tiles, each with a column ``tile``, its name.
    across
        A lattice dim whose labels are views of the same.
    corrections, anchors
        See `latticework.stitch.corrections`.
    """
    lattice = lattice_of(table)
    pairs = overlapping(lattice, across=across)
    found = candidates_of(table, lattice, pairs)
    links = apply_corrections(judge(lattice, pairs, found), corrections)
    return place(lattice, links, anchors=_by_id(anchors))


def candidates_of(
    table: "pd.DataFrame", lattice: Lattice, pairs: Pairs
) -> list[list[Candidate] | None]:
    """Candidates of each pair, from the tables of `compare_tile`; None where tiles do not overlap.

    Parameters
    ----------
    table
        The rows of all tiles.
    lattice, pairs
        Whose pairs they are, and which.
    """
    rows = table[table["rank"] != NOTHING]
    if not len(rows):
        return [[] if there else None for there in pairs.there]
    told: dict[tuple[int, int], list[Candidate]] = {}
    for first, second, candidate in _candidates(rows.sort_values("rank"), pairs.dims):
        told.setdefault((first, second), []).append(candidate)
    ids = [tuple(pair) for pair in lattice.ids[pairs.rows].tolist()]
    return [told.get(ids[k], []) if there else None for k, there in enumerate(pairs.there)]


def _by_id(anchors: Mapping[str, Sequence[float]]) -> dict[int | str, Any]:
    return {int(id): position for id, position in anchors.items()}


def _candidates(rows: "pd.DataFrame", dims: Sequence[str]) -> Iterator[tuple[int, int, Candidate]]:
    """Each row as a candidate, and the two tiles that it is of; whole columns at a time."""
    names = ["correlation", "overlap", "by_chance", "likeness"]
    numbers = [rows[name].to_numpy("f8").tolist() for name in names]
    offsets, errors = (
        list(zip(*(rows[f"{what}_{dim}_px"].to_numpy("f8").tolist() for dim in dims), strict=True))
        for what in ("offset", "error")
    )
    ends = (rows[end].to_numpy(np.int64).tolist() for end in ("first", "second"))
    for first, second, offset, error, *values in zip(*ends, offsets, errors, *numbers, strict=True):
        known = dict(zip(names, values, strict=True))
        yield (
            first,
            second,
            Candidate(offset, error_px=() if math.isnan(error[0]) else error, **known),
        )


def judge_links(
    table: "pd.DataFrame",
    *,
    across: str | None = None,
    corrections: Sequence[Mapping[str, Any]] = (),
    anchors: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> "pd.DataFrame":
    """All links, with what is to be believed of each; a reduction over `compare_tile`."""
    return placed_by(table, across=across, corrections=corrections, anchors=anchors).links


def place_tiles(
    table: "pd.DataFrame",
    links: "pd.DataFrame",
    *,
    anchors: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> "pd.DataFrame":
    """Where each tile lies, ``position_y_um`` and so on; a reduction over `compare_tile`.

    Parameters
    ----------
    table
        As for `placed_by`.
    links
        As `judge_links` gives them.
    anchors
        Tiles whose places are known; see `latticework.stitch.corrections.anchors_of`.
    """
    found = place(lattice_of(table), links, anchors=_by_id(anchors))
    report: pd.DataFrame = found.tiles
    for k, axis in enumerate(found.lattice.spatial_dims):
        report[f"position_{axis}_um"] = found.lattice.position_um[:, k]
    return report.rename(columns={"tile": "id"})


def with_places(lattice: Lattice, places: "pd.DataFrame") -> Lattice:
    """A lattice with its tiles where `place_tiles` puts them.

    Tiles that it does not know, since they could not be read, are moved as those nearest to them.
    """
    position = lattice.position_um.copy()
    rows = lattice.rows_of(places["id"].to_numpy(np.int64))
    columns = [f"position_{axis}_um" for axis in lattice.spatial_dims]
    found = places[columns].to_numpy("f8")
    moved = found - position[rows]
    left = np.setdiff1d(np.arange(len(lattice)), rows)
    if len(left) and len(rows):
        near = cKDTree(position[rows]).query(position[left], k=min(NEAR, len(rows)))[1]
        position[left] += np.median(moved[near.reshape(len(left), -1)], axis=1)
    position[rows] = found
    return lattice.replace(position_um=position)


__all__ = [
    "compare_tile",
    "judge_links",
    "lattice_of",
    "next_tiles",
    "place_tiles",
    "placed_by",
    "with_places",
]
