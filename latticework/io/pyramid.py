"""A volume as OME-Zarr with a pyramid, written block by block, each level from the one above it.

Whoever writes a block has its pixels in memory, and makes of them the same block of the coarser
levels, as long as that is at least one chunk. Each block is a whole shard of each of these levels,
so blocks can be written side by side. What remains, the coarsest levels, is small, and made in the
end::

    level 0   ┌───────┬───────┐    a block: one shard of 4 x 4 chunks
    level 1   ┌───┬───┐            the same block: one shard of 2 x 2
    level 2   ┌─┬─┐                one of a single chunk
    level 3   ┌┐                   made by `finish`, from level 2
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from math import gcd
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, get_args

import numpy as np

from latticework.errors import StoreError
from latticework.io.handles import shared_context
from latticework.io.ome_zarr import (
    Version,
    channel_attributes,
    image_attributes,
    write_attributes,
)
from latticework.io.publish import put_instead
from latticework.lattice.geometry import Box

CHUNK = {2: (512, 512), 3: (64, 64, 64)}
"""Chunks, by number of spatial axes."""
BLOCK = {2: (2048, 2048), 3: (256, 256, 256)}
"""Blocks, which are shards of the finest level."""
COARSEST = 512
"""The coarsest level is no larger than this along any axis, in pixels."""
EVEN = 1.5
"""An axis is halved where its pixels are at most so many times the smallest ones of that level."""
WINDOW = (1.0, 99.8)
"""Percentiles between which a viewer shows the image."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution."""

    number: int
    """0 is the finest."""
    factor: tuple[int, ...]
    """How many pixels of the finest level one of its pixels covers, by axis."""
    shape: tuple[int, ...]
    """Pixels."""
    block: tuple[int, ...]
    """Pixels of a shard."""
    chunk: tuple[int, ...]
    """Pixels of a chunk."""


