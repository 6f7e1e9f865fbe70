"""Whether the stages keep up with the microscope, when they are done, and when the disk is full."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from latticework.lattice.states import State
from latticework.project.flow import Flow

KEEPS_UP = 0.95
"""Share of what arrives that a stage must complete to keep up."""
FEW = 0.5
"""Minutes of arrivals that may wait for a stage that keeps up: work that is on its way."""
BACKLOG = (State.WAITING, State.QUEUED, State.RUNNING, State.STALE)
"""States of units that a stage still has to do, sooner or later."""


@dataclass(frozen=True, slots=True)
class StagePace:
    """How one stage does."""

    name: str
    """Name of the stage."""
    units: int
    """Its units so far."""
    complete: int
    """Complete ones."""
    backlog: int
    """Units that it has to do: waiting, queued, running or stale, and not held."""
    stuck: int
    """Units that failed, were cancelled, or are blocked by such."""
    per_minute: float | None
    """Units that it completes in a minute; None before that can be known."""
    needed_per_minute: float | None
    """Units that it gets to do in a minute, by the tiles that arrive; None if none do."""
    bytes_per_unit: float | None
    """Bytes that it writes for a unit."""
    keeps_up: bool | None
    """Whether it completes what it gets; None before that can be known."""
    held: int = 0
    """Units that nobody can do yet: they wait for more tiles, or for the acquisition's end."""

    @property
    def time_left_s(self) -> float | None:
        """Seconds for its backlog, at its rate; None where there is no telling."""
        if not self.backlog:
            return 0.0
        return 60.0 * self.backlog / self.per_minute if self.per_minute else None

    @property
    def catches_up_s(self) -> float | None:
        """Seconds until nothing waits, with tiles arriving as now; infinite if that never comes."""
        if not self.backlog:
            return 0.0
        if self.per_minute is None:
            return None
        spare = self.per_minute - (self.needed_per_minute or 0.0)
        return 60.0 * self.backlog / spare if spare > 0 else math.inf


@dataclass(frozen=True, slots=True)
class KeepingUp:
    """The keep-up gauge: what arrives, how each stage does, and what room is left.

    Examples
    --------
    >>> arrivals, clean = Flow(), Flow()
    >>> for minute in range(10):
    ...     arrivals.add(60.0 * minute, 6, 12_000_000)
    ...     clean.add(60.0 * minute, 3, 3_000_000)
    >>> counts = {"clean": {State.COMPLETE: 30, State.WAITING: 30}}
    >>> print(keeping_up(540.0, 60, arrivals, {"clean": clean}, counts, disk_free_bytes=10**9))
    6.0 tiles/min arrive (60 so far)
      clean  falls behind  3.0/min of 6.0/min  30 to do, 10 min 00 s at this rate
    disk: 1 GB free, full in 5 h 33 min at this rate
    """

    at: float
    """When this was so, seconds since 1970."""
    tiles: int
    """Tiles that have come so far."""
    arriving_per_minute: float | None
    """Tiles that arrive in a minute; None if none have been seen to arrive."""
    stages: tuple[StagePace, ...]
    """One for each stage, parents first."""
    disk_free_bytes: int | None
    """Bytes free where the project lies."""
    disk_bytes_per_minute: float
    """Bytes that are written there in a minute."""
    disk_needed_bytes: float
    """Bytes that the backlog will take."""
    announced: int = 0
    """Tiles of which a list says that they will come."""

    @property
    def keeps_up(self) -> bool | None:
        """Whether all stages do; None before that can be known."""
        says = [stage.keeps_up for stage in self.stages]
        if any(answer is False for answer in says):
            return False
        return None if any(answer is None for answer in says) else True

    @property
    def time_left_s(self) -> float | None:
        """Seconds until all that is there is done, at the present rates; None if unknown.

        Stages work side by side, so this is the time of the one that takes longest.
        """
        left = [stage.time_left_s for stage in self.stages]
        if any(seconds is None for seconds in left):
            return None
        return max((seconds for seconds in left if seconds is not None), default=0.0)

    @property
    def disk_full_s(self) -> float | None:
        """Seconds until the disk is full, at the present rates; None if it does not fill."""
        if self.disk_free_bytes is None or self.disk_bytes_per_minute <= 0:
            return None
        return 60.0 * self.disk_free_bytes / self.disk_bytes_per_minute

    @property
    def fits(self) -> bool | None:
        """Whether there is room for what the backlog will make; None if unknown."""
        if self.disk_free_bytes is None:
            return None
        return self.disk_needed_bytes <= self.disk_free_bytes

    def __str__(self) -> str:
        from latticework.viz.keeping_up import gauge_text

        return gauge_text(self)

    def __repr__(self) -> str:
        return f"<KeepingUp: {self}>"

    def _repr_html_(self) -> str:
        from latticework.viz.keeping_up import gauge_html

        return gauge_html(self)


def keeping_up(
    now: float,
    tiles: int,
    arrivals: Flow,
    completions: Mapping[str, Flow],
    counts: Mapping[str, Mapping[State, int]],
    *,
    held: Mapping[str, int] = MappingProxyType({}),
    disk_free_bytes: int | None = None,
    arrivals_on_disk: bool = False,
    announced: int = 0,
) -> KeepingUp:
    """The keep-up gauge from what was counted.

    Parameters
    ----------
    now
        Seconds since 1970.
    tiles
        Tiles that have come so far.
    arrivals
        Tiles that arrived, over time.
    completions
        For each stage, units that it completed, over time.
    counts
        For each stage, units in each state; in order of the stages.
    held
        For each stage, units that wait for more tiles, or for the end of the acquisition.
    disk_free_bytes
        Bytes free where the project lies.
    arrivals_on_disk
        Whether the microscope writes to the same disk.
    announced
        Tiles that are on the lattice and have not come yet.
    """
    arriving, known = arrivals.per_minute(now), tiles + announced
    stages = tuple(
        _pace(name, states, completions.get(name, Flow()), now, known, arriving, held.get(name, 0))
        for name, states in counts.items()
    )
    writing = sum(flow.bytes_per_minute(now) or 0.0 for flow in completions.values())
    if arrivals_on_disk:
        writing += arrivals.bytes_per_minute(now) or 0.0
    needed = sum(stage.backlog * (stage.bytes_per_unit or 0.0) for stage in stages)
    return KeepingUp(now, tiles, arriving, stages, disk_free_bytes, writing, needed, announced)


def _pace(
    name: str,
    states: Mapping[State, int],
    flow: Flow,
    now: float,
    tiles: int,
    arriving: float | None,
    held: int,
) -> StagePace:
    units = sum(states.values()) - states.get(State.ABSENT, 0)
    backlog = max(0, sum(states.get(state, 0) for state in BACKLOG) - held)
    complete = states.get(State.COMPLETE, 0)
    rate = flow.per_minute(now)
    needed = arriving * units / tiles if arriving and tiles else None
    return StagePace(
        name=name,
        units=units,
        complete=complete,
        backlog=backlog,
        stuck=units - backlog - complete - held,
        per_minute=rate,
        needed_per_minute=needed,
        bytes_per_unit=flow.bytes_per_unit,
        keeps_up=_keeps_up(backlog, rate, needed),
        held=held,
    )


def _keeps_up(backlog: int, rate: float | None, needed: float | None) -> bool | None:
    """Whether a stage does what it gets: nothing waits for it, or it is quick enough."""
    if needed is None or backlog <= max(1.0, FEW * needed):
        return True
    return None if rate is None else rate >= KEEPS_UP * needed
