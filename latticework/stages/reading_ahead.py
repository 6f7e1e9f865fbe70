"""The inputs of a batch's next unit, read while another computes."""

from collections.abc import Callable

from latticework.stages.aside import Aside
from latticework.stages.computing import computing_here
from latticework.stages.execute import Given
from latticework.stages.overlap import Waiting


class ReadingAhead:
    """Reads for one unit at most.

    Parameters
    ----------
    read
        Reads the inputs of the unit in a row.
    costs
        Where the time it takes is noted.

    Examples
    --------
    >>> ahead = ReadingAhead(lambda row: Given(None, [row * 1.5], None, 8), Waiting())
    >>> ahead.begin(2)
    >>> ahead.take(2).arguments, ahead.take(3)
    ([3.0], None)
    """

    def __init__(self, read: Callable[[int], Given], costs: Waiting) -> None:
        self._read, self._costs = read, costs
        self._next: tuple[int, Aside[Given]] | None = None
        self._last: Aside[Given] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being read, be it wanted still or not."""
        last = self._last
        return last is not None and last.busy

    def begin(self, row: int) -> None:
        """Read the inputs of a row from now on; not while an earlier read hangs."""
        if self.busy:
            return
        try:
            self._last = Aside(lambda: self._read_here(row), "reads-ahead")
        except RuntimeError:
            return  # no more threads: it is read when its turn comes
        self._next = row, self._last

    def _read_here(self, row: int) -> Given:
        with computing_here():  # the batch may have ended, should nobody want this any more
            return self._read(row)

    def take(self, row: int) -> Given | None:
        """The inputs of a row, once they are read; None if nobody has begun to.

        Raises
        ------
        BaseException
            What reading them raised. Where that was for want of memory they are to be read again:
            another unit had part of it.
        """
        found, self._next = self._next, None
        if found is None:
            return None
        if found[0] != row:  # that one was cancelled
            found[1].forget()
            return None
        try:
            given = found[1].result()
        except MemoryError:
            return None
        except BaseException:  # the unit may have been ended while it waited
            found[1].forget()
            raise
        self._costs.aside(found[1].seconds, given.bytes_read)
        return given

    def drop(self) -> bool:
        """Let go of what was read, or is being read; False if there is none."""
        found, self._next = self._next, None
        if found is not None:
            found[1].forget()
        return found is not None


__all__ = ["ReadingAhead"]