@dataclass(frozen=True)
class Pyramid:
    """A volume on disk; see `Pyramid.plan`."""

    path: Path
    """Folder of the OME-Zarr image."""
    dims: tuple[str, ...]
    """Of ``c z y x``."""
    shape: tuple[int, ...]
    """Pixels of the finest level."""
    dtype: str
    """Type of the pixels."""
    pixel_size_um: tuple[float, ...]
    """Size of a pixel by spatial dim, micrometres."""
    origin_um: tuple[float, ...]
    """Position of the first pixel by spatial dim, micrometres."""
    block: tuple[int, ...]
    """Pixels of a block of the finest level, along all dims."""
    channels: tuple[str, ...] = ("0",)
    """Names of the channels."""
    version: Version = "0.5"
    """Of OME-Zarr: 0.5 (Zarr 3, sharded) or 0.4 (Zarr 2, a file for each chunk)."""

    # ---------------------------------------------------------------- geometry

    @property
    def spatial(self) -> tuple[int, ...]:
        """Axes of the spatial dims."""
        return tuple(axis for axis, dim in enumerate(self.dims) if dim != "c")

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """All resolutions, the finest first."""
        factor, found = (1,) * len(self.dims), list[Level]()
        while True:
            shape = tuple(-(-n // f) for n, f in zip(self.shape, factor, strict=True))
            found.append(self._level(len(found), factor, shape))
            halved = self._halved(factor, shape)
            if all(shape[axis] <= COARSEST for axis in self.spatial) or halved == factor:
                return tuple(found)
            factor = halved

    def _halved(self, factor: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
        sizes = {
            axis: size * factor[axis]
            for axis, size in zip(self.spatial, self.pixel_size_um, strict=True)
        }
        long = [axis for axis in self.spatial if shape[axis] > 1]
        least = min((sizes[axis] for axis in long), default=0.0)
        chosen = {axis for axis in long if sizes[axis] <= EVEN * least}
        return tuple(2 * f if axis in chosen else f for axis, f in enumerate(factor))

    def _level(self, number: int, factor: tuple[int, ...], shape: tuple[int, ...]) -> Level:
        standard = self._standard(CHUNK)
        parts = list(zip(self.block, factor, standard, strict=True))
        if all(b % f == 0 and b // f >= min(c, b) for b, f, c in parts):
            block = tuple(b // f for b, f, _ in parts)
        else:
            block = self.block
        chunk = tuple(gcd(min(c, b), b) for c, b in zip(standard, block, strict=True))
        return Level(number, factor, shape, block, chunk)

    def _standard(self, sizes: dict[int, tuple[int, ...]]) -> tuple[int, ...]:
        rest = iter(sizes[max(2, len(self.spatial))][-len(self.spatial) :])
        return tuple(1 if dim == "c" else next(rest) for dim in self.dims)

    @property
    def by_blocks(self) -> int:
        """How many levels a block is written to by itself."""
        return sum(
            all(b == o // f for b, o, f in zip(level.block, self.block, level.factor, strict=True))
            for level in self.levels
        )

    def blocks(self, level: int = 0) -> list[Box]:
        """All blocks of a level, in its pixels; the last ones are smaller."""
        of = self.levels[level]
        grid = [range(-(-n // b)) for n, b in zip(of.shape, of.block, strict=True)]
        found = []
        for index in product(*grid):
            start = tuple(i * b for i, b in zip(index, of.block, strict=True))
            stop = tuple(min(s + b, n) for s, b, n in zip(start, of.block, of.shape, strict=True))
            found.append(Box(start, stop))
        return found

    # ---------------------------------------------------------------- making

    @classmethod
    def plan(
        cls,
        path: Path | str,
        *,
        dims: Sequence[str],
        shape: Sequence[int],
        dtype: Any,
        pixel_size_um: Sequence[float],
        origin_um: Sequence[float] | None = None,
        block: Sequence[int] | None = None,
        channels: Sequence[str] | None = None,
        version: Version = "0.5",
    ) -> "Pyramid":
        """An image of which nothing is on disk: see `create` and `begin`.

        Parameters
        ----------
        path
            Folder, such as ``brain.ome.zarr``.
        dims, shape, dtype
            Of the finest level; dims of ``c z y x``, in that order.
        pixel_size_um, origin_um
            Size of a pixel, and position of the first one, by spatial dim, micrometres.
        block
            Pixels of a block along the spatial dims; found if not given.
        channels
            Their names.
        version
            Of OME-Zarr.

        Raises
        ------
        StoreError
            If there is no such image: dims that are none of OME-Zarr's, or pixels of a wrong type.

        Examples
        --------
        >>> pyramid = Pyramid.plan(
        ...     "image.ome.zarr",
        ...     dims="yx", shape=(3000, 5000), dtype="u2", pixel_size_um=(0.5, 0.5),
        ... )
        >>> [level.shape for level in pyramid.levels], pyramid.by_blocks, len(pyramid.blocks())
        ([(3000, 5000), (1500, 2500), (750, 1250), (375, 625), (188, 313)], 3, 6)
        """
        dims, shape = tuple(dims), tuple(int(n) for n in shape)
        if [dim for dim in ("c", "z", "y", "x") if dim in dims] != list(dims) or len(dims) < 2:
            raise StoreError(f"{path}: dims {dims} are not some of c z y x, in that order")
        if version not in get_args(Version):
            raise StoreError(f"OME-Zarr {version!r} is not written: choose 0.5 or 0.4")
        if block is not None and min(block) < 1:
            raise StoreError(f"{path}: a block of {tuple(block)} pixels is none")
        if np.dtype(dtype).kind not in "iuf":
            raise StoreError(f"{path}: pixels of type {np.dtype(dtype)} are no image: use uint8")
        n = len([dim for dim in dims if dim != "c"])
        inner = tuple(BLOCK[max(n, 2)][-n:] if block is None else block)
        sizes = iter([m for m, dim in zip(shape, dims, strict=True) if dim != "c"])
        if len(inner) != n:
            raise StoreError(f"{path}: block={tuple(inner)} has not {n} sides, as the volume has")
        chunk = CHUNK[max(n, 2)][-n:]
        inner = tuple(b if b <= c else b // c * c for b, c in zip(inner, chunk, strict=True))
        sides = iter([_fitting(b, m) for b, m in zip(inner, sizes, strict=True)])
        whole = tuple(1 if dim == "c" else next(sides) for dim in dims)
        count = shape[dims.index("c")] if "c" in dims else 1
        return cls(
            Path(path),
            dims,
            shape,
            np.dtype(dtype).name,
            tuple(float(s) for s in pixel_size_um),
            tuple(float(o) for o in (origin_um or (0.0,) * n)),
            whole,
            tuple(channels or (str(k) for k in range(count))),
            version,
        )

    def create(self) -> Self:
        """A new image on disk, with metadata and no pixels yet.

        Raises
        ------
        StoreError
            If something is there already.
        """
        if self.path.exists():
            raise StoreError(f"{self.path} exists already: remove it, or choose another name")
        self.begin()
        return self

    def begin(self, about: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Write its metadata, which appear at once: then blocks can be written, by any process.

        Parameters
        ----------
        about
            As for `finish`.
        """
        new = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        replace(self, path=new).lay_out(self.path.name, about)
        new.rename(self.path)

    @property
    def begun(self) -> bool:
        """Whether its metadata are there."""
        file = "zarr.json" if self.version == "0.5" else ".zarray"
        return all((self.path / str(level.number) / file).is_file() for level in self.levels)

    def lay_out(self, name: str, about: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Write the metadata of an image of that name into its folder."""
        for level in self.levels:
            self._open(level, create=True)
        self._write_metadata(None, name, about)

    def _open(self, level: Level, *, create: bool = False) -> Any:
        import tensorstore

        spec, context = self._spec(level), shared_context(None, 0)
        return tensorstore.open(spec, create=create, open=not create, context=context).result()

    def _spec(self, level: Level) -> dict[str, Any]:
        blosc = {"cname": "lz4", "clevel": 5, "blocksize": 0}
        store = {"driver": "file", "path": f"{self.path.resolve()}/{level.number}/"}
        if self.version == "0.4":
            return {
                "driver": "zarr",
                "kvstore": store,
                "metadata": {
                    "shape": list(level.shape),
                    "chunks": list(level.chunk),
                    "dtype": np.dtype(self.dtype).newbyteorder("<").str,
                    "fill_value": 0,
                    "order": "C",
                    "dimension_separator": "/",
                    "compressor": {"id": "blosc", **blosc, "shuffle": 2},
                },
            }
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        size = np.dtype(self.dtype).itemsize
        packed = {
            "name": "blosc",
            "configuration": {**blosc, "shuffle": "bitshuffle", "typesize": size},
        }
        sharding = {
            "chunk_shape": list(level.chunk),
            "codecs": [little, packed],
            "index_codecs": [little, {"name": "crc32c"}],
            "index_location": "end",
        }
        return {
            "driver": "zarr3",
            "kvstore": store,
            "metadata": {
                "shape": list(level.shape),
                "data_type": self.dtype,
                "chunk_grid": {
                    "name": "regular",
                    "configuration": {"chunk_shape": list(level.block)},
                },
                "chunk_key_encoding": {"name": "default"},
                "fill_value": 0,
                "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
                "dimension_names": list(self.dims),
            },
        }

    @cached_property
    def _handles(self) -> list[Any]:
        return [self._open(level) for level in self.levels]

    # ---------------------------------------------------------------- writing

    def write_block(self, box: Box, pixels: np.ndarray) -> None:
        """Write one block, and the same block of the levels that it can make by itself.

        Parameters
        ----------
        box
            One of `blocks`.
        pixels
            Of the whole block, in the volume's type.
        """
        for level in self.levels[: self.by_blocks]:
            if level.number:
                ratio = self._ratio(level)
                pixels = coarser(pixels, ratio)
                start = tuple(s // r for s, r in zip(box.start, ratio, strict=True))
                stop = tuple(-(-s // r) for s, r in zip(box.stop, ratio, strict=True))
                box = Box(start, stop)
            self._handles[level.number][box.slices].write(np.ascontiguousarray(pixels)).result()

    def _ratio(self, level: Level) -> tuple[int, ...]:
        """How many pixels of the level above one of its pixels covers, by axis."""
        above = self.levels[level.number - 1]
        return tuple(a // b for a, b in zip(level.factor, above.factor, strict=True))

    def finish(
        self,
        path: Path | None = None,
        *,
        threads: int | None = None,
        about: Mapping[str, Any] = MappingProxyType({}),
        aside: Path | None = None,
    ) -> "Pyramid":
        """Make the coarsest levels, and say between which values the image is to be shown.

        Parameters
        ----------
        path
            Where the image belongs, if it was written elsewhere.
        threads
            Blocks at a time; as many as there are cores if not given.
        about
            More attributes of the image, beside those of OME-Zarr.
        aside
            Where an image that is at `path` is moved to, if it has to be; else nothing may be
            there.

        Returns
        -------
        Pyramid
            The image, where it is now.
        """
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            for level in self.levels[self.by_blocks :]:
                list(pool.map(partial(self._coarsen, level), self.blocks(level.number)))
        done = self if path is None else replace(self, path=path)
        self._write_metadata(self._windows(), done.path.name, about)
        if path is not None:
            put_instead(self.path, path, aside)
        return done

    def _coarsen(self, level: Level, box: Box) -> None:
        above, ratio = self.levels[level.number - 1], self._ratio(level)
        region = tuple(
            slice(s * r, min(e * r, n))
            for s, e, r, n in zip(box.start, box.stop, ratio, above.shape, strict=True)
        )
        pixels = self._handles[above.number][region].read().result()
        self._handles[level.number][box.slices].write(coarser(pixels, ratio)).result()

    def _windows(self) -> list[tuple[float, float]]:
        """For each channel, the values between which it is to be shown, from the coarsest level."""
        last = self._handles[-1]
        parts = range(self.shape[0]) if "c" in self.dims else [slice(None)]
        found = []
        for part in parts:
            values = np.asarray(last[part].read().result())
            values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
            values = values[values != 0] if (values != 0).any() else values  # 0 is also: no tile
            low, high = (
                (float(v) for v in np.percentile(values, WINDOW)) if values.size else (0.0, 1.0)
            )
            found.append((low, high if high > low else low + 1))
        return found

    # ---------------------------------------------------------------- metadata

    def metadata(
        self, windows: Sequence[tuple[float, float]] | None, name: str | None = None
    ) -> dict[str, Any]:
        """What OME-Zarr says of the image; see `latticework.io.ome_zarr.image_attributes`."""
        scales = [
            [
                *(1.0 for dim in self.dims if dim == "c"),
                *(
                    s * level.factor[a]
                    for a, s in zip(self.spatial, self.pixel_size_um, strict=True)
                ),
            ]
            for level in self.levels
        ]
        origin = [*(0.0 for dim in self.dims if dim == "c"), *self.origin_um]
        name = (name or self.path.name).removesuffix(".zarr").removesuffix(".ome")
        found = image_attributes(name, self.dims, scales, origin, version=self.version)
        if windows is not None:
            found["omero"] = channel_attributes(self.channels, windows, np.dtype(self.dtype))
        return found

    def _write_metadata(
        self,
        windows: Sequence[tuple[float, float]] | None,
        name: str | None = None,
        about: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        write_attributes(self.path, self.metadata(windows, name), version=self.version, about=about)


def _fitting(block: int, size: int) -> int:
    """A block no larger than the volume needs: the smallest of its halves that holds all of it.

    Examples
    --------
    >>> _fitting(2048, 600), _fitting(9_999_872, 600), _fitting(100, 600)
    (1024, 1024, 100)
    """
    while block // 2 >= size and block % 2 == 0:
        block //= 2
    return block if block // 2 < size else 1 << (size - 1).bit_length()


def coarser(pixels: np.ndarray, ratio: Sequence[int]) -> np.ndarray:
    """Means of `ratio` pixels along each axis, 1 or 2; an odd last one stands for itself.

    Examples
    --------
    >>> coarser(np.array([[1, 3, 9], [2, 3, 10]], "u1"), (2, 2)).tolist()
    [[2, 10]]
    """
    n = int(np.prod(ratio))
    if n == 1:
        return pixels
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize == 8:  # sums would not fit
        limits, exact = np.iinfo(pixels.dtype), coarser(pixels.astype("f8"), ratio)
        top = np.nextafter(float(limits.max), 0)
        return np.asarray(np.clip(np.rint(exact), float(limits.min), top), pixels.dtype)
    odd = [(0, s % r) for s, r in zip(pixels.shape, ratio, strict=True)]
    if any(more for _, more in odd):
        pixels = np.pad(pixels, odd, mode="edge")
    whole = pixels.dtype.kind in "iu"
    wide = np.dtype("f4" if not whole else "i8" if pixels.dtype.itemsize >= 4 else "i4")
    if pixels.dtype == np.float64:
        wide = np.dtype("f8")
    total: np.ndarray | None = None
    for corner in product(*(range(r) for r in ratio)):
        part = pixels[tuple(slice(c, None, r) for c, r in zip(corner, ratio, strict=True))]
        total = part.astype(wide) if total is None else np.add(total, part, out=total)
    assert total is not None
    if whole:
        total += n // 2
        total //= n
    else:
        total /= n
    return total.astype(pixels.dtype)


__all__ = ["Level", "Pyramid", "Version", "coarser"]
