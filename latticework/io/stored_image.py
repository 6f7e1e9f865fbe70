"""An OME-Zarr image on disk, read in parts at any of its resolutions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.handles import shared_context
from latticework.io.pyramid import Pyramid
from latticework.io.zarr_images import channel_colours, image_facts, level_count
from latticework.lattice.geometry import Box

Region = Mapping[str, int | tuple[int, int] | slice]
"""Of some axes one pixel, or a range ``(first, one past the last)``."""


@dataclass(frozen=True)
class StoredImage:
    """One resolution of an image; see `StoredImage.open`."""

    path: Path
    """Folder of the image."""
    array: Path
    """Folder of this resolution."""
    dims: tuple[str, ...]
    """Of ``c z y x``."""
    shape: tuple[int, ...]
    """Pixels."""
    dtype: np.dtype
    """Type of the pixels."""
    pixel_size_um: dict[str, float]
    """By spatial dim."""
    origin_um: dict[str, float]
    """Position of the first pixel by spatial dim."""
    channels: tuple[str, ...] | None
    """Names of the channels."""
    colours: tuple[str, ...]
    """Of the channels, where it says so."""
    stored_dims: tuple[str, ...]
    """As stored: perhaps in another order, with others of one pixel."""

    @classmethod
    def open(cls, image: "Pyramid | Path | str", *, level: int = 0) -> "StoredImage":
        """One resolution of an image; only metadata are read.

        Parameters
        ----------
        image
            What `fuse` returned, or the folder of an OME-Zarr image.
        level
            0 is the finest.

        Raises
        ------
        StoreError
            If it has no such resolution.
        SourceError
            If it is no image.

        Examples
        --------
        >>> import tempfile
        >>> pyramid = Pyramid.plan(
        ...     Path(tempfile.mkdtemp()) / "image.ome.zarr",
        ...     dims="yx", shape=(3000, 2000), dtype="u2", pixel_size_um=(0.5, 0.5),
        ... ).create()
        >>> image = StoredImage.open(pyramid.path, level=1)
        >>> image.shape, image.pixel_size_um
        ((1500, 1000), {'y': 1.0, 'x': 1.0})
        """
        path = image.path if isinstance(image, Pyramid) else Path(image)
        found = level_count(path)
        if not 0 <= level < found:
            raise StoreError(f"{path} has the levels 0 to {found - 1}, not {level}")
        facts = image_facts(path, level=level)
        dims, shape = facts.canonical(path)
        spatial = [dim for dim in dims if dim != "c"]
        return cls(
            *(path, path / facts.array, dims, shape, facts.dtype),
            {dim: facts.pixel_size_um.get(dim, 1.0) for dim in spatial},
            {dim: facts.position_um.get(dim, 0.0) for dim in spatial},
            *(facts.channels, tuple(channel_colours(path)), facts.dims),
        )

    @cached_property
    def _handle(self) -> Any:
        import tensorstore

        driver = "zarr3" if (self.array / "zarr.json").is_file() else "zarr"
        store = {"driver": "file", "path": f"{self.array.resolve()}/"}
        spec = {"driver": driver, "kvstore": store}
        return tensorstore.open(spec, open=True, context=shared_context(None, 0)).result()

    @property
    def chunk(self) -> tuple[int, ...]:
        """Pixels that are read at once, along its dims."""
        sides = self._handle.chunk_layout.read_chunk.shape or self.shape
        of = dict(zip(self.stored_dims, sides, strict=True))
        return tuple(int(of[dim]) for dim in self.dims)

    @property
    def file_chunk(self) -> tuple[int, ...]:
        """Pixels of a file, along its dims."""
        sides = self._handle.chunk_layout.write_chunk.shape or self.shape
        of = dict(zip(self.stored_dims, sides, strict=True))
        return tuple(
            min(int(of[dim]), size) for dim, size in zip(self.dims, self.shape, strict=True)
        )

    def read(self, box: Box) -> np.ndarray:
        """The pixels of a box."""
        return self.pixels(box.slices)

    def pixels(self, index: Sequence[int | slice]) -> np.ndarray:
        """The pixels at a place or in a range along each of its dims."""
        of = dict(zip(self.dims, index, strict=True))
        at = tuple(of.get(dim, 0) for dim in self.stored_dims)
        pixels = np.asarray(self._handle[at].read().result())
        kept = [dim for dim in self.stored_dims if isinstance(of.get(dim), slice)]
        return pixels.transpose([kept.index(dim) for dim in self.dims if dim in kept])

    def box_of(self, region: Region | None) -> tuple[Box, tuple[str, ...]]:
        """A region as a box along all dims, and the dims of which it is more than one pixel.

        Raises
        ------
        StoreError
            If it is not within the image.
        """
        region = dict(region or {})
        unknown = set(region) - set(self.dims)
        if unknown:
            raise StoreError(
                f"region of {', '.join(sorted(unknown))}: {self.path} has {' '.join(self.dims)}"
            )
        start, stop, kept = [], [], []
        for dim, size in zip(self.dims, self.shape, strict=True):
            asked = region.get(dim, slice(None))
            if isinstance(asked, int):
                low, high = asked, asked + 1
            else:
                low, high, _ = (slice(*asked) if isinstance(asked, tuple) else asked).indices(size)
                kept.append(dim)
                if isinstance(asked, tuple) and (low, high) != asked:
                    low = high  # beyond its ends: refused below
            if not 0 <= low < high <= size:
                raise StoreError(
                    f"region {dim}={asked}: {self.path} has {size} pixels along {dim}, from 0 to "
                    f"{size - 1}"
                )
            start.append(low)
            stop.append(high)
        if not {"y", "x"} <= set(kept):
            raise StoreError(f"region {region}: pictures need y and x, so give ranges of these")
        return Box(tuple(start), tuple(stop)), tuple(kept)


__all__ = ["Region", "StoredImage"]
