"""Putting previews that wait into the array of their stage; the one writer of its shards.

What a shard gets is appended to what it has, and the file is replaced whole: nobody reads a part.
A shard is written again only when that is worth it, so that all that is ever written is a few times
what there is, in whatever order tiles come. What stays waiting is put together in larger files.
"""

import contextlib
import shutil
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import numcodecs
import numpy as np

from latticework.io.plain_zarr import (
    clear_unfinished,
    replace_file,
    write_group,
    write_json,
)
from latticework.io.preview_files import HEAD, facts_of, scan, waiting_name
from latticework.io.preview_layout import PreviewLayout, blosc_options
from latticework.io.preview_store import (
    NOWHERE,
    WAITING,
    Waiting,
    member_file,
    newest,
    shard_facts,
    shard_file,
    shard_index,
    small_pictures,
    stored,
    waiting_folder,
)

MEMBERS = ("preview", "small", "contrast", "stamp")
"""Arrays of a group of previews."""
FEW = 32
"""Previews for which a shard is not written again, unless everything is to be merged."""
SHARE = 4
"""A shard is written again for this part of what it has."""
MOST_FILES = 64
"""Waiting files beyond which small ones are put together."""
LARGE_BYTES = 32 * 2**20
"""Waiting files that are left as they are."""


