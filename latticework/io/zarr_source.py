"""Tiles that are Zarr arrays, or boxes of one; read through tensorstore."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.handles import HALO_CACHE_BYTES, shared_context
from latticework.io.sources import (
    Strings,
    hash_strings,
    mix,
    path_from_spec,
    path_spec,
    read_table,
    write_table,
)
from latticework.io.tiff import Recent
from latticework.lattice.geometry import Box

_open_stores: Recent[Any] = Recent(256)


def _open(path: Path, *, cached: bool = False) -> Any:
    import tensorstore as ts

    def make() -> Any:
        driver = "zarr" if (path / ".zarray").is_file() else "zarr3"
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}{os.sep}"}}
        try:
            context = shared_context(None, HALO_CACHE_BYTES if cached else 0)
            return ts.open(spec, open=True, read=True, context=context).result()
        except ValueError as error:
            raise SourceError(
                f"{path} cannot be opened ({error}); expected the Zarr array that was there when "
                "the acquisition was "
                "opened: restore it or open the acquisition again",
                path,
            ) from error

    stamps = []
    for name in ("zarr.json", ".zarray"):
        try:
            stamps.append((path / name).stat().st_mtime_ns)
        except OSError:
            stamps.append(0)
    return _open_stores.get((str(path), cached, *stamps), make)


def _read(path: Path, dims: Sequence[str], box: Box, tile_dims: Sequence[str]) -> np.ndarray:
    ranges = dict(zip(tile_dims, box.slices, strict=True))
    index: tuple[slice | int, ...] = tuple(ranges.get(dim, 0) for dim in dims)
    store = _open(path)[index]
    kept = [dim for dim in dims if dim in ranges]
    try:
        data = store.transpose([kept.index(dim) for dim in tile_dims]).read().result()
    except (ValueError, IndexError) as error:
        raise SourceError(
            f"{path} cannot be read at {box} ({error}): write the image again", path
        ) from error
    return np.asarray(data)


def stamps_of(paths: Iterable[Path]) -> np.ndarray:
    """Sizes and times of change of arrays: of their metadata, their folder and its chunk folder."""
    rows = []
    for path in paths:
        row = []
        for part in (path / "zarr.json", path / ".zarray", path, path / "c"):
            try:
                stat = part.stat()
                row += [stat.st_size, stat.st_mtime_ns]
            except OSError:
                row += [0, 0]
        rows.append(row)
    return np.array(rows, dtype=np.int64).reshape(-1, 8)


@dataclass(frozen=True, slots=True)
class ZarrSource:
    """Tiles that are Zarr arrays, one each."""

    kind: ClassVar[str] = "zarr"

    root: Path
    names: Sequence[str]
    """Arrays (full-size levels), relative to the root."""
    stored_dims: tuple[str, ...]
    """Dims in the order of the arrays."""
    dims: tuple[str, ...]
    """Tile dims."""
    stamps: np.ndarray
    """One uint64 per tile from sizes and times of change."""

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of `box` in tile `tile`; reads the chunks that it touches."""
        return _read(self.root / self.names[tile], self.stored_dims, box, self.dims)

    def fingerprints(self) -> np.ndarray:
        """From name, size and time of change of each array's metadata and chunk folder."""
        return mix(hash_strings(self.names), self.stamps)

    def save(self, folder: Path, base: Path) -> dict[str, Any]:
        """Write the table; see `latticework.io.sources.SavableSource`."""
        column = self.names.column if isinstance(self.names, Strings) else list(self.names)
        write_table(folder / "arrays.arrow", {"name": column, "stamp": self.stamps})
        return {
            "root": path_spec(self.root, base),
            "stored_dims": self.stored_dims,
            "dims": self.dims,
        }

    @classmethod
    def load(cls, folder: Path, base: Path, spec: Mapping[str, Any]) -> Self:
        """Open the table, memory-mapped."""
        table = read_table(folder / "arrays.arrow")
        return cls(
            path_from_spec(spec["root"], base),
            Strings(table.column("name")),
            tuple(spec["stored_dims"]),
            tuple(spec["dims"]),
            table.column("stamp").to_numpy(),
        )


