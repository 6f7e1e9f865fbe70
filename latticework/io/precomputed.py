"""Neuroglancer's precomputed volumes: an ``info`` file and chunks of several resolutions.

Any web server can serve such a folder, and tools around Neuroglancer (CloudVolume, igneous) read
it. Axes are x y z c there, sizes nanometres.
"""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.handles import shared_context

CHUNK = (64, 64, 64)
"""Pixels of a chunk along z, y and x."""
BLOCK = (64, 512, 512)
"""Pixels that are read and written at once."""
COARSEST = 512
"""The coarsest resolution is no larger than this along any axis."""
EVEN = 1.5
"""An axis is halved where its pixels are at most so many times the smallest ones."""
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32")
"""Types of pixels of the format."""
LABELS = ("uint8", "uint16", "uint32", "uint64")
"""Types of numbers of objects."""

Read = Callable[[tuple[int, int, int], tuple[int, int, int]], np.ndarray]


@dataclass(frozen=True, slots=True)
class Precomputed:
    """A precomputed volume on disk."""

    path: Path
    """Folder with the ``info`` file."""
    shapes: tuple[tuple[int, int, int], ...]
    """Pixels of each resolution along z, y and x, the finest first."""
    sizes_nm: tuple[tuple[float, float, float], ...]
    """Sizes of their pixels, nanometres."""
    dtype: np.dtype
    """Type of the pixels."""

    def read(self, level: int = 0) -> np.ndarray:
        """All pixels of a resolution, dims z y x."""
        store = _opened({"driver": DRIVER, "kvstore": _kvstore(self.path), "scale_index": level})
        return np.asarray(store[..., 0].read().result()).transpose(2, 1, 0)


DRIVER = "neuroglancer_precomputed"


