"""One display over several runs that are one job: bars stay, and each phase has a name."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from types import TracebackType
from typing import Any, Self

from latticework.lattice.states import ACTIVE, State
from latticework.viz.progress import Kind, Progress, make_progress


class PhasedProgress:
    """What several runs of one job show together; give it to each of them.

    The first run that starts begins the display, leaving the block ends it. A phase is named when
    something of it is under way, so that nothing is said of what was done before.

    Parameters
    ----------
    progress
        How it is shown; see `latticework.viz.progress.make_progress`.
    clock
        Seconds that never go back.

    Examples
    --------
    >>> from latticework.lattice.states import State
    >>> from latticework.viz.progress_lines import LineProgress
    >>> import sys
    >>> shown = LineProgress(file=sys.stdout, clock=lambda: 0.0)
    >>> with PhasedProgress(shown, clock=lambda: 0.0) as progress:
    ...     for phase, stage in (("comparing", "pairs"), ("fusing", "volume")):
    ...         progress.phase(phase)
    ...         progress.start({stage: 4})
    ...         progress.update(stage, {State.RUNNING: 4})
    ...         progress.update(stage, {State.COMPLETE: 4})
    ...         progress.finish(f"{stage} is done")
    latticework: 1 stage, 4 of 4 units left
    comparing
    pairs: 4/4 (100 %), done
    fusing
    volume: 4/4 (100 %), done
    volume is done
    """

    def __init__(
        self,
        progress: Kind | Progress | None = "auto",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shown = make_progress(progress)
        self._clock, self._began = clock, clock()
        self._phase = self._link = ""
        self._started = False
        self._timed = True
        self._last: object | None = None

    def __getattr__(self, name: str) -> Any:
        """What a display may have beside."""
        return getattr(self._shown, name)

    def phase(self, text: str) -> None:
        """What comes next is called so."""
        self._phase = text

    def start(self, stages: Mapping[str, int]) -> None:
        """A run begins; the display does so if it is the first one."""
        if not self._started:
            self._started = True
            self._shown.start(stages)

    def update(
        self,
        name: str,
        counts: Mapping[State, int],
        *,
        rate: float | None = None,
        eta_s: float | None = None,
    ) -> None:
        """A stage has these counts now."""
        self._shown.update(name, counts, rate=rate, eta_s=eta_s)
        if self._phase and any(counts.get(state) for state in ACTIVE):
            self.name_now(self._phase)

    def name_now(self, text: str) -> None:
        """Say what is done now."""
        self._phase = ""
        if self._started:
            getattr(self._shown, "phase", self._shown.say)(text)

    def say(self, text: str) -> None:
        """A line for whoever watches."""
        self._shown.say(text)

    def dashboard(self, link: str) -> None:
        """The pages are at this address; said once, and again only if it is another one."""
        if link != self._link:
            self._link = link
            getattr(self._shown, "dashboard", lambda at: self._shown.say(f"dashboard: {at}"))(link)

    def untimed(self) -> None:
        """How long all took is said elsewhere, and so not at the end of the display."""
        self._timed = False

    def finish(self, summary: object | None = None) -> None:
        """A run has ended; the display goes on."""
        self._last = summary

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the display by how the last run ended, after the time that all took."""
        if not self._started:
            return
        summary = self._last
        if is_dataclass(summary) and not isinstance(summary, type) and hasattr(summary, "closing"):
            whole: Any = summary
            took_s = self._clock() - self._began if self._timed else math.nan
            summary = replace(whole, duration_s=took_s)
        self._shown.finish(summary)


__all__ = ["PhasedProgress"]
