"""Memory of a whole process tree, sampled from outside of it."""

import threading
import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Resident memory of a process tree at one moment."""

    when: float
    #: `time.monotonic` of the sample
    total_bytes: int
    #: sum over the tree; pages that processes share count once for each
    largest_bytes: int
    #: the largest process of the tree


@dataclass(frozen=True, slots=True)
class MemoryPeak:
    """Peaks within a window, and what the tree held just before it."""

    total_bytes: float
    largest_bytes: float
    idle_bytes: float


class TreeSampler(threading.Thread):
    """Samples the resident memory of a process and its descendants until told to stop.

    The list of descendants is renewed every half second, their memory is read every
    `interval_s`: cheap enough to leave the measured processes their cores.

    Examples
    --------
    >>> import os
    >>> sampler = TreeSampler(os.getpid(), interval_s=0.01)
    >>> sampler.start(); time.sleep(0.05); sampler.stop()
    >>> sampler.peak(0, time.monotonic()).total_bytes > 1e6
    True
    """

    def __init__(self, pid: int, *, interval_s: float = 0.05, renew_s: float = 0.5) -> None:
        super().__init__(daemon=True, name="memory of the tree")
        self._root = psutil.Process(pid)
        self._interval_s = interval_s
        self._renew_s = renew_s
        self._halt = threading.Event()
        self.samples: list[MemorySample] = []

    def run(self) -> None:
        """Sample until `stop` or until the root process has gone."""
        family: list[psutil.Process] = []
        renewed = -1e9
        while not self._halt.is_set():
            now = time.monotonic()
            try:
                if now - renewed > self._renew_s:
                    family = [self._root, *self._root.children(recursive=True)]
                    renewed = now
            except psutil.NoSuchProcess:
                return
            held = [rss for rss in map(_resident, family) if rss]
            if held:
                self.samples.append(MemorySample(now, sum(held), max(held)))
            self._halt.wait(self._interval_s)

    def stop(self) -> None:
        """End the sampling and wait for it."""
        self._halt.set()
        self.join()

    def peak(self, begin: float, end: float) -> MemoryPeak:
        """Peaks of the samples between two moments of `time.monotonic`."""
        inside = [s for s in self.samples if begin <= s.when <= end]
        before = [s for s in self.samples if s.when < begin]
        inside = inside or before[-1:] or self.samples[-1:]  # shorter than the interval
        nan = float("nan")
        return MemoryPeak(
            max((s.total_bytes for s in inside), default=nan),
            max((s.largest_bytes for s in inside), default=nan),
            before[-1].total_bytes if before else nan,
        )


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
