"""Parts of a lattice: defaults, and checks that they fit together."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.arguments import pixel_size_argument
from latticework.lattice.offsets import SPATIAL, lattice_dim, spatial_axis

if TYPE_CHECKING:
    from latticework.lattice.lattice import Lattice

Parts = dict[str, Any]
"""Arguments of `Lattice`."""

LARGEST_GRID = 2**31
"""Grid positions that a lattice may span; more means that labels are not grid labels."""


def known_dim(lattice: "Lattice", axis: str) -> str:
    """Lattice dim of an axis given as ``z``, ``tile_z`` or by name; LatticeError if none."""
    dim = lattice_dim(axis)
    if dim not in lattice.dims:
        raise LatticeError(f"no lattice axis {axis!r}: this lattice has {', '.join(lattice.dims)}")
    return dim


def grid_index(index: Any, n_dims: int) -> np.ndarray:
    """Grid positions as an int64 array of shape (n, n_dims)."""
    positions: np.ndarray = np.ascontiguousarray(index, dtype=np.int64)
    if positions.ndim != 2 or positions.shape[1] != n_dims:
        raise LatticeError(
            f"index has shape {positions.shape}, but must be (tiles, {n_dims} lattice dims)"
        )
    return positions


def grid_labels(labels: Mapping[str, Any], dims: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Labels along each lattice dim, as arrays of numbers or strings."""
    if set(labels) != set(dims):
        raise LatticeError(f"there are labels for {sorted(labels)}, but the dims are {list(dims)}")
    arrays = {}
    for dim in dims:
        array = np.asarray(labels[dim])
        if array.dtype.kind in "OT":
            array = np.array(array.tolist())
        if array.dtype.kind not in "iufU" or array.ndim != 1:
            raise LatticeError(
                f"labels along {dim} must be a list of numbers or strings, but are {labels[dim]!r}"
            )
        arrays[dim] = array
    return MappingProxyType(arrays)


def tile_rows(values: Any, what: str, dtype: Any, n: int, columns: Sequence[str]) -> np.ndarray:
    """Values per tile and axis as an array of shape (n, len(columns))."""
    rows = np.asarray(values, dtype=dtype)
    if rows.shape != (n, len(columns)) and rows.size != 0:
        raise LatticeError(
            f"{what} has shape {rows.shape}, but must be ({n} tiles, {len(columns)}: "
            f"{', '.join(columns)})"
        )
    return rows.reshape(n, len(columns))


def tile_sizes(dims: Sequence[str], shape: Sequence[int]) -> Mapping[str, int]:
    """Pixels by tile dim."""
    if len(dims) != len(shape):
        raise LatticeError(f"tiles have the dims {tuple(dims)}, but the shape {tuple(shape)}")
    if any(size < 1 for size in shape):
        raise LatticeError(f"tiles of shape {dict(zip(dims, shape, strict=True))} have no pixels")
    return MappingProxyType({dim: int(n) for dim, n in zip(dims, shape, strict=True)})


def pixel_sizes(known: Mapping[str, float], axes: Sequence[str]) -> Mapping[str, float]:
    """Pixel size for every spatial axis, 1.0 where not known."""
    return MappingProxyType({axis: known.get(axis, 1.0) for axis in axes})


def known_pixel_sizes(
    given: Mapping[str, float] | float | None, axes: Sequence[str]
) -> Mapping[str, float]:
    """Pixel sizes that were given, of those spatial axes that there are."""
    known = pixel_size_argument(given)
    return MappingProxyType({axis: known[axis] for axis in axes if axis in known})


def steps(
    given: Mapping[str, int] | None, axes: Sequence[str], tile_shape: Mapping[str, int]
) -> Mapping[str, int]:
    """Nominal step for every spatial lattice axis, the tile's shape where not given."""
    given = dict(given or {})
    unknown = sorted(set(given) - set(axes))
    if unknown:
        raise LatticeError(f"step_px names {unknown}, but the lattice axes are {list(axes)}")
    resolved = {axis: int(given.get(axis, tile_shape.get(axis, 1))) for axis in axes}
    if any(step < 1 for step in resolved.values()):
        raise LatticeError(f"steps between tiles must be at least one pixel, not {resolved}")
    return MappingProxyType(resolved)


def tile_shapes(shapes: Any, n: int, tile_shape: Mapping[str, int]) -> np.ndarray | None:
    """Shape of every tile, or None where all are the same."""
    if shapes is None:
        return None
    shapes = tile_rows(shapes, "shapes", np.int64, n, tuple(tile_shape))
    full = np.array(list(tile_shape.values()))
    if (shapes > full).any() or (shapes < 1).any():
        raise LatticeError(f"tile shapes must lie between 1 and the largest, {dict(tile_shape)}")
    return None if (shapes == full).all() else shapes


