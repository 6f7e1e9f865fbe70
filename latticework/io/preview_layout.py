"""How the previews of a stage lie on disk: sizes, types and the Zarr group that holds them.

A preview is a small picture of a tile: all that is not ``c``, ``y`` or ``x`` seen through, four
channels at most, 128 pixels on its longer side at most. The previews of a stage are a Zarr group
that xarray opens, of arrays over the ids of the units::

    previews/clean/
        preview/   (unit, c, y, x)   sharded: a chunk is a tile, a shard some hundred of them
        small/     (unit, c, y, x)   the same with 16 pixels at most, for pictures of many tiles
        contrast/  (unit, c, bound)  percentiles 1 and 99.8 of every preview
        stamp/     (unit)            which attempt's result the preview shows; 0 where there is none
        .waiting/                    previews that are not in the arrays yet

All is derived from the stage's output, and made again where it is lost.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Self

import google_crc32c
import numpy as np

from latticework.errors import StoreError
from latticework.io.plain_zarr import array_metadata, fill_value

MOST_PX = 128
"""Pixels of a preview on its longer side at most."""
SMALL_PX = 16
"""The same for pictures of so many tiles that each has but few pixels."""
SAMPLES = 4
"""Pixels of a tile along y and x that are averaged to one of its preview, at least."""
MOST_CHANNELS = 4
"""Channels that are kept."""
SHARD_BYTES = 16 * 2**20
"""Bytes of a shard's pixels at most, before they are compressed."""
PERCENTILES = (1.0, 99.8)
"""Of a preview's pixels: what is black and what is white."""
PROJECTIONS = ("max", "mean", "labels")
"""How what lies along z is seen: ``labels`` for images of ids, of which no means are taken."""


