"""Which attempt, of which definition of its stage, made something, and what that attempt read."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from latticework.errors import LatticeworkError
from latticework.lattice.dependencies import Dependency
from latticework.lattice.states import State
from latticework.project.pipeline import SOURCE
from latticework.project.stage_history import KnownStage, KnownStages
from latticework.stages.lattices import TILES
from latticework.stages.reads import Ends, dependency, reads_from_json, reads_of

if TYPE_CHECKING:
    from latticework.project.project import Project


class Attempt(NamedTuple):
    """A complete attempt, as the journal has it."""

    id: int
    stage: int
    unit: int
    attempt: int
    session: int
    queued: float | None
    started: float
    ended: float
    cpu_s: float | None
    peak_memory_bytes: int | None
    bytes_read: int | None
    bytes_written: int | None
    exit_code: int | None
    fingerprint: int
    worker: str | None
    host: str | None


COLUMNS = """
select a.id, a.stage, a.unit, a.attempt, a.session, a.dispatched, a.started, a.ended, a.cpu_s,
       a.peak_memory, a.bytes_read, a.bytes_written, a.exit_code, a.fingerprint, w.address, w.host
from attempts a left join workers w on w.id = a.worker
where a.stage = ? and a.outcome = 1
"""
ONE_BEFORE = COLUMNS + "and a.unit = ? and a.id < ? order by a.id desc limit 1"
PUBLISHED = COLUMNS + "and a.unit = ? and a.attempt = ? order by a.id desc limit 1"
MANY_BEFORE = """
select unit, max(id), attempt, fingerprint, session, ended, coalesce(dispatched, started)
from attempts where stage = ? and outcome = 1 and id < ? group by unit
"""


@dataclass(frozen=True, slots=True)
class Definition:
    """One of the definitions that a stage had."""

    stage: KnownStage
    """The stage."""
    number: int
    """Number in the journal."""
    fingerprint: str
    """Of the definition."""
    values: Mapping[str, Any]
    """The definition."""
    since: float
    """From when on it held, seconds since 1970."""
    current: bool
    """Whether it is the stage's present one."""

    @property
    def key(self) -> str:
        """Under which it is told of."""
        return f"{self.stage.shown}@{self.fingerprint}"


