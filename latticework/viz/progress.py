"""Showing how a run gets on: in a terminal, in a notebook, as lines in a log, or not at all.

The coordinator calls ``start`` once, ``update`` whenever counts change (up to some ten times a
second and stage) and ``finish`` at the end, in a ``finally``. Whatever goes wrong in here is logged
once and ends the showing, never the run.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any, Literal, Protocol, Self, runtime_checkable

from latticework.lattice.states import ACTIVE, State
from latticework.viz.rates import RateEstimator
from latticework.viz.words import plain, seconds

_log = logging.getLogger(__name__)

Kind = Literal["auto", "none", "lines", "rich", "notebook"]


@runtime_checkable
class Progress(Protocol):
    """What the coordinator tells whoever watches a run."""

    def start(self, stages: Mapping[str, int]) -> None:
        """The run begins: number of tiles by stage, in the order of the pipeline."""
        ...

    def update(
        self,
        name: str,
        counts: Mapping[State, int],
        *,
        rate: float | None = None,
        eta_s: float | None = None,
    ) -> None:
        """A stage has these counts now.

        Rate (tiles per second) and time left (seconds) are estimated from the counts where they
        are not given.
        """
        ...

    def say(self, text: str) -> None:
        """A line for whoever watches, such as that the run is being stopped."""
        ...

    def finish(self, summary: object | None = None) -> None:
        """The run is over, one way or another; what remains on screen stays.

        A `summary` with ``closing`` (a sequence of lines) is told by these; None where there is
        none, since the run raised.
        """
        ...


class StageView:
    """What is known of one stage while it is watched.

    Examples
    --------
    >>> from latticework.lattice.states import State
    >>> stage = StageView("clean", 63)
    >>> stage.see({State.COMPLETE: 20, State.FAILED: 2, State.WAITING: 41})
    >>> stage.complete, stage.failed, stage.remaining
    (20, 2, 41)
    """

    def __init__(
        self, name: str, total: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.total = total
        self.counts: dict[State, int] = {}
        self._speed = RateEstimator(clock=clock)
        self._given_rate: float | None = None
        self._given_eta_s: float | None = None

    def see(
        self,
        counts: Mapping[State, int],
        *,
        rate: float | None = None,
        eta_s: float | None = None,
    ) -> None:
        """Take note of new counts."""
        self.counts = dict(counts)
        self._given_rate, self._given_eta_s = rate, eta_s
        self._speed.update(self.complete + self.failed, active=self.active > 0)

    def count(self, state: State) -> int:
        """Number of tiles in a state."""
        return int(self.counts.get(state, 0))

    @property
    def active(self) -> int:
        """Tiles that are out of the coordinator's hands: queued or running."""
        return sum(self.count(state) for state in ACTIVE)

    @property
    def complete(self) -> int:
        """Tiles that are done."""
        return self.count(State.COMPLETE)

    @property
    def failed(self) -> int:
        """Tiles that failed."""
        return self.count(State.FAILED)

    @property
    def remaining(self) -> int:
        """Tiles that are still to run."""
        over = (State.COMPLETE, State.FAILED, State.CANCELLED, State.BLOCKED)
        return max(0, self.total - sum(self.count(state) for state in over))

    @property
    def rate(self) -> float | None:
        """Tiles per second, where known."""
        return self._speed.rate if self._given_rate is None else self._given_rate

    @property
    def eta_s(self) -> float | None:
        """Seconds left, where known."""
        if self._given_eta_s is not None:
            return self._given_eta_s
        if self._given_rate:
            return self.remaining / self._given_rate
        return self._speed.time_left(self.remaining)