@dataclass(frozen=True, slots=True)
class PreviewLayout:
    """Sizes and types of the previews of a stage.

    Examples
    --------
    >>> layout = PreviewLayout.of("uint16", ("z", "y", "x"), (30, 1000, 700))
    >>> layout.channels, layout.size, layout.factor, layout.projection
    (1, (125, 88), 8, 'max')
    >>> PreviewLayout.of("int32", ("y", "x"), (100, 90)).projection
    'labels'
    """

    dtype: str
    """Of the previews: that of the tiles where it has 8 or 16 bits, else float32 (or uint32)."""
    channels: int
    """How many are kept."""
    size: tuple[int, int]
    """Pixels along y and x, of the largest tile."""
    small: tuple[int, int]
    """The same of the small ones."""
    factor: int
    """Pixels of a tile along y and x that are one of its preview."""
    small_factor: int
    """Pixels of a preview that are one of the small one."""
    projection: str
    """How z is seen: one of `PROJECTIONS`."""

    @classmethod
    def of(
        cls, dtype: Any, dims: Sequence[str], shape: Sequence[int], projection: str = "auto max"
    ) -> Self:
        """The layout for tiles of a type, with these dims and this (largest) shape.

        Parameters
        ----------
        dtype, dims, shape
            Of the tiles.
        projection
            One of `PROJECTIONS`, or ``"auto max"``, ``"auto mean"``: ``"labels"`` for tiles of
            32-bit and 64-bit integers, which are ids more often than not.

        Raises
        ------
        StoreError
            If these tiles are no pictures of y and x.
        """
        kind = np.dtype(dtype)
        sizes = dict(zip(dims, shape, strict=True))
        if not {"y", "x"} <= set(dims) or kind.kind not in "biuf":
            raise StoreError(
                f"tiles of {kind} with the dims {tuple(dims)} have no previews: expected real "
                "numbers with the dims y and x"
            )
        if projection.startswith("auto "):
            large = kind.kind in "iu" and kind.itemsize > 2
            projection = "labels" if large else projection.removeprefix("auto ")
        if projection not in PROJECTIONS:
            raise StoreError(f"projection={projection!r}: expected one of {PROJECTIONS}")
        size, factor = shrunk_size((sizes["y"], sizes["x"]), MOST_PX)
        small, small_factor = shrunk_size(size, SMALL_PX)
        channels = min(MOST_CHANNELS, sizes.get("c", 1))
        stored = _stored_dtype(kind, projection)
        return cls(stored, channels, size, small, factor, small_factor, projection)

    # ---------------------------------------------------------------- geometry

    @property
    def key(self) -> int:
        """A number that tells layouts apart: previews of another one are not looked at."""
        return int(google_crc32c.value(json.dumps(asdict(self), sort_keys=True).encode()))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one preview: channels, y and x."""
        return (self.channels, *self.size)

    @property
    def small_shape(self) -> tuple[int, int, int]:
        """Of a small one."""
        return (self.channels, *self.small)

    @property
    def nbytes(self) -> int:
        """Bytes of a preview's pixels."""
        return int(prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def per_shard(self) -> int:
        """Tiles of a shard."""
        fits = max(1, SHARD_BYTES // self.nbytes)
        return int(min(1024, max(16, 2 ** (fits.bit_length() - 1))))

    @property
    def blank(self) -> float:
        """What pixels are where there is no tile."""
        return float("nan") if np.dtype(self.dtype).kind == "f" else 0.0

    # ---------------------------------------------------------------- metadata

    def metadata(self, capacity: int, attributes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The ``zarr.json`` of each array, for ids below `capacity`."""
        n, pixel = self.per_shard, ("unit", "c", "y", "x")
        ids = -(-max(1, capacity) // n) * n
        coded = [LITTLE, {"name": "blosc", "configuration": blosc_options(self.dtype)}]
        sharding = {
            "chunk_shape": [1, *self.shape],
            "codecs": [*coded, CRC],
            "index_codecs": [LITTLE, CRC],
            "index_location": "end",
        }
        shared: dict[str, Any] = {"fill_value": fill_value(np.dtype(self.dtype))}
        preview = array_metadata(
            (ids, *self.shape), np.dtype(self.dtype), dims=pixel, attributes=attributes
        )
        preview |= {**shared, "codecs": [{"name": "sharding_indexed", "configuration": sharding}]}
        small = array_metadata(
            (ids, *self.small_shape),
            np.dtype(self.dtype),
            dims=("unit", "c", "small_y", "small_x"),
        )
        small |= {**shared, "codecs": coded}
        contrast = array_metadata(
            (ids, self.channels, 2), np.dtype("f8"), dims=("unit", "c", "bound")
        )
        stamp = array_metadata((ids,), np.dtype("u8"), dims=("unit",))
        found = {"preview": preview, "small": small, "contrast": contrast, "stamp": stamp}
        for metadata in found.values():
            chunk = [n, *metadata["shape"][1:]]
            metadata["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": chunk}}
        return found

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From `to_json`."""
        sizes = {name: tuple(values[name]) for name in ("size", "small")}
        return cls(**{**values, **sizes})


LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
CRC = {"name": "crc32c"}


def blosc_options(dtype: Any) -> dict[str, Any]:
    """How pixels are compressed, in zarr's words."""
    return {
        "cname": "lz4",
        "clevel": 5,
        "shuffle": "bitshuffle",
        "typesize": np.dtype(dtype).itemsize,
        "blocksize": 0,
    }


def sampling(factor: int) -> int:
    """Every so many pixels one is looked at, where squares of `factor` pixels are averaged.

    Four of them along an axis tell the mean as well as all: what large tiles cost is that of small
    ones.

    Examples
    --------
    >>> sampling(4), sampling(8), sampling(32)
    (1, 2, 8)
    """
    return max(1, factor // SAMPLES)


def shrunk_size(size: tuple[int, int], most: int) -> tuple[tuple[int, int], int]:
    """Pixels along y and x with `most` on the longer side, and by how much they are fewer.

    Examples
    --------
    >>> shrunk_size((1000, 700), 128), shrunk_size((90, 100), 128)
    (((125, 88), 8), ((90, 100), 1))
    """
    factor = max(1, -(-max(size) // most))
    step = sampling(factor)
    factor = -(-factor // step) * step
    return (-(-size[0] // factor), -(-size[1] // factor)), factor


def _stored_dtype(kind: np.dtype, projection: str) -> str:
    if kind.kind == "b":
        return "uint8"
    if kind.kind in "iu" and kind.itemsize <= 2:
        return kind.newbyteorder("=").name
    return "uint32" if projection == "labels" and kind.kind in "iu" else "float32"


__all__ = ["PreviewLayout"]
