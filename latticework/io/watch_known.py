"""Which files the tiles of a project are made of, followed while the lattice grows."""

from collections.abc import Container, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from latticework.errors import SourceError
from latticework.io.arriving_zarr import whole_stamps
from latticework.io.joining import taken
from latticework.io.parts_source import PartsSource
from latticework.io.settling import Stamp
from latticework.io.sources import mix
from latticework.io.tiff_source import TiffSource
from latticework.io.zarr_images import is_zarr
from latticework.io.zarr_source import ZarrSource, stamps_of
from latticework.lattice import Lattice
from latticework.lattice.source import TileSource
from latticework.lattice.states import State


def presence_of(lattice: Lattice) -> np.ndarray:
    """State of every tile's pixels, uint8 by id: complete where the source says nothing."""
    say = getattr(lattice.source, "presence", None)
    if say is None:
        return np.full(int(lattice.ids.max()) + 1 if len(lattice) else 0, State.COMPLETE, np.uint8)
    return np.asarray(say(), dtype=np.uint8)


def plain_sources(
    source: Any, ids: np.ndarray, rows: np.ndarray | None = None
) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Sources that a source is put together of, the ids that each has, and its rows of them.

    Parameters
    ----------
    source
        Any source; those of parts are taken apart.
    ids, rows
        Tiles, and their rows in the source; the ids themselves if not given.
    """
    rows = ids if rows is None else rows
    if (parts := getattr(source, "parts", None)) is not None:
        part, row = np.asarray(source.part)[rows], np.asarray(source.row)[rows]
        order = np.argsort(part, kind="stable")
        cuts = np.flatnonzero(np.diff(part[order])) + 1
        for group in np.split(order, cuts) if len(order) else []:
            yield from plain_sources(parts[int(part[group[0]])], ids[group], row[group])
    else:
        yield source, ids, rows


def subset(source: TileSource, rows: np.ndarray) -> TileSource:
    """A source of some tiles of another, in this order, that holds no more than it needs."""
    rows = np.asarray(rows, np.int64)
    some = taken(source, rows)
    if some is not None:
        return some
    if not isinstance(source, PartsSource):
        return PartsSource.of(source, rows)
    parts: list[TileSource] = []
    part, row = np.zeros(len(rows), np.int32), np.zeros(len(rows), np.int32)
    for plain, at, within in plain_sources(source, np.arange(len(rows)), rows):
        part[at], row[at] = len(parts), np.arange(len(at))
        parts.append(subset(plain, within))
    return PartsSource(parts, part, row, source.presence()[rows])


def _level_depth(root: Path, arrays: Sequence[str]) -> int:
    """How far above its full-size array an image is: 0 for plain arrays, 1 for most OME-Zarr."""
    for array in arrays:
        above = [PurePosixPath(array), *list(PurePosixPath(array).parents)[:-1]]
        for depth in range(len(above) - 1, -1, -1):
            try:
                if is_zarr(root / above[depth]):
                    return depth
            except SourceError:  # damaged: the next one tells
                break
    return 0


class KnownFiles:
    """Tiles of a lattice by file, for files below one folder.

    Only tiles that are new since the last call of `follow` are looked up.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._roots = {root.as_posix(), root.resolve().as_posix()}
        self._followed = 0
        self._tiles: dict[str, int | tuple[int, ...]] = {}
        self._files: dict[int, tuple[str, ...]] = {}
        self._marks: dict[str, int] = {}
        self._arrays: dict[str, Path] = {}
        self.lattice: Lattice | None = None
        """As it was at the last call of `follow`."""

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: str) -> bool:
        return name in self._tiles

    def follow(self, lattice: Lattice | None, again: Sequence[int] = ()) -> None:
        """Take up tiles that are new in a lattice, and look `again` at the files of some."""
        self.lattice = lattice
        if lattice is None or lattice.source is None or not len(lattice):
            return
        count = int(lattice.ids.max()) + 1
        ids = np.arange(self._followed, count)
        if len(again):
            ids = np.union1d(ids, np.asarray(again, np.int64))
        self._followed = count
        for source, some, rows in plain_sources(lattice.source, ids):
            if isinstance(source, TiffSource):
                self._tiff(source, some, rows)
            elif isinstance(source, ZarrSource):
                self._zarr(source, some, rows)

    def _tiff(self, source: TiffSource, ids: np.ndarray, rows: np.ndarray) -> None:
        prefix = self._prefix(source.root)
        file_of = source.file_of[rows]
        file_of = np.where(file_of < -1, -2 - file_of, file_of)
        names = source.names
        used = np.unique(file_of[file_of >= 0])
        if len(used) * 4 > len(names):
            names = np.asarray(names, dtype=object).tolist()
        stats = zip(source.sizes[used].tolist(), source.mtimes[used].tolist(), strict=True)
        called = {row: f"{prefix}{names[row]}" for row in used.tolist()}
        self._marks.update(zip(called.values(), map(hash, stats), strict=True))
        for tile, files in zip(ids.tolist(), file_of.tolist(), strict=True):
            self._put(tile, tuple(called[row] for row in dict.fromkeys(files) if row >= 0))

    def _zarr(self, source: ZarrSource, ids: np.ndarray, rows: np.ndarray) -> None:
        prefix = self._prefix(source.root)
        depth = _level_depth(source.root, [source.names[row] for row in rows[:8].tolist()])
        for tile, row in zip(ids.tolist(), rows.tolist(), strict=True):
            array = source.names[row].rstrip("/")
            name = prefix + (array.rsplit("/", depth)[0] if depth else array)
            self._put(tile, (name,))
            self._marks[name] = int(source.stamps[row])
            self._arrays[name] = source.root / array

    def _prefix(self, root: Path) -> str:
        """What makes names below a source's root names below ours."""
        for text in dict.fromkeys((root.as_posix(), root.resolve().as_posix())):
            for mine in self._roots:
                if text == mine:
                    return ""
                if text.startswith(f"{mine}/"):
                    return f"{text[len(mine) + 1 :]}/"
        return f"{root.as_posix()}/"

    def _put(self, tile: int, names: tuple[str, ...]) -> None:
        for name in self._files.get(tile, ()):  # replaced by files of other names
            if name not in names and self._tiles.get(name) == tile:
                del self._tiles[name]
        self._files[tile] = names
        for name in names:
            there = self._tiles.get(name)
            if there is None or there == tile:
                self._tiles[name] = tile
            elif isinstance(there, int):
                self._tiles[name] = (there, tile)
            elif tile not in there:
                self._tiles[name] = (*there, tile)

    def tiles(self, name: str) -> tuple[int, ...]:
        """Ids of the tiles that a file belongs to."""
        found = self._tiles.get(name, ())
        return (found,) if isinstance(found, int) else found

    def files(self, tile: int) -> tuple[str, ...]:
        """Files of a tile, below the folder."""
        return self._files.get(tile, ())

    def missing(self, there: Container[str]) -> list[str]:
        """Files below the folder that are gone, as a watcher that begins finds out.

        Parameters
        ----------
        there
            Files that are known to be there; the others are looked for.
        """
        found = []
        for name in self._tiles:
            if name in there or name.startswith("/"):
                continue
            try:
                (self._root / name).lstat()
            except (FileNotFoundError, NotADirectoryError):
                found.append(name)
            except OSError:  # nobody knows
                continue
        return found

    def is_current(self, name: str, stamp: Stamp) -> bool:
        """Whether the lattice's source has read this file as it is now (size and time)."""
        mark = self._marks.get(name)
        if mark is None:
            return False
        array = self._arrays.get(name)
        if array is None:
            return mark == hash(stamp[:2])
        plain = mix(*stamps_of([array]).T)
        return mark in (int(plain[0]), int(whole_stamps(plain, np.array([stamp]))[0]))