def write_precomputed(
    path: Path | str,
    read: Read,
    *,
    shape: Sequence[int],
    dtype: Any,
    pixel_size_um: Sequence[float],
    origin_um: Sequence[float] = (0.0, 0.0, 0.0),
    labels: bool = False,
    overwrite: bool = False,
) -> Precomputed:
    """Write a volume with all its resolutions, block by block.

    Parameters
    ----------
    path
        Folder to make.
    read
        Gives pixels from a first to (not with) a last place along z, y and x.
    shape, dtype
        Of the volume, z y x.
    pixel_size_um, origin_um
        Size of a pixel, and where the first one lies, along z, y and x; the latter is rounded to
        whole pixels.
    labels
        Whether pixels are numbers of objects: a segmentation, whose coarser resolutions are some
        of the pixels and not their means.
    overwrite
        Whether what is there is replaced.

    Returns
    -------
    Precomputed
        Where it is, and its resolutions.

    Raises
    ------
    StoreError
        If there is something else, or pixels are of a type that the format does not have.

    Examples
    --------
    >>> import tempfile
    >>> volume = np.arange(2 * 700 * 600, dtype="u2").reshape(2, 700, 600)
    >>> done = write_precomputed(
    ...     Path(tempfile.mkdtemp()) / "volume",
    ...     lambda a, b: volume[tuple(map(slice, a, b))],
    ...     shape=volume.shape, dtype="u2", pixel_size_um=(2.0, 0.5, 0.5),
    ... )
    >>> done.shapes, done.sizes_nm[1]
    (((2, 700, 600), (2, 350, 300)), (2000.0, 1000.0, 1000.0))
    >>> bool((done.read() == volume).all())
    True
    """
    path, kind = Path(path), np.dtype(dtype)
    if kind.name not in (LABELS if labels else DTYPES):
        raise StoreError(
            f"{path}: pixels of type {kind} cannot be {'labels' if labels else 'an image'} of this "
            f"format: convert them to one of {', '.join(LABELS if labels else DTYPES)}"
        )
    _make_room(path, overwrite=overwrite)
    factors = _factors(shape, pixel_size_um)
    shapes = [_ceil(shape, factor) for factor in factors]
    sizes = [
        tuple(s * f * 1000.0 for s, f in zip(pixel_size_um, factor, strict=True))
        for factor in factors
    ]
    offset = [round(o / s) for o, s in zip(origin_um, pixel_size_um, strict=True)]
    stores = [
        _created(path, kind, labels, at, size, _ceil_floor(offset, factor))
        for at, size, factor in zip(shapes, sizes, factors, strict=True)
    ]
    _fill(stores[0], shapes[0], read)
    for level in range(1, len(stores)):
        step = tuple(b // a for a, b in zip(factors[level - 1], factors[level], strict=True))
        _fill(
            stores[level],
            shapes[level],
            _halved(stores[level - 1], shapes[level - 1], step, labels=labels),
        )
    return Precomputed(path, tuple(shapes), tuple((z, y, x) for z, y, x in sizes), kind)


def _make_room(path: Path, *, overwrite: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        ours = "scales" in json.loads((path / "info").read_text("utf-8"))
    except (OSError, ValueError):
        ours = False
    if not overwrite or not ours:
        raise StoreError(
            f"{path} exists"
            + ("" if ours else ", and is no precomputed volume")
            + ": choose another "
            "folder" + (", or allow it to be replaced (overwrite=True)" if ours else "")
        )
    shutil.rmtree(path)


def _factors(shape: Sequence[int], size: Sequence[float]) -> list[tuple[int, int, int]]:
    factor, found = np.ones(3, int), []
    while True:
        z, y, x = map(int, factor)
        found.append((z, y, x))
        at = -(-np.array(shape) // factor)
        if (at <= COARSEST).all():
            return found
        sizes, long = np.asarray(size) * factor, at > 1
        factor = np.where(long & (sizes <= EVEN * sizes[long].min()), factor * 2, factor)


def _ceil(shape: Sequence[int], factor: Sequence[int]) -> tuple[int, int, int]:
    z, y, x = (math.ceil(n / f) for n, f in zip(shape, factor, strict=True))
    return z, y, x


def _ceil_floor(offset: Sequence[int], factor: Sequence[int]) -> list[int]:
    return [o // f for o, f in zip(offset, factor, strict=True)]


def _kvstore(path: Path) -> dict[str, str]:
    return {"driver": "file", "path": f"{path.resolve()}/"}


def _opened(spec: dict[str, Any]) -> Any:
    import tensorstore

    return tensorstore.open(spec, context=shared_context(None, 0)).result()


def _created(
    path: Path,
    dtype: np.dtype,
    labels: bool,  # noqa: FBT001  one of the facts in a row
    shape: Sequence[int],
    size_nm: Sequence[float],
    offset: Sequence[int],
) -> Any:
    return _opened(
        {
            "driver": DRIVER,
            "kvstore": _kvstore(path),
            "create": True,
            "open": True,
            "multiscale_metadata": {
                "type": "segmentation" if labels else "image",
                "data_type": dtype.name,
                "num_channels": 1,
            },
            "scale_metadata": {
                "size": list(shape[::-1]),
                "resolution": list(size_nm[::-1]),
                "voxel_offset": list(offset[::-1]),
                "encoding": "raw",
                "chunk_size": list(CHUNK[::-1]),
            },
        }
    )


def _fill(store: Any, shape: Sequence[int], read: Read) -> None:
    """Write all pixels of a resolution."""
    at_origin = store[..., 0].translate_to[0, 0, 0]
    for start in product(*(range(0, n, b) for n, b in zip(shape, BLOCK, strict=True))):
        stop = tuple(min(a + b, n) for a, b, n in zip(start, BLOCK, shape, strict=True))
        z, y, x = (slice(a, b) for a, b in zip(start, stop, strict=True))
        block = np.asarray(read((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])))
        at_origin[x, y, z].write(block.transpose(2, 1, 0)).result()


def _halved(store: Any, shape: Sequence[int], step: Sequence[int], *, labels: bool) -> Read:
    """Pixels of the next resolution, from those of one."""
    finer = store[..., 0].translate_to[0, 0, 0]

    def read(start: tuple[int, int, int], stop: tuple[int, int, int]) -> np.ndarray:
        spans = [
            slice(a * s, min(b * s, n)) for a, b, s, n in zip(start, stop, step, shape, strict=True)
        ]
        block = np.asarray(finer[spans[2], spans[1], spans[0]].read().result()).transpose(2, 1, 0)
        if labels:
            return block[tuple(slice(None, None, s) for s in step)]
        means = block.astype(np.float64)
        for axis, s in enumerate(step):
            firsts = np.arange(0, means.shape[axis], s)
            counts = np.diff([*firsts.tolist(), means.shape[axis]])
            shaped = counts.reshape([-1 if k == axis else 1 for k in range(3)])
            means = np.add.reduceat(means, firsts, axis=axis) / shaped
        if block.dtype.kind in "iu":
            means = np.floor(means + 0.5)
        return np.asarray(means.astype(block.dtype))

    return read


__all__ = ["Precomputed", "write_precomputed"]
