"""What a unit cost: time, processor, peak memory."""

import contextlib
import resource
import time
from pathlib import Path

CLEAR = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


def reset_peak_memory() -> bool:
    """Begin a new measurement of this process's peak memory; False where the system cannot."""
    with contextlib.suppress(OSError):
        CLEAR.write_bytes(b"5")
        return True
    return False


def peak_memory_bytes() -> int:
    """Peak resident memory since `reset_peak_memory`, or of the whole process so far."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = STATUS.read_bytes()
        return int(text[text.index(b"VmHWM:") + 6 :].split(None, 1)[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Meter:
    """Costs of the unit that runs now.

    Peak memory is measured afresh for units that follow one of `LONG` seconds or more; quicker
    units share one measurement, because reading it costs some 50 microseconds.
    """

    LONG = 0.01

    def __init__(self) -> None:
        reset_peak_memory()
        self._last = self.LONG
        self._peak = 0
        self.begin()

    def begin(self) -> None:
        """A unit begins."""
        if self._last >= self.LONG:
            reset_peak_memory()
            self._peak = 0
        self.started = time.time()
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def end(self) -> tuple[float, float, float, int]:
        """A unit ended: when it started and ended (seconds since 1970), CPU seconds, peak bytes."""
        self._last = time.perf_counter() - self._wall
        cpu = time.process_time() - self._cpu
        if self._last >= self.LONG or not self._peak:
            self._peak = peak_memory_bytes()
        return self.started, self.started + self._last, cpu, self._peak
