"""What there is to know of one unit: its states and why, its attempts, where it comes from."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeworkError
from latticework.lattice.states import State
from latticework.project.pipeline import SOURCE
from latticework.stages.lattices import TILES, UNIT, planes_of
from latticework.viz.dashboard.feed import Snapshot, StageNow
from latticework.viz.dashboard.naming import Unit

if TYPE_CHECKING:
    from latticework.project.project import Project

MOST_ATTEMPTS = 200
"""Attempts of one unit that are told: the last ones."""
OURS = {
    State.QUEUED: "sent to the workers, none has begun it yet",
    State.RUNNING: "a worker computes it now",
}
"""Why a unit is in a state that only the run itself knows."""


@dataclass(frozen=True, slots=True)
class StageOfUnit:
    """How one stage stands with a unit, or with the plane that it is part of."""

    stage: str
    """Name of the stage."""
    unit: int
    """Id of the unit on the stage's own lattice."""
    state: State
    """Its state."""
    same: bool
    """Whether it is the very unit: else what it is part of, such as its plane."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A unit beside another one."""

    offset: tuple[int, ...]
    """Steps along each lattice dim."""
    id: int
    """Its id; -1 where there is none."""
    state: State
    """Its state."""


@dataclass(frozen=True, slots=True)
class AttemptTold:
    """One attempt, as the page tells of it."""

    stage: str
    """Name of the stage."""
    number: int
    """Which attempt of that stage at that unit."""
    outcome: str
    """What came of it, in words."""
    started: float | None
    """When it began, seconds since 1970."""
    duration_s: float | None
    """How long it took."""
    cpu_s: float | None
    """Processor time."""
    memory: float | None
    """Largest memory, in bytes."""
    read: float | None
    """Bytes that it read."""
    written: float | None
    """Bytes that it wrote."""
    worker: str
    """Address of its worker."""
    host: str
    """Where that was."""
    exit_code: int | None
    """Of a command."""
    error: str
    """Type and message of its error; empty if there was none."""
    traceback: str
    """Where it happened."""
    logs: tuple[tuple[str, Path], ...]
    """Names and files of what it printed."""

    @property
    def key(self) -> str:
        """What it is called among the attempts at this unit."""
        return f"{self.stage}#{self.number}"


@dataclass(frozen=True, slots=True)
class TileFacts:
    """What a question about one unit found."""

    why: dict[str, tuple[State, str]]
    """By stage, the state that the journal tells, and why."""
    attempts: tuple[AttemptTold, ...]
    """All attempts at it, the last ones first."""
    total: int
    """How many there were."""


def shown_state(of_run: State, of_journal: State | None) -> State:
    """The state to show, of what the run has left of it and what the journal tells.

    The journal is ahead of the status array by a second or so, but does not know what is queued
    or running.

    Examples
    --------
    >>> shown_state(State.RUNNING, State.WAITING).label, shown_state(
    ...     State.RUNNING, State.COMPLETE
    ... ).label
    ('running', 'complete')
    """
    if of_journal is None:
        return of_run
    open_still = of_journal in (State.WAITING, State.STALE)
    return of_run if open_still and of_run in OURS else of_journal


# -------------------------------------------------------------------- from a snapshot


def stages_of(snapshot: Snapshot, unit: Unit) -> list[StageOfUnit]:
    """How every stage stands with a unit, parents first: one look at each stage's states.

    Stages on planes or made once of everything are told of with the plane, or the one thing, that
    the unit is part of; stages on lattices of their own only with their own units.
    """
    found = []
    for stage in snapshot.stages:
        other = _unit_there(unit, stage)
        if other is not None:
            state = State(int(stage.states.reshape(-1)[_place(stage, other)]))
            found.append(StageOfUnit(stage.name, other, state, stage.key == unit.key))
    return found


def _place(stage: StageNow, unit: int) -> int:
    """Where a unit's state lies in the grid of its stage."""
    if not stage.lattice.dims:
        return 0
    row = int(stage.lattice.rows_of([unit])[0])
    return int(np.ravel_multi_index(stage.lattice.index[row].tolist(), stage.lattice.shape))


def _unit_there(unit: Unit, stage: StageNow) -> int | None:
    """The unit of a stage that is a unit, or has it as a part; None if there is none."""
    if stage.key == unit.key:
        return unit.id
    if stage.key == UNIT:
        return 0
    for dim in unit.lattice.dims:
        if stage.key == planes_of(unit.key, dim):
            try:
                return stage.lattice.id_at(**{dim: unit.tile.labels[dim]})
            except LatticeworkError:
                return None
    return None


