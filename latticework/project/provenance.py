"""Where an output comes from: code, parameters, versions and inputs, back to the source."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeworkError, ProjectError
from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State
from latticework.project.made_by import Attempt, Definition, Makers
from latticework.project.pipeline import SOURCE
from latticework.project.stage_history import KnownStage
from latticework.stages.lattices import UNIT

if TYPE_CHECKING:
    from latticework.project.project import Project

FORMAT = 1
"""Version of the form in which provenance is told."""
MOST = 100
"""Inputs from one parent that are told one by one."""

Asked = dict[int, tuple[KnownStage, list[Attempt]]]
"""Attempts to tell of, by their stage's id."""


def provenance(
    project: "Project",
    stage: str,
    id: int | str | None,
    labels: dict[str, Any],
    *,
    depth: int | None = None,
    most: int = MOST,
    full: bool = False,
) -> dict[str, Any]:
    """See `Project.provenance`.

    Parameters
    ----------
    project, stage, id, labels
        Which output.
    depth
        How many stages to go back; to the source if not given.
    most
        Inputs from one parent that are told one by one; more are told as a summary.
    full
        Whether summaries list every unit that was read.
    """
    node = project.pipeline[stage]
    if node.is_source:
        raise ProjectError("the source was acquired, not made: see project.lattice.source")
    unit = project.unit_row(node, id, labels)
    teller = Teller(project, most=most, full=full, depth=depth)
    number = int(node.units.published[unit])
    made = teller.makers.published(node.id, unit, number) if number else None
    if made is None:
        raise ProjectError(
            f"stage {stage!r} has published nothing at {node.lattice.tile(unit).name}: "
            f"{project.why(stage, unit)}"
        )
    known = teller.makers.known.by_id[node.id]
    teller.tell({node.id: (known, [made])})
    return {
        "latticework_provenance": FORMAT,
        "project": {"name": project.name, "path": str(project.path), "key": project.key},
        "output": unit_key(known.shown, unit, number),
        "current": State(int(node.units.state[unit])) == State.COMPLETE,
        "made": teller.made,
        "summaries": teller.summaries,
        "source": teller.source,
        "definitions": teller.definitions,
        "sessions": teller.sessions,
    }


