"""When it pays to read and write beside the computing of other units, and when memory allows it.

::

    one after the other    read 1 | compute 1 | write 1 | read 2 | compute 2 | write 2 | read 3 ...

    side by side           read 1 | compute 1 | compute 2 | compute 3 ...
                                  | read 2    | read 3    | read 4
                                              | write 1   | write 2

What can be gained is the time in which the process would wait: for a network file system, an
object store, a slow disk. Decoding is no waiting, as other workers have the other processors, and
most tiles of a chain are in memory. So each part is measured where nothing runs beside it, and is
put aside only if it made the process wait for long enough.
"""

from dataclasses import dataclass, field

LEAST_S = 0.003
"""Seconds of waiting for which a thread and a copy are worth their while."""
SHARE = 0.05
"""Part of a unit's time that has to be waiting."""
HALF = 0.5
"""Part of the worker's memory that units may need, with what is read ahead and written behind."""
MARGIN = 2
"""The next unit may read and write so much more than the last one."""


@dataclass(slots=True)
class Waiting:
    """How long units of a stage wait when they read, or when they write.

    Examples
    --------
    >>> reading = Waiting()
    >>> reading.alone(0.020, processor_s=0.002, size=1000)
    >>> reading.pays(0.100), reading.pays(1.0)
    (True, False)

    The next tiles were in memory:

    >>> reading.aside(0.0001, size=1000), reading.aside(0.0001, size=1000)
    (None, None)
    >>> reading.pays(0.100)
    False
    """

    seconds: float | None = None
    """How long it takes, the last time counting most; None before the first."""
    idle: float = 0.0
    """Part of that in which the process did nothing, when nothing else ran beside."""
    size: int = 0
    """Bytes."""

    def alone(self, seconds: float, processor_s: float, size: int) -> None:
        """It was done while nothing ran beside."""
        self.aside(seconds, size)
        self.idle = max(0.0, 1 - processor_s / seconds) if seconds > 0 else 0.0

    def aside(self, seconds: float, size: int) -> None:
        """It was done while a unit computed: its processor time cannot be told from that."""
        known = seconds if self.seconds is None else self.seconds
        self.seconds, self.size = (known + seconds) / 2, size

    def pays(self, unit_s: float) -> bool:
        """Whether to put it aside, where units take so long."""
        waited = (self.seconds or 0.0) * self.idle
        return waited > LEAST_S and waited > SHARE * unit_s


@dataclass(slots=True)
class Overlap:
    """What is known of the units of one stage on this worker, from batch to batch."""

    reading: Waiting = field(default_factory=Waiting)
    writing: Waiting = field(default_factory=Waiting)
    unit_s: float = 0.0
    """Seconds of the last unit, but for what was done beside it."""
    peak: int = 0
    """Most memory of the process while it ran, bytes, without what was held beside it."""

    def saw(self, seconds: float, peak: int, beside: int) -> None:
        """A unit took so long and so much memory, with so many bytes held beside it."""
        self.unit_s, self.peak = seconds, max(0, peak - beside)

    def fits(self, memory: int, threads: int) -> bool:
        """Whether there is room for one more unit's input and output in each of the threads.

        Examples
        --------
        >>> overlap = Overlap(Waiting(size=10), Waiting(size=20), peak=300)
        >>> overlap.fits(1000, threads=1), overlap.fits(1000, threads=4)
        (True, False)
        """
        more = MARGIN * (self.reading.size + self.writing.size) * threads
        return self.peak + more <= HALF * memory
