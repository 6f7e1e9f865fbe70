"""A source that grows: tiles from several sources, each with its own way of reading."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from latticework.errors import SourceError
from latticework.io.joining import join_key, joined, tile_count
from latticework.io.sources import load_source, read_table, save_source, saved_form, write_table
from latticework.lattice.geometry import Box
from latticework.lattice.rows import GrowingRows
from latticework.lattice.source import BlockSource, TileSource
from latticework.lattice.states import State

JOIN_AFTER = 64
"""Parts that may come before small ones are joined."""

_TABLE = "parts.arrow"


class PartsSource:
    """Tiles of several sources as one; a value.

    ::

        tile      0  1  2  3  4  5         parts[0]: rows 0 1 2 3     as it was opened
        part      0  0  2  0  1  1         parts[1]: rows 0 1         arrived later
        row       0  1  0  3  0  1         parts[2]: row  0           tile 2, imaged again
        presence  4  4  4  0  4  4         tile 3 was withdrawn

    What changes is made anew and shares what stays; tiles are added without copying those that
    there are. After `JOIN_AFTER` small parts of one kind (TIFF files, Zarr arrays), these become
    one, so that a week of arrivals leaves a handful of parts.

    Parameters
    ----------
    parts
        Sources.
    part
        For every tile the part that has it.
    row
        And its number there.
    presence
        `State.COMPLETE` for tiles that are there, `WAITING` for announced ones, `ABSENT` for those
        that were withdrawn.

    Examples
    --------
    >>> from latticework.io.memory import MemorySource
    >>> images = [np.full((2, 2), value, "u1") for value in range(4)]
    >>> source = PartsSource.of(MemorySource(images[:2])).with_tiles(MemorySource(images[2:3]))
    >>> source.read(2, Box((0, 0), (1, 2)))
    array([[2, 2]], dtype=uint8)
    >>> again = source.with_replaced([0], MemorySource(images[3:])).with_presence([1], State.ABSENT)
    >>> again.read(0, Box((0, 0), (1, 1))), again.presence()
    (array([[3]], dtype=uint8), array([4, 0, 4], dtype=uint8))
    """

    kind: ClassVar[str] = "parts"

    __slots__ = ("_fingerprints", "_part", "_presence", "_row", "joined_at", "parts")

    parts: tuple[TileSource, ...]
    """The sources."""
    joined_at: int
    """How many parts there were when small ones were joined last."""

    def __init__(
        self, parts: Sequence[TileSource], part: Any, row: Any, presence: Any = None
    ) -> None:
        self.parts = tuple(_steady(source) for source in parts)
        self._part = _column(part, np.int32)
        self._row = _column(row, np.int32)
        n = len(self._part)
        self._presence = _column(
            np.full(n, State.COMPLETE) if presence is None else presence, np.uint8
        )
        self._fingerprints: GrowingRows | None = None
        self.joined_at = len(self.parts)
        if not n == len(self._row) == len(self._presence):
            raise SourceError(
                f"part, row and presence have {n}, {len(self._row)} and {len(self._presence)} "
                "values; expected one of each for every tile"
            )

    @classmethod
    def of(cls, source: TileSource, rows: Any = None) -> "PartsSource":
        """Any source as one of parts; `rows`: which of its tiles, all if not given."""
        if isinstance(source, PartsSource) and rows is None:
            return source
        return cls((), [], [], []).with_tiles(source, rows=rows)

    def _but(self, **changes: Any) -> "PartsSource":
        again = object.__new__(type(self))
        for name in PartsSource.__slots__:
            setattr(again, name, changes.get(name, getattr(self, name)))
        return again

    # ---------------------------------------------------------------- facts

    def __len__(self) -> int:
        return len(self._part)

    def __repr__(self) -> str:
        return f"<PartsSource: {len(self):,} tiles in {len(self.parts)} parts>"

    @property
    def part(self) -> np.ndarray:
        """Part of every tile, int32."""
        return self._part.rows

    @property
    def row(self) -> np.ndarray:
        """Number of every tile in its part, int32."""
        return self._row.rows

    def presence(self) -> np.ndarray:
        """For every tile whether it is there: codes of `State`, uint8."""
        return self._presence.rows

    def fingerprints(self) -> np.ndarray:
        """Those of the parts."""
        if self._fingerprints is None:
            found = np.zeros(len(self), dtype=np.uint64)
            for number in np.unique(self.part).tolist():
                mine = self.part == number
                found[mine] = self.parts[number].fingerprints()[self.row[mine]]
            self._fingerprints = GrowingRows(found)
        return self._fingerprints.rows

    # ---------------------------------------------------------------- pixels

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of `box` in tile `tile`."""
        number, row = self._where(tile)
        try:
            return self.parts[number].read(row, box)
        except SourceError as error:
            if row == tile:
                raise
            raise SourceError(
                f"tile {tile} cannot be read (it is number {row} of its part): {error}", error.path
            ) from error

    def path(self, tile: int) -> Path | None:
        """First file of a tile, for messages and people; None where there is none."""
        number, row = self._where(tile)
        source: Any = self.parts[number]
        found = getattr(source, "path", None)
        if callable(found):
            found = found(row)
        elif found is None and hasattr(source, "root") and hasattr(source, "names"):
            found = source.root / source.names[row]
        return None if found is None else Path(found)

    def _where(self, tile: int) -> tuple[int, int]:
        if not 0 <= tile < len(self):
            raise SourceError(f"no tile {tile}: this source has the tiles 0 to {len(self) - 1}")
        return int(self.part[tile]), int(self.row[tile])

    def refreshed(self) -> "PartsSource":
        """The same source with the parts' files as they are now, where they can look."""
        parts = tuple(
            source.refreshed() if hasattr(source, "refreshed") else source for source in self.parts
        )
        return self._but(parts=parts, _fingerprints=None)

    # ---------------------------------------------------------------- growth

    def with_tiles(
        self, source: TileSource, presence: Any = None, *, rows: Any = None
    ) -> "PartsSource":
        """With the tiles of a source, which get the next ids.

        Parameters
        ----------
        source
            Where they are.
        presence
            Whether they are there; as the source says if not given.
        rows
            Which of its tiles, in what order; all if not given.
        """
        added = self._added(source, rows)
        values = added.presence if presence is None else _codes(presence, len(added.row))
        known = self._fingerprints
        if known is None and not len(self):
            known = GrowingRows(np.empty(0, dtype=np.uint64))
            known = known if len(added.row) <= JOIN_AFTER else None  # else when asked for
        again = self._but(
            parts=self.parts + added.parts,
            _part=self._part.with_rows(added.part),
            _row=self._row.with_rows(added.row),
            _presence=self._presence.with_rows(values),
            _fingerprints=None if known is None else known.with_rows(added.fingerprints()),
        )
        return tidied(again)

    def with_replaced(self, ids: Any, source: TileSource) -> "PartsSource":
        """With tiles that were imaged again: tile ``ids[i]`` is number ``i`` of `source`."""
        ids = self._ids(ids)
        added = self._added(source, None)
        if len(added.row) != len(ids):
            raise SourceError(
                f"{len(ids)} tiles are replaced, but their source has {len(added.row)} tiles: "
                "expected one for each"
            )
        known = self._fingerprints
        again = self._but(
            parts=self.parts + added.parts,
            _part=self._part.changed(ids, added.part),
            _row=self._row.changed(ids, added.row),
            _presence=self._presence.changed(ids, added.presence),
            _fingerprints=None if known is None else known.changed(ids, added.fingerprints()),
        )
        return tidied(again)

    def with_presence(self, ids: Any, values: Any) -> "PartsSource":
        """With tiles that arrived, were announced or withdrawn."""
        ids = self._ids(ids)
        return self._but(_presence=self._presence.changed(ids, _codes(values, len(ids))))

    def _ids(self, given: Any) -> np.ndarray:
        ids: np.ndarray = np.asarray(given, dtype=np.int64).reshape(-1)
        bad = ids[(ids < 0) | (ids >= len(self))]
        if len(bad):
            raise SourceError(f"no tile {bad[0]}: this source has the tiles 0 to {len(self) - 1}")
        return ids

    def _added(self, source: TileSource, rows: Any) -> "_Added":
        first = len(self.parts)
        if isinstance(source, PartsSource):
            rows = np.arange(len(source)) if rows is None else np.asarray(rows, dtype=np.int64)
            used, part = np.unique(source.part[rows], return_inverse=True)
            parts = tuple(source.parts[number] for number in used.tolist())
            return _Added(
                source, rows, parts, first + part, source.row[rows], source.presence()[rows]
            )
        source = _steady(source)
        rows = np.arange(tile_count(source)) if rows is None else np.asarray(rows, dtype=np.int64)
        said = getattr(source, "presence", None)
        presence = np.full(len(rows), State.COMPLETE) if said is None else said()[rows]
        return _Added(source, rows, (source,), np.full(len(rows), first), rows, presence)

    # ---------------------------------------------------------------- few parts

    def compacted(self) -> "PartsSource":
        """With all parts joined that can be, without those that no tile uses any more."""
        alike: dict[Hashable, list[int]] = {}
        for number in np.unique(self.part).tolist():
            key = join_key(self.parts[number])
            alike.setdefault(number if key is None else key, []).append(number)
        return self.regrouped(list(alike.values()), drop=True)

    def regrouped(self, groups: list[list[int]], *, drop: bool = False) -> "PartsSource":
        """With each group of parts (by number) as one; others stay, unless they are to `drop`."""
        grouped = {number for group in groups for number in group}
        alone = [] if drop else [[n] for n in range(len(self.parts)) if n not in grouped]
        groups = sorted(groups + alone)
        place = np.zeros(len(self.parts), dtype=np.int32)
        shift = np.zeros(len(self.parts), dtype=np.int32)
        parts = []
        for new, group in enumerate(groups):
            sources = [self.parts[number] for number in group]
            place[group] = new
            if len(group) == 1:
                parts.append(sources[0])
                continue
            shift[group] = np.cumsum([0, *(tile_count(source) for source in sources[:-1])])
            parts.append(joined(sources))
        return self._but(
            parts=tuple(parts),
            joined_at=len(parts),
            _part=GrowingRows(place[self.part]),
            _row=GrowingRows(self.row + shift[self.part]),
        )

    # ---------------------------------------------------------------- on disk

    def save(self, folder: Path, base: Path) -> dict[str, Any]:
        """Write the table, and each part to a folder of its own."""
        for number, source in enumerate(self.parts):
            save_source(source, folder / f"part-{number}", base=base)
        write_table(
            folder / _TABLE, {"part": self.part, "row": self.row, "presence": self.presence()}
        )
        return {"parts": len(self.parts)}

    @classmethod
    def load(cls, folder: Path, base: Path, spec: Mapping[str, Any]) -> Self:
        """Open the table, memory-mapped, and the parts."""
        table = read_table(folder / _TABLE)
        parts = [load_source(folder / f"part-{k}", base=base) for k in range(spec["parts"])]
        columns = (table.column(name).to_numpy() for name in ("part", "row", "presence"))
        return cls(parts, *columns)


