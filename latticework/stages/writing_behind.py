"""The output of a batch's last unit, written while the next one computes."""

import functools
import threading
from collections.abc import Callable

from latticework.stages.aside import Aside
from latticework.stages.failures import UnitEnd
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

    def begin(
        self,
        running: RunningUnit,
        write: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> bool:
        """Write in a thread of its own, where the unit goes on; False if there is none to be had.

        Nothing may be being written when this is called.

        Parameters
        ----------
        running
            The unit. It was handed over once this returns True.
        write
            Writes, and notes that the unit is complete.
        fail
            Notes what writing raised, or ended it.

        Raises
        ------
        UnitEnd
            If the unit has been ended already; nothing is written then.
        """
        ready, decided, handed = threading.Event(), threading.Event(), False

        def write_if_handed() -> None:
            try:
                ready.set()  # from here on it may be ended
                decided.wait()
                if handed:
                    write()
            except BaseException as error:
                what = functools.partial(fail, error)
                _insist(decided.wait)
                if handed:
                    _insist(what)

        try:
            aside = Aside(write_if_handed, "writes-behind")
            ready.wait()
            running.go_on_in(aside.thread)
            self._last, handed = aside, True
        except RuntimeError:
            return False
        finally:
            decided.set()
        return True


def _insist(what: Callable[[], object]) -> None:
    """Do something in a thread in which a unit may be ended once more, before it has left."""
    while True:
        try:
            what()
        except UnitEnd:
            continue
        return


__all__ = ["WritingBehind"]
