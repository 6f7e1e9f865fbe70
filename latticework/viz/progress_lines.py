"""Progress as plain lines, for logs, pipes and SLURM's output files."""

import sys
import time
from collections.abc import Callable
from typing import IO

from latticework.viz.progress import ShownProgress, StageView
from latticework.viz.states import counts_text
from latticework.viz.words import percent, plain, plural, rate, time_left

MOST_SAID = 2000
"""Characters of what is said, at most: what is said last is often what to do."""


class LineProgress(ShownProgress):
    """One line per stage that changed, at most every `every_s` seconds; a sign of life each minute.

    Of a job with several phases, what changed is shown at the end of each, too.

    Parameters
    ----------
    file
        Where to; standard output at the time of writing if not given.
    every_s
        Seconds between two rounds of lines.
    clock
        Seconds that never go back.

    Examples
    --------
    >>> import sys
    >>> from latticework.lattice.states import State
    >>> progress = LineProgress(file=sys.stdout, every_s=0, clock=lambda: 0.0)
    >>> progress.start({"clean": 63})
    >>> progress.update("clean", {State.COMPLETE: 20, State.FAILED: 2, State.WAITING: 41})
    latticework: 1 stage, 41 of 63 units left
    clean: 20/63 (31 %), 2 failed, waiting
    """

    def __init__(
        self,
        *,
        file: IO[str] | None = None,
        every_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock=clock)
        self._file = file
        self._every_s = every_s
        self._last_round = 0.0
        self._shown: dict[str, str] = {}
        self._shown_gauge: list[str] = []
        self._greeted = self._phased = False

    def _print(self, *lines: str) -> None:
        file = sys.stdout if self._file is None else self._file
        text = "".join(line + "\n" for line in lines)
        encoding = getattr(file, "encoding", None) or "utf-8"
        file.write(text.encode(encoding, "replace").decode(encoding))
        file.flush()

    def _tell(self, text: str) -> None:
        self._print(plain(text, MOST_SAID))

    def _phase(self) -> None:
        if self._phased:
            self._show_changed(done=True)
        else:  # what was done before the first phase is no news
            self._shown = {name: _counts(stage) for name, stage in self.stages.items()}
        self._phased = True
        self._print(self.phase_line)

    def _begin(self) -> None:
        self._last_round = self._clock()
        self._shown = {}
        self._greeted = False

    def _greet(self) -> None:
        """Say how much is left, as soon as every stage has said how it stands."""
        self._greeted = True
        views = self.stages.values()
        total, left = (sum(getattr(v, of) for v in views) for of in ("total", "remaining"))
        units = f"{left:,} of {plural(total, 'unit')} left" if left else "nothing to do"
        self._print(f"latticework: {plural(len(views), 'stage')}, {units}")

    def _changed(self) -> None:
        if not self._greeted:
            if not all(stage.counts for stage in self.stages.values()):
                return
            self._greet()
        waited = self._clock() - self._last_round
        if waited >= self._every_s:
            self._show_changed(alive=waited >= 6 * self._every_s and self._every_s > 0)

    def _show_changed(self, *, alive: bool = False, done: bool = False) -> None:
        """A line for each stage that has changed.

        With `alive` also for those that are not finished; with `done` for none of which no unit is.
        """
        fresh = {name: _counts(stage) for name, stage in self.stages.items() if stage.counts}
        lines = [
            _line(self.stages[name])
            for name, text in fresh.items()
            if (text != self._shown.get(name) or (alive and self.stages[name].remaining))
            and not (done and not self.stages[name].complete + self.stages[name].failed)
        ]
        if self.gauge_lines != self._shown_gauge:
            self._shown_gauge = self.gauge_lines
            lines += [f"  {line}" for line in self.gauge_lines]
        if lines:
            self._print(*lines)
            self._last_round, self._shown = self._clock(), fresh

    def _end(self, summary: object | None) -> None:
        if summary is None:
            for stage in self.stages.values():
                self._print(f"{plain(stage.name, 40)}: {counts_text(stage.counts)}")
        elif self._phased:
            self._show_changed(done=True)
        self._print(*self._closing(summary))


def _counts(stage: StageView) -> str:
    return f"{stage.complete:,}/{stage.total:,} {stage.failed:,}"


def _line(stage: StageView) -> str:
    head = f"{plain(stage.name, 40)}: {stage.complete:,}/{stage.total:,}"
    head += f" ({percent(stage.complete, stage.total)})"
    failed = f", {stage.failed:,} failed" if stage.failed else ""
    if not stage.remaining:
        return f"{head}{failed}, {'done' if stage.complete == stage.total else 'ended'}"
    if stage.rate is None:
        return f"{head}{failed}, {'under way' if stage.active else 'waiting'}"
    return f"{head}{failed}, {rate(stage.rate)}, {time_left(stage.eta_s)} left"
