"""Tiles that arrive while a project runs: a thread watches, the coordinator takes them in."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from latticework.errors import LatticeworkError
from latticework.io.notices import Trouble
from latticework.project.growing import grow_project

if TYPE_CHECKING:
    from latticework.io.watching import Arrivals, Watcher
    from latticework.project.coordinator import Coordinator
    from latticework.project.desk import Desk

log = logging.getLogger(__name__)


class Feed:
    """A watcher of an acquisition, asked again and again by a thread of its own.

    Parameters
    ----------
    watcher
        Finds what is new.
    interval_s
        Seconds between looks.
    then
        Called with the desk after each look, by the coordinator's thread.
    extents
        How far the tiles will go, by axis: first and last label, where that is known.
    """

    def __init__(
        self,
        watcher: "Watcher",
        *,
        interval_s: float = 2.0,
        then: Callable[["Desk"], None] = lambda _desk: None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.watcher, self.interval_s, self.then = watcher, interval_s, then
        self.extents = dict(extents or {})
        self.going_on = True
        """Whether more may come."""
        self.notes: list[str] = []
        """What was noticed, the latest last."""
        self.held: tuple[Any, ...] = ()
        """Files that have been seen but not read yet, and why."""
        self.troubles: tuple[Trouble, ...] = ()
        """What is wrong with what is watched, now."""
        self.arrived: list[tuple[float, int]] = []
        """When how many tiles joined or were replaced."""
        self._grown = True
        self._found: queue.SimpleQueue[Arrivals | Exception] = queue.SimpleQueue()
        self._next = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._of: Coordinator | None = None

    def start(self, coordinator: "Coordinator") -> None:
        """Begin to watch."""
        self._of = coordinator
        self._thread = threading.Thread(target=self._watch, name="latticework-watch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The user says that the acquisition is over: one more look, and that is all."""
        self.watcher.end()

    def stop(self) -> None:
        """Stop watching; the acquisition may go on."""
        self._stop.set()
        self._next.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        self.watcher.close()

    def _watch(self) -> None:
        assert self._of is not None
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                found: Any = self.watcher.poll(self._of.pipeline.lattice)
            except Exception as error:
                found = error
            self._next.clear()
            if self._stop.is_set():  # nobody takes it in any more
                return
            self._found.put(found)
            self._of.wake()
            self._next.wait()  # until the coordinator has taken it in: ids are known then
            self.watcher.wait(max(0.05, self.interval_s - (time.monotonic() - begun)))

    def take_in(self) -> None:
        """Let the project grow by what was found; called by the coordinator's thread."""
        assert self._of is not None
        while True:
            try:
                found = self._found.get_nowait()
            except queue.Empty:
                return
            before = self._of.project.lattice_version
            try:
                if isinstance(found, Exception):
                    self._tell(found)
                    continue
                self._join(found)
                self.then(self._of)
            except (LatticeworkError, OSError) as error:
                if self._of.project.lattice_version != before and not self._grown:
                    raise  # what is in memory is not what was kept: the next run reads that
                self._tell(error)
            finally:
                self._next.set()

    def _tell(self, error: Exception) -> None:
        """A look that failed changes nothing, whatever the reason: the night goes on."""
        kind = "" if isinstance(error, LatticeworkError) else f"{type(error).__name__}: "
        text = f"watching: {kind}{error}; nothing was changed"
        known = next((one for one in self.troubles if one.text == text), None)
        self.troubles = (known or Trouble(text, time.time()),)
        self.say(text)

    def _join(self, found: "Arrivals") -> None:
        assert self._of is not None
        for note in found.notes:
            self.say(note)
        self.held, self.troubles = found.held, found.troubles
        if found.growth is not None:
            self._grown = False
            touched = grow_project(self._of, found.growth)
            self._grown = True
            self.arrived.append((time.time(), len(touched)))
        if found.ended and self.going_on:
            self.going_on = False
            self._of.use(self._of.settings.replace(ended=True))
            self.say("the acquisition has ended")

    def say(self, note: str) -> None:
        """Note something, once."""
        if not self.notes or self.notes[-1] != note:
            self.notes.append(note)
            log.info("%s", note)
