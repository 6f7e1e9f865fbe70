"""What runs in this process, unit by unit, so that a unit can be ended while it runs.

A unit that is a command has its processes ended. In the thread of a unit that is a Python callable
an exception is raised at the next line of Python (`Cancelled`, `TimedOut`), and again every few
seconds where it is caught. Code that does not get there, because it is stuck in C, ends with its
whole worker process after `GRACE_S` seconds, if that has a nanny to start another: a file
``ended.json`` beside what the batch staged says so.
"""

import contextlib
import ctypes
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latticework.io.journal import STOPPED
from latticework.stages.black_box import BlackBox
from latticework.stages.failures import Cancelled, OutOfMemory, TimedOut, UnitEnd

GRACE_S = 10.0
"""Seconds that Python code has to react before its process ends."""
LAST = 0.94
"""Share of a worker's memory at which its process ends at once: its nanny would, a little later."""
REACT_S = 0.5
"""Seconds that Python code has to react when it has taken too much memory."""
LEAST_S = 0.05
"""Seconds between two looks whether a unit has had its time, at least."""
ENDED = "ended.json"
"""File in a batch's staging folder: the unit for which the worker process ended itself."""
KEPT = 1000
"""Batches to remember of which units were cancelled before they arrived."""

_lock = threading.Lock()
_running: "dict[tuple[str, int, int], RunningUnit]" = {}
_cancelled: OrderedDict[tuple[str, int], set[int]] = OrderedDict()