class _Added:
    """Tiles about to join a source of parts."""

    __slots__ = ("_source", "part", "parts", "presence", "row", "rows")

    def __init__(
        self,
        source: TileSource,
        rows: np.ndarray,
        parts: tuple[TileSource, ...],
        part: np.ndarray,
        row: np.ndarray,
        presence: np.ndarray,
    ) -> None:
        self._source, self.rows = source, rows
        self.parts, self.part, self.row, self.presence = parts, part, row, presence

    def fingerprints(self) -> np.ndarray:
        return np.asarray(self._source.fingerprints()[self.rows])


def tidied(source: PartsSource) -> PartsSource:
    """With small parts joined, if many have come since they last were."""
    if len(source.parts) - source.joined_at < JOIN_AFTER:
        return source
    alike: dict[Hashable, list[int]] = {}
    for number, part in enumerate(source.parts):
        key = join_key(part)
        if key is not None:
            alike.setdefault(key, []).append(number)
    return source.regrouped(
        [group for numbers in alike.values() if len(group := _small(source.parts, numbers)) > 1]
    )


def _small(parts: Sequence[TileSource], numbers: list[int]) -> list[int]:
    """Parts worth joining: none is much larger than those before it together."""
    counts = {number: tile_count(parts[number]) for number in numbers}
    chosen: list[int] = []
    total = JOIN_AFTER
    for number in sorted(numbers, key=counts.__getitem__):
        if counts[number] > 2 * total:
            break
        chosen.append(number)
        total += counts[number]
    return sorted(chosen)


def _steady(source: TileSource) -> TileSource:
    """The source, with fingerprints that tell its pixels from others'."""
    return saved_form(source) if isinstance(source, BlockSource) else source


def _column(values: Any, dtype: Any) -> GrowingRows:
    return GrowingRows(np.asarray(values, dtype=dtype))


def _codes(values: Any, n: int) -> np.ndarray:
    """One presence for each of `n` tiles."""
    codes = np.broadcast_to(np.asarray(values, dtype=np.int64), (n,))
    bad = np.setdiff1d(codes, [State.ABSENT, State.WAITING, State.COMPLETE])
    if len(bad):
        raise SourceError(
            f"presence {bad[0]}: expected State.COMPLETE ({State.COMPLETE:d}, the tile is there), "
            f"State.WAITING ({State.WAITING:d}, announced) or State.ABSENT ({State.ABSENT:d}, "
            "withdrawn)"
        )
    return codes.astype(np.uint8)
