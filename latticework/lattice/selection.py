"""From labels to grid positions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import TileNotFoundError
from latticework.lattice.building import known_dim

if TYPE_CHECKING:
    from latticework.lattice.lattice import Lattice


def _shown(labels: np.ndarray) -> str:
    values = labels.tolist()
    if len(values) <= 12:
        return ", ".join(map(repr, values))
    return f"{values[0]!r} to {values[-1]!r} ({len(values)} labels)"


def position_of(labels: np.ndarray, wanted: Any, dim: str) -> int:
    """Grid position of one label."""
    found = np.flatnonzero(labels == wanted)
    if len(found) != 1:
        raise TileNotFoundError(f"no label {wanted!r} along {dim}: there are {_shown(labels)}")
    return int(found[0])


def position_slice(labels: np.ndarray, wanted: Any, dim: str) -> Any:
    """Grid positions of a label, of several, or of a slice of labels (both ends included)."""
    if not isinstance(wanted, slice):
        if isinstance(wanted, list | tuple | np.ndarray | range):
            return [position_of(labels, label, dim) for label in wanted]
        return position_of(labels, wanted, dim)
    keep = np.ones(len(labels), dtype=bool)
    if labels.dtype.kind in "iuf":
        keep &= (labels >= wanted.start) if wanted.start is not None else True
        keep &= (labels <= wanted.stop) if wanted.stop is not None else True
        return np.flatnonzero(keep)[:: wanted.step]
    start = 0 if wanted.start is None else position_of(labels, wanted.start, dim)
    stop = len(labels) - 1 if wanted.stop is None else position_of(labels, wanted.stop, dim)
    return np.arange(start, stop + 1)[:: wanted.step]


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
