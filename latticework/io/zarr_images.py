"""Zarr and OME-Zarr images as tiles, and one of them as blocks; read through tensorstore.

OME-Zarr 0.4 and 0.5 (`multiscales`) give dims, pixel size and position (scale and translation of
the first, full-size level, in the axes' units); plain arrays give dims where Zarr v3 or xarray
named them. Time axes must have one time point.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.filenames import match_names, natural_key, unmatched_error
from latticework.io.ome import MICROMETRES
from latticework.io.placing import Placing, Tiles
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
from latticework.lattice import Lattice
from latticework.lattice.geometry import Box

_METADATA = ("zarr.json", ".zarray", ".zgroup")
_CANONICAL = ("c", "z", "y", "x")

_open_stores: Recent[Any] = Recent(256)


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
                f"{path} has the dims {sizes}; expected some of c, z, y, x (others of size 1): name them with dims=, or "
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
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read ({error}); expected Zarr metadata: write the image again", path) from error
    return value if isinstance(value, dict) else {}


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


def image_facts(path: Path, dims: Sequence[str] | None = None) -> ZarrImage:
    """What an image says of itself.

    Raises
    ------
    SourceError
        If it is not a Zarr image, or its metadata contradict each other.
    """
    scales = None if _is_array(path) else _multiscales(path)
    if scales is None and not _is_array(path):
        raise SourceError(f"{path} is not a Zarr array or OME-Zarr image: check the path", path)
    level = str(scales["datasets"][0]["path"]) if scales is not None else ""
    shape, dtype, named = _array_facts(path / level)
    size: dict[str, float] = {}
    position: dict[str, float] = {}
    if scales is not None:
        axes = scales.get("axes") or list("tczyx")[5 - len(shape) :]
        named = tuple(str(axis["name"] if isinstance(axis, dict) else axis).lower() for axis in axes)
        if len(named) == len(shape):
            size, position = _transforms(scales, axes, named)
    stored = tuple(dims) if dims is not None else named or ("t", "c", "z", "y", "x")[5 - len(shape) :]
    if len(stored) != len(shape):
        raise SourceError(f"{path} has the shape {shape} but the dims {stored}: give dims= with one name for each", path)
    labels = [str(channel.get("label", "")) for channel in _attributes(path).get("omero", {}).get("channels", [])]
    count = dict(zip(stored, shape, strict=True)).get("c", 0)
    good = len(labels) == count and count > 0 and all(labels)
    return ZarrImage(level, shape, dtype, stored, size, position, tuple(labels) if good else None)


def _array_facts(path: Path) -> tuple[tuple[int, ...], np.dtype, tuple[str, ...] | None]:
    try:
        if (old := _json(path / ".zarray")):
            names = _json(path / ".zattrs").get("_ARRAY_DIMENSIONS")
            return tuple(old["shape"]), np.dtype(old["dtype"]).newbyteorder("="), tuple(names) if names else None
        new = _json(path / "zarr.json")
        names = new.get("dimension_names")
        good = names and all(isinstance(name, str) for name in names)
        return tuple(new["shape"]), np.dtype(new["data_type"]), tuple(names) if good else None
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{path} has no usable Zarr metadata ({error!r}); expected zarr.json or .zarray of numbers", path) from error


def _transforms(
    scales: Mapping[str, Any], axes: Sequence[Any], names: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    size, position = np.ones(len(names)), np.zeros(len(names))
    moved = False
    steps = [*scales["datasets"][0].get("coordinateTransformations", []), *scales.get("coordinateTransformations", [])]
    for step in steps:
        if step.get("type") == "scale" and "scale" in step:
            size, position = size * step["scale"], position * step["scale"]
        elif step.get("type") == "translation" and "translation" in step:
            position, moved = position + step["translation"], True
    units = [MICROMETRES.get(str(axis.get("unit", "um")) if isinstance(axis, dict) else "um", 1.0) for axis in axes]
    sizes = {n: float(s * u) for n, s, u in zip(names, size, units, strict=True) if n in "zyx"} if steps else {}
    return sizes, {n: float(p * u) for n, p, u in zip(names, position, units, strict=True) if n in "zyx"} if moved else {}


def _open(path: Path) -> Any:
    import tensorstore as ts

    def make() -> Any:
        driver = "zarr" if (path / ".zarray").is_file() else "zarr3"
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}{os.sep}"}}
        try:
            return ts.open(spec, open=True, read=True).result()
        except ValueError as error:
            raise SourceError(
                f"{path} cannot be opened ({error}); expected the Zarr array that was there when the acquisition was "
                "opened: restore it or open the acquisition again",
                path,
            ) from error

    return _open_stores.get(str(path), make)


def _read(path: Path, dims: Sequence[str], box: Box, tile_dims: Sequence[str]) -> np.ndarray:
    ranges = dict(zip(tile_dims, box.slices, strict=True))
    store = _open(path)[tuple(ranges.get(dim, 0) for dim in dims)]
    kept = [dim for dim in dims if dim in ranges]
    try:
        data = store.transpose([kept.index(dim) for dim in tile_dims]).read().result()
    except (ValueError, IndexError) as error:
        raise SourceError(f"{path} cannot be read at {box} ({error}): write the image again", path) from error
    return np.asarray(data)


def _stamps(paths: Iterable[Path]) -> np.ndarray:
    """Sizes and times of change of arrays: of their metadata, their folder and its chunk folder."""
    rows = []
    for path in paths:
        row = []
        for part in (path / "zarr.json", path / ".zarray", path, path / "c"):
            try:
                stat = os.stat(part)
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
        return {"root": path_spec(self.root, base), "stored_dims": self.stored_dims, "dims": self.dims}

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
    singles: tuple[int, ...] = field(default=())
    """Dims of size 1 that tiles do not have."""

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of `box` in tile `tile`; reads the chunks that it touches."""
        start = self.starts[tile].tolist()
        at = tuple(start[: self.lead])
        return self._box(at, box.shift(start[self.lead :]))

    def read_volume(self, box: Box) -> np.ndarray:
        """Pixels of any box of the array, at once."""
        if self.lead:
            raise LatticeError("tiles that were separate arrays make no volume")
        return self._box((), box)

    def _box(self, lead: tuple[int, ...], box: Box) -> np.ndarray:
        store = _open(self.path)
        if self.singles:
            store = store[tuple(0 if d in self.singles else slice(None) for d in range(store.ndim))]
        if self.order:
            store = store.transpose(self.order)
        try:
            return np.asarray(store[(*lead, *box.slices)].read().result())
        except (ValueError, IndexError) as error:
            raise SourceError(f"{self.path} cannot be read at {box} ({error}): write the array again", self.path) from error

    def fingerprints(self) -> np.ndarray:
        """As given when the source was made."""
        return self.stamps

    def save(self, folder: Path, base: Path) -> dict[str, Any]:
        """Write the table; see `latticework.io.sources.SavableSource`."""
        write_table(folder / "blocks.arrow", {"start": self.starts.ravel(), "stamp": np.repeat(self.stamps, self.starts.shape[1])})
        return {
            "array": path_spec(self.path, base), "shape": self.shape, "order": self.order, "lead": self.lead,
            "singles": self.singles,
        }  # fmt: skip

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
    folder: Path, base: Path, shape: tuple[int, ...], dtype: np.dtype, block: tuple[int, ...], starts: np.ndarray,
    pieces: Iterable[tuple[tuple[int, ...], Any]], stamps: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
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
            {"driver": "zarr3", "codecs": [{"name": "blosc", "configuration": {"cname": "lz4", "shuffle": "bitshuffle", "clevel": 5}}]}
        ),
    ).result()
    lead = 0
    for start, piece in pieces:
        data = np.asarray(piece[(slice(None),) * len(piece.shape)] if not isinstance(piece, np.ndarray) else piece)
        lead = len(shape) - data.ndim
        box = tuple(slice(a, a + n) for a, n in zip((*start, *[0] * len(shape))[lead : len(shape)], data.shape, strict=True))
        store[(*start[:lead], *box)].write(data).result()
    return ZarrBlockSource(path, starts, shape, stamps, lead=lead).save(folder, base)


