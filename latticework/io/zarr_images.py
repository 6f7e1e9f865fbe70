"""Zarr and OME-Zarr images as tiles, and one of them as blocks; read through tensorstore.

OME-Zarr 0.4 and 0.5 (`multiscales`) give dims, pixel size and position (scale and translation of
the first, full-size level, in the axes' units); plain arrays give dims where Zarr v3 or xarray
named them. Time axes must have one time point.
"""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.filenames import match_names, natural_key, unmatched_error
from latticework.io.ome import MICROMETRES
from latticework.io.placing import Placing, Tiles
from latticework.io.scan import TIFF_SUFFIXES
from latticework.io.sources import hash_strings, mix
from latticework.io.zarr_source import ZarrBlockSource, ZarrSource, stamps_of
from latticework.lattice import Lattice

_METADATA = ("zarr.json", ".zarray", ".zgroup")
_CANONICAL = ("c", "z", "y", "x")


@dataclass(frozen=True, slots=True)
class ZarrImage:
    """What one image says of itself."""

    array: str
    """Full-size array, below the image's folder; empty for a plain array."""
    shape: tuple[int, ...]
    """As stored."""
    dtype: np.dtype
    dims: tuple[str, ...]
    """As stored; may have ``t`` and any order."""
    pixel_size_um: dict[str, float]
    position_um: dict[str, float]
    """Translation of the full-size level, where given."""
    channels: tuple[str, ...] | None

    def canonical(self, path: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Tile dims and shape."""
        sizes = dict(zip(self.dims, self.shape, strict=True))
        extra = {dim: n for dim, n in sizes.items() if dim not in _CANONICAL}
        if any(n != 1 for n in extra.values()) or not {"y", "x"} <= set(sizes):
            raise SourceError(
                f"{path} has the dims {sizes}; expected some of c, z, y, x (others of size 1): "
                "name them with dims=, or "
                "write one image per time point",
                path,
            )
        dims = tuple(dim for dim in _CANONICAL if dim in sizes)
        return dims, tuple(sizes[dim] for dim in dims)


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr array or an OME-Zarr image (not a group of several)."""
    return _is_node(path) and (_is_array(path) or _multiscales(path) is not None)


def _is_node(path: Path) -> bool:
    return any((path / name).is_file() for name in _METADATA)


def _is_array(path: Path) -> bool:
    return (path / ".zarray").is_file() or _json(path / "zarr.json").get("node_type") == "array"


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except NotADirectoryError as error:
        raise _no_folder(path.parent) from error
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{path} cannot be read ({error}); expected Zarr metadata: write the image again", path
        ) from error
    return value if isinstance(value, dict) else {}


def _no_folder(path: Path) -> SourceError:
    """That an image is a file, and what reads it."""
    kind, how = "a file", "check the path"
    if path.name.lower().endswith(TIFF_SUFFIXES):
        kind = "a TIFF file"
        how = "open it with latticework.open_tiles, or read it with tifffile.imread"
    return SourceError(f"{path} is {kind}, not the folder of an OME-Zarr image: {how}", path)


def _attributes(path: Path) -> dict[str, Any]:
    found = _json(path / "zarr.json").get("attributes") or _json(path / ".zattrs")
    return dict(found.get("ome", found)) if isinstance(found, dict) else {}


def _multiscales(path: Path) -> dict[str, Any] | None:
    scales = _attributes(path).get("multiscales")
    return scales[0] if isinstance(scales, list) and scales else None


def image_folders(root: Path) -> list[str]:
    """Zarr images below a folder or group, in natural order, not looking into images."""
    found: list[str] = []

    def look(folder: Path, prefix: str, depth: int) -> None:
        for entry in os.scandir(folder):
            if not entry.is_dir() or entry.name.startswith(".") or entry.name in ("OME", "labels"):
                continue
            if is_zarr(folder / entry.name):
                found.append(prefix + entry.name)
            elif depth < 4:
                look(folder / entry.name, f"{prefix}{entry.name}/", depth + 1)

    look(root, "", 0)
    return sorted(found, key=natural_key)


def level_count(path: Path) -> int:
    """How many resolutions an image has."""
    scales = None if _is_array(path) else _multiscales(path)
    return len(scales["datasets"]) if scales is not None else 1


