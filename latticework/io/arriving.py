"""From files that have arrived to tiles: which are whole, what is missing, where they belong.

`open_tiles` sees an acquisition at once; here it comes in pieces, and each piece must give the
tiles that the whole would have given. What a piece cannot tell by itself is remembered from earlier
ones: what the files look like, what says where they are, and which planes make a tile.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io import tiff_tiles
from latticework.io.filenames import KNOWN_PATTERNS, match_names, natural_key
from latticework.io.open_tiles import tiff_parts
from latticework.io.placing import Placing, Tiles
from latticework.io.position_table import PositionTable
from latticework.io.positions import add_file_facts
from latticework.io.scan import Scan, TiffFacts, scan_tiffs
from latticework.io.tiff_tiles import Parts

Files = tuple[str, ...]
"""Names of the files of one tile, relative to the folder."""


@dataclass(slots=True)
class Sorted:
    """Files that have arrived, by what can be done with them."""

    whole: list[Files] = field(default_factory=list)
    """Files of every tile that is whole, in natural order of the first ones."""
    held: dict[str, str] = field(default_factory=dict)
    """Why the other files wait."""
    spoiled: list[Files] = field(default_factory=list)
    """Files of tiles that will not be whole unless something changes: truncated, or incomplete."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How files are opened: the options of `open_tiles` that matter to files."""

    root: Path
    placing: Placing
    pattern: str | re.Pattern[str] | None = None
    dims: Sequence[str] | None = None
    columns: str | Mapping[str, str] | None = None
    unit: str | None = None
    expect: Mapping[str, int] | None = None
    """Files of one tile along ``c`` and ``z``, where it has several."""
    sheet: str | None = None
    """What to call a LaVision UltraMicroscope's lone light sheet."""


class Opener(Protocol):
    """What knows how to open files of one format as they arrive."""

    opening: Opening
    table: PositionTable | None

    def forget(self, name: str) -> None:
        """A file has changed or left."""
        ...

    def learn(self, names: Files) -> None:
        """Take what is common to all tiles from a known one."""
        ...

    def sort(self, names: Sequence[str]) -> Sorted:
        """Which files make whole tiles."""
        ...

    def lost(self, names: Sequence[str]) -> dict[str, str]:
        """Files that cannot be read, and why."""
        ...

    def tiles(self, names: Sequence[str]) -> Tiles:
        """Tiles of files that were sorted."""
        ...


@dataclass(slots=True)
class _KnownScan(Scan):
    """Files whose common form is known, whatever these ones say."""

    usual: TiffFacts | None = None

    def common(self) -> TiffFacts:
        """The form of the acquisition."""
        assert self.usual is not None
        return self.usual


