"""From labels, grid positions and ids to tiles."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError, TileNotFoundError
from latticework.lattice.building import Parts, common_parts, known_dim
from latticework.lattice.source import SelectedSource

if TYPE_CHECKING:
    from latticework.lattice.lattice import Lattice


def shown_labels(labels: np.ndarray) -> str:
    """Labels of an axis in words: all, or the first and the last of many."""
    values = labels.tolist()
    if len(values) <= 12:
        return ", ".join(map(repr, values))
    return f"{values[0]!r} to {values[-1]!r} ({len(values)} labels)"


def position_of(labels: np.ndarray, wanted: Any, dim: str) -> int:
    """Grid position of one label."""
    known = isinstance(wanted, str) == (labels.dtype.kind == "U")
    found = np.flatnonzero(labels == wanted) if known else labels[:0]
    if len(found) != 1:
        raise TileNotFoundError(
            f"no label {wanted!r} along {dim}: there are {shown_labels(labels)}"
        )
    return int(found[0])


def position_slice(labels: np.ndarray, wanted: Any, dim: str) -> Any:
    """Grid positions of a label, of several, or of a slice of labels (both ends included)."""
    if not isinstance(wanted, slice):
        if isinstance(wanted, list | tuple | np.ndarray | range):
            several = [position_of(labels, label, dim) for label in np.atleast_1d(wanted).tolist()]
            return np.array(several, dtype=np.int64)
        return position_of(labels, wanted, dim)
    if labels.dtype.kind in "iuf":
        ends = [end for end in (wanted.start, wanted.stop) if end is not None]
        if not all(isinstance(end, int | float | np.number) for end in ends):
            raise TileNotFoundError(
                f"no labels {wanted} along {dim}: there are {shown_labels(labels)}"
            )
        keep = np.ones(len(labels), dtype=bool)
        keep &= (labels >= wanted.start) if wanted.start is not None else True
        keep &= (labels <= wanted.stop) if wanted.stop is not None else True
        return np.flatnonzero(keep)[:: wanted.step]
    start = 0 if wanted.start is None else position_of(labels, wanted.start, dim)
    stop = len(labels) - 1 if wanted.stop is None else position_of(labels, wanted.stop, dim)
    return np.arange(start, stop + 1)[:: wanted.step]


def positions_of(lattice: "Lattice", labels: Mapping[str, Any]) -> dict[str, Any]:
    """Grid positions of labels by axis; see `Lattice.sel`."""
    dims = {axis: known_dim(lattice, axis) for axis in labels}
    return {
        dim: position_slice(lattice.labels[dim], labels[axis], dim) for axis, dim in dims.items()
    }


def label_positions(lattice: "Lattice", labels: Mapping[str, Any]) -> tuple[int, ...]:
    """Grid position of the tile at these labels; axes of one label may be left out."""
    wanted = {known_dim(lattice, axis): label for axis, label in labels.items()}
    missing = [dim for dim in lattice.dims if dim not in wanted and len(lattice.labels[dim]) > 1]
    if missing:
        names = ", ".join(dim.removeprefix("tile_") for dim in missing)
        raise TileNotFoundError(f"which tile? {labels or 'nothing'} was given, {names} is missing")
    return tuple(
        position_of(lattice.labels[dim], wanted[dim], dim) if dim in wanted else 0
        for dim in lattice.dims
    )


def rows_of(lattice: "Lattice", ids: np.ndarray) -> np.ndarray:
    """Rows of tiles with these ids; TileNotFoundError if there is none of one."""
    if not lattice.shuffled:
        rows = ids
        bad = (ids < 0) | (ids >= len(lattice))
    else:
        order = lattice.id_order
        where = np.searchsorted(lattice.ids, ids, sorter=order)
        rows = order[np.minimum(where, len(lattice) - 1)]
        bad = lattice.ids[rows] != ids
    if np.any(bad):
        missing = np.atleast_1d(ids)[np.atleast_1d(bad)][0]
        raise TileNotFoundError(f"no tile has id {missing}: {_known_ids(lattice)}")
    return rows


def _known_ids(lattice: "Lattice") -> str:
    if not len(lattice):
        return "there are no tiles"
    kind = "some of" if lattice.shuffled else "all of"
    return f"this lattice has {kind} {lattice.ids.min()} to {lattice.ids.max()}"


def row_parts(lattice: "Lattice", rows: np.ndarray) -> Parts:
    """Parts of a lattice with only some rows, on the same grid."""
    ids = lattice.ids[rows]
    chosen = set(ids.tolist()) if lattice.problems else set()
    return {
        **common_parts(lattice),
        "labels": lattice.labels,
        "index": lattice.index[rows],
        "ids": ids,
        "position_um": lattice.position_um[rows],
        "names": None if lattice.given_names is None else lattice.names[rows],
        "shapes": None if lattice.shapes is None else lattice.shapes[rows],
        "problems": {tile: why for tile, why in lattice.problems.items() if tile in chosen},
    }


def position_parts(lattice: "Lattice", positions: Mapping[str, Any]) -> Parts:
    """Parts of a lattice with only some grid positions; see `Lattice.isel`."""
    keep = {dim: np.arange(size) for dim, size in lattice.sizes.items()}
    for axis, wanted in positions.items():
        dim = known_dim(lattice, axis)
        try:
            keep[dim] = np.atleast_1d(keep[dim][wanted])
        except IndexError as error:
            size = len(keep[dim])
            raise TileNotFoundError(f"no positions {wanted} along {dim}: it has {size}") from error
        if len(np.unique(keep[dim])) != len(keep[dim]):
            raise LatticeError(f"positions {wanted} along {dim} name one of them twice")
    rows = np.ones(len(lattice), dtype=bool)
    index = np.empty_like(lattice.index)
    for column, dim in enumerate(lattice.dims):
        new = np.full(len(lattice.labels[dim]), -1, dtype=np.int64)
        new[keep[dim]] = np.arange(len(keep[dim]))
        index[:, column] = new[lattice.index[:, column]]
        rows &= index[:, column] >= 0
    whole = all(np.array_equal(keep[dim], np.arange(n)) for dim, n in lattice.sizes.items())
    return {
        **row_parts(lattice, np.flatnonzero(rows)),
        "index": index[rows],
        "labels": {dim: lattice.labels[dim][keep[dim]] for dim in lattice.dims},
        "volume_shape": lattice.volume_shape if whole else None,
    }


def renumbered(lattice: "Lattice") -> dict[str, Any]:
    """Source and problems of a lattice whose tiles are numbered from 0."""
    new = {int(id): row for row, id in enumerate(lattice.ids.tolist())}
    return {
        "source": None if lattice.source is None else SelectedSource(lattice.source, lattice.ids),
        "problems": {new[id]: text for id, text in lattice.problems.items() if id in new},
    }