def zarr_tiles(root: Path, files: str | None, dims: Sequence[str] | None, pattern: Any, placing: Placing) -> Tiles:
    """Tiles of a folder of Zarr images; one image is one tile."""
    import fnmatch

    import pandas as pd

    names = [""] if is_zarr(root) else image_folders(root)
    if files is not None and names != [""]:
        names = [name for name in names if fnmatch.fnmatch(name, files) or fnmatch.fnmatch(name.rpartition("/")[2], files)]
    if not names:
        raise SourceError(f"{root} holds no Zarr images that fit files={files!r}: correct it", root)
    images, problems = _look(root, names, dims)
    if problems and not placing.mark:
        raise SourceError(problems[min(problems)], root / names[min(problems)])
    first = next(image for image in images if image is not None)
    tile_dims, shape = first.canonical(root / names[0])
    fields: dict[str, list[Any]] = {}
    if pattern is not None:
        fields, bad = match_names(names, pattern)
        if bad:
            raise unmatched_error(names, bad, pattern, root)
    table = pd.DataFrame(fields, index=range(len(names)))
    positions = [image.position_um if image is not None else {} for image in images]
    if pattern is None and placing.grid is None and all(positions) and len(names) > 1:
        for axis in "zyx":
            if axis in first.dims:
                table[f"{axis}_um"] = [position[axis] for position in positions]
    paths = [f"{name}/{first.array}".strip("/") for name in names]
    stamps = mix(*_stamps(root / path for path in paths).T)
    source = ZarrSource(root, paths, first.dims, tile_dims, stamps)
    titles = names if names != [""] else [root.name]
    return Tiles(table, titles, tile_dims, shape, first.dtype, first.pixel_size_um, first.channels, source, str(root), problems)


