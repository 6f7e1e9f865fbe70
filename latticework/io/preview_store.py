"""Reading previews: those that are in the array, and those that wait to be put there."""

import os
import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numcodecs
import numpy as np

from latticework.errors import StoreError
from latticework.io.plain_zarr import read_group
from latticework.io.preview_files import FACTS, decoded, facts_of, scan
from latticework.io.preview_layout import PreviewLayout

NOWHERE = 2**64 - 1
"""Offset of a chunk that a shard does not have."""
WAITING = ".waiting"
"""Folder of files that are not in the array yet."""
KEPT_BYTES = 96 * 2**20
"""Memory for small pictures."""
Waiting = dict[int, tuple[int, str, tuple[int, int, int]]]
"""By unit: the stamp of a preview that waits, its file, and where in that it is."""


def waiting_folder(folder: Path) -> Path:
    """Where previews wait that are not in the array yet."""
    return folder / WAITING


def stored(folder: Path) -> dict[str, Any] | None:
    """What a group of previews says of itself; None where there is none that can be read."""
    try:
        found = read_group(folder, what="previews")["attributes"].get("latticework")
    except StoreError:
        return None
    return dict(found) if isinstance(found, Mapping) else None


@dataclass(frozen=True, slots=True)
class Shard:
    """What is known of a shard without its pixels."""

    version: tuple[int, ...]
    """Tells whether it was written again."""
    stamp: np.ndarray
    """uint64: which attempts its previews show, 0 where there is none."""
    contrast: np.ndarray
    """Percentiles, of dims (unit, c, bound)."""