def channel_colours(path: Path) -> list[str]:
    """In which colours an image's channels are to be shown, such as ``"FF0000"``, where it says."""
    channels = _attributes(path).get("omero", {}).get("channels", [])
    return [str(channel.get("color", "FFFFFF")) for channel in channels]


def image_facts(path: Path, dims: Sequence[str] | None = None, level: int = 0) -> ZarrImage:
    """What an image says of itself, of one of its resolutions.

    Raises
    ------
    SourceError
        If it is not a Zarr image, or its metadata contradict each other.
    """
    scales = None if _is_array(path) else _multiscales(path)
    if scales is None and not _is_array(path):
        raise SourceError(f"{path} is not a Zarr array or OME-Zarr image: check the path", path)
    array = str(scales["datasets"][level]["path"]) if scales is not None else ""
    shape, dtype, named = _array_facts(path / array)
    size: dict[str, float] = {}
    position: dict[str, float] = {}
    if scales is not None:
        axes = scales.get("axes") or list("tczyx")[5 - len(shape) :]
        named = tuple(
            str(axis["name"] if isinstance(axis, dict) else axis).lower() for axis in axes
        )
        if len(named) == len(shape):
            size, position = _transforms(scales, axes, named, level)
    stored = (
        tuple(dims) if dims is not None else named or ("t", "c", "z", "y", "x")[5 - len(shape) :]
    )
    if len(stored) != len(shape):
        raise SourceError(
            f"{path} has the shape {shape} but the dims {stored}: give dims= with one name for "
            "each",
            path,
        )
    labels = [
        str(channel.get("label", ""))
        for channel in _attributes(path).get("omero", {}).get("channels", [])
    ]
    count = dict(zip(stored, shape, strict=True)).get("c", 0)
    good = len(labels) == count and count > 0 and all(labels)
    return ZarrImage(array, shape, dtype, stored, size, position, tuple(labels) if good else None)


def _array_facts(path: Path) -> tuple[tuple[int, ...], np.dtype, tuple[str, ...] | None]:
    try:
        if old := _json(path / ".zarray"):
            names = _json(path / ".zattrs").get("_ARRAY_DIMENSIONS")
            return (
                tuple(old["shape"]),
                np.dtype(old["dtype"]).newbyteorder("="),
                tuple(map(str, names)) if names else None,
            )
        new = _json(path / "zarr.json")
        names = new.get("dimension_names") or [None]
        good = all(isinstance(name, str) for name in names)
        return tuple(new["shape"]), np.dtype(new["data_type"]), tuple(names) if good else None
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{path} has no usable Zarr metadata ({error!r}); expected zarr.json or .zarray of "
            "numbers",
            path,
        ) from error


def _transforms(
    scales: Mapping[str, Any], axes: Sequence[Any], names: Sequence[str], level: int = 0
) -> tuple[dict[str, float], dict[str, float]]:
    size, position = np.ones(len(names)), np.zeros(len(names))
    moved = False
    steps = [
        *scales["datasets"][level].get("coordinateTransformations", []),
        *scales.get("coordinateTransformations", []),
    ]
    for step in steps:
        if step.get("type") == "scale" and "scale" in step:
            size, position = size * step["scale"], position * step["scale"]
        elif step.get("type") == "translation" and "translation" in step:
            position, moved = position + step["translation"], True
    units = [
        MICROMETRES.get(str(axis.get("unit", "um")) if isinstance(axis, dict) else "um", 1.0)
        for axis in axes
    ]
    sizes = (
        {n: float(s * u) for n, s, u in zip(names, size, units, strict=True) if n in "zyx"}
        if steps
        else {}
    )
    return sizes, {
        n: float(p * u) for n, p, u in zip(names, position, units, strict=True) if n in "zyx"
    } if moved else {}