@dataclass(frozen=True, slots=True)
class ZarrBlockSource:
    """Tiles that are boxes of one Zarr array."""

    kind: ClassVar[str] = "zarr-blocks"

    path: Path
    """The array."""
    starts: np.ndarray
    """First pixel of each tile, shape (n, ndim), in the order of `order`."""
    shape: tuple[int, ...]
    """Shape of the array, in the order of `order`."""
    stamps: np.ndarray
    """Fingerprint of each tile."""
    order: tuple[int, ...] = ()
    """Dims of the array in the order of the tile dims; as they are if empty."""
    lead: int = 0
    """Dims before the tile's own (a saved sequence of arrays has one)."""
    singles: tuple[int, ...] = ()
    """Dims of size 1 that tiles do not have."""

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of `box` in tile `tile`; reads the chunks that it touches."""
        start = self.starts[tile].tolist()
        at = tuple(start[: self.lead])
        return self._box(at, box.shift(start[self.lead :]))

    def read_volume(self, box: Box) -> np.ndarray:
        """Pixels of any box of the array, at once.

        Chunks are kept for a while: boxes of neighbouring tiles with their halos share some.
        """
        if self.lead:
            raise LatticeError("tiles that were separate arrays make no volume")
        return self._box((), box, cached=True)

    def _box(self, lead: tuple[int, ...], box: Box, *, cached: bool = False) -> np.ndarray:
        store = _open(self.path, cached=cached)
        if self.singles:
            store = store[tuple(0 if d in self.singles else slice(None) for d in range(store.ndim))]
        if self.order:
            store = store.transpose(self.order)
        try:
            return np.asarray(store[(*lead, *box.slices)].read().result())
        except (ValueError, IndexError) as error:
            raise SourceError(
                f"{self.path} cannot be read at {box} ({error}): write the array again", self.path
            ) from error

    def fingerprints(self) -> np.ndarray:
        """As given when the source was made."""
        return self.stamps

    def save(self, folder: Path, base: Path) -> dict[str, Any]:
        """Write the table; see `latticework.io.sources.SavableSource`."""
        write_table(
            folder / "blocks.arrow",
            {"start": self.starts.ravel(), "stamp": np.repeat(self.stamps, self.starts.shape[1])},
        )
        return {
            "array": path_spec(self.path, base),
            "shape": self.shape,
            "order": self.order,
            "lead": self.lead,
            "singles": self.singles,
        }

    @classmethod
    def load(cls, folder: Path, base: Path, spec: Mapping[str, Any]) -> Self:
        """Open the table, memory-mapped."""
        table, ndim = read_table(folder / "blocks.arrow"), len(spec["shape"])
        return cls(
            path_from_spec(spec["array"], base),
            table.column("start").to_numpy().reshape(-1, ndim),
            tuple(spec["shape"]),
            table.column("stamp").to_numpy()[::ndim],
            tuple(spec["order"]), spec["lead"], tuple(spec["singles"]),
        )  # fmt: skip


def zarr_folder(array: Any) -> Path | None:
    """Folder of a zarr array that lies on this file system, else None."""
    root = getattr(getattr(array, "store", None), "root", None)
    path = getattr(array, "path", None)
    return Path(root) / path if root is not None and isinstance(path, str) else None


def save_arrays(
    folder: Path,
    base: Path,
    *,
    shape: tuple[int, ...],
    dtype: np.dtype,
    block: tuple[int, ...],
    starts: np.ndarray,
    pieces: Iterable[tuple[tuple[int, ...], Any]],
    stamps: np.ndarray,
) -> dict[str, Any]:
    """Write pieces of an array as ``pixels.zarr`` in a folder; the spec of a `ZarrBlockSource`.

    ``pieces`` are (first pixel, array); an array with fewer dims than `shape` is one row of it.
    """
    import tensorstore as ts

    path = folder / "pixels.zarr"
    inner = [min(n, 512 if d >= len(block) - 2 else 16) for d, n in enumerate(block)]
    store = ts.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}{os.sep}"}},
        create=True,
        delete_existing=True,
        dtype=dtype.name,
        shape=shape,
        chunk_layout=ts.ChunkLayout(chunk_shape=[max(n, 1) for n in inner]),
        codec=ts.CodecSpec(
            {
                "driver": "zarr3",
                "codecs": [
                    {
                        "name": "blosc",
                        "configuration": {"cname": "lz4", "shuffle": "bitshuffle", "clevel": 5},
                    }
                ],
            }
        ),
    ).result()
    lead = 0
    for start, piece in pieces:
        data = np.asarray(
            piece[(slice(None),) * len(piece.shape)] if not isinstance(piece, np.ndarray) else piece
        )
        lead = len(shape) - data.ndim
        box = tuple(
            slice(a, a + n)
            for a, n in zip((*start, *[0] * len(shape))[lead : len(shape)], data.shape, strict=True)
        )
        where: tuple[int | slice, ...] = (*start[:lead], *box)
        store[where].write(data).result()
    return ZarrBlockSource(path, starts, shape, stamps, lead=lead).save(folder, base)
