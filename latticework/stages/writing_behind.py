"""The output of a batch's last unit, written while the next one computes."""

import threading
from collections.abc import Callable

from latticework.stages.aside import Aside
from latticework.stages.running_units import RunningUnit


class WritingBehind:
    """Writes for one unit at most, which runs until that is done.

    A timeout, cancelling and the like then meet the unit in the thread that writes.
    """

    def __init__(self) -> None:
        self._last: Aside[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being written."""
        last = self._last
        return last is not None and last.busy

    def wait(self) -> None:
        """Wait until nothing is being written."""
        if self._last is not None:
            self._last.wait()
            self._last = None

    def begin(self, running: RunningUnit, write: Callable[[], None]) -> bool:
        """Write in a thread of its own, where the unit goes on; False if there is none to be had.

        Nothing may be being written when this is called.

        Parameters
        ----------
        running
            The unit. It was handed over once this returns True.
        write
            Writes, and deals with whatever comes of that.

        Raises
        ------
        UnitEnd
            If the unit has been ended already; nothing is written then.
        """
        decided, handed = threading.Event(), False

        def write_if_handed() -> None:
            decided.wait()
            if handed:
                write()

        try:
            aside = Aside(write_if_handed, "writes-behind")
        except RuntimeError:
            return False
        try:
            running.go_on_in(aside.thread)
            self._last, handed = aside, True
        finally:
            decided.set()
        return True


__all__ = ["WritingBehind"]