def neighbours_of(snapshot: Snapshot, unit: Unit, stage: str | None) -> list[Neighbour]:
    """Units one step away: all around in the last two dims, one each way along the others.

    Their states are those of `stage`; without one, a tile that is there counts as complete.
    """
    lattice = unit.lattice
    n = len(lattice.dims)
    if not n:
        return []
    offsets = np.array(list(_offsets(n)), dtype=np.int64)
    row = lattice.rows_of([unit.id])
    ids = lattice.neighbours_of(lattice.index[row], offsets)[0]
    now = None if stage is None else snapshot.stage(stage)
    return [
        Neighbour(
            tuple(offset),
            int(other),
            State.ABSENT
            if other < 0
            else State.COMPLETE
            if now is None or now.key != unit.key
            else State(int(now.states.reshape(-1)[_place(now, int(other))])),
        )
        for offset, other in zip(offsets.tolist(), ids.tolist(), strict=True)
    ]


def _offsets(n: int) -> Iterator[tuple[int, ...]]:
    last = min(2, n)
    for steps in product((-1, 0, 1), repeat=last):
        if any(steps):
            yield (0,) * (n - last) + steps
    for dim in range(n - last):
        for step in (-1, 1):
            yield tuple(step if other == dim else 0 for other in range(n))


# -------------------------------------------------------------------- from the journal


def facts_of(project: "Project", unit: Unit, stages: list[StageOfUnit]) -> TileFacts:
    """Why each stage is in its state at a unit, and all attempts at it; for another thread."""
    why = {}
    for one in stages:
        if one.stage not in project.pipeline.nodes:
            continue
        told = project.pipeline[one.stage].units.state
        state = State(int(told[one.unit])) if one.unit < len(told) else State.ABSENT
        text = OURS.get(shown_state(one.state, state)) or project.why(one.stage, one.unit)
        text = text.partition(". See project.attempts")[0]  # they are on the page
        why[one.stage] = (state, text.partition(": ")[2] or text)
    if unit.key == TILES:
        why[SOURCE] = (State.COMPLETE, project.why(SOURCE, unit.id))
    attempts = _attempts(project, unit, [one.stage for one in stages if one.same])
    return TileFacts(why, tuple(attempts[:MOST_ATTEMPTS]), len(attempts))


def _attempts(project: "Project", unit: Unit, stages: list[str]) -> list[AttemptTold]:
    """The attempts at a unit, the last ones first; of tiles also those of removed stages."""
    names: list[str | None] = [None] if unit.key == TILES else list(stages)
    tables = [project.attempts(name, unit.id, limit=MOST_ATTEMPTS + 1) for name in names]
    told = [_told(row) for found in tables for row in found.to_dict("records")]
    return sorted(told, key=lambda one: one.started or 0.0, reverse=True)


def _told(row: Mapping[Hashable, Any]) -> AttemptTold:
    import pandas as pd

    def number(name: str) -> float | None:
        value = row[name]
        return None if pd.isna(value) else float(value)

    started, code = row["started"], number("exit_code")
    error = "" if not isinstance(row["error"], str) else f"{row['error']}: {row['message']}"
    logs = [("printed", row["stdout"]), ("error output", row["stderr"])]
    return AttemptTold(
        stage=str(row["stage"]),
        number=int(row["attempt"]),
        outcome=str(row["outcome"]),
        started=None if pd.isna(started) else started.timestamp(),
        duration_s=number("duration_s"),
        cpu_s=number("cpu_s"),
        memory=number("peak_memory_bytes"),
        read=_known(number("bytes_read"), row["outcome"]),
        written=_known(number("bytes_written"), row["outcome"]),
        worker=str(row["worker"] or "") if isinstance(row["worker"], str) else "",
        host=row["host"] if isinstance(row["host"], str) else "",
        exit_code=None if code is None else int(code),
        error=error,
        traceback=row["traceback"] if isinstance(row["traceback"], str) else "",
        logs=tuple((name, Path(path)) for name, path in logs if isinstance(path, str)),
    )


def _known(n_bytes: float | None, outcome: object) -> float | None:
    """Bytes that were counted; of an attempt that failed nothing is told, which is no zero.

    Examples
    --------
    >>> _known(0.0, "exception"), _known(0.0, "complete"), _known(7.0, "exception")
    (None, 0.0, 7.0)
    """
    return n_bytes if n_bytes or outcome == "complete" else None


def origin_of(project: "Project", unit: Unit, stage: str) -> dict[str, Any]:
    """Where the output of a stage at a unit comes from, one step back, in plain values.

    Returns
    -------
    dict
        ``made`` (the attempt), ``definition`` (code and parameters), ``inputs`` (keys by parent),
        ``session`` (versions) and ``current``; empty where nothing was made.
    """
    if stage == SOURCE:
        tile = unit.tile
        path = getattr(project.lattice.source, "path", None)
        file = None
        if callable(path):
            try:
                file = path(tile.id)
            except LatticeworkError:
                file = None
        return {"file": None if file is None else str(file)}
    node = project.pipeline[stage]
    if not node.units.published[unit.id]:
        return {}
    told = project.provenance(stage, unit.id, depth=1, most=12)
    made = told["made"][told["output"]]
    return {
        "made": made,
        "current": told["current"],
        "definition": told["definitions"].get(made.get("definition"), {}),
        "inputs": made.get("inputs", {}),
        "session": told["sessions"].get(made.get("session"), {}),
    }