class PreviewStore:
    """The previews of one stage, as they are when they are asked for.

    Whatever is lost or damaged is as if it had never been.

    Parameters
    ----------
    folder
        The group.
    layout
        Of the stage's previews, as it is defined now: others are not looked at.
    node
        The stage's number in the journal: another stage may have had its name.
    """

    def __init__(self, folder: Path, layout: PreviewLayout, node: int) -> None:
        self.folder, self.layout, self.node = folder, layout, node
        self._files: dict[str, tuple[tuple[int, ...], np.ndarray]] = {}
        self._waiting: Waiting = {}
        self._waiting_units = np.zeros(0, np.int64)
        self._shards: dict[int, Shard | None] = {}
        self._indices: dict[int, tuple[tuple[int, ...], np.ndarray]] = {}
        self._smalls: OrderedDict[int, tuple[tuple[int, ...], np.ndarray]] = OrderedDict()
        self._ours: tuple[tuple[int, ...], bool] = ((), False)

    # ---------------------------------------------------------------- what there is

    def look(self) -> None:
        """Take in what was written since the last time; waiting files first, then the arrays.

        In this order, since a preview that moves from the one to the other is seen at least once.
        """
        self._look_at_waiting()
        self._shards = {k: shard for k, shard in self._shards.items() if self._is_new(k, shard)}
        version = _version(self.folder / "zarr.json")
        if version != self._ours[0] or not version:
            about = stored(self.folder)
            mine = {"layout": self.layout.to_json(), "node": self.node}
            same = about is not None and all(
                PreviewLayout.from_json(about["layout"]) == self.layout
                if key == "layout"
                else about.get(key) == value
                for key, value in mine.items()
            )
            self._ours = version, same

    def stamps(self, units: np.ndarray) -> np.ndarray:
        """Stamps of the previews of some units, uint64; 0 where there is none."""
        found = np.zeros(len(units), np.uint64)
        numbers = units // self.layout.per_shard
        for number in np.unique(numbers).tolist():
            shard = self._shard(number)
            if shard is not None:
                mine = numbers == number
                found[mine] = shard.stamp[units[mine] % self.layout.per_shard]
        for k, (stamp, _, _) in self._waiting_among(units):
            found[k] = stamp
        return found

    def contrast(self, units: np.ndarray) -> np.ndarray:
        """Percentiles of the previews of some units, (unit, c, bound); NaN where there is none."""
        found = np.full((len(units), self.layout.channels, 2), np.nan)
        numbers = units // self.layout.per_shard
        for number in np.unique(numbers).tolist():
            shard = self._shard(number)
            if shard is not None:
                mine = np.flatnonzero(numbers == number)
                rows = units[mine] % self.layout.per_shard
                there = shard.stamp[rows] > 0
                found[mine[there]] = shard.contrast[rows[there]]
        for k, facts in self._facts(units).items():
            found[k] = facts[0]
        return found

    # ---------------------------------------------------------------- pixels

    def small(self, units: np.ndarray) -> np.ndarray:
        """Small pictures of some units, (unit, c, y, x); blank where there is none."""
        layout = self.layout
        found = np.full((len(units), *layout.small_shape), layout.blank, layout.dtype)
        numbers = units // layout.per_shard
        for number in np.unique(numbers).tolist():
            pictures = self._small_of(number)
            if pictures is not None:
                mine = numbers == number
                found[mine] = pictures[units[mine] % layout.per_shard]
        for k, facts in self._facts(units).items():
            found[k] = facts[1]
        return found

    def read(self, unit: int) -> np.ndarray | None:
        """Preview of a unit, (c, y, x); None where there is none, or it is damaged."""
        waiting = self._waiting.get(unit)
        if waiting is not None:
            _, name, (start, facts, pixels) = waiting
            chunk = _part(self.folder / WAITING / name, start + facts, pixels)
            found = None if chunk is None else decoded(chunk, self.layout)
            if found is not None:
                return found
        return self._from_shard(unit)

    def _from_shard(self, unit: int) -> np.ndarray | None:
        number, row = divmod(unit, self.layout.per_shard)
        if not self._ours[1]:
            return None
        file = shard_file(self.folder, number)
        for _ in range(3):  # it may be written again between the two looks
            version = _version(file)
            known = self._indices.get(number)
            if known is None or known[0] != version:
                index = shard_index(file, self.layout.per_shard)
                if index is None:
                    return None
                self._indices[number] = version, index
            offset, size = self._indices[number][1][row].tolist()
            if offset == NOWHERE:
                return None
            chunk = _part(file, offset, size)
            found = None if chunk is None else decoded(chunk, self.layout)
            if found is not None:
                return found
            self._indices.pop(number, None)
        return None

    # ---------------------------------------------------------------- parts of these

    def _look_at_waiting(self) -> None:
        folder = self.folder / WAITING
        try:
            with os.scandir(folder) as entries:
                there = {entry.name: entry.stat() for entry in entries}
        except OSError:
            there = {}
        mine, changed = f"{self.node}-", False
        for name in [name for name in self._files if name not in there]:
            del self._files[name]
            changed = True
        for name, facts in there.items():
            version = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            if not name.startswith(mine):
                continue
            if name in self._files and self._files[name][0] == version:
                continue
            try:
                self._files[name] = version, scan(folder / name, self.layout)
            except OSError:
                continue
            changed = True
        if changed:
            ordered = sorted(self._files.items(), key=lambda item: item[1][0])
            self._waiting = newest({name: rows for name, (_, rows) in ordered})
            self._waiting_units = np.array(sorted(self._waiting), np.int64)

    def _waiting_among(
        self, units: np.ndarray
    ) -> Iterator[tuple[int, tuple[int, str, tuple[int, int, int]]]]:
        """What waits of some units, with their places among these."""
        if len(self._waiting_units):
            for k in np.flatnonzero(np.isin(units, self._waiting_units)).tolist():
                yield k, self._waiting[int(units[k])]

    def _facts(self, units: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Contrast and small picture of units that wait, by their place among `units`."""
        found = {}
        for k, (_, name, (start, facts, _)) in self._waiting_among(units):
            content = _part(self.folder / WAITING / name, start, facts)
            if content is not None:
                found[k] = facts_of(content, self.layout)
        return found

    def _is_new(self, number: int, shard: Shard | None) -> bool:
        if shard is None:
            return False
        return _version(member_file(self.folder, "stamp", number, 1)) == shard.version

    def _shard(self, number: int) -> Shard | None:
        if not self._ours[1]:
            return None
        if number not in self._shards:
            self._shards[number] = shard_facts(self.folder, number, self.layout)
        return self._shards[number]

    def _small_of(self, number: int) -> np.ndarray | None:
        shard = self._shard(number)
        if shard is None:
            return None
        known = self._smalls.get(number)
        if known is not None and known[0] == shard.version:
            self._smalls.move_to_end(number)
            return known[1]
        found = small_pictures(self.folder, number, self.layout)
        if found is not None:
            self._smalls[number] = shard.version, found
            while sum(pictures.nbytes for _, pictures in self._smalls.values()) > KEPT_BYTES:
                self._smalls.popitem(last=False)
        return found


def newest(files: Mapping[str, np.ndarray]) -> Waiting:
    """For each unit of some scanned files, in the order in which they were written, the last."""
    return {
        unit: (stamp, name, (start, facts, pixels))
        for name, rows in files.items()
        for unit, stamp, start, facts, pixels in rows.tolist()
    }


# -------------------------------------------------------------------- files of the arrays


def member_file(folder: Path, member: str, number: int, ndim: int) -> Path:
    """File of a chunk of an array."""
    return folder / member / ".".join(["c", str(number), *["0"] * (ndim - 1)])


def shard_file(folder: Path, number: int) -> Path:
    """File of a shard's pixels."""
    return member_file(folder, "preview", number, 4)


def shard_facts(folder: Path, number: int, layout: PreviewLayout) -> Shard | None:
    """Stamps and contrast of a shard; None where there is none that is whole."""
    file = member_file(folder, "stamp", number, 1)
    version, n = _version(file), layout.per_shard
    try:
        stamp = np.fromfile(file, "<u8")
        contrast = np.fromfile(member_file(folder, "contrast", number, 3), "<f8")
    except OSError:
        return None
    if len(stamp) != n or contrast.size != n * layout.channels * 2:
        return None
    if not shard_file(folder, number).exists():
        return None
    return Shard(version, stamp, contrast.reshape(n, layout.channels, 2))


def small_pictures(folder: Path, number: int, layout: PreviewLayout) -> np.ndarray | None:
    """Small pictures of a shard; None where they are damaged."""
    shape = (layout.per_shard, *layout.small_shape)
    try:
        content = member_file(folder, "small", number, 4).read_bytes()
        found = np.frombuffer(numcodecs.Blosc().decode(content), layout.dtype)
    except (OSError, RuntimeError, ValueError):
        return None
    return found.reshape(shape) if found.size == int(np.prod(shape)) else None


def shard_index(file: Path, n: int) -> np.ndarray | None:
    """Where the chunks of a shard are, uint64 of dims (chunk, bound); None where it is damaged."""
    size = 16 * n + 4
    try:
        with file.open("rb") as opened:
            opened.seek(-size, os.SEEK_END)
            content = opened.read(size)
    except OSError:
        return None
    if len(content) != size:
        return None
    (checksum,) = struct.unpack("<I", content[-4:])
    if checksum != google_crc32c.value(content[:-4]):
        return None
    return np.frombuffer(content[:-4], "<u8").reshape(n, 2)


def _part(file: Path, start: int, size: int) -> bytes | None:
    try:
        with file.open("rb") as opened:
            opened.seek(start)
            content = opened.read(size)
    except OSError:
        return None
    return content if len(content) == size else None


def _version(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


__all__ = ["FACTS", "PreviewStore"]
