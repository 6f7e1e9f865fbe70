"""Whole tiles that join a lattice, replace tiles of it, or are refused, each by itself."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from latticework.errors import LatticeworkError
from latticework.io.arriving import Files, Opener
from latticework.io.arriving_places import GridNumbers, conformed, placed_lattice, taken
from latticework.io.growth_store import Growth
from latticework.io.placing import Tiles
from latticework.io.watch_known import KnownFiles, presence_of, subset
from latticework.lattice import Lattice
from latticework.lattice.source import TileSource
from latticework.lattice.states import State

AT_ONCE = 64
"""Tiles that are tried one by one where they cannot be opened together."""


class Joining:
    """From the files of whole tiles to what the project takes up.

    Parameters
    ----------
    opener
        Knows the format, and has looked at the files.
    known, files
        The lattice that there is, and its tiles by file.
    numbers
        Which number the first tile of a grid has.
    gone
        Files that have left; another file may take the place of their tile.
    """

    def __init__(
        self,
        opener: Opener,
        known: Lattice | None,
        files: KnownFiles,
        numbers: GridNumbers | None,
        gone: Collection[str] = (),
    ) -> None:
        self._opener, self._known, self._files = opener, known, files
        self._gone = gone
        self._first = None if numbers is None else numbers.first
        self.refused: dict[Files, str] = {}
        """Files of tiles that cannot join, and why."""
        self.joined: set[str] = set()
        """Files of tiles that join or replace others."""

    def growth(self, whole: Sequence[Files], spoiled: Sequence[Files]) -> Growth | None:
        """What the project takes up; None where there is nothing.

        Parameters
        ----------
        whole
            Files of tiles that are whole: new ones, or changed ones of the lattice.
        spoiled
            Files of tiles that never will be; they join with a problem.
        """
        changed: dict[Files, tuple[int, ...]] = {}
        new = []
        for files in whole:
            ids = tuple(sorted({tile for name in files for tile in self._files.tiles(name)}))
            if ids:
                changed[files] = ids
            else:
                new.append(files)
        lost = [s for s in spoiled if not any(name in self._files for name in s)]
        lattice, by, reclaimed = self._open(new, lost)
        replaced = self._replaced({**changed, **reclaimed})
        if lattice is None and replaced is None:
            return None
        back = np.array([ids[0] for ids in reclaimed.values()], np.int64)
        presence = (back, np.full(len(back), State.COMPLETE, np.uint8)) if len(back) else None
        return Growth(lattice, by, replaced, presence)

    # ---------------------------------------------------------------- new tiles

    def _open(
        self, groups: list[Files], lost: list[Files]
    ) -> tuple[Lattice | None, str, dict[Files, tuple[int, ...]]]:
        reclaimed: dict[Files, tuple[int, ...]] = {}
        spoilt = {name for files in lost for name in files}
        groups = [*groups, *lost]
        tried = False
        while groups:
            try:
                lattice, by, owners = self._placed(groups)
            except LatticeworkError as error:
                if len(groups) == 1 or tried:
                    self.refused.update((files, str(error)) for files in groups)
                    break
                tried = True
                groups = self._one_by_one(groups)
                continue
            bad = self._conflicts(lattice, by, owners, spoilt, reclaimed)
            if not bad:
                self.joined |= {name for files in groups for name in files}
                return lattice, by, reclaimed
            groups = [files for files in groups if files not in bad]
        return None, "labels", reclaimed

    def _placed(self, groups: list[Files]) -> tuple[Lattice, str, list[Files]]:
        """The lattice of some tiles, what decides about places, and the files of every tile."""
        tiles = self._opener.tiles([name for files in groups for name in files])
        group = {name: files for files in groups for name in files}
        owners = [group[name] for name in tiles.names]
        lattice, by = placed_lattice(self._opener, tiles, self._first)
        return conformed(lattice, self._known), by, owners

    def _conflicts(
        self,
        lattice: Lattice,
        by: str,
        owners: list[Files],
        spoilt: set[str],
        reclaimed: dict[Files, tuple[int, ...]],
    ) -> set[Files]:
        """Tiles that cannot join as new ones: their files contradict, or their place is taken."""
        bad: set[Files] = set()
        for row, text in lattice.problems.items():
            if not spoilt & set(owners[row]):
                self.refused[owners[row]] = text
                bad.add(owners[row])
        at = taken(lattice, self._known, by)
        for row in np.flatnonzero(at >= 0).tolist():
            files, tile = owners[row], int(at[row])
            assert self._known is not None
            bad.add(files)
            own = self._files.files(tile)
            free = presence_of(self._known)[tile] == State.ABSENT
            free |= bool(own) and all(name in self._gone for name in own)
            if free and files not in self.refused and (tile,) not in reclaimed.values():
                reclaimed[files] = (tile,)
                continue
            there = own[0] if own else self._known.tile(tile).name
            self.refused[files] = (
                f"its place is that of {there!r}, tile {tile}: remove one of them, or tell them "
                "apart with pattern="
            )
        return bad

    def _one_by_one(self, groups: list[Files]) -> list[Files]:
        """Those that can be opened alone, and are at places of their own."""
        good: list[Files] = []
        places: dict[tuple[object, ...], Files] = {}
        for files in groups[:AT_ONCE]:
            try:
                lattice, by, _ = self._placed([files])
            except LatticeworkError as error:
                self.refused[files] = str(error)
                continue
            keys = _places(lattice, by)
            if twin := next((places[key] for key in keys if key in places), None):
                self.refused[files] = (
                    f"its place is that of {twin[0]!r}: remove one of them, or tell them apart "
                    "with pattern="
                )
                continue
            places.update(dict.fromkeys(keys, files))
            good.append(files)
        return good

    # ---------------------------------------------------------------- replaced tiles

    def _replaced(
        self, groups: Mapping[Files, tuple[int, ...]]
    ) -> tuple[np.ndarray, TileSource] | None:
        """Ids of known tiles, and a source of what they are now."""
        while groups:
            try:
                tiles = self._opener.tiles([name for files in groups for name in files])
            except LatticeworkError as error:
                self.refused.update((files, str(error)) for files in groups)
                return None
            bad = self._bad(tiles, groups)
            if not bad:
                break
            groups = {files: ids for files, ids in groups.items() if files not in bad}
        if not groups:
            return None
        group = {name: files for files in groups for name in files}
        count: dict[Files, int] = {}
        ids, rows = [], []
        for row, name in enumerate(tiles.names):
            files = group[name]
            place = count.get(files, 0)
            count[files] = place + 1
            if place < len(groups[files]):
                ids.append(groups[files][place])
                rows.append(row)
        self.joined |= {name for files in groups for name in files}
        return np.array(ids, np.int64), subset(tiles.source, np.array(rows, np.int64))

    def _bad(self, tiles: Tiles, groups: Mapping[Files, tuple[int, ...]]) -> set[Files]:
        group = {name: files for files in groups for name in files}
        bad = {group[tiles.names[row]]: text for row, text in tiles.problems.items()}
        if self._known is not None and tiles.dtype != self._known.dtype:
            text = f"its pixels are {tiles.dtype}; expected {self._known.dtype}"
            bad |= dict.fromkeys(groups, text)
        self.refused |= bad
        return set(bad)


def _places(lattice: Lattice, by: str) -> list[tuple[object, ...]]:
    """Labels (or rounded positions) of every tile."""
    if by == "positions":
        sizes = [
            lattice.tile_shape.get(a, 1) * lattice.pixel_size_um[a] for a in lattice.spatial_dims
        ]
        return [tuple(row) for row in np.rint(lattice.position_um / sizes * 2).tolist()]
    return [
        tuple(lattice.labels[dim][i] for dim, i in zip(lattice.dims, index, strict=True))
        for index in lattice.index.tolist()
    ]
