"""What a run came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from latticework.lattice.states import State


@dataclass(frozen=True, slots=True)
class FailedTile:
    """One unit that failed in a run."""

    stage: str
    """Name of the stage."""
    tile: str
    """Name and labels of the tile."""
    message: str
    """Type and message of the exception."""
    attempts: int
    """Attempts that were made."""
    id: int | None = None
    """Id of the tile, where known."""

    @property
    def why(self) -> str:
        """What to call to see why it failed."""
        of = "" if self.id is None else f", {self.id}"
        return f"project.why({self.stage!r}{of})"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run came to; truthy if everything that should be is complete.

    Examples
    --------
    >>> summary = RunSummary("demo.lw", {"clean": {State.COMPLETE: 12}}, duration_s=3.0)
    >>> bool(summary), summary.count(State.COMPLETE)
    (True, 12)
    """

    project: str
    """Name of the project."""
    counts: Mapping[str, Mapping[State, int]]
    """Units in each state, by stage."""
    duration_s: float
    """Seconds that the run took."""
    attempts: int = 0
    """Attempts that ended in it."""
    interrupted: bool = False
    """Whether Ctrl-C ended it."""
    failures: tuple[FailedTile, ...] = field(default=())
    """The first failed units."""
    n_failures: int = 0
    """How many failed in all."""

    def count(self, state: State) -> int:
        """Units in a state, over all stages."""
        return sum(counts.get(state, 0) for counts in self.counts.values())

    @property
    def ok(self) -> bool:
        """Whether every unit is complete."""
        return not self.interrupted and all(
            n == 0 or state in (State.COMPLETE, State.ABSENT)
            for counts in self.counts.values()
            for state, n in counts.items()
        )

    def __bool__(self) -> bool:
        return self.ok

    @property
    def closing(self) -> list[str]:
        """How the run ended, in a line or two: what progress shows at its end."""
        from latticework.viz.summary import closing_lines

        return closing_lines(
            self.counts,
            title=self.project,
            duration_s=self.duration_s,
            interrupted=self.interrupted,
            failed=self.failures[0].why if self.failures else "",
        )

    def _title(self) -> str:
        return f"{self.project}" + (": interrupted, run again to go on" if self.interrupted else "")

    def __repr__(self) -> str:
        from latticework.viz.summary import Failure, summary_text

        failures = [Failure(f.stage, f.tile, f.message, f.attempts) for f in self.failures]
        return summary_text(
            self.counts,
            title=self._title(),
            duration_s=self.duration_s,
            failures=failures,
            n_failures=self.n_failures,
        )

    def _repr_html_(self) -> str:
        from latticework.viz.summary import Failure, summary_html

        failures = [Failure(f.stage, f.tile, f.message, f.attempts) for f in self.failures]
        return summary_html(
            self.counts,
            title=self._title(),
            duration_s=self.duration_s,
            failures=failures,
            n_failures=self.n_failures,
        )