def _look(root: Path, names: Sequence[str], dims: Sequence[str] | None) -> tuple[list[ZarrImage | None], dict[int, str]]:
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
                f"{root / names[row]} is {dict(zip(image.dims, image.shape, strict=True))} {image.dtype}; expected {sizes} "
                f"{usual[2]} as {forms.count(usual)} of {len(names)} images are: exclude it with files=..."
            )
            images[row] = None
    return images, problems


def open_blocks(root: Path, block: Mapping[str, int], dims: Sequence[str] | None, placing: Placing) -> Lattice:
    """One Zarr array or OME-Zarr image as a lattice of blocks."""
    if not is_zarr(root):
        raise LatticeError(f"block= divides one Zarr image, but {root} holds several: open one of them, or leave block out")
    image = image_facts(root, dims)
    tile_dims, shape = image.canonical(root)
    path = root / image.array if image.array else root
    lattice = Lattice.from_array(
        _Facade(shape, image.dtype), block=block, dims=tile_dims, pixel_size_um=placing.pixel_size(image.pixel_size_um)
    )
    starts: np.ndarray = lattice.source.starts  # type: ignore[union-attr]
    singles = tuple(i for i, dim in enumerate(image.dims) if dim not in tile_dims)
    kept = [dim for dim in image.dims if dim in tile_dims]
    order = tuple(kept.index(dim) for dim in tile_dims)
    stamp = mix(*_stamps([path]).T, hash_strings([root.name]))
    stamps = mix(*starts.T, np.broadcast_to(stamp, len(starts)))
    lattice.source = ZarrBlockSource(
        path, starts, shape, stamps, () if order == tuple(range(len(order))) else order, 0, singles
    )
    lattice.channels = placing.channels and tuple(placing.channels) or image.channels
    return lattice


@dataclass(frozen=True, slots=True)
class _Facade:
    """An array to divide; its pixels are read elsewhere."""

    shape: tuple[int, ...]
    dtype: np.dtype
