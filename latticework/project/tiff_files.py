"""TIFF files that say where they are: OME-TIFF with pixel sizes and the position of every plane."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latticework.errors import ProjectError
from latticework.io.ome_tiff import LARGE, ome_metadata
from latticework.lattice.geometry import Box

ORDER = ("c", "z", "y", "x")
STORED = {"bool": "u1", "float16": "f4", "int64": "i4", "uint64": "u4"}
"""Types that OME-TIFF has not, and what is written instead."""
Pixels = npt.NDArray[Any]


def stored_dtype(dtype: npt.DTypeLike) -> np.dtype:
    """What a TIFF holds of an array of this type.

    Examples
    --------
    >>> stored_dtype("uint16"), stored_dtype(bool)
    (dtype('uint16'), dtype('uint8'))
    """
    dtype = np.dtype(dtype)
    return np.dtype(STORED.get(dtype.name, dtype.newbyteorder("=")))


def stored(pixels: Pixels, what: str) -> Pixels:
    """Pixels as a TIFF holds them.

    Raises
    ------
    ProjectError
        If integers are too large for it.
    """
    dtype = stored_dtype(pixels.dtype)
    if pixels.dtype.name in ("int64", "uint64") and pixels.size:
        low, high, limits = int(pixels.min()), int(pixels.max()), np.iinfo(dtype)
        if low < limits.min or high > limits.max:
            raise ProjectError(
                f"{what} has values from {low} to {high}, but TIFF holds {dtype} at most: convert "
                "them in a stage first, or read the Zarr array itself"
            )
    return np.ascontiguousarray(pixels, dtype=dtype)


def write_image(
    file: Path,
    pixels: Pixels,
    dims: Sequence[str],
    *,
    name: str,
    pixel_size_um: Mapping[str, float],
    position_um: Mapping[str, float],
    channels: Sequence[str] | None = None,
) -> None:
    """One array as OME-TIFF; as plain TIFF where its dims are not of c, z, y, x."""
    import tifffile

    options: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib"}
    if is_image(dims):
        order = [dim for dim in ORDER if dim in dims]
        pixels = pixels.transpose([list(dims).index(dim) for dim in order])
        metadata = ome_metadata(
            dict(zip(order, pixels.shape, strict=True)), name=name, pixel_size_um=pixel_size_um,
            position_um=position_um, channels=channels,
        )  # fmt: skip
        options |= {"ome": True, "metadata": metadata}
    part = beside(file)
    try:
        tifffile.imwrite(part, stored(pixels, name), **options)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def write_volume(
    file: Path,
    blocks: Iterable[tuple[Box, Callable[[], Pixels]]],
    *,
    dims: Sequence[str],
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    name: str,
    pixel_size_um: Mapping[str, float],
    position_um: Mapping[str, float],
    channels: Sequence[str] | None = None,
) -> None:
    """A volume as one TIFF, a BigTIFF where large, with one block in memory at a time.

    ::

        file   | header | plane 0 | plane 1 | ...     each block is put where it belongs;
                           #####     #####             what no block covers stays 0
    """
    import tifffile

    order = [dim for dim in ORDER if dim in dims]
    axes = [list(dims).index(dim) for dim in order]
    sizes = tuple(int(shape[axis]) for axis in axes)
    kept = stored_dtype(dtype)
    metadata = ome_metadata(
        dict(zip(order, sizes, strict=True)), name=name, pixel_size_um=pixel_size_um,
        position_um=position_um, channels=channels,
    )  # fmt: skip
    large = int(np.prod(sizes, dtype=np.int64)) * kept.itemsize > LARGE
    part = beside(file)
    try:
        where = tifffile.imwrite(
            part, shape=sizes, dtype=kept, ome=True, bigtiff=large, photometric="minisblack",
            metadata=metadata, returnoffset=True,
        )  # fmt: skip
        if where is None:
            raise ProjectError(f"{file} cannot be written block by block: export a folder instead")
        _claim_space(part)
        for box, read in blocks:
            pixels = stored(read().transpose(axes), name)
            whole = np.memmap(part, kept, "r+", offset=where[0], shape=sizes)
            whole[tuple(box.slices[axis] for axis in axes)] = pixels
            del whole  # unmapped: only one block's pages count as ours
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _claim_space(file: Path) -> None:
    """Give a sparse file its bytes on disk: a full disk is an error here, but kills in a map."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def is_image(dims: Sequence[str]) -> bool:
    """Whether OME has a name for each dim, and y and x are among them."""
    return {"y", "x"} <= set(dims) <= set(ORDER)


def beside(file: Path) -> Path:
    """Where a file is written before it gets its name, so that no half of one is ever left."""
    return file.with_name(f".{os.getpid()}.part{file.suffix}")
