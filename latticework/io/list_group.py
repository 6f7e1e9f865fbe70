"""The group of a stage whose tiles are a list: what it says of them grows while others read.

Beside the array of dims ``(tile, y, x)`` lie labels, positions and names along ``tile``::

    data.zarr/
        clean/  c.0.0.0  c.1.0.0 ...     tile 0, tile 1, ...: never moved, never renamed
        tile_y/  tile_x/                 labels
        y_um/  x_um/  tile_name/         NaN and empty for tiles that were withdrawn
        zarr.json                        says how many there are, and is replaced at once

New tiles are appended: of each coordinate the last chunk is replaced by one that begins with the
same rows. Where rows that were there change, because the grid was worked out again, all chunks are
written under the other of two sets of names (``c.0`` and ``c/0``), so that whoever holds the old
metadata reads the old rows until they change once more. Then names come back, but with one row
more in a chunk: old metadata do not fit them, and their holder gets an error, never mixed rows.
"""

import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.labels import Label, compact, expand
from latticework.io.layout import LIST_DIM, ArrayLayout
from latticework.io.plain_zarr import (
    array_metadata,
    clear_unfinished,
    decode_text,
    encode_text,
    read_group,
    replace_file,
    stored_dtype,
    write_group,
    write_json,
)
from latticework.lattice.growth import merged_labels
from latticework.lattice.offsets import spatial_axis
from latticework.lattice.states import State
from latticework.lattice.views import made_names

CHUNK = 8192
"""Tiles in a chunk of a coordinate, at least: what is written again when a tile arrives."""
SIZES = 1000
"""How many sizes of chunks there are, one after another, before the first comes back."""
LEAST_S = 1.0
"""Seconds for which what was written is left as it is, unless it is asked for."""
SHARE = 20
"""How many times longer than writing took it is left as it is."""
NAMES = "tile_name"
SEPARATORS = (".", "/")


