"""Watching a folder into which a microscope writes."""

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from latticework.errors import SourceError
from latticework.io.arrivals import Arrivals
from latticework.io.arriving import Opener, Opening, Sorted, TiffOpener
from latticework.io.arriving_places import GridNumbers
from latticework.io.arriving_seeds import SeedOpener, seed_of
from latticework.io.arriving_tiles import Joining
from latticework.io.arriving_zarr import ZarrOpener
from latticework.io.growth_store import Growth
from latticework.io.notices import Held, Notices, some
from latticework.io.position_table import PositionTable
from latticework.io.positions import listing
from latticework.io.scan import TIFF_SUFFIXES, is_text, printable
from latticework.io.settling import Markers, Settling, Stamp
from latticework.io.wake_up import WakeUp
from latticework.io.watch_known import KnownFiles, presence_of
from latticework.io.watch_list import ListFile
from latticework.io.watch_presence import leaving_tiles
from latticework.io.watch_scan import FolderScan
from latticework.io.zarr_images import is_zarr
from latticework.lattice import Lattice
from latticework.lattice.states import State


class FolderWatcher:
    """Tiles that arrive in a folder, are replaced there or leave; made by `watch_folder`.

    ::

        FolderScan          which files are new, changed, gone
          > Settling        which of them are finished
          > Opener          which make whole tiles
          > places          which are at a place that is free
          > Growth          what the project takes up
    """

    def __init__(
        self,
        opening: Opening,
        *,
        files: str | None,
        settle_s: float,
        markers: Markers | None,
        end: str | int | None,
        withdraw: bool,
        first: int | None,
        clock: Callable[[], float],
        wake_up: WakeUp,
    ) -> None:
        self.root = opening.root
        self._opening, self._markers, self._end = opening, markers, end
        self._files, self._withdraw, self._clock = files, withdraw, clock
        self._notices = Notices()
        self._settling = Settling(settle_s)
        self._scan = FolderScan(
            opening.root, wanted=self._is_tiff, marks=self._is_mark, is_image=_is_image
        )
        self._known = KnownFiles(opening.root)
        self._opener: Opener | None = None
        self._pending: dict[str, Stamp] = {}
        self._forced: set[str] = set()
        self._gone: set[str] = set()
        self._again: list[int] = []
        self._told_to_end = False
        self._last: tuple[object, Sorted] | None = None
        places = opening.placing.grid
        self._numbers = (
            None
            if places is None
            else GridNumbers(int(np.prod(list(places.values()))), opening.pattern, first)
        )
        self._list: ListFile[PositionTable] | None = None
        self._table: PositionTable | None = None
        self._wake_up = wake_up
        self._settle_left = float("inf")
        self._listed: Callable[[str], bool] | None = None
        self._version = 0
        self._wanted: tuple[object, np.ndarray] | None = None
        self._compared = False
        self._left = np.zeros(0, np.int64)

    def follow_table(self, path: Path, read: Callable[[Path], PositionTable]) -> None:
        """A file with a table of positions says which tiles there are, and where."""
        self._list = ListFile(path, read, settle_s=self._settling.settle_s, notices=self._notices)

    def use_table(self, table: PositionTable) -> None:
        """A table of positions says where the tiles are."""
        self._table = table

    # ---------------------------------------------------------------- files

    def _is_tiff(self, name: str) -> bool:
        base = name.rpartition("/")[2]
        fits = self._files is None or any(fnmatch.fnmatch(n, self._files) for n in (name, base))
        if not fits or (self._is_mark(base) and self._markers is not None):
            return False
        if base.lower().endswith(TIFF_SUFFIXES):
            return True
        return (self.root / name / "zarr.json").is_file() or _has_zarr2(self.root / name)

    def _is_mark(self, name: str) -> bool:
        if isinstance(self._end, str) and fnmatch.fnmatch(name, self._end):
            return True
        return self._markers is not None and self._markers.is_marker(name)

    def end(self) -> None:
        """The user says that the acquisition is over: the next look is a last one."""
        self._told_to_end = True
        self._wake_up.wake()

    def wait(self, seconds: float) -> bool:
        """Wait until something may have changed, or a file settled, at most so long."""
        return self._wake_up.wait(min(seconds, self._settle_left))

    def close(self) -> None:
        """Stop watching."""
        self._wake_up.close()

    def poll(self, known: Lattice | None) -> Arrivals:
        """What has happened since the last look; see `latticework.io.watching.Watcher`."""
        now = self._clock()
        self._known.follow(known, self._again)
        self._version += bool(self._again)
        self._again = []
        look = self._scan.look(now)
        self._tell_troubles(look.troubles)
        for name, stamp in look.changed.items():
            self._take_up(name, stamp, fresh=name in look.fresh)
        self._leave(look.gone)
        if known is not None and not self._compared and "" not in look.troubles:
            self._compared = True
            self._leave(self._known.missing(self._scan))
            self._left = self._lost_already(known)
        ended = self._is_over(known)
        ready, held = self._settle(now, ending=ended)
        if self._list is not None:
            self._look_at_list(now)
        calm = not held
        growth, more = self._grow(known, ready, ending=ended and calm)
        held |= more
        back = None if growth is None else growth.presence
        presence, withdrawn = self._presence(known, back)
        if growth is not None:
            growth = replace(growth, presence=presence)
        elif presence is not None:
            growth = Growth(None, "labels", None, presence)
        unsure = bool(look.troubles) or (self._list is not None and self._list.unsettled)
        finished = ended and not unsure and calm
        waiting = tuple(Held(self.root / name, why) for name, why in sorted(held.items()))
        notices = self._notices
        return Arrivals(growth, withdrawn, finished, notices.taken(), waiting, notices.troubles)

    def _tell_troubles(self, troubles: Mapping[str, str]) -> None:
        for folder, text in troubles.items():
            self._notices.begins(f"folder {folder}", f"{text}; nothing changes", lasting=True)
        self._notices.end_others(
            "folder ", troubles, lambda folder: f"{self.root / folder} can be looked into again"
        )

    def _take_up(self, name: str, stamp: Stamp, *, fresh: bool) -> None:
        if self._opener is not None:
            self._opener.forget(name)
        if not is_text(name):
            text = f"the name of {printable(self.root / name)} is no text (UTF-8): rename it"
            self._notices.begins(f"name {printable(name)}", f"{text}; it is left out")
            return
        self._gone.discard(name)
        self._notices.ends(f"gone {name}", f"{name} is back")
        if name in self._known and self._known.is_current(name, stamp):
            if fresh:
                return
            self._forced.add(name)
        self._pending[name] = stamp
        self._version += 1

    def _leave(self, gone: Iterable[str]) -> None:
        lost = []
        for name in sorted(gone):
            self._pending.pop(name, None)
            self._forced.discard(name)
            self._settling.forget(name)
            if self._opener is not None:
                self._opener.forget(name)
            if name in self._known:
                self._gone.add(name)
                lost.append(name)
            self._version += 1
        does = "withdraws" if self._withdraw else "keeps"
        if len(lost) > 3:
            text = f"{len(lost):,} files left {self.root} ({some(lost)}); the project {does} their"
            self._notices.begins("gone " + lost[0], f"{text} tiles", lasting=not self._withdraw)
        else:
            for name in lost:
                self._notices.begins(
                    f"gone {name}", f"{self.root / name} left; the project {does} its tile"
                )

    def _settle(self, now: float, *, ending: bool) -> tuple[list[str], dict[str, str]]:
        """Files that are finished, and why others are not."""
        ready, held = [], {}
        self._settle_left = float("inf")
        for name, stamp in list(self._pending.items()):
            taken_up = name in self._known and name not in self._forced
            if taken_up and self._known.is_current(name, stamp):
                del self._pending[name]
                self._settling.forget(name)
                continue
            calm = self._settling.settled(name, stamp, now)
            if self._markers is not None and not ending:
                base = name.rpartition("/")[2]
                if not self._markers.says(base, self._scan.markers(name)):
                    held[name] = f"no marker beside it; expected {self._markers.of(base)[0]}"
                    continue
                calm = calm or name not in self._known
            if calm:
                ready.append(name)
            else:
                left = self._settling.left(name, now)
                self._settle_left = min(self._settle_left, max(left, 0.1))
                held[name] = f"it changed lately: {left:.1f} s to wait"
        return ready, held

    # ---------------------------------------------------------------- tiles

    def _grow(
        self, known: Lattice | None, ready: list[str], *, ending: bool
    ) -> tuple[Growth | None, dict[str, str]]:
        names = self._with_partners(known, ready)
        if not names:
            return None, {}
        opener = self._opened(known, names)
        names, held = self._listed_only(names)
        names, more = self._of_kind(opener, names)
        held |= more
        if self._numbers is not None:
            self._numbers.note({n: self._pending[n][1] for n in names if n in self._pending})
            if self._numbers.first is None:
                held = {**held, **dict.fromkeys(names, self._numbers.why)}
                if ending:
                    self._tell_left(held, set())
                return None, held
        key = (self._version, tuple(names), 0 if known is None else len(known))
        if self._last is None or self._last[0] != key:
            self._last = (key, opener.sort(names))
        found = self._last[1]
        held |= {n: text for n, text in found.held.items() if n in self._pending}
        joining = Joining(opener, known, self._known, self._numbers, self._gone)
        spoiled = found.spoiled if ending else []
        growth = joining.growth(found.whole, spoiled)
        for files, text in joining.refused.items():
            held.update((name, text) for name in files if name in self._pending)
        if ending:
            self._tell_left(held, joining.joined)
        if growth is not None and growth.replaced is not None:
            self._again = growth.replaced[0].tolist()
            self._forced -= joining.joined
        return growth, {name: text for name, text in held.items() if name not in joining.joined}

    def _with_partners(self, known: Lattice | None, ready: list[str]) -> list[str]:
        """Finished files, and the other files of known tiles that they change or complete."""
        waiting = set(self._pending) - set(ready)
        names = set()
        for name in ready:
            own = {file for tile in self._known.tiles(name) for file in self._known.files(tile)}
            if not own & waiting:
                names |= {name, *(own - self._gone)}
        if known is not None and names:
            for tile in known.problems:
                own = set(self._known.files(tile))
                names |= set() if own & (waiting | self._gone) else own
        return sorted(names)

    def _opened(self, known: Lattice | None, names: list[str]) -> Opener:
        """The opener, chosen by the first files, that knows what known tiles are like."""
        if self._opener is None:
            tiff = any(name.lower().endswith(TIFF_SUFFIXES) for name in names)
            if len(self._known):
                tiff = self._known.files(0)[0].lower().endswith(TIFF_SUFFIXES)
            seed = seed_of(self._opening, names) if tiff and self._table is None else None
            if seed is not None:
                self._opener = SeedOpener(self._opening, seed)
            else:
                self._opener = TiffOpener(self._opening) if tiff else ZarrOpener(self._opening)
            self._opener.table = self._table
            if known is not None and len(known):
                self._learn(known, self._opener)
        return self._opener

    def _learn(self, known: Lattice, opener: Opener) -> None:
        there = presence_of(known) == State.COMPLETE
        good = [int(i) for i in known.ids if there[i] and int(i) not in known.problems]
        for tile in good[:8]:
            files = self._known.files(tile)
            if files and all((self.root / name).exists() for name in files):
                opener.learn(files)
                if self._numbers is not None:
                    self._numbers.learn(known.take([tile]), files, self._opening.placing)
                return

    def _of_kind(self, opener: Opener, names: list[str]) -> tuple[list[str], dict[str, str]]:
        tiff = not isinstance(opener, ZarrOpener)
        other = [name for name in names if name.lower().endswith(TIFF_SUFFIXES) != tiff]
        what = "TIFF files" if tiff else "Zarr images"
        text = f"the tiles of this acquisition are {what}, and this is none"
        return [n for n in names if n not in set(other)], dict.fromkeys(other, text)

    def _look_at_list(self, now: float) -> None:
        assert self._list is not None
        if self._list.look(now) and self._list.value is not None:
            columns, unit = self._opening.columns, self._opening.unit
            self._listed = listing(self._list.value, columns=columns, unit=unit)
            self._table = self._list.value
            self._version += 1
            if self._opener is not None:
                self._opener.table = self._table

    def _listed_only(self, names: list[str]) -> tuple[list[str], dict[str, str]]:
        if self._list is None:
            return names, {}
        if self._list.value is None:
            return [], dict.fromkeys(names, f"{self._list.path} cannot be used yet")
        if self._listed is None:
            return names, {}
        lacking = [name for name in names if not self._is_listed(name)]
        text = f"{self._list.path.name} has no row for it"
        return [n for n in names if n not in set(lacking)], dict.fromkeys(lacking, text)

    def _is_listed(self, name: str) -> bool:
        return self._listed is None or self._listed(name)

    def _tell_left(self, held: Mapping[str, str], joined: set[str]) -> None:
        for name, text in sorted(held.items()):
            fate = "its tile joins with a problem" if name in joined else "it is left out"
            self._notices.begins(f"left {name}", f"at the end of the acquisition {fate}: {text}")

    # ---------------------------------------------------------------- presence, end

    def _presence(
        self, known: Lattice | None, back: tuple[np.ndarray, np.ndarray] | None
    ) -> tuple[tuple[np.ndarray, np.ndarray] | None, np.ndarray]:
        """Changes of which tiles are there, and the tiles that leave."""
        none = np.zeros(0, np.int64)
        if known is None or not len(known) or not (self._withdraw or self._listed is not None):
            return back, none
        key = (self._version, len(known))
        if self._wanted is None or self._wanted[0] != key:
            absent = [tile for tile in known.ids.tolist() if self._is_lost(tile)]
            self._wanted = (key, np.array(absent, np.int64))
        lost = self._wanted[1]
        now = presence_of(known)
        wanted = now.copy()
        if self._listed is not None:
            wanted[:] = State.COMPLETE
        wanted[np.setdiff1d(self._left, lost)] = State.COMPLETE  # not those that users withdrew
        wanted[lost] = State.ABSENT
        if back is not None:
            wanted[back[0]] = back[1]
        changes, leaving = leaving_tiles(now, wanted, self._notices, str(self.root))
        self._left = np.intersect1d(np.union1d(self._left, leaving), lost)
        return changes, leaving

    def _lost_already(self, known: Lattice) -> np.ndarray:
        """Tiles that an earlier watch withdrew because their files left."""
        absent = np.flatnonzero(presence_of(known) == State.ABSENT).tolist()
        return np.array([tile for tile in absent if self._is_lost(tile)], np.int64)

    def _is_lost(self, tile: int) -> bool:
        files = self._known.files(tile)
        if not files:
            return False
        if self._withdraw and any(name in self._gone for name in files):
            return True
        return self._listed is not None and not any(self._is_listed(name) for name in files)

    def _is_over(self, known: Lattice | None) -> bool:
        if self._told_to_end:
            return True
        if isinstance(self._end, str):
            return any(fnmatch.fnmatch(name, self._end) for name in self._scan.top_markers())
        if self._end is None or known is None or not len(known):
            return False
        return int((presence_of(known) == State.COMPLETE).sum()) >= self._end


def _is_image(path: Path) -> bool:
    try:
        return is_zarr(path)
    except SourceError:  # half written: an image that cannot be read yet
        return True


def _has_zarr2(path: Path) -> bool:
    return any((path / name).is_file() for name in (".zarray", ".zgroup"))
