"""A microscope that is running: tiles appear in a folder bit by bit, as on a long night.

What it does is decided beforehand, by a `Generator`, as a list of events that can be looked at; a
test takes them one by one with `LiveMicroscope.step`, a demo lets them happen in a thread.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from latticework.errors import LatticeError
from latticework.io.scan import TIFF_SUFFIXES
from latticework.io.tiff_header import TiffReader

Kind = Literal["write", "begin", "finish", "replace", "remove", "list", "withdraw", "mark", "end"]

ListWriter = Callable[[Mapping[str, bool]], None]
"""Writes a curated list: whether each announced tile is complete, by name; withdrawn ones lack."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that the microscope does."""

    kind: Kind
    """``write``: a whole file or image. ``begin``, ``finish``: the first bytes of a file, and the
    others later. ``replace``: imaged again, with other pixels. ``remove``: deleted. ``withdraw``:
    taken off the list. ``mark``: a marker beside a file. ``end``: the marker of the end."""
    name: str
    """Of the file or image, relative to the folder."""


class LiveMicroscope:
    """Writes prepared tiles into a folder, in some order, not always tidily.

    Parameters
    ----------
    prepared
        Folder of TIFF files or Zarr images, as `latticework.testing.write_pattern` and the like
        write them; other files in it (tables) are copied at once.
    folder
        Where the microscope writes; made if missing.
    rng
        Decides everything that is random.
    order
        ``"given"`` (by name) or ``"random"``.
    slow
        Files that are half written for some events.
    truncated
        Files of which only the beginning is there until all others are written.
    replaced
        Tiles that are imaged again, with other pixels.
    removed
        Tiles that are deleted after all were written.
    withdrawn
        Tiles that are taken off the list, while their files stay.
    done_marker
        Name of a marker beside each finished file, with ``{stem}`` or ``{name}``.
    end
        Name of the file that ends the acquisition.
    write_list
        Called whenever the curated list changes.

    Examples
    --------
    >>> import tempfile
    >>> from latticework.testing import simulate, write_pattern
    >>> lattice, _ = simulate({"y": 1, "x": 2}, tile_shape={"y": 32, "x": 32})
    >>> prepared, folder = (Path(tempfile.mkdtemp()) for _ in range(2))
    >>> _ = write_pattern(lattice, prepared, pattern="y{tile_y}_x{tile_x}.tif")
    >>> scope = LiveMicroscope(prepared, folder, rng=np.random.default_rng(1), slow=1, end="DONE")
    >>> [f"{event.kind} {event.name}" for event in scope.events]
    ['begin y0_x0.tif', 'write y0_x1.tif', 'finish y0_x0.tif', 'end DONE']
    >>> scope.step(), sorted(path.name for path in folder.iterdir())
    (Event(kind='begin', name='y0_x0.tif'), ['y0_x0.tif'])
    """

    def __init__(
        self,
        prepared: Path | str,
        folder: Path | str,
        *,
        rng: np.random.Generator,
        order: Literal["given", "random"] = "given",
        slow: int = 0,
        truncated: int = 0,
        replaced: int = 0,
        removed: int = 0,
        withdrawn: int = 0,
        done_marker: str | None = None,
        end: str | None = None,
        write_list: ListWriter | None = None,
    ) -> None:
        self.prepared, self.folder = Path(prepared), Path(folder)
        self._rng, self._done_marker, self._write_list = rng, done_marker, write_list
        self.names = _tile_names(self.prepared)
        """Files and images that become tiles."""
        wanted = {"slow": slow, "truncated": truncated, "replaced": replaced}
        wanted |= {"removed": removed, "withdrawn": withdrawn}
        if too_many := {what: n for what, n in wanted.items() if not 0 <= n <= len(self.names)}:
            raise LatticeError(f"{too_many}: {self.prepared} holds {len(self.names)} tiles")
        if slow + truncated > len(self.names):
            raise LatticeError(
                f"slow={slow} and truncated={truncated} of {len(self.names)} tiles: expected "
                "different ones"
            )
        names = list(self.names)
        if order == "random":
            rng.shuffle(names)
        self.events: Sequence[Event] = tuple(self._plan(names, wanted, end))
        """All that will happen, in order."""
        self._done = 0
        self._listed = dict.fromkeys(self.names, False)
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._begin()

    def _plan(self, names: list[str], wanted: Mapping[str, int], end: str | None) -> list[Event]:
        files = [name for name in names if (self.prepared / name).is_file()]
        uneven = self._pick(files, wanted["slow"] + wanted["truncated"])
        slow, late = set(uneven[: wanted["slow"]]), uneven[wanted["slow"] :]
        events: list[Event] = []
        waiting: list[tuple[int, str]] = []
        for place, name in enumerate(names):
            if name in slow:
                events.append(Event("begin", name))
                waiting.append((place + int(self._rng.integers(0, 3)), name))
            elif name in late:
                events.append(Event("begin", name))
            else:
                events += self._finished("write", name)
            for entry in [entry for entry in waiting if entry[0] <= place]:
                events += self._finished("finish", entry[1])
                waiting.remove(entry)
        for _, name in waiting:
            events += self._finished("finish", name)
        for name in late:
            events += self._finished("finish", name)
        for name in self._pick(names, wanted["replaced"]):
            last = max(i for i, e in enumerate(events) if e.name == name and e.kind != "mark")
            at = int(self._rng.integers(last + 1, len(events) + 1))
            events[at:at] = [Event("replace", name)]
        events += [Event("remove", name) for name in self._pick(names, wanted["removed"])]
        events += [Event("withdraw", name) for name in self._pick(names, wanted["withdrawn"])]
        return [*events, *([] if end is None else [Event("end", end)])]

    def _finished(self, kind: Kind, name: str) -> list[Event]:
        if self._done_marker is None:
            return [Event(kind, name)]
        base = name.rpartition("/")[2]
        marker = self._done_marker.replace("{name}", base)
        marker = marker.replace("{stem}", base.rpartition(".")[0] or base)
        return [Event(kind, name), Event("mark", name[: len(name) - len(base)] + marker)]

    def _pick(self, names: Sequence[str], count: int) -> list[str]:
        if count > len(names):
            raise LatticeError(f"{count} of {len(names)} files: only files can be half written")
        rows = self._rng.choice(len(names), count, replace=False)
        return [names[row] for row in sorted(rows.tolist())]

    # ---------------------------------------------------------------- what happens

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tiles = {self.prepared / name for name in self.names}
        for path in sorted(self.prepared.rglob("*")):
            inside = any(parent in tiles for parent in (path, *path.parents))
            if path.is_file() and not inside:
                target = self.folder / path.relative_to(self.prepared)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        self._say()

    def _say(self) -> None:
        if self._write_list is not None:
            self._write_list(dict(self._listed))

    @property
    def finished(self) -> bool:
        """Whether all has happened."""
        return self._done == len(self.events)

    def step(self) -> Event | None:
        """Let the next event happen, and say which; None if there is none."""
        if self.finished:
            return None
        event = self.events[self._done]
        self._done += 1
        source, target = self.prepared / event.name, self.folder / event.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if event.kind == "write":
            _copy(source, target)
        elif event.kind == "begin":
            data = source.read_bytes()
            target.write_bytes(data[: int(self._rng.integers(0, max(len(data) - 1, 1)))])
        elif event.kind == "finish":
            begun = target.stat().st_size
            with target.open("ab") as file:
                file.write(source.read_bytes()[begun:])
        elif event.kind == "replace":
            image_again(target, self._rng)
        elif event.kind == "remove":
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        elif event.kind in ("mark", "end"):
            target.write_bytes(b"")
        self._list(event)
        return event

    def _list(self, event: Event) -> None:
        if event.kind in ("write", "finish"):
            self._listed[event.name] = True
        elif event.kind == "withdraw":
            self._listed.pop(event.name, None)
        else:
            return
        self._say()

    def run(self, *, delay_s: float = 0.0, sleep: Callable[[float], object] = time.sleep) -> None:
        """Let everything happen, with random delays of `delay_s` seconds on the average."""
        while not self._stop.is_set() and self.step() is not None:
            sleep(float(self._rng.uniform(0, 2 * delay_s)))

    def start(self, *, delay_s: float) -> Self:
        """Let everything happen in a thread of its own."""
        self._thread = threading.Thread(
            target=self.run, kwargs={"delay_s": delay_s, "sleep": self._stop.wait}, daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop the thread after the event that is under way."""
        self._stop.set()
        self.join()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the thread."""
        if self._thread is not None:
            self._thread.join(timeout_s)


def _tile_names(folder: Path) -> tuple[str, ...]:
    """TIFF files and Zarr images below a folder, by name."""
    found: list[str] = []

    def look(paths: Iterable[Path]) -> None:
        for path in sorted(paths):
            nodes = (path / "zarr.json", path / ".zarray", path / ".zgroup")
            if path.is_dir() and not any(node.is_file() for node in nodes):
                look(path.iterdir())
            elif path.is_dir() or path.name.lower().endswith(TIFF_SUFFIXES):
                found.append(path.relative_to(folder).as_posix())

    look(folder.iterdir())
    if not found:
        raise LatticeError(
            f"{folder} holds no TIFF files or Zarr images: prepare it with write_pattern() or the "
            "like"
        )
    return tuple(found)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def image_again(path: Path | str, rng: np.random.Generator) -> None:
    """Give a tile other pixels, as if it were imaged again: same size, same metadata.

    Parameters
    ----------
    path
        TIFF file without compression, or Zarr image.
    rng
        Draws the pixels.

    Examples
    --------
    >>> import tempfile, tifffile
    >>> path = Path(tempfile.mkdtemp()) / "a.tif"
    >>> tifffile.imwrite(path, np.zeros((4, 4), "u2"))
    >>> image_again(path, np.random.default_rng(1))
    >>> bool(tifffile.imread(path).any())
    True
    """
    path = Path(path)
    if path.is_dir():
        _zarr_again(path, rng)
        return
    data = bytearray(path.read_bytes())
    with path.open("rb", buffering=0) as handle:
        reader = TiffReader(handle, path)
        offsets = [offset for offset, _ in reader.directories()]
        pages = [reader.page(offset, number) for number, offset in enumerate(offsets)]
    for page in pages:
        if page.compression != 1:
            raise LatticeError(f"{path} is compressed; expected a plain TIFF to image again")
        for start, count in zip(page.offsets.tolist(), page.counts.tolist(), strict=True):
            noise = rng.integers(0, 256, count, dtype=np.uint8)
            old = np.frombuffer(bytes(data[start : start + count]), np.uint8)
            data[start : start + count] = (old ^ noise).tobytes()
    path.write_bytes(data)


def _zarr_again(path: Path, rng: np.random.Generator) -> None:
    import zarr

    node = zarr.open(path, mode="r+")
    arrays = [node] if isinstance(node, zarr.Array) else [array for _, array in node.arrays()]
    for array in arrays:
        kind = np.dtype(array.dtype)
        noise = rng.integers(0, 256, (*array.shape, kind.itemsize), dtype=np.uint8)
        array[...] = noise.view(kind)[..., 0]