class ListGroup:
    """Writes what a group says of the tiles in its list, again and again, and no more than is new.

    Parameters
    ----------
    path
        Folder of the group.
    clock
        Seconds that go by.
    """

    def __init__(self, path: Path | str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = Path(path)
        self._clock = clock
        self._due = 0.0
        self._written: dict[str, np.ndarray] | None = None
        self._lattice: Any = None
        self._labels: dict[str, Any] = {}
        self._separator, self._chunk = SEPARATORS[0], CHUNK

    def write(self, layout: ArrayLayout, lattice: Any, *, force: bool = True) -> bool:
        """Bring the group up to a lattice; without `force` only if it is time.

        Returns
        -------
        bool
            Whether the group is as the lattice is.
        """
        begun = self._clock()
        if lattice is not None and lattice is self._lattice:
            return True
        if not force and begun < self._due:
            return False
        columns = {} if lattice is None else _columns(lattice)
        n = len(columns[NAMES]) if columns else layout.capacity
        layout = replace(layout, capacity=n)
        labels = {} if lattice is None else _unusual_labels(lattice)
        old = self._written
        first = None if old is None else _rows_kept(old, columns)
        if old is None:
            clear_unfinished(self.path, *(self.path / name for name in columns))
        if old is None or first is None:
            first, (self._separator, self._chunk) = 0, self._other_chunks()
        elif first == n and labels == self._labels:
            self._lattice = lattice
            return True
        members = {
            name: self._write_column(name, column, first) for name, column in columns.items()
        }
        self._write_metadata(layout, members, labels)
        self._written, self._lattice, self._labels = columns, lattice, labels
        now = self._clock()
        self._due = now + max(LEAST_S, SHARE * (now - begun))
        return True

    # -- writing --------------------------------------------------------------------------

    def _other_chunks(self) -> tuple[str, int]:
        """Separator and size of chunks, other than those of the group as it can be read now."""
        try:
            members = read_group(self.path, what="store of a stage")["members"]
            separator, chunk = _chunks(members[NAMES])
        except (StoreError, KeyError, TypeError):
            return SEPARATORS[0], CHUNK
        return SEPARATORS[1 - SEPARATORS.index(separator)], CHUNK + (chunk + 1 - CHUNK) % SIZES

    def _write_column(self, name: str, column: np.ndarray, first: int) -> dict[str, Any]:
        """Write the chunks from row `first` on; returns the metadata."""
        text = column.dtype.kind in "OU"
        chunk = self._chunk
        for number in range(first // chunk, -(-len(column) // chunk)):
            part = column[number * chunk : (number + 1) * chunk]
            spare = chunk - len(part)
            if text:
                content = encode_text([*map(str, part.tolist()), *[""] * spare])
            else:
                little = np.zeros(chunk, dtype=column.dtype.newbyteorder("<"))
                little[: len(part)] = part
                content = little.tobytes()
            replace_file(self.path / name / f"c{self._separator}{number}", content)
        units = {"units": "um"} if name.endswith("_um") else None
        metadata = array_metadata(
            column.shape, None if text else column.dtype, dims=(LIST_DIM,), attributes=units
        )
        metadata["chunk_grid"]["configuration"]["chunk_shape"] = [chunk]
        metadata["chunk_key_encoding"]["configuration"]["separator"] = self._separator
        return metadata

    def _write_metadata(
        self,
        layout: ArrayLayout,
        members: Mapping[str, dict[str, Any]],
        labels: Mapping[str, Any],
    ) -> None:
        array = layout.metadata()
        array["attributes"]["coordinates"] = " ".join(name for name in members if name != LIST_DIM)
        for name, metadata in {**members, layout.name: array}.items():
            write_json(self.path / name / "zarr.json", metadata)
        write_group(
            self.path,
            {**members, layout.name: array},
            {"latticework": layout.to_json(), "latticework_labels": dict(labels)},
        )


def _chunks(metadata: Mapping[str, Any]) -> tuple[str, int]:
    """Separator in the names of the chunks of a coordinate, and rows in a chunk."""
    (chunk,) = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    return metadata["chunk_key_encoding"]["configuration"]["separator"], int(chunk)


def _columns(lattice: Any) -> dict[str, np.ndarray]:
    """Coordinates by name, with a row for each id."""
    n = int(lattice.ids.max()) + 1 if len(lattice) else 0
    rows = None if n == len(lattice) and not lattice.shuffled else lattice.ids
    columns = {
        dim: _by_id(lattice.labels[dim][lattice.index[:, k]], rows, n)
        for k, dim in enumerate(lattice.dims)
    }
    gone = np.ones(n, dtype=bool)
    gone[lattice.ids] = False
    presence = getattr(lattice.source, "presence", None)
    if presence is not None:
        gone[lattice.ids] |= np.asarray(presence())[lattice.ids] == State.ABSENT
    positions = np.asarray(lattice.position_um, dtype=float)
    for k, axis in enumerate(lattice.spatial_dims):
        column = _by_id(positions[:, k], rows, n)
        column[gone] = np.nan
        columns[f"{axis}_um"] = column
    given = lattice.given_names
    names = np.array(made_names(lattice) if given is None else given, dtype=object)
    names = names if rows is None else _by_id(names, rows, n)
    names[gone] = ""
    columns[NAMES] = names
    return columns


def _by_id(values: np.ndarray, ids: np.ndarray | None, n: int) -> np.ndarray:
    """Values of tiles, put at their ids; a copy."""
    if ids is None or not n:
        return values.copy()
    column = np.full(n, values[0], dtype=values.dtype)
    column[ids] = values
    return column


def _rows_kept(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> int | None:
    """Number of rows of before, if all of them are as they were; None otherwise."""
    if old.keys() != new.keys():
        return None
    for name, before in old.items():
        now = new[name][: len(before)]
        if before.dtype.kind != now.dtype.kind or len(before) != len(now):
            return None
        if before.dtype.kind == "f":
            same = np.array_equal(before.view("i8"), now.view("i8"))
        else:
            same = np.array_equal(before, now)
        if not same:
            return None
    return len(next(iter(old.values()))) if old else None


# -- labels of the grid -------------------------------------------------------------------


def _usual_labels(column: np.ndarray, dim: str) -> np.ndarray:
    """Labels along a dim, from those of the tiles: sorted, and whole numbers without gaps."""
    return merged_labels(column[:0], column, spatial_axis(dim))


def _unusual_labels(lattice: Any) -> dict[str, Any]:
    """Labels of dims along which they are not what those of the tiles suggest."""
    found = {}
    for k, dim in enumerate(lattice.dims):
        labels = np.asarray(lattice.labels[dim])
        met = np.zeros(len(labels), dtype=bool)
        met[lattice.index[:, k]] = True
        if not np.array_equal(_usual_labels(labels[met], dim), labels):
            found[dim] = compact(tuple(labels.tolist()))
    return found


@dataclass(frozen=True, slots=True)
class ListedTiles:
    """What a group says of its tiles, as it was at one time."""

    columns: Mapping[str, np.ndarray]
    """Coordinates by name, a row per id."""
    unusual: Mapping[str, Any]
    """Labels of dims along which they are not what those of the tiles suggest."""

    def grid(self, dims: Sequence[str]) -> tuple[dict[str, tuple[Label, ...]], np.ndarray] | None:
        """Labels by lattice dim and the grid position of every id; None if there are none."""
        labels, index = {}, []
        for dim in dims:
            column = self.columns.get(dim)
            if column is None:
                return None
            column = column.astype(str) if column.dtype.kind == "O" else column
            unusual = self.unusual.get(dim)
            along = _usual_labels(column, dim) if unusual is None else np.array(expand(unusual))
            order = np.argsort(along)
            index.append(order[np.searchsorted(along, column, sorter=order)])
            labels[dim] = tuple(along.tolist())
        return labels, np.stack(index, axis=1)


def read_list(path: Path) -> ListedTiles:
    """The coordinates of a group, while others may write them.

    Raises
    ------
    StoreError
        Where one is damaged.
    """
    group = read_group(path, what="store of a stage")
    while True:
        try:
            columns = {
                name: _read_column(path / name, metadata)
                for name, metadata in group["members"].items()
                if metadata["dimension_names"] == [LIST_DIM]
            }
            return ListedTiles(columns, group["attributes"].get("latticework_labels", {}))
        except StoreError:
            before, group = group, read_group(path, what="store of a stage")
            if group == before:
                raise


def _read_column(folder: Path, metadata: Mapping[str, Any]) -> np.ndarray:
    (n,) = metadata["shape"]
    separator, chunk = _chunks(metadata)
    text = metadata["data_type"] == "string"
    parts: list[Any] = []
    for number in range(-(-n // chunk)):
        file = folder / f"c{separator}{number}"
        try:
            content = file.read_bytes()
            part: Any = decode_text(content) if text else _numbers(content, metadata)
            if len(part) != chunk:
                raise ValueError(f"it has {len(part)} rows, expected {chunk}")
        except (OSError, ValueError, IndexError, struct.error) as error:
            raise StoreError(f"{file} is missing or damaged: {error}") from error
        parts += part if text else [part]
    if text:
        return np.array(parts[:n], dtype=object)
    return np.concatenate([np.zeros(0, stored_dtype(metadata["data_type"])), *parts])[:n]


def _numbers(content: bytes, metadata: Mapping[str, Any]) -> np.ndarray:
    return np.frombuffer(content, stored_dtype(metadata["data_type"]))


__all__ = ["ListGroup", "ListedTiles", "read_list"]
