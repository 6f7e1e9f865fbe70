"""Small Zarr v3 arrays and groups written by hand: one raw chunk, each file replaced whole.

Coordinates, states and lattices are small next to pixels, are written often, and must open anywhere
at any time. So their chunks are the bytes of the array, every file appears by rename, and a group
lists its members in consolidated metadata, which xarray looks for first. Neither tensorstore nor
zarr-python is needed to write them.

Examples
--------
>>> import tempfile
>>> folder = Path(tempfile.mkdtemp()) / "labels.zarr"
>>> write_group(folder, {"tile_y": write_array(folder, "tile_y", [3, 4, 5], dims=("tile_y",))})
>>> read_array(folder, "tile_y")
array([3, 4, 5])
>>> import xarray
>>> xarray.open_zarr(folder).tile_y.values
array([3, 4, 5])
"""

import contextlib
import json
import os
import shutil
import struct
import threading
from collections.abc import Mapping, Sequence
from itertools import count
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np

from latticework.errors import StoreError
from latticework.io.publish import exchange

_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
_TEXT = {"name": "vlen-utf8"}
_counter = count()


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Put a file in place whole: whoever opens it sees the old content or the new, never a part."""
    temporary = path.with_name(
        f".{path.name}.{os.getpid()}.{threading.get_ident()}.{next(_counter)}.tmp"
    )
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def clear_unfinished(*folders: Path) -> None:
    """Remove what a process that was killed in `replace_file` left; for a folder's only writer.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / ".zarr.json.71.5.0.tmp").touch()
    >>> (folder / "zarr.json").touch()
    >>> clear_unfinished(folder, folder / "missing")
    >>> [file.name for file in folder.iterdir()]
    ['zarr.json']
    """
    for folder in folders:
        for file in folder.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                file.unlink()


def swap_folder(new: Path, path: Path) -> None:
    """Put a folder in another's place: at once on Linux, else within microseconds.

    A swap that a crash cuts in two leaves ``new`` whole; see `settle_folder`.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new.rename(path)
        return
    if not exchange(new, path):
        aside = path.with_name(f".{path.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        new.rename(path)
        new = aside
    shutil.rmtree(new, ignore_errors=True)


def settle_folder(path: Path, new: Path) -> None:
    """Finish a swap that a crash cut in two: the folder is gone, the new one waits."""
    if not path.exists() and (new / "zarr.json").exists():
        new.rename(path)


def write_json(path: Path, value: Any) -> None:
    """Put a JSON file in place whole."""
    replace_file(path, json.dumps(value, indent=1, allow_nan=False).encode())


def read_json(path: Path, *, what: str) -> dict[str, Any]:
    """Content of a JSON file; `what` it is goes into the error."""
    try:
        return cast("dict[str, Any]", json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise StoreError(f"no {what} at {path.parent}: {path.name} is missing") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{what} at {path.parent} cannot be read: {path.name}: {error}") from error


def fill_value(dtype: np.dtype) -> Any:
    """What unwritten pixels read as, in zarr's JSON: NaN where the dtype has it, else zero."""
    match dtype.kind:
        case "b":
            return False
        case "f":
            return "NaN"
        case "c":
            return ["NaN", "NaN"]
        case "i" | "u":
            return 0
        case _:
            return ""


def array_metadata(
    shape: Sequence[int],
    dtype: np.dtype | None,
    *,
    dims: Sequence[str],
    attributes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The ``zarr.json`` of an uncompressed array of one chunk; dtype None is text of any length."""
    data_type: Any = "string" if dtype is None else dtype.name
    if dtype is not None and dtype.kind == "U":  # what xarray can plot along; "string" it cannot
        data_type = {
            "name": "fixed_length_utf32",
            "configuration": {"length_bytes": dtype.itemsize},
        }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [int(n) for n in shape],
        "data_type": data_type,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [max(int(n), 1) for n in shape]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": "" if dtype is None else fill_value(dtype),
        "codecs": [_TEXT if dtype is None else _LITTLE],
        "dimension_names": list(dims),
        "attributes": dict(attributes or {}),
    }


def chunk_file(ndim: int) -> str:
    """Name of the one chunk of a plain array."""
    return ".".join(["c", *["0"] * ndim])


def write_array(
    folder: Path,
    name: str,
    values: Any,
    *,
    dims: Sequence[str],
    attributes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write one array of a group; returns its metadata, for `write_group`."""
    array = np.asarray(values)
    text = array.dtype.kind in "TO"
    metadata = array_metadata(
        array.shape, None if text else array.dtype, dims=dims, attributes=attributes
    )
    if text:
        content: bytes | memoryview = encode_text(array.ravel().tolist())
    else:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        content = little.reshape(-1).view(np.uint8).data
    replace_file(folder / name / chunk_file(array.ndim), content)
    write_json(folder / name / "zarr.json", metadata)
    return metadata


def read_array(folder: Path, name: str) -> np.ndarray:
    """An array that `write_array` wrote; text comes as a NumPy array of str."""
    metadata = read_json(folder / name / "zarr.json", what=f"array {name!r}")
    shape = tuple(metadata["shape"])
    file = folder / name / chunk_file(len(shape))
    try:
        if metadata["data_type"] == "string":
            return np.array(decode_text(file.read_bytes()), dtype=np.str_).reshape(shape)
        dtype = stored_dtype(metadata["data_type"])
        return np.fromfile(file, dtype, count=prod(shape)).reshape(shape)
    except (OSError, ValueError, struct.error) as error:
        raise StoreError(f"array {name!r}: {file} is missing or damaged: {error}") from error


def stored_dtype(data_type: Any) -> np.dtype:
    """NumPy's dtype of a ``data_type`` that `array_metadata` gave (not of "string")."""
    if isinstance(data_type, str):
        return np.dtype(data_type)
    return np.dtype(f"<U{data_type['configuration']['length_bytes'] // 4}")


def write_group(
    folder: Path,
    members: Mapping[str, Mapping[str, Any]],
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write the ``zarr.json`` of a group with its members' metadata consolidated."""
    write_json(
        folder / "zarr.json",
        {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": dict(attributes or {}),
            "consolidated_metadata": {
                "kind": "inline",
                "must_understand": False,
                "metadata": {name: dict(metadata) for name, metadata in sorted(members.items())},
            },
        },
    )


def read_group(folder: Path, *, what: str) -> dict[str, Any]:
    """The metadata of a group written by `write_group`; members under "members"."""
    group = read_json(folder / "zarr.json", what=what)
    consolidated = group.get("consolidated_metadata") or {}
    return {"attributes": group.get("attributes", {}), "members": consolidated.get("metadata", {})}


def encode_text(texts: Sequence[str]) -> bytes:
    """Bytes of a vlen-utf8 chunk: a count, then each text's length and UTF-8."""
    encoded = [text.encode() for text in texts]
    parts = [struct.pack("<I", len(encoded))]
    for item in encoded:
        parts.append(struct.pack("<I", len(item)))
        parts.append(item)
    return b"".join(parts)


def decode_text(content: bytes) -> list[str]:
    """Texts of a vlen-utf8 chunk."""
    (number,) = struct.unpack_from("<I", content, 0)
    texts, at = [], 4
    for _ in range(number):
        (length,) = struct.unpack_from("<I", content, at)
        texts.append(content[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return texts
