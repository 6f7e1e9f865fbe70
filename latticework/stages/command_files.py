"""Files between latticework and programs: inputs written for them, and what they made, checked."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latticework.lattice.offsets import SPATIAL
from latticework.lattice.tile import Tile
from latticework.stages.command import File
from latticework.stages.failures import OutputCheckError

ARRAYS = (".tif", ".tiff", ".npy", ".zarr", ".h5", ".hdf5")
OME_AXES = ("c", "z", "y", "x")
PLAIN_TIFF = ("u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8")
"""Types that OME-TIFF has."""


# -------------------------------------------------------------------- what they read


def write_array(
    path: Path, pixels: np.ndarray, dims: Sequence[str], tile: Tile | None, channels: Any = None
) -> None:
    """An array for a program, in the format of its ending: OME-TIFF, .npy or .zarr."""
    if path.suffix == ".npy":
        np.save(path, pixels, allow_pickle=False)
    elif path.suffix == ".zarr":
        import zarr

        made = zarr.create_array(path, data=np.ascontiguousarray(pixels), dimension_names=dims)
        if tile is not None:
            made.attrs["pixel_size_um"] = dict(tile.pixel_size_um)
    else:
        _write_tiff(path, pixels, dims, tile, channels)


def _write_tiff(
    path: Path, pixels: np.ndarray, dims: Sequence[str], tile: Tile | None, channels: Any
) -> None:
    import tifffile

    if pixels.dtype == bool:
        pixels = pixels.astype("u1")
    order = [dim for dim in OME_AXES if dim in dims]
    ome = len(order) == len(dims) == pixels.ndim and pixels.dtype.str[1:] in PLAIN_TIFF
    options: dict[str, Any] = {"photometric": "minisblack", "bigtiff": pixels.nbytes > 2**31}
    if not ome:
        tifffile.imwrite(path, np.ascontiguousarray(pixels), **options)
        return
    pixels = pixels.transpose([list(dims).index(dim) for dim in order])
    metadata: dict[str, Any] = {"axes": "".join(order).upper()}
    if tile is not None:
        metadata["Name"] = tile.name
        for axis in SPATIAL:
            if axis in tile.pixel_size_um and axis in order:
                metadata[f"PhysicalSize{axis.upper()}"] = float(tile.pixel_size_um[axis])
                metadata[f"PhysicalSize{axis.upper()}Unit"] = "µm"
    if channels is not None and "c" in order and len(channels) == pixels.shape[order.index("c")]:
        metadata["Channel"] = {"Name": [str(channel) for channel in channels]}
    tifffile.imwrite(path, np.ascontiguousarray(pixels), ome=True, metadata=metadata, **options)


# -------------------------------------------------------------------- what they made


def check_file(path: Path, declared: File, name: str, tile_shape: tuple[int, ...]) -> None:
    """See that a declared file is there and as declared.

    Raises
    ------
    OutputCheckError
        With what is and what was declared.
    """
    shown = f"the declared file {name!r} ({path.name})"
    if not path.exists():
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        there = sorted(found.name for found in beside)
        listed = ", ".join(there[:10]) + (", ..." if len(there) > 10 else "")
        raise OutputCheckError(
            f"{shown} is not there; its folder has {listed or 'nothing in it'}: let the command "
            "write {file." + name + "}"
        )
    if path.is_symlink():
        raise OutputCheckError(
            f"{shown} is a link to {path.readlink()}: write or copy the file itself, so that "
            "the project has it"
        )
    if not (path.is_file() or path.is_dir()):  # reading a pipe would never end
        raise OutputCheckError(f"{shown} is a pipe or a device, not a file or a folder")
    size = size_of(path)
    if size < declared.min_bytes:
        raise OutputCheckError(
            f"{shown} has {size:,} bytes, but min_bytes={declared.min_bytes:,} was declared"
        )
    if declared.shape is None and declared.dtype is None:
        return
    shape, dtype = array_facts(path, declared, name)
    expected = tile_shape if declared.shape == "tile" else declared.shape
    if expected is not None and not _fits(shape, expected):  # type: ignore[arg-type]
        wanted = tuple("any" if n is None else n for n in expected)
        raise OutputCheckError(
            f"{shown} holds an array of shape {shape}, but {wanted} was declared"
        )
    if declared.dtype is not None and np.dtype(declared.dtype) != dtype.newbyteorder("<"):
        raise OutputCheckError(
            f"{shown} holds {dtype}, but {np.dtype(declared.dtype)} was declared"
        )


def _fits(shape: tuple[int, ...], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(
        want is None or want == found for found, want in zip(shape, expected, strict=True)
    )


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_dir():
        return sum(found.stat().st_size for found in path.rglob("*") if found.is_file())
    return path.stat().st_size


def array_facts(path: Path, declared: File, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array in a file, without reading its pixels."""
    found = _open(path, declared, name, pixels=False)
    return tuple(found.shape), np.dtype(found.dtype)