@dataclass(frozen=True, slots=True)
class Merging:
    """The previews of a stage, as they are merged.

    Parameters
    ----------
    folder
        The group.
    layout
        Of its previews.
    node
        The stage's number in the journal.
    attributes
        Gives those of the array, such as the size of a pixel.
    """

    folder: Path
    layout: PreviewLayout
    node: int
    attributes: Callable[[], Mapping[str, Any]] = dict

    def begin(self) -> None:
        """Clear away what is of another stage, or of another layout."""
        about = stored(self.folder)
        layout = None if about is None else about.get("layout")
        if about is not None and about.get("node") == self.node:
            if layout == _plain(self.layout.to_json()):
                return
            self._clear()
        elif (self.folder / "preview").exists():
            self._clear()

    def _clear(self) -> None:
        with contextlib.suppress(OSError):
            (self.folder / "zarr.json").unlink(missing_ok=True)  # first: nobody reads them now
        for member in MEMBERS:
            shutil.rmtree(self.folder / member, ignore_errors=True)

    def run(self, *, everything: bool, deadline: float = float("inf")) -> int:
        """Merge what waits; how many previews were.

        Parameters
        ----------
        everything
            Whether shards are written again for few previews, too.
        deadline
            When to leave the rest waiting, as `time.monotonic` counts.
        """
        self.begin()
        if everything:
            self._tidy()
        folder = waiting_folder(self.folder)
        files: dict[str, np.ndarray] = {}
        for path in sorted(folder.glob("*"), key=_written) if folder.is_dir() else []:
            if not path.name.startswith(f"{self.node}-"):
                path.unlink(missing_ok=True)
                continue
            with contextlib.suppress(OSError):
                files[path.name] = scan(path, self.layout)
        waiting = newest(files)
        if not waiting:
            for name in files:
                self._drop(name)
            return 0
        self._make_room(max(waiting) + 1)
        of_shard: dict[int, list[int]] = defaultdict(list)
        for unit in waiting:
            of_shard[unit // self.layout.per_shard].append(unit)
        merged: set[int] = set()
        for number, units in sorted(of_shard.items(), key=lambda item: -len(item[1])):
            if time.monotonic() > deadline:
                break
            if self._write(number, units, waiting, everything=everything):
                merged.update(units)
        left = {unit: found for unit, found in waiting.items() if unit not in merged}
        needed = {name for _, name, _ in left.values()}
        for name in files:
            if name not in needed:
                self._drop(name)
        if len(needed) > MOST_FILES:
            self._put_together(left, needed)
        return len(merged)

    def _tidy(self) -> None:
        """Remove what a process left behind that was killed while it wrote."""
        clear_unfinished(self.folder, *(self.folder / member for member in MEMBERS))

    # ---------------------------------------------------------------- a shard

    def _write(
        self,
        number: int,
        units: list[int],
        waiting: Waiting,
        *,
        everything: bool,
    ) -> bool:
        """Write a shard again with these units, if that is worth it; whether it was."""
        layout, n = self.layout, self.layout.per_shard
        had = shard_facts(self.folder, number, layout)
        stamp = np.zeros(n, "u8") if had is None else had.stamp.copy()
        there = int((stamp > 0).sum())
        full = len({*np.flatnonzero(stamp).tolist(), *(unit % n for unit in units)}) == n
        if not (everything or full or len(units) >= max(FEW, there // SHARE)):
            return False
        chunks = self._chunks(number, stamp)
        contrast = np.full((n, layout.channels, 2), np.nan) if had is None else had.contrast.copy()
        small = self._small(number)
        with contextlib.ExitStack() as opened:
            files: dict[str, BinaryIO] = {}
            for unit in units:
                new, name, (start, facts, pixels) = waiting[unit]
                row = unit % n
                if name not in files:
                    file = (self.folder / WAITING / name).open("rb", buffering=0)
                    files[name] = opened.enter_context(file)
                files[name].seek(start)
                content = files[name].read(facts + pixels)
                contrast[row], small[row] = facts_of(content[:facts], layout)
                chunks[row] = content[facts:]
                stamp[row] = new
        stamp[[row for row in range(n) if row not in chunks]] = 0
        contrast[stamp == 0] = np.nan
        options = blosc_options(layout.dtype)
        codec = numcodecs.Blosc(options["cname"], options["clevel"], numcodecs.Blosc.BITSHUFFLE)
        replace_file(shard_file(self.folder, number), _shard_of(chunks, n))
        for member, ndim, written in (
            ("small", 4, bytes(codec.encode(small))),
            ("contrast", 3, contrast.astype("<f8").tobytes()),
            ("stamp", 1, stamp.astype("<u8").tobytes()),
        ):
            replace_file(member_file(self.folder, member, number, ndim), written)
        return True

    def _chunks(self, number: int, stamp: np.ndarray) -> dict[int, bytes]:
        """The chunks that a shard has, by row; none if it is damaged."""
        file = shard_file(self.folder, number)
        index = shard_index(file, self.layout.per_shard)
        if index is None:
            return {}
        content = file.read_bytes()
        return {
            row: content[int(offset) : int(offset) + int(size)]
            for row, (offset, size) in enumerate(index.tolist())
            if offset != NOWHERE and offset + size <= len(content) and stamp[row]
        }

    def _small(self, number: int) -> np.ndarray:
        """The small pictures of a shard, to be changed."""
        layout = self.layout
        found = small_pictures(self.folder, number, layout)
        if found is not None:
            return found.copy()
        shape = (layout.per_shard, *layout.small_shape)
        return np.full(shape, layout.blank, layout.dtype)

    # ---------------------------------------------------------------- files

    def _make_room(self, capacity: int) -> None:
        """Have metadata for ids below `capacity`."""
        about = stored(self.folder)
        n = self.layout.per_shard
        if about is not None and int(about.get("capacity", 0)) >= capacity:
            return
        room = max(2 * int((about or {}).get("capacity", 0)), -(-capacity // n) * n)
        members = self.layout.metadata(room, self.attributes())
        for name, metadata in members.items():
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            write_json(self.folder / name / "zarr.json", metadata)
        facts = {"layout": self.layout.to_json(), "node": self.node, "capacity": room}
        write_group(self.folder, members, {"latticework": facts})

    def _drop(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self.folder / WAITING / name).unlink(missing_ok=True)

    def _put_together(self, left: Waiting, names: set[str]) -> None:
        """Write the previews of small waiting files to one."""
        folder = self.folder / WAITING
        small = {name for name in names if _size(folder / name) < LARGE_BYTES}
        parts: list[bytes] = []
        files: dict[str, bytes] = {}
        for _, name, (start, facts, pixels) in left.values():
            if name not in small:
                continue
            if name not in files:
                files[name] = (folder / name).read_bytes()
            parts.append(files[name][start - HEAD.size : start + facts + pixels + 4])
        replace_file(folder / waiting_name(self.node, "together"), b"".join(parts))
        for name in small:
            self._drop(name)


def _shard_of(chunks: Mapping[int, bytes], n: int) -> bytes:
    """A shard in zarr's form: chunks, then where they are, then the checksum of that."""
    index = np.full((n, 2), NOWHERE, "<u8")
    parts, at = [], 0
    for row, chunk in sorted(chunks.items()):
        index[row] = at, len(chunk)
        parts.append(chunk)
        at += len(chunk)
    table = index.tobytes()
    return b"".join([*parts, table, struct.pack("<I", google_crc32c.value(table))])


def _plain(value: Any) -> Any:
    """As JSON would have it: lists for tuples."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _written(file: Path) -> tuple[int, int]:
    """When a file was written last."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


__all__ = ["Merging"]