def zarr_tiles(
    root: Path,
    files: str | None,
    dims: Sequence[str] | None,
    pattern: Any,
    placing: Placing,
    *,
    table: bool,
    names: list[str] | None = None,
) -> Tiles:
    """Tiles of a folder of Zarr images (of those with the `names`, if given); one image is one."""
    import fnmatch

    import pandas as pd

    if names is None:
        names = [""] if is_zarr(root) else image_folders(root)
    if files is not None and names != [""]:
        names = [
            name
            for name in names
            if fnmatch.fnmatch(name, files) or fnmatch.fnmatch(name.rpartition("/")[2], files)
        ]
    if not names:
        raise SourceError(f"{root} holds no Zarr images that fit files={files!r}: correct it", root)
    images, problems = _look(root, names, dims)
    if problems and not placing.mark:
        raise SourceError(problems[min(problems)], root / names[min(problems)])
    if problems and pattern is None and placing.grid is None and not table:
        if not placing.partial:
            first_bad = problems[min(problems)]
            warnings.warn(
                f"left out {len(problems)} images that cannot be placed, first: {first_bad}",
                UserWarning,
                stacklevel=3,
            )
        names = [name for name, image in zip(names, images, strict=True) if image is not None]
        images, problems = [image for image in images if image is not None], {}
    first = next(image for image in images if image is not None)
    tile_dims, shape = first.canonical(root / names[0])
    fields: dict[str, list[Any]] = {}
    if pattern is not None:
        fields, bad = match_names(names, pattern)
        if bad:
            raise unmatched_error(names, bad, pattern, root)
    rows = pd.DataFrame(fields, index=range(len(names)))
    positions = [image.position_um if image is not None else {} for image in images]
    measured = pattern is None and placing.grid is None and not table and all(positions)
    if measured and (len(names) > 1 or placing.partial):
        for axis in "zyx":
            if axis in first.dims:
                rows[f"{axis}_um"] = [position[axis] for position in positions]
    paths = [f"{name}/{first.array}".strip("/") for name in names]
    stamps = mix(*stamps_of(root / path for path in paths).T)
    source = ZarrSource(root, paths, first.dims, tile_dims, stamps)
    titles = names if names != [""] else [root.name]
    return Tiles(
        rows,
        titles,
        tile_dims,
        shape,
        first.dtype,
        first.pixel_size_um,
        first.channels,
        source,
        str(root),
        problems,
    )


def _look(
    root: Path, names: Sequence[str], dims: Sequence[str] | None
) -> tuple[list[ZarrImage | None], dict[int, str]]:
    images: list[ZarrImage | None] = []
    problems: dict[int, str] = {}
    for row, name in enumerate(names):
        try:
            images.append(image_facts(root / name, dims))
        except SourceError as error:
            images.append(None)
            problems[row] = str(error)
    forms = [(i.dims, i.shape, i.dtype, i.array) for i in images if i is not None]
    if not forms:
        raise SourceError(problems[0], root / names[0])
    usual = max(set(forms), key=forms.count)
    for row, image in enumerate(images):
        if image is not None and (image.dims, image.shape, image.dtype, image.array) != usual:
            sizes = dict(zip(usual[0], usual[1], strict=True))
            problems[row] = (
                f"{root / names[row]} is {dict(zip(image.dims, image.shape, strict=True))} "
                f"{image.dtype}; expected {sizes} "
                f"{usual[2]} as {forms.count(usual)} of {len(names)} images are: exclude it with "
                "files=..."
            )
            images[row] = None
    return images, problems


def open_blocks(
    root: Path, block: Mapping[str, int], dims: Sequence[str] | None, placing: Placing
) -> Lattice:
    """One Zarr array or OME-Zarr image as a lattice of blocks."""
    if not is_zarr(root):
        raise LatticeError(
            f"block= divides one Zarr image, but {root} holds several: open one of them, or leave "
            "block out"
        )
    image = image_facts(root, dims)
    tile_dims, shape = image.canonical(root)
    path = root / image.array if image.array else root
    lattice = Lattice.from_array(
        _Facade(shape, image.dtype),
        block=block,
        dims=tile_dims,
        pixel_size_um=placing.pixel_size(image.pixel_size_um),
    )
    starts: np.ndarray = lattice.source.starts  # type: ignore[union-attr]
    singles = tuple(i for i, dim in enumerate(image.dims) if dim not in tile_dims)
    kept = [dim for dim in image.dims if dim in tile_dims]
    order = tuple(kept.index(dim) for dim in tile_dims)
    stamp = mix(*stamps_of([path]).T, hash_strings([root.name]))
    stamps = mix(*starts.T, np.broadcast_to(stamp, len(starts)))
    lattice.source = ZarrBlockSource(
        path, starts, shape, stamps, () if order == tuple(range(len(order))) else order, 0, singles
    )
    lattice.channels = image.channels if placing.channels is None else tuple(placing.channels)
    return lattice


@dataclass(frozen=True, slots=True)
class _Facade:
    """An array to divide; its pixels are read elsewhere."""

    shape: tuple[int, ...]
    dtype: np.dtype
