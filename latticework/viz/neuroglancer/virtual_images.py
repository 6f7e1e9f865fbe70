"""Any picture as an OME-Zarr image that exists only while it is looked at.

Each chunk is made when it is asked for, by reading the pixels that it shows through the library,
and kept for a while::

    GET zarr.json          OME-Zarr 0.5: axes, pixel size, levels
    GET 0/zarr.json        the finest level, a Zarr v3 array
    GET 2/c/0/1/5          a chunk of a level that is reduced by 4 (blosc)
"""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from latticework.io.ome_zarr import image_attributes
from latticework.viz.neuroglancer.canvas import Pixels, Place
from latticework.viz.neuroglancer.resources import TYPES, Answer

AXES = ("z", "y", "x")
CHUNK = (16, 128, 128)
"""Pixels of a chunk."""
COARSEST = 256
"""The coarsest level is no larger than this along any axis."""
EVEN = 1.5
"""An axis is halved where its pixels are at most so many times the smallest ones of a level."""
KEPT_BYTES = 64 << 20
"""Compressed chunks that an image keeps."""
KEPT_S = 60.0
"""For how long: pixels may be made anew meanwhile."""


class Level(NamedTuple):
    """One resolution."""

    factor: Place
    """Pixels of the finest level that one of its pixels covers."""
    shape: Place
    """Pixels."""
    chunk: Place
    """Pixels of a chunk."""


def levels_of(shape: Place, size_um: Sequence[float], chunk: Place = CHUNK) -> list[Level]:
    """The resolutions of an image, the finest first.

    Examples
    --------
    >>> [level.shape for level in levels_of((10, 1000, 600), (4.0, 1.0, 1.0))]
    [(10, 1000, 600), (10, 500, 300), (10, 250, 150)]
    """
    factor, found = np.ones(3, int), []
    while True:
        at = -(-np.array(shape) // factor)
        parts = np.maximum(1, np.minimum(at, [max(1, chunk[0] // factor[0]), *chunk[1:]]))
        found.append(Level(_place(factor), _place(at), _place(parts)))
        sizes = np.asarray(size_um) * factor
        long = at > 1
        if (at <= COARSEST).all():
            return found
        halved = long & (sizes <= EVEN * sizes[long].min())
        halved |= at > 2**14  # an axis far longer than what is seen of it at once
        factor = np.where(halved, factor * 2, factor)


def _place(values: np.ndarray) -> Place:
    z, y, x = map(int, values)
    return z, y, x


class VirtualImage:
    """Serves pixels as an OME-Zarr image; see the top of the module.

    Parameters
    ----------
    pixels
        What is shown.
    size_um
        Size of a pixel along z, y and x, micrometres.
    name
        Of the image.
    chunk
        Pixels of a chunk of the finest level.

    Examples
    --------
    >>> from latticework.viz.neuroglancer.canvas import ArrayPixels
    >>> pixels = ArrayPixels(np.ones((1, 300, 300), "u1"), np.dtype("u1"))
    >>> image = VirtualImage(pixels, (1.0, 0.5, 0.5))
    >>> json.loads(image.find(("1", "zarr.json")).body)["shape"]
    [1, 150, 150]
    >>> image.find(("1", "c", "0", "0", "0")).size < 150 * 150
    True
    >>> image.find(("1", "c", "0", "9", "0"))
    """

    def __init__(
        self, pixels: Pixels, size_um: Sequence[float], *, name: str = "", chunk: Place = CHUNK
    ) -> None:
        self.pixels = pixels
        self.size_um = tuple(map(float, size_um))
        self.name = name
        self.levels = levels_of(pixels.shape, self.size_um, chunk)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, Place], tuple[Answer, float]] = OrderedDict()
        self._kept_bytes = 0

    def find(self, parts: tuple[str, ...]) -> Answer | None:
        """Metadata or a chunk."""
        if parts == ("zarr.json",):
            return _json(self.group())
        if len(parts) < 2 or (number := _number(parts[0], len(self.levels))) is None:
            return None
        if parts[1:] == ("zarr.json",):
            return _json(self.array(number))
        level = self.levels[number]
        if len(parts) != 5 or parts[1] != "c":
            return None
        grid = [-(-n // c) for n, c in zip(level.shape, level.chunk, strict=True)]
        place = [_number(part, n) for part, n in zip(parts[2:], grid, strict=True)]
        if None in place:
            return None
        return self._chunk(number, _place(np.array(place)))

    def group(self) -> dict[str, Any]:
        """The image's ``zarr.json``."""
        scales = [np.multiply(self.size_um, level.factor).tolist() for level in self.levels]
        attributes = image_attributes(self.name, AXES, scales, (0.0, 0.0, 0.0))
        ome = {"version": "0.5", **attributes}
        return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}

    def array(self, number: int) -> dict[str, Any]:
        """A level's ``zarr.json``."""
        level, dtype = self.levels[number], self.pixels.dtype
        grid = {"name": "regular", "configuration": {"chunk_shape": list(level.chunk)}}
        blosc = {"cname": "lz4", "clevel": 1, "shuffle": "shuffle", "blocksize": 0}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(level.shape),
            "data_type": dtype.name,
            "chunk_grid": grid,
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "blosc", "configuration": {**blosc, "typesize": dtype.itemsize}},
            ],
            "dimension_names": list(AXES),
            "attributes": {},
        }

    def _chunk(self, number: int, place: Place) -> Answer:
        key = (number, place)
        with self._lock:
            answer, made = self._kept.get(key, (None, 0.0))
            if answer is not None and time.monotonic() - made < KEPT_S:
                self._kept.move_to_end(key)
                return answer
        level = self.levels[number]
        start = [i * c for i, c in zip(place, level.chunk, strict=True)]
        stop = [min(a + c, n) for a, c, n in zip(start, level.chunk, level.shape, strict=True)]
        block, complete = self.pixels.read(
            _place(np.array(start)), _place(np.array(stop)), level.factor
        )
        answer = Answer.of(_encoded(block, level.chunk))
        if complete:  # what is not there yet may come at any moment
            self._keep(key, answer)
        return answer

    def _keep(self, key: tuple[int, Place], answer: Answer) -> None:
        with self._lock:
            if key in self._kept:
                self._kept_bytes -= self._kept.pop(key)[0].size
            self._kept[key] = answer, time.monotonic()
            self._kept_bytes += answer.size
            while self._kept_bytes > KEPT_BYTES:
                self._kept_bytes -= self._kept.popitem(last=False)[1][0].size


def _encoded(block: np.ndarray, chunk: Place) -> bytes:
    """A whole chunk, compressed."""
    import numcodecs

    whole = np.zeros(chunk, block.dtype)
    whole[tuple(slice(0, n) for n in block.shape)] = block
    codec = numcodecs.Blosc(cname="lz4", clevel=1, shuffle=numcodecs.Blosc.SHUFFLE)
    return bytes(codec.encode(whole.astype(whole.dtype.newbyteorder("<"), copy=False)))


def _number(text: str, below: int) -> int | None:
    """A number of a path, if it is one that there is."""
    if not text.isascii() or not text.isdigit() or len(text) > 12 or str(int(text)) != text:
        return None
    return int(text) if int(text) < below else None


def _json(value: Any) -> Answer:
    return Answer.of(json.dumps(value).encode(), TYPES["json"])


__all__ = ["VirtualImage", "levels_of"]