def read_result(path: Path, declared: File, name: str) -> Any:
    """What is in a file, as a stage's callable would return it.

    Raises
    ------
    OutputCheckError
        If it cannot be read.
    """
    ending = path.suffix.lower()
    if ending in ARRAYS:
        return np.asarray(_open(path, declared, name, pixels=True))
    try:
        if ending == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        import pandas as pd

        return pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise OutputCheckError(
            f"the declared file {name!r} ({path.name}) cannot be read: {error}"
        ) from error


def _open(path: Path, declared: File, name: str, *, pixels: bool) -> Any:
    ending = path.suffix.lower()
    try:
        if ending in (".tif", ".tiff"):
            return _tiff(path, pixels=pixels)
        if ending == ".npy":
            return np.load(path, mmap_mode=None if pixels else "r", allow_pickle=False)
        if ending == ".zarr":
            return _member(_zarr(path), declared, pixels=pixels)
        if ending in (".h5", ".hdf5"):
            return _hdf5(path, declared, pixels=pixels)
    except OutputCheckError:
        raise
    except Exception as error:  # a broken file makes readers raise anything
        raise OutputCheckError(
            f"the declared file {name!r} ({path.name}) cannot be read as an array: "
            f"{type(error).__name__}: {error}"
        ) from error
    raise OutputCheckError(
        f"the declared file {name!r} ({path.name}) cannot be checked as an array: shapes and types "
        f"are known of {', '.join(ARRAYS)}"
    )


class _Facts:
    """Shape and type of an array that was not read."""

    def __init__(self, array: Any) -> None:
        self.shape, self.dtype = array.shape, array.dtype


def _tiff(path: Path, *, pixels: bool) -> Any:
    import tifffile

    with tifffile.TiffFile(path) as opened:
        series = opened.series[0]
        if pixels:
            return series.asarray()
        end = path.stat().st_size
        last = opened.pages[-1]
        stops = [a + n for a, n in zip(last.dataoffsets, last.databytecounts, strict=True)]
        if max(stops, default=0) > end:
            raise ValueError(f"it ends at byte {end:,}, before its last page does")
        return _Facts(series)


def _zarr(path: Path) -> Any:
    import zarr

    return zarr.open(path, mode="r")


def _hdf5(path: Path, declared: File, *, pixels: bool) -> Any:
    try:
        import h5py  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise OutputCheckError(
            f"{path.name} is HDF5, and what is in it can be checked and read only where h5py is "
            "installed: install it on the workers (pip install h5py), or declare the file alone"
        ) from error
    with h5py.File(path, "r") as opened:
        return _member(opened, declared, pixels=pixels)


def _member(opened: Any, declared: File, *, pixels: bool) -> Any:
    """The array of an opened file or group, read or not."""
    found = opened
    if declared.dataset is not None:
        found = opened[declared.dataset]
    elif not hasattr(opened, "dtype"):
        names = list(_arrays(opened))
        if len(names) != 1:
            raise ValueError(
                f"it has {len(names)} arrays ({', '.join(names[:10])}): say which with dataset=..."
            )
        found = opened[names[0]]
    return np.asarray(found[...]) if pixels else _Facts(found)


def _arrays(group: Mapping[str, Any], prefix: str = "") -> Any:
    for name in group:
        member = group[name]
        if hasattr(member, "dtype"):
            yield f"{prefix}{name}"
        elif hasattr(member, "__getitem__"):
            yield from _arrays(member, f"{prefix}{name}/")
