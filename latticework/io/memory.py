"""Arrays as tiles: NumPy, dask, zarr and xarray arrays, in memory or lazy."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.filenames import match_names
from latticework.io.placing import Placing, Tiles
from latticework.io.sources import hash_strings, mix
from latticework.lattice import Lattice
from latticework.lattice.geometry import Box
from latticework.lattice.source import BlockSource, TileSource, array_dims


def pixels(array: Any, slices: tuple[slice, ...]) -> np.ndarray:
    """Part of an array of any kind as NumPy; dask computes in this thread.

    Examples
    --------
    >>> import dask.array as da
    >>> pixels(da.arange(10, chunks=5), (slice(3, 5),))
    array([3, 4])
    """
    part = array[slices]
    if hasattr(part, "data") and hasattr(part, "dims"):
        part = part.data
    if hasattr(part, "dask"):
        part = part.compute(scheduler="synchronous")
    return np.asarray(part)


def fingerprint(array: Any) -> int:
    """A number that changes with the pixels (NumPy) or with the recipe (dask, zarr)."""
    if isinstance(array, np.ndarray):
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        return zlib.crc32(data) << 32 | zlib.adler32(data)
    inner = getattr(array, "data", array) if hasattr(array, "dims") else array
    if isinstance(inner, np.ndarray):
        return fingerprint(inner)
    name = getattr(inner, "name", None) or getattr(inner, "store_path", None) or id(inner)
    return int(hash_strings([f"{name} {array.shape} {array.dtype}"])[0])


PIECE_BYTES = 4 * 2**20
"""Small blocks are written together, in pieces of about this size."""


def grown_block(block: Sequence[int], shape: Sequence[int], itemsize: int) -> list[int]:
    """A multiple of a block that is worth a write of its own.

    Examples
    --------
    >>> grown_block([2, 2], (3000, 1000), 1)
    [3000, 1000]
    >>> grown_block([64, 512, 512], (128, 1024, 1024), 2)
    [64, 512, 512]
    """
    size = list(block)
    while int(np.prod(size)) * itemsize < PIECE_BYTES // 2:
        smallest = [d for d in range(len(size)) if size[d] < shape[d]]
        if not smallest:
            break
        axis = min(smallest, key=lambda d: size[d])
        size[axis] = min(2 * size[axis], shape[axis])
    return size


@dataclass(frozen=True, slots=True)
class MemorySource:
    """Tiles that are arrays, one each."""

    kind: ClassVar[str] = "zarr-blocks"

    arrays: Sequence[Any]
    """One array per tile, dims in the order of the lattice's tile dims."""

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of `box` in tile `tile`."""
        return pixels(self.arrays[tile], box.slices)

    def fingerprints(self) -> np.ndarray:
        """From the pixels of arrays in memory, from the names of lazy ones."""
        return np.array([fingerprint(array) for array in self.arrays], dtype=np.uint64)

    def save(self, folder: Path, base: Path) -> dict[str, Any]:
        """Write the arrays as one Zarr array with a leading dim for the tile, one by one."""
        from latticework.io.zarr_source import save_arrays

        shape = tuple(np.max([array.shape for array in self.arrays], axis=0).tolist())
        starts = np.zeros((len(self.arrays), 1 + len(shape)), np.int64)
        starts[:, 0] = np.arange(len(self.arrays))
        return save_arrays(
            folder,
            base,
            shape=(len(self.arrays), *shape),
            dtype=np.dtype(self.arrays[0].dtype),
            block=(1, *shape),
            starts=starts,
            pieces=(((i,), array) for i, array in enumerate(self.arrays)),
            stamps=self.fingerprints(),
        )

    @classmethod
    def load(cls, folder: Path, base: Path, spec: Mapping[str, Any]) -> TileSource:
        """Saved arrays are Zarr; see `latticework.io.zarr_source.ZarrBlockSource`."""
        from latticework.io.zarr_source import ZarrBlockSource

        return ZarrBlockSource.load(folder, base, spec)


@dataclass(frozen=True, slots=True)
class SavableBlocks:
    """A `BlockSource` that knows how to be written."""

    kind: ClassVar[str] = "zarr-blocks"
    blocks: BlockSource

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of `box` in block `tile`."""
        start = self.blocks.starts[tile].tolist()
        return pixels(self.blocks.array, box.shift(start).slices)

    def fingerprints(self) -> np.ndarray:
        """From the array's pixels (NumPy) or name (lazy ones), and the block's number."""
        numbers = self.blocks.fingerprints()
        return mix(numbers, np.full(len(numbers), fingerprint(self.blocks.array), np.uint64))

    def save(self, folder: Path, base: Path) -> dict[str, Any]:
        """Write the array as Zarr, chunk by chunk; an array that is Zarr on disk is pointed to."""
        from latticework.io.zarr_source import save_arrays, zarr_folder

        array, starts = self.blocks.array, self.blocks.starts
        where = zarr_folder(array)
        if where is not None:
            from latticework.io.zarr_source import ZarrBlockSource

            source = ZarrBlockSource(where, starts, tuple(array.shape), self.fingerprints())
            return source.save(folder, base)
        shape = tuple(int(n) for n in array.shape)
        block = np.where(starts.any(axis=0), 0, shape)
        for axis in np.flatnonzero(block == 0):
            block[axis] = np.unique(starts[:, axis])[1]
        size = grown_block(block.tolist(), shape, np.dtype(array.dtype).itemsize)
        grid = tuple(-(-n // b) for n, b in zip(shape, size, strict=True))

        def pieces() -> Any:
            for index in np.ndindex(*grid):
                start = [i * b for i, b in zip(index, size, strict=True)]
                slices = tuple(
                    slice(a, min(a + b, n)) for a, b, n in zip(start, size, shape, strict=True)
                )
                yield tuple(start), pixels(array, slices)

        return save_arrays(
            folder,
            base,
            shape=shape,
            dtype=np.dtype(array.dtype),
            block=tuple(size),
            starts=starts,
            pieces=pieces(),
            stamps=self.fingerprints(),
        )

    @classmethod
    def load(cls, folder: Path, base: Path, spec: Mapping[str, Any]) -> TileSource:
        """Saved blocks are Zarr; see `latticework.io.zarr_source.ZarrBlockSource`."""
        return MemorySource.load(folder, base, spec)


def as_savable_blocks(source: BlockSource) -> SavableBlocks:
    """The source of `Lattice.from_array`, able to be written."""
    return SavableBlocks(source)


def array_tiles(given: Any, dims: Sequence[str] | None, pattern: Any, placing: Placing) -> Tiles:
    """Tiles of arrays: a sequence, or a mapping of names to arrays.

    Parameters
    ----------
    given
        The arrays; all of one dtype and shape.
    dims
        Their dims; their own where they are xarray, else the last of ``c z y x``.
    pattern
        Where the names of a mapping say where tiles are.
    placing
        What was said about the places.
    """
    import pandas as pd

    names, arrays = _named(given)
    if not arrays:
        raise SourceError("there are no arrays; expected at least one tile")
    for name, array in zip(names, arrays, strict=True):
        if not all(hasattr(array, what) for what in ("shape", "ndim", "dtype")):
            raise SourceError(
                f"array {name!r} is a {type(array).__name__}; expected arrays, as numpy.asarray "
                "makes them"
            )
    own = tuple(str(dim) for dim in arrays[0].dims) if hasattr(arrays[0], "dims") else None
    tile_dims = tuple(dims) if dims is not None else own or array_dims(arrays[0].ndim, None)
    _check_dims(tile_dims, arrays[0])
    shape, dtype = tuple(int(n) for n in arrays[0].shape), np.dtype(arrays[0].dtype)
    problems: dict[int, str] = {}
    for i, array in enumerate(arrays):
        if tuple(array.shape) != shape or np.dtype(array.dtype) != dtype:
            problems[i] = (
                f"array {names[i]!r} is {tuple(array.shape)} {array.dtype}; expected {shape} "
                f"{dtype} as the first: "
                "crop, pad or convert it"
            )
    if problems and not placing.mark:
        raise SourceError(problems[min(problems)])
    table = pd.DataFrame(index=range(len(arrays)))
    if pattern is not None:
        fields, bad = match_names(names, pattern)
        if bad:
            raise LatticeError(
                f"the name {names[bad[0]]!r} does not fit pattern={pattern!r}: correct one of them"
            )
        table = pd.DataFrame(fields)
    return Tiles(
        table,
        names,
        tile_dims,
        shape,
        dtype,
        {},
        None,
        MemorySource(arrays),
        "the arrays",
        problems,
    )


def _named(given: Any) -> tuple[list[str], list[Any]]:
    if isinstance(given, Mapping):
        return [str(name) for name in given], list(given.values())
    if isinstance(given, Sequence):
        width = len(str(max(len(given) - 1, 0)))
        return [f"tile_{i:0{width}d}" for i in range(len(given))], list(given)
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        raise LatticeError(
            f'one array of shape {tuple(given.shape)}: give block={{"y": 256, "x": 256}} to divide '
            "it into blocks, or a "
            "list of arrays, one for each tile"
        )
    raise LatticeError(
        f"open_tiles cannot open a {type(given).__name__}: expected a path, a list of paths, a "
        "sequence or mapping of "
        "arrays, or one array with block="
    )


def _check_dims(tile_dims: tuple[str, ...], array: Any) -> None:
    canonical = tuple(dim for dim in ("c", "z", "y", "x") if dim in tile_dims)
    if (
        tile_dims != canonical
        or len(tile_dims) != len(array.shape)
        or not {"y", "x"} <= set(tile_dims)
    ):
        raise LatticeError(
            f"dims {tile_dims} for arrays of shape {tuple(array.shape)}: expected some of c, z, y, "
            "x, in that order, "
            "with y and x; name them with dims= or transpose the arrays"
        )


def open_blocks(
    array: Any, block: Mapping[str, int], dims: Sequence[str] | None, placing: Placing
) -> Lattice:
    """One array as a lattice of blocks; see `Lattice.from_array`."""
    if not hasattr(array, "shape"):
        raise LatticeError(
            f"block= divides one array, not a {type(array).__name__}: leave it out, or give the "
            "array"
        )
    given = placing.pixel_size({})
    return Lattice.from_array(array, block=block, dims=dims, pixel_size_um=given or None)