def nominal_positions(lattice: "Lattice", rows: Any = slice(None)) -> np.ndarray:
    """Grid position times step times pixel size, micrometres; of all tiles, or of some rows."""
    index = lattice.index[rows]
    positions = np.zeros((len(index), len(lattice.spatial_dims)))
    for column, dim in enumerate(lattice.dims):
        axis = spatial_axis(dim)
        if axis is not None:
            step_um = lattice.step_px[axis] * lattice.pixel_size_um[axis]
            positions[:, lattice.spatial_dims.index(axis)] = index[:, column] * step_um
    return positions


def check(lattice: "Lattice") -> None:
    """Refuse parts that do not fit together."""
    n, shape = len(lattice), np.array(lattice.shape, dtype=np.int64)
    if len(set(lattice.dims)) != len(lattice.dims) or set(lattice.dims) & set(lattice.tile_dims):
        raise LatticeError(f"dims must differ: lattice {lattice.dims}, tile {lattice.tile_dims}")
    for dim, labels in lattice.labels.items():
        if len(np.unique(labels)) != len(labels):
            raise LatticeError(f"labels along {dim} must be unique, but are {labels.tolist()[:20]}")
    if np.prod(shape.astype(float)) > LARGEST_GRID:
        raise LatticeError(f"a grid of {lattice.sizes} is too large: are the labels grid labels?")
    if n and ((lattice.index < 0) | (lattice.index >= shape)).any():
        raise LatticeError(f"a tile's index lies outside the grid {lattice.sizes}")
    for what, rows in {"ids": lattice.ids, "names": lattice.given_names}.items():
        if rows is not None and len(rows) != n:
            raise LatticeError(f"{len(rows)} {what} were given for {n} tiles")
    if lattice.shuffled and len(np.unique(lattice.ids)) != n:
        raise LatticeError("two tiles have the same id")
    if n and lattice.ids.min() < 0:
        raise LatticeError(f"ids count from 0, but one is {lattice.ids.min()}")
    if lattice.problems and not np.isin(list(lattice.problems), lattice.ids).all():
        raise LatticeError(f"problems {dict(lattice.problems)} name tiles that there are not")
    check_places(lattice)
    given = lattice.given_position_um
    if given is not None and not np.isfinite(given).all():
        raise LatticeError("a position is not a finite number of micrometres")


def check_places(lattice: "Lattice") -> None:
    """Refuse two tiles at one place, and name them."""
    if not lattice.dims:
        if len(lattice) > 1:
            raise LatticeError(f"{len(lattice)} tiles, but no lattice dims to tell them apart")
        return
    if not len(lattice):
        return
    flat = np.ravel_multi_index(tuple(lattice.index.T), lattice.shape)
    taken = np.zeros(int(np.prod(lattice.shape)), dtype=bool)
    taken[flat] = True
    if np.count_nonzero(taken) == len(flat):
        return
    order = np.argsort(flat, kind="stable")
    twice = np.flatnonzero(np.diff(flat[order]) == 0)
    if len(twice):
        a, b = order[twice[0]], order[twice[0] + 1]
        where = {
            d: lattice.labels[d][i].item()
            for d, i in zip(lattice.dims, lattice.index[a], strict=True)
        }
        raise LatticeError(
            f"two tiles are at {where}: {lattice.names[a]!r} and {lattice.names[b]!r} "
            f"({len(twice)} such places): keep one of each, or tell them apart by a further axis"
        )


def common_parts(lattice: "Lattice") -> Parts:
    """Parts that do not depend on which tiles there are."""
    return {
        "dims": lattice.dims,
        "tile_dims": lattice.tile_dims,
        "tile_shape": tuple(lattice.tile_shape.values()),
        "dtype": lattice.dtype,
        "pixel_size_um": lattice.known_pixel_size_um,
        "step_px": lattice.step_px,
        "channels": lattice.channels,
        "volume_shape": lattice.volume_shape,
        "source": lattice.source,
    }


def pixel_parts(tile_shape: Mapping[str, int], dtype: Any) -> Parts:
    """Pixel dims, shape and type, in the canonical order of dims."""
    unknown = [dim for dim in tile_shape if dim not in ("c", *SPATIAL)]
    if unknown:
        raise LatticeError(f"tile_shape names {unknown}; pixel dims are some of c, z, y, x")
    dims = tuple(dim for dim in ("c", *SPATIAL) if dim in tile_shape)
    sizes = tile_sizes(dims, [tile_shape[dim] for dim in dims])
    return {"tile_dims": dims, "tile_shape": tuple(sizes.values()), "dtype": dtype}
