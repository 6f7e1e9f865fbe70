"""Tiles as they arrive in folders of LaVision's, SmartSPIM's and MouseLight's microscopes.

Their readers take all files at once and name what lacks. Here a tile is whole when it has as many
files as were announced (``expect=``), or as the tiles that are known.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from latticework.errors import LatticeError, LatticeworkError, SourceError
from latticework.io import lavision, mouselight_tiles, smartspim
from latticework.io.arriving import Files, Opening, Sorted
from latticework.io.filenames import natural_key
from latticework.io.placing import Tiles
from latticework.io.position_table import PositionTable
from latticework.io.watch_known import plain_sources


def seed_of(opening: Opening, names: Sequence[str]) -> str | None:
    """Which microscope named the files, where the options leave that to the names."""
    given = (opening.pattern, opening.dims, opening.placing.grid)
    if any(one is not None for one in given):
        return None
    if lavision.is_lavision(names):
        return "LaVision"
    if smartspim.is_smartspim(opening.root, names):
        return "SmartSPIM"
    return "MouseLight" if mouselight_tiles.is_tile_folders(opening.root, names) else None


class SeedOpener:
    """Opens tiles of the microscopes whose names are known, as they arrive; an `Opener`.

    Parameters
    ----------
    opening
        How the files are opened.
    seed
        What `seed_of` said.
    """

    def __init__(self, opening: Opening, seed: str) -> None:
        self.opening = opening
        self.table: PositionTable | None = None
        self._seed = seed
        self._lost: dict[str, str] = {}
        expect = opening.expect
        self._count = None if expect is None else int(np.prod(list(expect.values())))

    def forget(self, name: str) -> None:
        """A file has changed or left."""
        self._lost.pop(name, None)

    def learn(self, names: Files) -> None:
        """Take from a known tile how many files make one."""
        self._count = len(names)

    def sort(self, names: Sequence[str]) -> Sorted:
        """Which files make whole tiles.

        Raises
        ------
        LatticeError
            Where nothing says how many files make one.
        """
        if self._count is None:
            raise LatticeError(
                f"the tiles of {self.opening.root} have several files each, as {self._seed}'s "
                "microscope writes them, and while they arrive nothing says how many: watch with "
                'expect={"c": ..., "z": ...}, the numbers that have a file each'
            )
        found = Sorted()
        names = sorted((name for name in names if self._fits(name, found)), key=natural_key)
        for group in self._batches(names, found):
            tiles = self.tiles(group)
            for row, files in enumerate(tile_files(tiles)):
                problem = tiles.problems.get(row)
                if problem is None and len(files) == self._count:
                    found.whole.append(files)
                    continue
                text = problem or f"its tile has {len(files)} of {self._count} files"
                if len(files) == self._count:
                    self._lost.update(dict.fromkeys(files, text))
                found.held.update(dict.fromkeys(files, text))
                found.spoiled.append(files)
        found.whole = list(dict.fromkeys(found.whole))
        for name in names:
            if name not in found.held and not any(name in files for files in found.whole):
                found.held[name] = "it is no tile's"
        return found

    def _fits(self, name: str, found: Sorted) -> bool:
        fits = True
        if self._seed == "LaVision":
            fits = lavision.is_lavision([name])
        elif self._seed == "SmartSPIM":
            fits = smartspim.is_smartspim(self.opening.root, [name])
        if not fits:
            found.held[name] = f"it is not named as {self._seed}'s microscope names its files"
        return fits

    def _batches(self, names: list[str], found: Sorted) -> list[list[str]]:
        """All files at once; folder by folder where that fails."""
        if not names:
            return []
        try:
            self.tiles(names)
        except LatticeworkError:
            folders: dict[str, list[str]] = {}
            for name in names:
                folders.setdefault(name.rpartition("/")[0], []).append(name)
            good = []
            for group in folders.values():
                try:
                    self.tiles(group)
                    good += group
                except LatticeworkError as error:
                    found.held.update(dict.fromkeys(group, str(error)))
            return [good] if good and len(good) < len(names) else []
        return [names]

    def lost(self, names: Sequence[str]) -> dict[str, str]:
        """Files that cannot be read, and why."""
        return {name: self._lost[name] for name in names if name in self._lost}

    def tiles(self, names: Sequence[str]) -> Tiles:
        """Tiles of these files; `Tiles.names` are their first files."""
        root, placing = self.opening.root, self.opening.placing
        names = sorted(dict.fromkeys(names), key=natural_key)
        if self._seed == "LaVision":
            tiles = lavision.lavision_tiles(root, names, placing, sheet=self.opening.sheet)
        elif self._seed == "SmartSPIM":
            tiles = smartspim.smartspim_tiles(root, names, placing)
        else:
            tiles, placing = mouselight_tiles.folder_tiles(root, names, placing)
            self.opening = replace(self.opening, placing=placing)
        if tiles.titles is None and not tiles.labelled:
            tiles.titles = list(tiles.names)
        tiles.names = [files[0] if files else "" for files in tile_files(tiles)]
        return tiles


def tile_files(tiles: Tiles) -> list[Files]:
    """Files of every tile, those that cannot be used too."""
    found: list[Files] = [()] * len(tiles.table)
    rows = np.arange(len(tiles.table))
    for source, ids, within in plain_sources(tiles.source, rows):
        file_of = getattr(source, "file_of", None)
        if file_of is None:
            raise SourceError(
                f"{tiles.where} is not a folder of TIFF files: watch it with pattern="
            )
        for tile, row in zip(ids.tolist(), within.tolist(), strict=True):
            files = np.where(file_of[row] < -1, -2 - file_of[row], file_of[row])
            found[tile] = tuple(
                source.names[file] for file in np.unique(files[files >= 0]).tolist()
            )
    return found
