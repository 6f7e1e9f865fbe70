"""How fast something goes, and how long the rest will take."""

import time
from collections import deque
from collections.abc import Callable


class RateEstimator:
    """Rate of finished tiles over the recent past, from counts that are looked at now and then.

    Only time in which there was work counts: a stage that waits for its inputs, or is paused, does
    not get slower by it. The window adapts: it spans `window_s` seconds of work, and more when
    fewer than `at_least` tiles finished in it, so that a tile every five minutes has a rate too.
    What was complete before the first look is no speed of ours.

    Parameters
    ----------
    window_s
        Span of the recent past, in seconds.
    at_least
        Tiles that the window holds, where so many finished at all.
    clock
        Seconds that never go back.

    Examples
    --------
    >>> now = 0.0
    >>> speed = RateEstimator(clock=lambda: now)
    >>> speed.update(100)
    >>> now = 10.0
    >>> speed.update(150)
    >>> speed.rate, speed.time_left(200)
    (5.0, 40.0)
    """

    def __init__(
        self,
        *,
        window_s: float = 30.0,
        at_least: int = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window_s = window_s
        self._at_least = at_least
        self._clock = clock
        self._seen: float | None = None
        self._worked_s = 0.0
        self._active = False
        self._done = 0
        self._samples: deque[tuple[float, int]] = deque()

    def update(self, done: int, *, active: bool = True) -> None:
        """Take note that `done` tiles are finished by now.

        `active` says whether there is work under way. A count that falls (a retry, a change of
        parameters) starts the measurement anew.
        """
        now = self._clock()
        if self._seen is not None and (self._active or done > self._done):
            self._worked_s += max(0.0, now - self._seen)
        if self._seen is None or done < self._done:
            self._samples.clear()
            self._samples.append((self._worked_s, done))
        elif done > self._done:
            self._note(done)
        self._seen, self._active, self._done = now, active, done

    def _note(self, done: int) -> None:
        """Add a sample, or move the last one while it is young; drop what the window passed."""
        young = self._window_s / 50
        if len(self._samples) > 1 and self._worked_s - self._samples[-2][0] < young:
            self._samples.pop()
        self._samples.append((self._worked_s, done))
        while len(self._samples) > 2:
            then, done_then = self._samples[1]
            if self._worked_s - then < self._window_s or done - done_then < self._at_least:
                break
            self._samples.popleft()

    @property
    def rate(self) -> float | None:
        """Tiles per second of work, or None before the first one."""
        if not self._samples:
            return None
        since, done_then = self._samples[0]
        if self._done <= done_then or self._worked_s <= since:
            return None
        return (self._done - done_then) / (self._worked_s - since)

    def time_left(self, remaining: int) -> float | None:
        """Seconds that `remaining` tiles take at the present rate; None when nobody knows."""
        if remaining <= 0:
            return 0.0
        speed = self.rate
        return remaining / speed if speed else None
