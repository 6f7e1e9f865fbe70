"""Lattices that grow: new tiles, new labels, the same ids."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.building import Parts, common_parts
from latticework.lattice.offsets import spatial_axis

if TYPE_CHECKING:
    from latticework.lattice.lattice import Lattice


FACTS = ("dims", "tile_dims", "tile_shape", "dtype", "step_px", "pixel_size_um", "channels")
"""What new tiles have in common with the old ones."""


def _plain(fact: Any) -> Any:
    return dict(fact) if isinstance(fact, Mapping) else fact


def merged_labels(old: np.ndarray, new: np.ndarray, axis: str | None) -> np.ndarray:
    """Labels of both, sorted; whole-numbered spatial ones without gaps, so that +1 is next door."""
    merged = np.unique(np.concatenate([old, new]))
    if axis is not None and merged.dtype.kind in "iu" and len(merged):
        return np.arange(merged[0], merged[-1] + 1)
    return merged


def extended_parts(old: "Lattice", new: "Lattice") -> Parts:
    """Parts of a lattice with new tiles; see `Lattice.extend`."""
    for fact in FACTS:
        mine, theirs = _plain(getattr(old, fact)), _plain(getattr(new, fact))
        if mine != theirs:
            raise LatticeError(f"new tiles have {fact} {theirs}, but this lattice has {mine}")
    labels, index = {}, []
    for column, dim in enumerate(old.dims):
        if (old.labels[dim].dtype.kind == "U") != (new.labels[dim].dtype.kind == "U"):
            raise LatticeError(
                f"labels along {dim} are strings in one lattice, numbers in the other"
            )
        labels[dim] = merged_labels(old.labels[dim], new.labels[dim], spatial_axis(dim))
        index.append(
            np.concatenate(
                [
                    np.searchsorted(labels[dim], part.labels[dim][part.index[:, column]])
                    for part in (old, new)
                ]
            )
        )
    first = int(old.ids.max()) + 1 if len(old) else 0
    ragged = old.shapes is not None or new.shapes is not None
    shapes = [
        part.shapes
        if part.shapes is not None
        else np.tile(list(part.tile_shape.values()), (len(part), 1))
        for part in (old, new)
    ]
    return {
        **common_parts(old),
        "volume_shape": None if len(new) else old.volume_shape,
        "labels": labels,
        "index": np.stack(index, axis=1),
        "ids": np.concatenate([old.ids, first + np.arange(len(new))]),
        "position_um": np.concatenate([old.position_um, new.position_um]),
        "names": np.concatenate([old.names, new.names]),
        "shapes": np.concatenate(shapes) if ragged else None,
        "problems": {
            **old.problems,
            **{first + int(new.rows_of([i])[0]): w for i, w in new.problems.items()},
        },
    }
