"""How many units, and how many bytes, went by in the recent past."""

from collections import deque
from dataclasses import dataclass, field

GRAINS = 120
"""Steps of time in a window: what came within one is kept as one number."""


@dataclass(slots=True)
class Flow:
    """Units that arrived, or that a stage completed, over a sliding window of time.

    Its rate is that of the window, or of the time since the first unit ever where that is shorter;
    what came in the very first moment tells no rate.

    Examples
    --------
    >>> flow = Flow(window_s=60)
    >>> for second in range(0, 100, 2):
    ...     flow.add(float(second), 1, 500)
    >>> flow.per_minute(99.0), flow.bytes_per_unit
    (30.0, 500.0)
    >>> flow.per_minute(1000.0)
    0.0
    """

    window_s: float = 600.0
    """Length of the window, in seconds."""
    units: int = 0
    """Units ever."""
    n_bytes: int = 0
    """Bytes ever."""
    first: float | None = None
    """When the first one came."""
    last: float | None = None
    """When the last one came."""
    _recent: deque[tuple[float, int, int]] = field(default_factory=deque)

    def add(self, at: float, units: int, n_bytes: int = 0) -> None:
        """So many units came at a time; times may go back a little, not beyond the window."""
        if units <= 0:
            return
        self.units += units
        self.n_bytes += n_bytes
        self.first = at if self.first is None else min(self.first, at)
        self.last = at if self.last is None else max(self.last, at)
        grain = self.window_s / GRAINS
        if self._recent and abs(at - self._recent[-1][0]) < grain:
            then, known, size = self._recent[-1]
            self._recent[-1] = (then, known + units, size + n_bytes)
        else:
            self._recent.append((at, units, n_bytes))
        while len(self._recent) > 1 and self._recent[0][0] < self.last - self.window_s:
            self._recent.popleft()

    def _sums(self, now: float) -> tuple[int, int, float] | None:
        """Units, bytes and seconds of the window that ends now; None where there is no telling."""
        if self.first is None or now <= self.first:
            return None
        begin = now - self.window_s
        if self.first > begin:  # all of it lies in the window; the first moment is its begin
            inside = [entry for entry in self._recent if entry[0] > self.first]
            if not inside:
                return None
            return sum(e[1] for e in inside), sum(e[2] for e in inside), now - self.first
        inside = [entry for entry in self._recent if begin < entry[0] <= now]
        return sum(e[1] for e in inside), sum(e[2] for e in inside), self.window_s

    def per_minute(self, now: float) -> float | None:
        """Units per minute; None before that can be known."""
        found = self._sums(now)
        return None if found is None else 60.0 * found[0] / found[2]

    def bytes_per_minute(self, now: float) -> float | None:
        """Bytes per minute; None before that can be known."""
        found = self._sums(now)
        return None if found is None else 60.0 * found[1] / found[2]

    @property
    def bytes_per_unit(self) -> float | None:
        """Bytes of a unit, on average over all; None before the first."""
        return self.n_bytes / self.units if self.units else None
