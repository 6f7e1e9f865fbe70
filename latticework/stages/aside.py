"""Something that is done in a thread of its own, while a unit computes, and waited for later."""

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from latticework.stages.running_units import start_thread

LOOK_S = 0.05
"""Whoever waits comes back to Python so often, so that a unit can be ended while it waits."""

T = TypeVar("T")


class Aside(Generic[T]):
    """Begins at once, in the context of whoever asks for it.

    The thread is of its own because it may never come back (a file server that is gone): then
    nobody has to wait for it, nor has the process when it ends.

    Parameters
    ----------
    what
        What is to be done.
    name
        Name of the thread.

    Raises
    ------
    RuntimeError
        If the system gives no more threads.

    Examples
    --------
    >>> sum_of_many = Aside(lambda: sum(range(1000)), "adds")
    >>> sum_of_many.result(), sum_of_many.busy
    (499500, False)
    >>> Aside(lambda: 1 // 0, "fails").result()
    Traceback (most recent call last):
    ZeroDivisionError: integer division or modulo by zero
    """

    __slots__ = ("_done", "_error", "_thread", "_unwanted", "_value", "seconds")

    def __init__(self, what: Callable[[], T], name: str) -> None:
        self._done = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None
        self._unwanted = False
        self.seconds = 0.0
        """How long it took."""
        run = contextvars.copy_context().run
        self._thread = threading.Thread(
            target=run, args=(self._run, what), name=f"latticework-{name}", daemon=True
        )
        start_thread(self._thread)

    def _run(self, what: Callable[[], T]) -> None:
        began = time.perf_counter()
        try:
            self._value = what()
            if self._unwanted:
                self._value = None
        except BaseException as error:  # it is raised where the result is asked for
            self._error = error
        self.seconds = time.perf_counter() - began
        self._done.set()

    @property
    def busy(self) -> bool:
        """Whether it goes on still."""
        return not self._done.is_set()

    @property
    def thread(self) -> int:
        """The thread, as `threading.get_ident` calls it."""
        assert self._thread.ident is not None
        return self._thread.ident

    def wait(self) -> None:
        """Wait until it is done, whatever came of it."""
        while not self._done.wait(LOOK_S):
            pass

    def forget(self) -> None:
        """Nobody wants the result: it is not kept, now or when it comes."""
        self._unwanted = True
        self._value = None

    def result(self) -> T:
        """Wait for it, and give or raise what came of it: once, since it is not kept."""
        self.wait()
        value, self._value = self._value, None
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback has this frame: a cycle would keep pixels
        return value  # type: ignore[return-value]
