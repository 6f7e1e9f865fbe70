"""What a measured function is given: a stopwatch whose window other processes understand."""

import time
from types import TracebackType
from typing import Self


class Stopwatch:
    """Marks the window that counts.

    Start and stop are `time.monotonic` values, which all processes of a machine share, so the
    process that samples memory can keep the samples of the window alone.

    Examples
    --------
    >>> with Stopwatch() as watch:
    ...     total = sum(range(10))
    >>> 0 <= watch.seconds < 1
    True
    """

    def __init__(self) -> None:
        self.begin = float("nan")
        self.end = float("nan")

    def __enter__(self) -> Self:
        self.begin = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end = time.monotonic()

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.end - self.begin