class TiffOpener:
    """Opens tiles of TIFF files as they arrive.

    Parameters
    ----------
    opening
        How the files are opened.
    """

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.table: PositionTable | None = None
        """Table of positions, where there is one."""
        self._seen: dict[str, TiffFacts | str] = {}
        self._stats: dict[str, tuple[int, int]] = {}
        self._usual: TiffFacts | None = None
        self._way: str | re.Pattern[str] | None = opening.pattern
        self._levels: dict[str, np.ndarray] = {}

    def forget(self, name: str) -> None:
        """A file has changed or left: what was read of it does not count any more."""
        self._seen.pop(name, None)

    def learn(self, names: Files) -> None:
        """Take what is common to all tiles from the files of one that is known."""
        self.read(names)
        if all(isinstance(self._seen.get(name), TiffFacts) for name in names):
            self._usual = self._facts(names[0])
            self._choose_way(list(names))
            parts = self._parts(self._scan(list(names)))
            self._levels = {dim: np.unique(parts.table[dim].to_numpy()) for dim in parts.outer}
        for name in names:
            self.forget(name)

    def read(self, names: Sequence[str]) -> None:
        """Look at the headers of files that have not been looked at."""
        new = sorted((name for name in names if name not in self._seen), key=natural_key)
        if not new:
            return
        scan = scan_tiffs(self.opening.root, new)
        for row, name in enumerate(new):
            facts = scan.facts[row]
            self._seen[name] = scan.problems[row] if facts is None else facts
            self._stats[name] = (int(scan.sizes[row]), int(scan.mtimes[row]))

    def _facts(self, name: str) -> TiffFacts:
        facts = self._seen[name]
        assert isinstance(facts, TiffFacts)
        return facts

    # ---------------------------------------------------------------- sorting

    def sort(self, names: Sequence[str]) -> Sorted:
        """Which of the files make whole tiles; headers of new ones are read.

        Raises
        ------
        LatticeError
            Where the options can never say which files make a tile.
        """
        found = Sorted()
        names = self._fitting(sorted(names, key=natural_key), found)
        self.read(names)
        good = []
        for name in names:
            facts = self._seen[name]
            if isinstance(facts, str):
                found.held[name] = facts
            else:
                good.append(name)
        good = self._alike(good, found)
        if not good:
            found.spoiled = [
                (name,) for name in found.held if isinstance(self._seen.get(name), str)
            ]
            return found
        self._choose_way(good)
        good = self._placeable(good, found)
        if good:
            self._group(good, found)
        lost = [n for n in found.held if isinstance(self._seen.get(n), str)]
        inside = {name for files in found.spoiled for name in files}
        found.spoiled += [(name,) for name in lost if name not in inside]
        return found

    def _fitting(self, names: list[str], found: Sorted) -> list[str]:
        """Names that fit the pattern, and that the table has."""
        pattern = self._way
        if isinstance(pattern, re.Pattern) or (pattern and self.opening.pattern is not None):
            bad = set(match_names(names, pattern)[1])
            text = getattr(pattern, "pattern", pattern)
            for row in bad:
                found.held[names[row]] = f"its name does not fit pattern={text!r}"
            names = [name for row, name in enumerate(names) if row not in bad]
        return names

    def _alike(self, names: list[str], found: Sorted) -> list[str]:
        if not names:
            return names
        if self._usual is None:
            forms = Counter(self._facts(name).form for name in names)
            usual = forms.most_common(1)[0][0]
            self._usual = next(f for n in names if (f := self._facts(n)).form == usual)
        for name in names:
            facts = self._facts(name)
            if facts.form != self._usual.form:
                text = (
                    f"{self.opening.root / name} is {facts.text}; expected {self._usual.text}, as "
                    "the other files of this acquisition"
                )
                found.held[name] = self._seen[name] = text
        return [name for name in names if name not in found.held]

    def _choose_way(self, names: list[str]) -> None:
        """What says where tiles are: decided once, so that every piece is opened alike."""
        if self._way is not None:
            return
        if self.opening.placing.grid is not None or self.table is not None:
            self._way = "given"
        elif any(self._placed_ome(name) for name in names):
            self._way = "ome"
        elif any(self._placed_plane(name) for name in names):
            self._way = "metamorph"
        else:
            bases = [name.rpartition("/")[2] for name in names]
            fits = [sum(p.fullmatch(base) is not None for base in bases) for p in KNOWN_PATTERNS]
            if max(fits):
                self._way = KNOWN_PATTERNS[int(np.argmax(fits))]

    def _placed_ome(self, name: str) -> bool:
        ome = self._facts(name).ome
        return ome is not None and (
            ome.metadata_file is not None or any(image.position_um for image in ome.images)
        )

    def _placed_plane(self, name: str) -> bool:
        plane = self._facts(name).plane
        return plane is not None and {"y", "x"} <= set(plane.position_um)

    def _placeable(self, names: list[str], found: Sorted) -> list[str]:
        if self._way is None:
            for name in names:
                found.held[name] = (
                    "nothing says where it is (no OME-XML or MetaMorph position, no row and column "
                    'in the name): watch with pattern="{row:d}_{col:d}.tif", positions= or grid='
                )
            return []
        if isinstance(self._way, re.Pattern) and self.opening.pattern is None:
            return self._fitting(names, found)
        if self._way in ("ome", "metamorph"):
            says = self._placed_ome if self._way == "ome" else self._placed_plane
            for name in names:
                if not says(name):
                    found.held[name] = "it has no position; expected one as in the other files"
        return [name for name in names if name not in found.held]

    def _group(self, names: list[str], found: Sorted) -> None:
        parts = self._parts(self._scan(names))
        files = parts.table["file"].to_numpy()
        for row in np.setdiff1d(np.arange(len(names)), files).tolist():
            found.held[names[row]] = "it is no tile's, or that of one whose other files lack"
        if parts.table.empty:
            return
        tile = parts.tile_numbers()
        missing = self._missing(parts, tile)
        bad = {number for number, text in missing.items() if text}
        while True:  # a file with an incomplete tile holds its other tiles back
            spoilt = set(files[np.isin(tile, list(bad))].tolist())
            more = set(tile[np.isin(files, list(spoilt))].tolist())
            if more <= bad:
                break
            bad |= more
        order = np.argsort(tile, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(tile[order])) + 1)
        for group in groups:
            number = int(tile[group[0]])
            own = tuple(dict.fromkeys(names[row] for row in files[group].tolist()))
            if number not in bad:
                found.whole.append(own)
                continue
            found.spoiled.append(own)
            text = missing.get(number) or "another tile in it is not complete"
            found.held.update((name, text) for name in own if name not in found.held)

    def _missing(self, parts: Parts, tile: np.ndarray) -> dict[int, str]:
        """What each tile lacks, by number; empty texts for whole ones."""
        outer = parts.outer
        if not outer:
            return {}
        if not self._levels:
            self._find_levels(parts, tile)
        rows = parts.table[outer].apply(tuple, axis=1).tolist()
        have: dict[int, set[tuple[Any, ...]]] = {}
        for number, labels in zip(tile.tolist(), rows, strict=True):
            have.setdefault(number, set()).add(labels)
        if not self._levels:
            wanted = int(np.prod([self._counts(parts)[dim] for dim in outer]))
            return {n: f"its tile has {len(got)} of {wanted} files" for n, got in have.items()}
        grids = np.meshgrid(*(np.arange(len(self._levels[dim])) for dim in outer), indexing="ij")
        levels = [self._levels[d][g.ravel()].tolist() for d, g in zip(outer, grids, strict=True)]
        whole = list(zip(*levels, strict=True))
        return {number: _lacks(got, whole, outer) for number, got in have.items()}

    def _counts(self, parts: Parts) -> dict[str, int]:
        counts = dict(self.opening.expect or {})
        if self.opening.placing.channels is not None:
            counts.setdefault("c", len(self.opening.placing.channels))
        if self._way == "ome":
            none: Mapping[str, int] = {}
            sizes = next((s for f in self._seen.values() if (s := _ome_sizes(f))), none)
            for dim in parts.outer if sizes else ():
                counts.setdefault(dim, sizes[dim])
        unknown = [dim for dim in parts.outer if dim not in counts]
        if unknown:
            said = ", ".join(f'"{dim}": ...' for dim in unknown)
            raise LatticeError(
                f"the files of a tile in {self.opening.root} differ in {' and '.join(unknown)}, "
                "and while they arrive nothing says how many make a tile: watch with "
                f"expect={{{said}}}, the number of {' and of '.join(unknown)} that have a file each"
            )
        return counts

    def _find_levels(self, parts: Parts, tile: np.ndarray) -> None:
        """Labels of planes, from the first tile that has as many as were announced."""
        counts, outer = self._counts(parts), parts.outer
        if self._way == "ome":
            self._levels = {dim: np.arange(counts[dim]) for dim in outer}
            return
        for rows in parts.table[outer].groupby(tile, sort=False).indices.values():
            own = parts.table[outer].iloc[rows]
            labels = {dim: np.unique(own[dim].to_numpy()) for dim in outer}
            if all(len(labels[dim]) == counts[dim] for dim in outer):
                self._levels = labels
                return

    # ---------------------------------------------------------------- opening

    def _scan(self, names: list[str]) -> _KnownScan:
        facts = [f if isinstance(f := self._seen[name], TiffFacts) else None for name in names]
        stats = np.array([self._stats[name] for name in names], np.int64).reshape(-1, 2)
        problems = {r: f for r, name in enumerate(names) if isinstance(f := self._seen[name], str)}
        return _KnownScan(
            self.opening.root, names, stats[:, 0], stats[:, 1], list(facts), problems, self._usual
        )

    def _parts(self, scan: Scan) -> Parts:
        opening = self.opening
        pattern = opening.pattern
        if pattern is None and isinstance(self._way, re.Pattern):
            pattern = self._way
        table = self.table is not None
        parts = tiff_parts(scan, scan.common(), opening.dims, pattern, opening.placing, table=table)
        if self.table is not None:
            add_file_facts(parts, scan.names, self.table, opening.root)
        if self._levels:
            parts.levels = self._levels
        return parts

    def lost(self, names: Sequence[str]) -> dict[str, str]:
        """Files that cannot be read, and why."""
        return {name: text for name in names if isinstance(text := self._seen.get(name), str)}

    def tiles(self, names: Sequence[str]) -> Tiles:
        """Tiles of files that were sorted; those of files that cannot be read have problems."""
        if self._usual is None:
            raise SourceError(f"no file of {self.opening.root} could be read", self.opening.root)
        scan = self._scan(sorted(dict.fromkeys(names), key=natural_key))
        parts = self._parts(scan)
        for dim in parts.outer if parts.levels is not None else ():
            fits = np.isin(parts.table[dim].to_numpy(), parts.level(dim))
            parts.table = parts.table[fits].reset_index(drop=True)
        return tiff_tiles.assemble(parts, scan, self._usual, self.opening.placing)


def _ome_sizes(facts: TiffFacts | str) -> Mapping[str, int]:
    if isinstance(facts, str) or facts.ome is None or not facts.ome.images:
        return {}
    return facts.ome.images[0].sizes


def _lacks(got: set[tuple[Any, ...]], whole: list[tuple[Any, ...]], outer: list[str]) -> str:
    def said(planes: list[tuple[Any, ...]]) -> str:
        text = [" ".join(f"{d}={v}" for d, v in zip(outer, p, strict=True)) for p in planes[:3]]
        return ", ".join(text) + (" ..." if len(planes) > 3 else "")

    if absent := [plane for plane in whole if plane not in got]:
        return f"its tile lacks {len(absent)} of {len(whole)} files: {said(absent)}"
    if extra := sorted(got - set(whole), key=str):
        return (
            f"its tile has {len(got)} files, but {len(whole)} make a tile here ({said(extra)} is "
            "one more): correct expect=, or choose files with files="
        )
    return ""
