"""Dask arrays inside a stage are computed where the stage runs."""

import contextlib
import threading
from collections.abc import Iterator


class _Here:
    """Dask's scheduler setting, one for the process, shared by the threads that want it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._setting: contextlib.AbstractContextManager[object] | None = None

    def enter(self) -> None:
        import dask

        with self._lock:
            if self._inside == 0:
                self._setting = dask.config.set(scheduler="synchronous")
                self._setting.__enter__()
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._setting is not None:
                self._setting.__exit__(None, None, None)
                self._setting = None


_here = _Here()


@contextlib.contextmanager
def computing_here() -> Iterator[None]:
    """Let everything inside compute Dask collections in its own thread.

    In a task, Dask would send them to the cluster that the task itself runs on: a reduction over
    all tiles would become a graph of the whole lattice, and pixels would travel between workers.
    """
    _here.enter()
    try:
        yield
    finally:
        _here.leave()
