"""Lattices of blocks: one big array, divided."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.arguments import block_argument
from latticework.lattice.building import Parts
from latticework.lattice.offsets import SPATIAL, lattice_dim
from latticework.lattice.source import BlockSource, TileSource, array_dims


def block_parts(
    array: Any,
    block: Mapping[str, int] | int,
    dims: Sequence[str] | None,
    pixel_size_um: Mapping[str, float] | float | None,
    source: TileSource | None,
) -> Parts:
    """Parts of a lattice of blocks; see `Lattice.from_array`."""
    block = block_argument(block)
    named = dims is None and hasattr(array, "dims") and hasattr(array, "data")
    tile_dims = (
        tuple(str(dim) for dim in array.dims) if named else array_dims(len(array.shape), dims)
    )
    if named and set(tile_dims) <= {"c", *SPATIAL}:
        array = array.data
    if len(tile_dims) != len(array.shape):
        raise LatticeError(
            f"an array of shape {tuple(array.shape)} cannot have the dims {tile_dims}"
        )
    shape = dict(zip(tile_dims, (int(n) for n in array.shape), strict=True))
    expected = tuple(dim for dim in ("c", *SPATIAL) if dim in shape)
    if tile_dims != expected or "y" not in shape or "x" not in shape:
        raise LatticeError(
            f"array dims {tile_dims} must be some of c, z, y, x, in that order, with y and x"
        )
    bad = {
        axis: size for axis, size in block.items() if axis not in shape or axis == "c" or size < 1
    }
    if bad or 0 in shape.values():
        raise LatticeError(
            f"block={dict(block)} does not divide an array of shape {shape} into blocks"
        )
    axes = [axis for axis in SPATIAL if axis in shape]
    sizes = {axis: min(int(block.get(axis, shape[axis])), shape[axis]) for axis in axes}
    grid = {axis: -(-shape[axis] // sizes[axis]) for axis in axes}
    index = np.stack(
        np.unravel_index(np.arange(int(np.prod(list(grid.values())))), tuple(grid.values())), axis=1
    )
    tile_shape = tuple(sizes.get(dim, shape[dim]) for dim in tile_dims)
    starts = np.zeros((len(index), len(tile_dims)), dtype=np.int64)
    first = len(tile_dims) - len(axes)
    starts[:, first:] = index * np.array(list(sizes.values()))
    shapes = np.minimum(np.array(tile_shape), np.array(list(shape.values())) - starts)
    return {
        "dims": tuple(lattice_dim(axis) for axis in axes),
        "labels": {lattice_dim(axis): np.arange(n) for axis, n in grid.items()},
        "index": index,
        "tile_dims": tile_dims,
        "tile_shape": tile_shape,
        "shapes": shapes,
        "dtype": array.dtype,
        "pixel_size_um": pixel_size_um,
        "volume_shape": shape,
        "source": BlockSource(array, starts) if source is None else source,
    }