class Makers:
    """What made what in a project, now and in the past.

    Parameters
    ----------
    project
        The project.
    """

    def __init__(self, project: "Project") -> None:
        self.project = project
        self.known = KnownStages(project)
        self.nodes = {node.id: node for node in project.pipeline}
        self.definitions = lru_cache(maxsize=None)(self._definitions)
        self._edges: dict[int, list[tuple[KnownStage | None, str, Dependency | None]]] = {}

    # ---------------------------------------------------------------- attempts

    def published(self, stage: int, unit: int, attempt: int) -> Attempt | None:
        """The attempt that made what is published of a unit."""
        rows = self.project.query(PUBLISHED, (stage, unit, attempt))
        return Attempt(*rows[0]) if rows else None

    def before(self, stage: int, unit: int, attempt_id: int) -> Attempt | None:
        """The last complete attempt of a unit before another attempt ended."""
        rows = self.project.query(ONE_BEFORE, (stage, unit, attempt_id))
        return Attempt(*rows[0]) if rows else None

    def many_before(self, stage: int, units: np.ndarray, attempt_id: int) -> np.ndarray:
        """The last complete attempts of some units before another attempt ended.

        Columns: unit, attempt id, attempt number, fingerprint, session, ended and dispatched (the
        last two as whole microseconds).
        """
        rows = self.project.query(MANY_BEFORE, (stage, attempt_id))
        table = np.array(
            [(*row[:5], int(1e6 * (row[5] or 0)), int(1e6 * (row[6] or 0))) for row in rows],
            dtype=np.int64,
        ).reshape(-1, 7)
        return np.asarray(table[np.isin(table[:, 0], units)])

    # ---------------------------------------------------------------- definitions

    def _definitions(self, stage: int) -> tuple[Definition, ...]:
        """Definitions of a stage, oldest first."""
        known = self.known.by_id[stage]
        rows = self.project.query(
            "select id, fingerprint, definition, since from definitions "
            "where stage = ? order by since, id",
            (stage,),
        ) or self.project.query(
            "select id, fingerprint, definition, created from stages where id = ?", (stage,)
        )
        now = rows[-1][1] if known.removed is None else None
        return tuple(
            Definition(known, number, text, json.loads(values), since, text == now)
            for number, text, values, since in rows
        )

    def definition_at(self, stage: int, at: float) -> Definition:
        """The definition that a stage had at a time."""
        found = self.definitions(stage)
        return next((one for one in reversed(found) if one.since <= at), found[0])

    # ---------------------------------------------------------------- inputs

    def inputs(
        self, made_by: Definition, units: np.ndarray
    ) -> list[tuple[str, KnownStage | None, np.ndarray, np.ndarray]]:
        """What units read: for each parent its name, its stage, and pairs of (position, unit).

        The stage is None for the acquisition, and for a parent of which nothing is known any more
        (then there are no pairs).
        """
        found = []
        for stage, name, depends in self._links(made_by):
            if depends is None:
                pairs = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
            else:
                pairs = depends.inputs(units)
            which, read = pairs
            if name == SOURCE:
                presence = self.project.pipeline[SOURCE].presence
                there = read < len(self.project.lattice)
                if presence is not None:
                    there[there] = presence[read[there]] != State.ABSENT
                which, read = which[there], read[there]
            found.append((name, stage, which, read))
        return found

    def _links(self, made_by: Definition) -> list[tuple[KnownStage | None, str, Dependency | None]]:
        if made_by.number not in self._edges:
            self._edges[made_by.number] = list(self._linked(made_by))
        return self._edges[made_by.number]

    def _linked(
        self, made_by: Definition
    ) -> Iterable[tuple[KnownStage | None, str, Dependency | None]]:
        names = made_by.values["parents"]
        whole = self._as_now(made_by)
        for number, name in enumerate(names):
            stage = None if name == SOURCE else self._parent(made_by, name)
            if whole is not None:
                yield stage, name, whole[number]
            elif name != SOURCE and stage is None:
                yield None, name, None
            else:
                yield stage, name, self._alone(made_by, name, stage)

    def _parent(self, made_by: Definition, name: str) -> KnownStage | None:
        """The stage that a definition meant by a name."""
        now = next((node for node in self.nodes.values() if node.name == name), None)
        if made_by.current and now is not None:
            return self.known.by_id[now.id]
        return self.known.called_at(name, made_by.since)

    def _as_now(self, made_by: Definition) -> list[Dependency] | None:
        """Dependencies of a definition whose parents are all there still; None if not."""
        node = self.nodes.get(made_by.stage.id)
        pipeline = self.project.pipeline
        names = tuple(made_by.values["parents"])
        if node is None or any(name not in pipeline.nodes for name in names):
            return None
        meant = [name == SOURCE or self._parent(made_by, name) for name in names]
        if any(m is None or (m is not True and m.id not in self.nodes) for m in meant):
            return None
        if made_by.current:
            return [edge.dependency for edge in node.edges]
        past = replace(node, definition=made_by.values, parents=names, edges=[])
        try:
            pipeline.relink(past)
        except LatticeworkError:
            return None
        return [edge.dependency for edge in past.edges]

    def _alone(self, made_by: Definition, name: str, stage: KnownStage | None) -> Dependency | None:
        """What was read of one parent, where others are gone: without its halo."""
        known = self.known
        key = known.keys[made_by.stage.id]
        above = TILES if stage is None else known.keys[stage.id]
        ends = Ends(key, known.lattice(key), above, known.lattice(above))
        reads = reads_of(reads_from_json(made_by.values["reads"]), name)
        try:
            return dependency(ends, reads, None, self.project.pipeline.skipped)
        except LatticeworkError:
            return None