def save_provenance(values: dict[str, Any], path: Path | str) -> Path:
    """Write what `provenance` gave to a JSON file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


class Teller:
    """Tells of attempts and of what they read, each once.

    Parameters
    ----------
    project
        The project.
    most, full, depth
        See `provenance`.
    """

    def __init__(self, project: "Project", *, most: int, full: bool, depth: int | None) -> None:
        self.project = project
        self.makers = Makers(project)
        self.most, self.full = most, full
        self.depth = float("inf") if depth is None else depth
        self.made: dict[str, Any] = {}
        self.summaries: dict[str, Any] = {}
        self.source: dict[str, Any] = {}
        self.definitions: dict[str, Any] = {}
        self.sessions: dict[str, Any] = {}

    def tell(self, asked: Asked) -> None:
        """Tell of some attempts, then of those that made what they read, and so on."""
        deep = 0
        while asked:
            further: Asked = {}
            for stage, attempts in asked.values():
                for attempt in attempts:
                    self._attempt(stage, attempt, further, follow=deep < self.depth)
            asked, deep = further, deep + 1

    # ---------------------------------------------------------------- one by one

    def _attempt(
        self, stage: KnownStage, attempt: Attempt, further: Asked, *, follow: bool
    ) -> None:
        key = unit_key(stage.shown, attempt.unit, attempt.attempt)
        if key in self.made:
            return
        when = attempt.queued or attempt.started or attempt.ended
        made_by = self.makers.definition_at(stage.id, when)
        costs = attempt._asdict()
        for name in ("id", "stage", "unit", "fingerprint"):
            del costs[name]
        for name in ("queued", "started", "ended"):
            costs[name] = moment(costs[name])
        self.made[key] = entry = {
            "stage": stage.shown,
            **self._place(stage.id, attempt.unit),
            **costs,
            "duration_s": attempt.ended - attempt.started,
            "definition": self._definition(made_by),
            "session": self._session(attempt.session),
        }
        if follow:
            entry["inputs"] = self._inputs(made_by, attempt, further)

    def _place(self, stage: int, unit: int) -> dict[str, Any]:
        if self.makers.known.keys[stage] == UNIT:
            return {"unit": unit, "tile": "(all tiles)", "labels": {}}
        return place(self.makers.known.lattice_of(stage), unit)

    def _inputs(self, made_by: Definition, attempt: Attempt, further: Asked) -> dict[str, Any]:
        told: dict[str, Any] = {}
        one = np.array([attempt.unit], dtype=np.int64)
        for name, stage, _, read in self.makers.inputs(made_by, one):
            if name == SOURCE:
                told[name] = self._tiles(read)
            elif stage is None:
                told[name] = {"unknown": "this stage was removed, and nothing of it is kept"}
            elif len(read) > self.most:
                told[name] = {"summary": self._summary(stage, read, attempt.id)}
            else:
                found = [self.makers.before(stage.id, unit, attempt.id) for unit in read.tolist()]
                there = [made for made in found if made is not None]
                told[name] = [unit_key(stage.shown, made.unit, made.attempt) for made in there]
                further.setdefault(stage.id, (stage, []))[1].extend(there)
        return told

    # ---------------------------------------------------------------- many at once

    def _summary(self, stage: KnownStage, units: np.ndarray, before: int) -> str:
        """Key of a summary of the attempts that made some units, and of what those read."""
        rows = self.makers.many_before(stage.id, np.unique(units), before)
        digest = digest_of(rows[:, [0, 2, 3]])
        key = f"{stage.shown}[{len(rows)} units, {digest}]"
        if key in self.summaries:
            return key
        told: dict[str, Any] = {"stage": stage.shown, "count": len(rows), "digest": digest}
        self.summaries[key] = told
        if self.full:
            told["units"] = rows[:, [0, 2]].tolist()
        if len(rows):
            told["first_ended"] = moment(rows[:, 5].min() / 1e6)
            told["last_ended"] = moment(rows[:, 5].max() / 1e6)
        told["sessions"] = [self._session(int(number)) for number in np.unique(rows[:, 4])]
        definitions = self.makers.definitions(stage.id)
        since = np.array([int(1e6 * one.since) for one in definitions])
        which = np.clip(np.searchsorted(since, rows[:, 6], side="right") - 1, 0, None)
        told["definitions"] = {}
        told["inputs"] = {}
        for number in np.unique(which).tolist():
            made_by, mine = definitions[number], rows[which == number]
            told["definitions"][self._definition(made_by)] = len(mine)
            told["inputs"].update(self._many_inputs(made_by, mine))
        return key

    def _many_inputs(self, made_by: Definition, rows: np.ndarray) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for name, stage, _, read in self.makers.inputs(made_by, rows[:, 0]):
            if name == SOURCE:
                told[name] = self._tiles(np.unique(read))
            elif stage is not None:
                told[name] = {"summary": self._summary(stage, read, int(rows[:, 1].max()))}
        return told

    # ---------------------------------------------------------------- the acquisition

    def _tiles(self, tiles: np.ndarray) -> Any:
        """Keys of tiles of the acquisition, or of their summary."""
        node = self.project.pipeline[SOURCE]
        assert node.source_stamps is not None
        if len(tiles) <= self.most:
            for tile in tiles.tolist():
                self.source.setdefault(f"{SOURCE}/{tile}", self._tile(node.lattice, tile))
            return [f"{SOURCE}/{tile}" for tile in tiles.tolist()]
        stamps = np.stack([tiles, node.source_stamps[tiles].view("i8")], axis=1)
        digest = digest_of(stamps)
        key = f"{SOURCE}[{len(tiles)} tiles, {digest}]"
        told: dict[str, Any] = {"stage": SOURCE, "count": len(tiles), "digest": digest}
        if self.full:
            told["units"] = tiles.tolist()
        self.summaries.setdefault(key, told)
        return {"summary": key}

    def _tile(self, lattice: Lattice, tile: int) -> dict[str, Any]:
        node = self.project.pipeline[SOURCE]
        assert node.source_stamps is not None
        told = {**place(lattice, tile), "fingerprint": f"{int(node.source_stamps[tile]):016x}"}
        return {**told, "source": type(lattice.source).__name__, **file_facts(lattice, tile)}

    # ---------------------------------------------------------------- told once

    def _definition(self, made_by: Definition) -> str:
        if made_by.key not in self.definitions:
            self.definitions[made_by.key] = {
                "stage": made_by.stage.shown,
                "fingerprint": made_by.fingerprint,
                "since": moment(made_by.since),
                "current": made_by.current,
                **made_by.values,
            }
        return made_by.key

    def _session(self, number: int) -> str:
        key = str(number)
        if key not in self.sessions:
            rows = self.project.query(
                "select started, host, pid, version, versions from sessions where id = ?", (number,)
            )
            started, host, pid, version, versions = rows[0] if rows else (None,) * 5
            self.sessions[key] = {
                "started": moment(started),
                "host": host,
                "pid": pid,
                "latticework": version,
                "versions": None if versions is None else json.loads(versions),
            }
        return key


def unit_key(stage: str, unit: int, attempt: int) -> str:
    """Under which an attempt is told of.

    Examples
    --------
    >>> unit_key("clean", 12, 2)
    'clean/12#2'
    """
    return f"{stage}/{unit}#{attempt}"


def moment(at: float | None) -> str | None:
    """A time as text, in UTC.

    Examples
    --------
    >>> moment(0.5)
    '1970-01-01T00:00:00.500000+00:00'
    """
    return (
        None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
    )


def place(lattice: Lattice, unit: int) -> dict[str, Any]:
    """Id, name and labels of a unit, as plain values."""
    if unit >= len(lattice):
        return {"unit": unit, "tile": None, "labels": {}}
    tile = lattice.tile(unit)
    return {"unit": unit, "tile": tile.name, "labels": dict(tile.labels)}


def digest_of(rows: np.ndarray) -> str:
    """A digest of rows of whole numbers, whatever their order."""
    ordered = rows[np.lexsort(rows.T[::-1])] if len(rows) else rows
    return hashlib.blake2b(ordered.astype("<i8").tobytes(), digest_size=8).hexdigest()


def file_facts(lattice: Lattice, tile: int) -> dict[str, Any]:
    """File of a tile with its size and time of change, as they are now, where it has one."""
    find = getattr(lattice.source, "path", None)
    if not callable(find):
        return {}
    try:
        path = find(tile)
    except LatticeworkError:
        return {}
    if path is None:
        return {}
    try:
        facts = Path(path).stat()
    except OSError:
        return {"file": str(path), "missing": True}
    return {"file": str(path), "bytes": facts.st_size, "modified": moment(facts.st_mtime)}