@dataclass(slots=True, eq=False)
class RunningUnit:
    """A unit that runs in this process."""

    session: str
    """Staging folder of the coordinator's session, which is of one project."""
    batch: int
    """Number of the batch."""
    unit: int
    """Its id."""
    attempt: int = 1
    """Number of the attempt."""
    timeout: float | None = None
    """Seconds that it may take."""
    mark: Path | None = None
    """The batch's own staging folder."""
    expendable: bool = False
    """Whether the process may end itself: it has a nanny."""
    thread: int = field(default_factory=threading.get_ident)
    """Thread in which it runs."""
    started: float = field(default_factory=time.monotonic)
    """When it began."""
    ending: type[UnitEnd] | None = None
    """What ended it."""
    ended: float = 0.0
    """When it was ended."""
    cpu_s: float = 0.0
    """Processor time of its programs."""
    peak_memory: int = 0
    """Most memory that one of its programs had, bytes."""
    box: BlackBox | None = None
    """The black box of its batch."""
    memory_limit: int = 0
    """Memory of its worker, bytes, if it took more than that."""
    writing: bool = False
    """Whether it has computed, and its output is written beside another unit."""
    relief: Callable[[], bool] | None = None
    """Lets go of memory that its batch holds for other units: whether that helps, or may yet."""
    _waits_since: float | None = None
    _waited_s: float = 0.0
    _given_s: float = 0.0
    _stop: Callable[[], None] | None = None
    _raised: bool = False
    _done: bool = False
    _timers: list[threading.Timer] = field(default_factory=list)

    def begin(self) -> "RunningUnit":
        """It runs from now on."""
        with _lock:
            _running[self.session, self.batch, self.unit] = self
        if self.timeout is not None:
            self._later(self.timeout, self._time_out)
        return self

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, its time stands still: it waits for another unit."""
        self._waits_since = time.monotonic()
        try:
            yield
        finally:
            self._waited_s += time.monotonic() - self._waits_since
            self._waits_since = None

    def _time_out(self) -> None:
        """End it, unless it has waited for others meanwhile: that time it is given again."""
        now = time.monotonic()
        waited = self._waited_s + (now - (self._waits_since or now))
        if waited > self._given_s:
            more, self._given_s = waited - self._given_s, waited
            self._later(max(more, LEAST_S), self._time_out)
        else:
            self.end(TimedOut)

    def go_on_in(self, thread: int) -> None:
        """It has computed and goes on in another thread, where its output is written.

        Raises
        ------
        UnitEnd
            If it was ended before; it stays in the thread in which it is then.
        """
        with _lock:
            if self._raised:
                _raise_in(self.thread, None)
            if self.ending is None:
                self.thread, self.writing = thread, True
                return
        raise self.ending

    def relieve(self) -> bool:
        """Let go of what is held for other units; False where there is none, or that is no help."""
        return self.relief is not None and self.relief()

    def leave(self) -> None:
        """It does not run any more: nothing is raised in its thread from here on."""
        with _lock:
            self._done = True
            if self._raised:
                _raise_in(self.thread, None)
            _running.pop((self.session, self.batch, self.unit), None)
        for timer in self._timers:
            timer.cancel()

    def end(self, how: type[UnitEnd]) -> bool:
        """End it, from another thread; False where it has ended or been ended already."""
        with _lock:
            if self._done or self.ending is not None:
                return False
            self.ending, self.ended = how, time.monotonic()
            if self._stop is not None:
                self._stop()
            else:
                self._raised = True
                _raise_in(self.thread, how)
        self._later(GRACE_S / 3, lambda: self._press(time.monotonic() + GRACE_S * 2 / 3))
        return True

    def run_out_of_memory(self, resident: int, limit: int) -> None:
        """It has taken more memory than there is: end it, and soon its process with it."""
        self.peak_memory, self.memory_limit = max(resident, self.peak_memory), limit
        if self.end(OutOfMemory):
            return
        with _lock:
            late = resident > LAST * limit or time.monotonic() > self.ended + REACT_S
            if late and not self._done and self.ending is OutOfMemory and self.expendable:
                self._end_process()

    def need_new_process(self) -> None:
        """The process has no memory left, and not because of this unit: it has to begin anew."""
        with _lock:
            if not self._done and self.ending is None and self.expendable:
                self.ending = Cancelled
                self._end_process(STOPPED, "its worker process had no memory left when it began")

    def _press(self, until: float) -> None:
        """Raise it again: the first was lost if it met a finaliser, which can raise nothing."""
        with _lock:
            if self._done:
                return
            stuck = time.monotonic() >= until and self._stop is None
            if stuck and self.expendable:
                self._end_process()
            if self._stop is not None:
                self._stop()
            elif self.ending is not None:
                self._raised = True
                _raise_in(self.thread, self.ending)
        self._later(GRACE_S / 3, lambda: self._press(until))

    @contextlib.contextmanager
    def stopped_by(self, stop: Callable[[], None]) -> Iterator[None]:
        """Inside, ending calls `stop`, which must not wait, instead of raising an exception."""
        with _lock:
            if self.ending is not None:
                raise self.ending
            self._stop = stop
        try:
            yield
        finally:
            with _lock:
                self._stop = None

    def why(self) -> str:
        """Why it was ended, for the message."""
        seconds = time.monotonic() - self.started
        if self.ending is TimedOut:
            return (
                f"it ran for {seconds:.1f} s, but the stage has timeout={self.timeout:g}: give "
                "it more time, or None"
            )
        if self.ending is OutOfMemory:
            return (
                f"it took more memory than its worker has: {self.peak_memory / 2**30:.2f} of "
                f"{self.memory_limit / 2**30:.2f} GiB after {seconds:.1f} s; give it smaller tiles "
                "or a pool with more memory"
            )
        return f"it was cancelled after {seconds:.1f} s"

    def _later(self, seconds: float, what: Callable[[], object]) -> None:
        timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), what)
        timer.daemon = True
        self._timers.append(timer)
        start_thread(timer)

    def _end_process(self, outcome: int | None = None, message: str = "") -> None:
        """End this process, which has a nanny, and say for which unit."""
        if self.mark is not None and self.ending is not None:
            late = "" if self.ending is OutOfMemory else f" for {GRACE_S:g} s"
            why = f"{self.why()}; its code did not react{late}, so its worker process was ended"
            facts = {
                "unit": self.unit,
                "attempt": self.attempt,
                "outcome": self.ending.outcome if outcome is None else outcome,
                "peak_memory": self.peak_memory,
                "message": message or why,
            }
            with contextlib.suppress(OSError):
                (self.mark / ENDED).write_text(json.dumps(facts), encoding="utf-8")
        os._exit(70)


def start_thread(thread: threading.Thread) -> None:
    """Start a thread, in one in which a unit may be ended.

    Until a new thread runs, CPython knows it by the number of the one that starts it. An exception
    for that one would be raised in the new thread, which then never says that it has started.
    """
    with _lock:  # nothing is raised meanwhile
        thread.start()


def cancel_here(session: str, batch: int, units: int | Sequence[int]) -> list[int]:
    """Cancel units of a batch in this process; the others of the batch go on.

    Parameters
    ----------
    session
        Staging folder of the coordinator's session (`SealedOrder.staging`) as text: numbers of
        batches are each coordinator's own, and a cluster may serve several.
    batch
        Number of the batch.
    units
        Ids of the units. Those that have not begun are skipped when their turn comes.

    Returns
    -------
    list of int
        The units that were running and are being ended now.
    """
    wanted = [units] if isinstance(units, int) else [int(unit) for unit in units]
    with _lock:
        here = [
            found for u in wanted if (found := _running.get((str(session), batch, u))) is not None
        ]
        _cancelled.setdefault((str(session), batch), set()).update(wanted)
        while len(_cancelled) > KEPT:
            _cancelled.popitem(last=False)
    return [found.unit for found in here if found.end(Cancelled)]


async def call_here(what: Callable[..., object], *arguments: Any) -> None:
    """Call something in the event loop of a worker.

    Dask's ``client.run(call_here, cancel_here, ..., wait=False)`` does not wait for the worker;
    with a plain function it refuses that.
    """
    what(*arguments)


def is_cancelled(session: str, batch: int, unit: int) -> bool:
    """Whether a unit was cancelled before its turn came."""
    with _lock:
        return unit in _cancelled.get((session, batch), ())


def forget_batch(session: str, batch: int) -> None:
    """A batch has ended here."""
    with _lock:
        _cancelled.pop((session, batch), None)


def running_units_here() -> list[RunningUnit]:
    """What runs in this process."""
    with _lock:
        return list(_running.values())


def running_here() -> list[tuple[str, int, int, float]]:
    """What runs in this process: (session, batch, unit, seconds so far)."""
    now = time.monotonic()
    with _lock:
        return [(*key, now - found.started) for key, found in _running.items()]


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise an exception in a thread at its next line of Python; None takes it back."""
    what = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)
