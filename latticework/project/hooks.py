"""Functions that are called when something happens, each in a thread of its own."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable

from latticework.errors import ProjectError
from latticework.project.events import Event, check_kind

log = logging.getLogger(__name__)

MOST_WAITING = 200
"""Events that wait for one function at most; what comes then is not told to it."""
PATIENCE_S = 10.0
"""Seconds that the end of a run waits for functions that are still busy with its events."""


class Hook:
    """One function that is told of events.

    The function runs in a thread of its own: whatever it does, raises or waits for, the run and
    other hooks do not notice. What it raises is logged once, without the event and without the
    traceback, since these may hold secrets.

    Parameters
    ----------
    function
        Called with an `Event`.
    kinds
        Kinds of events; all if None.

    Examples
    --------
    >>> told = []
    >>> hook = Hook(told.append, ["run ended"])
    >>> hook.tell(Event("run begun", "a run has begun", "brain.lw"))
    >>> hook.tell(Event("run ended", "the run has ended", "brain.lw"))
    >>> hook.wait(5.0), [event.kind for event in told]
    (True, ['run ended'])
    """

    def __init__(
        self, function: Callable[[Event], object], kinds: Iterable[str] | None = None
    ) -> None:
        if not callable(function):
            raise ProjectError(
                f"{function!r} cannot be called: give a function that takes an event, "
                "latticework.email(...) or latticework.webhook(...)"
            )
        self.function = function
        self.kinds = None if kinds is None else frozenset(map(check_kind, kinds))
        self._queue: queue.Queue[Event | None] = queue.Queue(MOST_WAITING)
        self.thread: threading.Thread | None = None
        """In which it is called; None before the first time."""
        self._complained: set[str] = set()

    def tell(self, event: Event) -> None:
        """Let it know of an event, soon; returns at once."""
        if self.kinds is not None and event.kind not in self.kinds:
            return
        if self.thread is None:
            self.thread = threading.Thread(target=self._work, name="latticework-hook", daemon=True)
            self.thread.start()
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._complain(
                "full",
                f"is too slow: {MOST_WAITING} events wait for it, and more are not told to it "
                "(project.events() has all)",
            )

    def wait(self, seconds: float) -> bool:
        """Wait until it has been told everything, not longer than this; whether it has."""
        limit = time.monotonic() + seconds
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks:
                left = limit - time.monotonic()
                if left <= 0:
                    return False
                self._queue.all_tasks_done.wait(left)
        return True

    def close(self) -> None:
        """It is not told anything any more: its thread ends when it is free."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)

    def _work(self) -> None:
        while True:
            event = self._queue.get()
            if event is None:
                return
            try:
                self.function(event)
            except BaseException as error:  # also what it raises to end its thread
                kind = type(error).__name__
                message = str(error) if isinstance(error, ProjectError) else ""
                self._complain(kind, f"raised {kind}{f': {message}' if message else ''}")
            finally:
                self._queue.task_done()

    def _complain(self, what: str, text: str) -> None:
        """Say once that it does not work."""
        if what not in self._complained:
            self._complained.add(what)
            log.warning(
                "the hook %s %s; the run goes on, and this is not said again", self.name, text
            )

    @property
    def name(self) -> str:
        """What its function is called."""
        return str(getattr(self.function, "__qualname__", None) or repr(self.function))


class Hooks:
    """The functions of one project."""

    def __init__(self) -> None:
        self._hooks: tuple[Hook, ...] = ()

    def __len__(self) -> int:
        return len(self._hooks)

    def add(self, hook: Hook) -> None:
        """One more, unless there is one that does the same: a notebook's cell may run twice."""
        given = hook.function, hook.kinds
        if given not in [(known.function, known.kinds) for known in self._hooks]:
            self._hooks = (*self._hooks, hook)

    def remove(self, function: Callable[[Event], object]) -> int:
        """Do not tell a function any more; how many hooks it had."""
        gone = [hook for hook in self._hooks if hook.function == function]
        self._hooks = tuple(hook for hook in self._hooks if hook not in gone)
        for hook in gone:
            hook.close()
        return len(gone)

    def tell(self, event: Event) -> None:
        """Let all know of an event; returns at once."""
        for hook in self._hooks:
            hook.tell(event)

    def call_here(self) -> bool:
        """Whether this thread is one in which they are called."""
        return any(hook.thread is threading.current_thread() for hook in self._hooks)

    def wait(self, seconds: float = PATIENCE_S) -> None:
        """Give those that are busy some time, all together."""
        limit = time.monotonic() + seconds
        for hook in self._hooks:
            if not hook.wait(max(0.0, limit - time.monotonic())):
                log.warning(
                    "the hook %s has not come to an end within %g s: it may miss the last events",
                    hook.name,
                    seconds,
                )
