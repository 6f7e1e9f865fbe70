"""What a run came to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from latticework.lattice.states import State

if TYPE_CHECKING:
    from latticework.viz.state_maps import StateMap
    from latticework.viz.summary import Failure

FailedRow = tuple[str, str, str, int] | tuple[str, str, str, int, int]
"""Stage, tile, message, failed attempts, and the tile's id where known."""
RETRY = "When the cause is gone: project.retry(), then project.run()"
"""What a summary says below its failures."""


@dataclass(frozen=True, slots=True, repr=False)
class FailedTile:
    """Units of one stage that failed with one message; the first of them stands for all.

    Examples
    --------
    >>> FailedTile("clean", "y0_x1", "ValueError: too dark", attempts=2, tiles=63)
    <clean 63 tiles, first y0_x1: ValueError: too dark (2 attempts)>
    """

    stage: str
    """Name of the stage."""
    tile: str
    """Name and labels of the first tile."""
    message: str
    """Type and message of the exception."""
    attempts: int
    """How often the first failed since it last completed or was changed."""
    id: int | None = None
    """Id of the first tile, where known."""
    tiles: int = 1
    """How many failed so."""

    def __repr__(self) -> str:
        return f"<{self.line}>"

    @property
    def line(self) -> str:
        """All of it on one line, as summaries show it."""
        return self.as_shown().line

    def as_shown(self) -> "Failure":
        """The same as summaries draw it."""
        from latticework.viz.summary import Failure

        return Failure(self.stage, self.tile, self.message, self.attempts, self.tiles)

    @property
    def why(self) -> str:
        """What to call to see why it failed."""
        of = "" if self.id is None else f", {self.id}"
        return f"project.why({self.stage!r}{of})"


def group_failures(rows: Iterable[FailedRow]) -> tuple[FailedTile, ...]:
    """Failed units by stage and message, in the order in which these first occur.

    Parameters
    ----------
    rows
        Stage, tile, message, failed attempts and, where known, the tile's id, of every failed unit.

    Examples
    --------
    >>> rows = [("clean", f"y0_x{k}", "ValueError: too dark", 1, k) for k in range(63)]
    >>> group_failures([*rows, ("sum", "(all tiles)", "MemoryError: no", 1)])
    (<clean 63 tiles, first y0_x0: ValueError: too dark>, <sum (all tiles): MemoryError: no>)
    """
    first: dict[tuple[str, str], FailedRow] = {}
    tiles: dict[tuple[str, str], int] = {}
    for row in rows:
        key = row[0], row[2]
        first.setdefault(key, row)
        tiles[key] = tiles.get(key, 0) + 1
    return tuple(
        FailedTile(*row[:4], id=row[4] if len(row) > 4 else None, tiles=tiles[key])
        for key, row in first.items()
    )


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
    """Failed units by stage and message; the first of them."""
    n_failures: int = 0
    """How many units failed in all."""
    notes: tuple[str, ...] = field(default=())
    """What else there is to know, such as that a stage has paused itself."""
    maps: "Mapping[str, StateMap]" = field(default_factory=dict, repr=False, compare=False)
    """Small maps of the states at its end, of the stages where not all units were complete."""

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

        lines = closing_lines(
            self.counts,
            title=self.project,
            duration_s=self.duration_s,
            interrupted=self.interrupted,
            failed=self.failures[0].why if self.failures else "",
        )
        return [*lines, *self.notes]

    def _title(self) -> str:
        return f"{self.project}" + (": interrupted, run again to go on" if self.interrupted else "")

    def __repr__(self) -> str:
        from latticework.viz.summary import summary_text

        text = summary_text(
            self.counts,
            title=self._title(),
            duration_s=self.duration_s,
            failures=[failed.as_shown() for failed in self.failures],
            hint=RETRY,
            n_failures=self.n_failures,
        )
        return "\n".join([text, *self.notes])

    def _repr_html_(self) -> str:
        from latticework.viz.progress_notebook import stands_above
        from latticework.viz.summary import summary_html

        hint = " ".join([RETRY, *self.notes])
        return summary_html(
            self.counts,
            title=self._title(),
            duration_s=self.duration_s,
            failures=[failed.as_shown() for failed in self.failures],
            hint=hint,
            n_failures=self.n_failures,
            maps=self.maps,
            bars=not stands_above(self),
        )
