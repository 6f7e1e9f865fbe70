"""Planes of a fused image, one after another, in strips that fit into memory.

A plane is read in strips, or several planes at once where they fit into memory (they share chunks);
coarser resolutions are made of each strip as it passes, and kept in a temporary file::

    level 0  ┌────────────┐ strip     -> tiles into the file, half of it -> temporary level 1
             │            │
    level 1  ┌──────┐ strip           -> tiles into the file, half of it -> temporary level 2
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latticework.errors import StoreError
from latticework.io.pyramid import Pyramid, coarser
from latticework.io.stored_image import Region, StoredImage
from latticework.lattice.geometry import Box

TILE = 512
"""Sides of the tiles in a pyramidal file."""
IN_MEMORY = 2**29
"""Bytes of pixels that are read at once."""


@dataclass
class Part:
    """Part of an image that is written, plane by plane."""

    stored: StoredImage
    """The image."""
    box: Box
    """Which part."""
    kept: tuple[str, ...]
    """Dims of the file."""
    slab: tuple[int, np.ndarray] | None = None
    """Planes that were read together, and the number of the first."""

    @classmethod
    def of(cls, image: Pyramid | Path | str, level: int, region: Region | None) -> "Part":
        """Part of an image; see `latticework.io.ome_tiff.to_ome_tiff`."""
        stored = StoredImage.open(image, level=level)
        if stored.dtype.kind in "iu" and stored.dtype.itemsize == 8:
            raise StoreError(
                f"{stored.path} has pixels of type {stored.dtype}, which TIFF has not: convert the "
                "tiles to 32 bits or floats before they are fused"
            )
        return cls(stored, *stored.box_of(region))

    @property
    def sizes(self) -> dict[str, int]:
        """Pixels by dim of the image."""
        return dict(zip(self.stored.dims, self.box.shape, strict=True))

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels along the dims of the file."""
        return tuple(self.sizes[dim] for dim in self.kept)

    @property
    def planes(self) -> int:
        """Number of planes."""
        return self.sizes.get("c", 1) * self.sizes.get("z", 1)

    @property
    def bytes(self) -> int:
        """Of all its pixels."""
        return self.box.size * self.stored.dtype.itemsize

    @property
    def position_um(self) -> dict[str, float]:
        """Of its first pixel."""
        first = dict(zip(self.stored.dims, self.box.start, strict=True))
        return {
            dim: origin + first[dim] * self.stored.pixel_size_um[dim]
            for dim, origin in self.stored.origin_um.items()
        }

    @property
    def channels(self) -> tuple[str, ...] | None:
        """Names of the channels in it."""
        if self.stored.channels is None or "c" not in self.stored.dims:
            return self.stored.channels
        return self.stored.channels[slice(self.box.start[0], self.box.stop[0])]

    @property
    def colours(self) -> tuple[str, ...]:
        """Of the channels in it."""
        if "c" not in self.stored.dims:
            return self.stored.colours[:1]
        return self.stored.colours[slice(self.box.start[0], self.box.stop[0])]

    def strips(self, number: int) -> Iterator[np.ndarray]:
        """A plane from top to bottom, in strips that are whole rows of tiles."""
        depth, height = self.sizes.get("z", 1), self.sizes["y"]
        plane_bytes = self.bytes // self.planes
        if plane_bytes > IN_MEMORY:
            for row in range(0, height, TILE):
                yield self._read(number, 1, row, min(row + TILE, height))[0]
            return
        first, planes = self.slab or (0, np.empty((0,)))
        if not first <= number < first + len(planes):
            chunk = dict(zip(self.stored.dims, self.stored.chunk, strict=True)).get("z", 1)
            at = self._z(number)
            most = min(chunk - at % chunk, depth - number % depth, IN_MEMORY // plane_bytes)
            first, planes = number, self._read(number, max(1, most), 0, height)
            self.slab = first, planes
        for row in range(0, height, TILE):
            yield planes[number - first, row : row + TILE]

    def _z(self, number: int) -> int:
        """Where a plane lies in the image."""
        first = dict(zip(self.stored.dims, self.box.start, strict=True)).get("z", 0)
        return first + number % self.sizes.get("z", 1)

    def _read(self, number: int, count: int, top: int, bottom: int) -> np.ndarray:
        """Some rows of some planes of one channel; shape (planes, rows, columns)."""
        start, stop = [], []
        for dim, a, b in zip(self.stored.dims, self.box.start, self.box.stop, strict=True):
            if dim == "c":
                low = a + number // self.sizes.get("z", 1)
                span = low, low + 1
            elif dim == "z":
                span = self._z(number), self._z(number) + count
            else:
                span = (a + top, a + bottom) if dim == "y" else (a, b)
            start.append(span[0])
            stop.append(span[1])
        pixels = self.stored.read(Box(tuple(start), tuple(stop)))
        return pixels.reshape(-1, *pixels.shape[-2:])


@dataclass(frozen=True)
class Half:
    """Planes of half the size, in a temporary file."""

    pixels: np.memmap
    """Shape (planes, rows, columns)."""

    @classmethod
    def of(cls, file: Path, part: Part, shape: Sequence[int]) -> "Half":
        """For planes of this shape, in a new file."""
        half = (part.planes, *(-(-n // 2) for n in shape))
        dtype = part.stored.dtype.newbyteorder("=")
        return cls(np.memmap(file, dtype, "w+", shape=half))

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return tuple(self.pixels.shape[-2:])

    def strips(self, number: int) -> Iterator[np.ndarray]:
        """One of them, from top to bottom."""
        for row in range(0, self.shape[0], TILE):
            yield np.asarray(self.pixels[number, row : row + TILE])


def tiles(
    strips: Callable[[int], Iterator[np.ndarray]],
    planes: int,
    half: Half | None,
    finished: Callable[[int], None],
) -> Iterator[np.ndarray]:
    """All tiles of all planes in the order of the file, and half of each strip put aside.

    Parameters
    ----------
    strips
        Gives a plane by its number, in strips of one row of tiles.
    planes
        Number of planes.
    half
        Where planes of half the size go.
    finished
        Called with the number of planes that are done, before each next one.
    """
    for number in range(planes):
        if number:
            finished(number)
        for row, strip in enumerate(strips(number)):
            if half is not None:
                small = coarser(strip, (2, 2))
                top = row * (TILE // 2)
                half.pixels[number, top : top + len(small)] = small
            for column in range(0, strip.shape[1], TILE):
                tile = strip[:, column : column + TILE]
                missing = [(0, TILE - n) for n in tile.shape]
                yield np.pad(tile, missing) if any(map(any, missing)) else tile


__all__ = ["TILE", "Half", "Part", "tiles"]