class ShownProgress:
    """Base of what shows progress: keeps the counts, swallows its own errors, ends once.

    Subclasses draw in `_begin`, `_changed` and `_end`. A context manager as well: leaving the
    block finishes.
    """

    silent = False
    """Whether nobody sees what is said: what must be known goes into the log then."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.stages: dict[str, StageView] = {}
        self.gauge_lines: list[str] = []
        self.phase_line = ""
        self._clock = clock
        self._started = clock()
        self._state: Literal["new", "shown", "over"] = "new"

    def start(self, stages: Mapping[str, int]) -> None:
        """See `Progress.start`."""
        self.stages = {n: StageView(n, int(t), clock=self._clock) for n, t in stages.items()}
        self._started = self._clock()
        self._state = "shown"
        self._safely(self._begin)

    def update(
        self,
        name: str,
        counts: Mapping[State, int],
        *,
        rate: float | None = None,
        eta_s: float | None = None,
    ) -> None:
        """See `Progress.update`."""
        if self._state == "shown":
            self._safely(lambda: self._see(name, counts, rate, eta_s))

    def say(self, text: str) -> None:
        """See `Progress.say`."""
        if self._state == "shown":
            self._safely(lambda: self._tell(text))

    def phase(self, text: str) -> None:
        """What is done now, where a job has several phases."""
        if self._state == "shown":
            self.phase_line = plain(text)
            self._safely(self._phase)

    def gauge(self, text: str) -> None:
        """Lines to stand below the stages: whether they keep up with what arrives."""
        if self._state == "shown":
            self.gauge_lines = [plain(line) for line in text.splitlines()]
            self._safely(self._changed)

    def finish(self, summary: object | None = None) -> None:
        """See `Progress.finish`; a second call does nothing."""
        if self._state == "shown":
            self._safely(lambda: self._end(summary))
        self._state = "over"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    def _see(
        self, name: str, counts: Mapping[State, int], rate: float | None, eta_s: float | None
    ) -> None:
        stage = self.stages.get(name)
        if stage is None:  # a stage that was added while the run goes on
            views = {**self.stages, name: StageView(name, 0, clock=self._clock)}
            self.stages, stage = views, views[name]
        present = sum(n for state, n in counts.items() if state is not State.ABSENT)
        stage.total = max(stage.total, int(present))
        stage.see(counts, rate=rate, eta_s=eta_s)
        self._changed()

    def _safely(self, draw: Callable[[], None]) -> None:
        try:
            draw()
        except Exception:  # a picture of the run must not end the run
            self._state = "over"
            _log.warning("progress is not shown any more; the run goes on", exc_info=True)
            try:
                self._abandon()
            except Exception:
                _log.debug("could not restore the display", exc_info=True)

    def _closing(self, summary: object | None) -> list[str]:
        """The last lines: a text as it is, or how the run ended; never the summary in full.

        The summary is what `Project.run` returns: printed here, it would stand twice.
        """
        if isinstance(summary, str):
            return [summary]
        lines = getattr(summary, "closing", None)
        if lines is not None:
            return [str(line) for line in lines]
        return [f"latticework: ended after {seconds(self.elapsed_s)}"]

    def _begin(self) -> None:
        """Draw for the first time."""

    def _changed(self) -> None:
        """Counts changed: cheap, called often."""

    def _phase(self) -> None:
        """Show what is done now."""
        self._changed()

    def _tell(self, text: str) -> None:
        """Show a line."""

    def _end(self, summary: object | None) -> None:
        """Draw for the last time."""

    def _abandon(self) -> None:
        """Put the display back as it was, after an error."""


class SilentProgress(ShownProgress):
    """Keeps the counts and shows nothing."""

    silent = True


def make_progress(
    kind: Kind | Progress | None = "auto", *, file: IO[str] | None = None
) -> Progress:
    """What shows progress best where we are.

    Parameters
    ----------
    kind
        ``"rich"`` (bars in a terminal), ``"notebook"``, ``"lines"`` (plain text, one line now and
        then), ``"none"``, or ``"auto"``: a notebook's own, bars where `file` is a terminal, else
        lines. The environment variable ``LATTICEWORK_PROGRESS`` decides what ``"auto"`` means.
        Something that is a `Progress` already is returned as it is.
    file
        Where text goes; standard output if not given.

    Examples
    --------
    >>> with make_progress("none") as progress:
    ...     progress.start({"clean": 63})
    ...     progress.update("clean", {State.COMPLETE: 63})
    """
    if kind is None:
        kind = "none"
    if not isinstance(kind, str):
        return kind
    chosen = _kind_here(file) if kind == "auto" else kind
    if chosen == "none":
        return SilentProgress()
    if chosen == "lines":
        from latticework.viz.progress_lines import LineProgress

        return LineProgress(file=file)
    if chosen == "rich":
        from latticework.viz.progress_rich import RichProgress

        return RichProgress(file=file)
    if chosen == "notebook":
        from latticework.viz.progress_notebook import NotebookProgress

        return NotebookProgress()
    raise ValueError(f"no progress {kind!r}: there are auto, none, lines, rich and notebook")


def _kind_here(file: IO[str] | None) -> str:
    wanted = os.environ.get("LATTICEWORK_PROGRESS", "")
    if wanted in ("none", "lines", "rich", "notebook"):
        return wanted
    if file is None and in_notebook():
        return "notebook"
    terminal = sys.stdout if file is None else file
    try:
        bars = terminal.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # no such method, or closed
        bars = False
    return "rich" if bars else "lines"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")
