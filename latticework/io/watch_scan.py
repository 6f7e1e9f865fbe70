"""Looking at a folder again and again: which files are new, changed or gone since the last look.

A look at 400,000 files must not cost 400,000 calls to the file system. Three things are looked at:

- the time of change of every folder; a folder is listed again only where that has moved (or moved
  so lately that another change could hide behind the same time);
- the files that changed lately, and may still be written to;
- some of all other files in turn, so that each one is looked at every few looks.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from latticework.io.settling import Stamp

FILES_PER_LOOK = 50_000
"""Old files that are looked at in one look, in turn."""
RECENT_S = 60.0
"""For so long after a change a file is looked at every time."""
GRAIN_S = 3.0
"""Within this a second change of a folder may have the same time as the first."""
RELIST_S = 60.0
"""Folders are listed again after this time even where they claim not to have changed."""
_AT_ONCE = 256
_NODES = ("zarr.json", ".zarray", ".zgroup")
_stat = os.stat  # pathlib takes three times as long, and this is done 50,000 times
_GONE = (errno.ENOENT, errno.ENOTDIR)


@dataclass(slots=True)
class Look:
    """What one look found."""

    changed: dict[str, Stamp] = field(default_factory=dict)
    """Files (relative to the root) that are new or differ from the last look."""
    fresh: set[str] = field(default_factory=set)
    """Those of them that were not there at the last look."""
    gone: set[str] = field(default_factory=set)
    """Files that were there at the last look, in folders that can be read."""
    troubles: dict[str, str] = field(default_factory=dict)
    """Folders that cannot be looked into, and why; nothing is said about their files."""


@dataclass(slots=True)
class _Folder:
    changed_ns: int = -1
    changed_at: float = 0.0
    listed_at: float = 0.0
    files: dict[str, int] = field(default_factory=dict)
    """Hash of the stamp by name."""
    folders: list[str] = field(default_factory=list)
    markers: set[str] = field(default_factory=set)
    image: bool = False


class FolderScan:
    """Files below a folder, as they were when last looked at.

    Parameters
    ----------
    root
        The folder.
    wanted
        Whether a file, by its path below the folder, belongs to the acquisition.
    marks
        Whether a name is that of a marker.
    is_image
        Whether a folder is a Zarr image, which is one "file" here; called where it has metadata.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> scan = FolderScan(folder, wanted=lambda name: name.endswith(".tif"))
    >>> _ = (folder / "a.tif").write_bytes(b"12"), (folder / "b.txt").write_bytes(b"")
    >>> {name: stamp[0] for name, stamp in scan.look(0.0).changed.items()}
    {'a.tif': 2}
    >>> scan.look(1.0).changed
    {}
    """

    def __init__(
        self,
        root: Path,
        *,
        wanted: Callable[[str], bool],
        marks: Callable[[str], bool] = lambda _: False,
        is_image: Callable[[Path], bool] = lambda _: False,
    ) -> None:
        self.root = root
        self._path = str(root)
        self._wanted, self._marks, self._is_image = wanted, marks, is_image
        self._folders: dict[str, _Folder] = {}
        self._recent: dict[str, float] = {}
        self._turn: Iterator[list[tuple[str, str]]] = iter(())

    def __len__(self) -> int:
        return sum(len(folder.files) for folder in self._folders.values())

    def __contains__(self, name: object) -> bool:
        image = self._folders.get(str(name))
        if image is not None and image.image:
            return True
        parent, _, key = str(name).rpartition("/")
        folder = self._folders.get(parent)
        return folder is not None and key in folder.files

    def markers(self, name: str) -> set[str]:
        """Names of the markers beside a file."""
        folder = self._folders.get(name.rpartition("/")[0])
        return set() if folder is None else folder.markers

    def top_markers(self) -> set[str]:
        """Names of the markers in the folder itself."""
        return self._folders[""].markers if "" in self._folders else set()

    def look(self, now: float) -> Look:
        """What has changed since the last look.

        Parameters
        ----------
        now
            Seconds of a clock that only grows.
        """
        found = Look()
        seen: set[str] = set()
        before = {name for name, at in self._recent.items() if now - at <= RECENT_S}
        self._walk("", now, found, seen)
        for relative in [one for one in self._folders if one not in seen]:
            self._drop(relative, found)
        self._recent = {name: at for name, at in self._recent.items() if now - at <= RECENT_S}
        for name in before - found.gone - set(found.changed):
            self._again(name, now, found)
        self._take_turns(now, found)
        return found

    # ---------------------------------------------------------------- folders

    def _walk(self, relative: str, now: float, found: Look, seen: set[str]) -> None:
        todo = [relative]
        while todo:
            relative = todo.pop()
            path = f"{self._path}/{relative}" if relative else self._path
            folder = self._folders.setdefault(relative, _Folder())
            seen.add(relative)
            try:
                self._refresh(path, relative, folder, now, found)
            except OSError as error:
                if relative and error.errno in _GONE and self._is_gone(relative, found):
                    seen.discard(relative)
                    continue
                folder.changed_ns = -1  # list it as soon as that can be done
                found.troubles[relative] = f"{path} cannot be looked into: {error.strerror}"
                self._keep(relative, seen)
                continue
            prefix = f"{relative}/" if relative else ""
            todo += [prefix + name for name in folder.folders]

    def _is_gone(self, relative: str, found: Look) -> bool:
        """Whether a folder has left, as its parent, which can be read, confirms."""
        parent = relative.rpartition("/")[0]
        if any(parent == one or parent.startswith(f"{one}/") for one in found.troubles):
            return False
        try:
            here = set(self._entries(f"{self._path}/{parent}" if parent else self._path)[1])
        except OSError:
            return False
        self._folders[parent].changed_ns = -1
        return relative.rpartition("/")[2] not in here

    def _keep(self, relative: str, seen: set[str]) -> None:
        """Nothing is known of what lies below: it stays as it was."""
        below = f"{relative}/" if relative else ""
        seen.update(one for one in self._folders if one.startswith(below))

    def _drop(self, relative: str, found: Look) -> None:
        folder = self._folders.pop(relative)
        prefix = f"{relative}/" if relative else ""
        names = [relative] if folder.image else [prefix + name for name in folder.files]
        for name in names:
            found.gone.add(name)
            self._recent.pop(name, None)

    def _refresh(self, path: str, relative: str, folder: _Folder, now: float, found: Look) -> None:
        changed_ns = _stat(path).st_mtime_ns
        if changed_ns != folder.changed_ns:
            folder.changed_ns, folder.changed_at = changed_ns, now
        elif now - folder.changed_at > GRAIN_S and now - folder.listed_at < RELIST_S:
            return
        names, folders = self._entries(path)
        folder.listed_at = now
        folder.markers = {name for name in names if self._marks(name)}
        node = relative and any(name in names for name in _NODES)
        if node and self._is_image(Path(path)):
            self._become_image(relative, folder, now, found)
            return
        if folder.image:
            found.gone.add(relative)
            folder.image, folder.files = False, {}
        folder.folders = folders
        prefix = f"{relative}/" if relative else ""
        there = {name for name in names if self._fits(prefix, name)}
        for name in [name for name in folder.files if name not in there]:
            del folder.files[name]
            self._recent.pop(prefix + name, None)
            found.gone.add(prefix + name)
        for name in there:
            if name not in folder.files:
                self._stat(folder, prefix + name, name, now, found)

    def _become_image(self, relative: str, folder: _Folder, now: float, found: Look) -> None:
        for name in folder.files:
            found.gone.add(f"{relative}/{name}")
        folder.files, folder.folders = {}, []
        fresh = not folder.image
        folder.image = True
        if fresh and self._wanted(relative):
            folder.files = {"": 0}
            self._stat(folder, relative, "", now, found)

    def _fits(self, prefix: str, name: str) -> bool:
        return not name.startswith(".") and self._wanted(prefix + name)

    @staticmethod
    def _entries(path: str) -> tuple[list[str], list[str]]:
        names, folders = [], []
        with os.scandir(path) as entries:
            for entry in entries:
                if not _is_folder(entry):
                    names.append(entry.name)
                elif not (entry.is_symlink() or entry.name.startswith(".")):
                    folders.append(entry.name)
        return names, folders

    # ---------------------------------------------------------------- files

    def _stat(self, folder: _Folder, name: str, key: str, now: float, found: Look) -> None:
        path = f"{self._path}/{name}"
        try:
            stamp = tree_stamp(path) if folder.image else _stamp(_stat(path))
        except OSError:  # left between listing and looking, or a broken link: the next look tells
            return
        mark = hash(stamp)
        if (before := folder.files.get(key)) != mark:
            if not before:
                found.fresh.add(name)
            folder.files[key] = mark
            found.changed[name] = stamp
            self._recent[name] = now

    def _again(self, name: str, now: float, found: Look) -> None:
        image = self._folders.get(name)
        if image is not None and image.image:
            self._stat(image, name, "", now, found)
            return
        parent, _, key = name.rpartition("/")
        folder = self._folders.get(parent)
        if folder is not None and key in folder.files:
            self._stat(folder, name, key, now, found)

    def _take_turns(self, now: float, found: Look) -> None:
        done, starts = 0, 0
        while done < FILES_PER_LOOK:
            chunk = next(self._turn, None)
            if chunk is None:
                starts += 1
                if starts == 2:
                    return
                self._turn = self._all_files()
                continue
            for relative, key in chunk:
                folder = self._folders.get(relative)
                name = relative if key == "" else f"{relative}/{key}" if relative else key
                if folder is not None and key in folder.files and name not in self._recent:
                    self._stat(folder, name, key, now, found)
            done += len(chunk)

    def _all_files(self) -> Iterator[list[tuple[str, str]]]:
        for relative in list(self._folders):
            folder = self._folders.get(relative)
            names = [] if folder is None else list(folder.files)
            for at in range(0, len(names), _AT_ONCE):
                yield [(relative, name) for name in names[at : at + _AT_ONCE]]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _stamp(stat: os.stat_result) -> Stamp:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def tree_stamp(path: str) -> Stamp:
    """Bytes, latest change (ns) and number of the files of a Zarr image."""
    size = latest = count = 0
    for parent, _, names in os.walk(path):
        latest = max(latest, _stat(parent).st_mtime_ns)
        for name in names:
            stat = _stat(f"{parent}/{name}")
            size, count = size + stat.st_size, count + 1
            latest = max(latest, stat.st_mtime_ns)
    return size, latest, count
