"""Every attempt ever made, as a table; SQL does the choosing."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import ProjectError
from latticework.io.journal import KILLED, OUTCOMES
from latticework.lattice.lattice import Lattice
from latticework.project.attempt_logs import log_paths
from latticework.project.moments import Moment, seconds_since_1970
from latticework.project.stage_history import KnownStages, chosen_units
from latticework.stages.lattices import UNIT

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.project import Project

COLUMNS = [
    *("stage_id", "unit", "attempt", "outcome", "queued", "started", "ended", "duration_s"),
    *("cpu_s", "peak_memory_bytes", "bytes_read", "bytes_written", "exit_code"),
    *("worker", "host", "session", "error", "message", "traceback"),
]
QUERY = """
select a.stage, a.unit, a.attempt, a.outcome, a.dispatched, a.started, a.ended,
       a.ended - a.started, a.cpu_s, a.peak_memory, a.bytes_read, a.bytes_written, a.exit_code,
       w.address, w.host, a.session, e.type, e.message, e.traceback
from attempts a left join workers w on w.id = a.worker left join errors e on e.id = a.error
"""
TIMES = ("queued", "started", "ended")
NUMBERS = ("duration_s", "cpu_s")
WHOLE = ("peak_memory_bytes", "bytes_read", "bytes_written", "exit_code")
LISTED = 20
"""Workers that a message names."""
UNITS = "(select value from json_each(?))"
"""Units given as a JSON list."""
MANY = 5
"""Rank of conditions that a good part of all attempts fulfil."""
FAILURES = (2, 3, 4, 6, 7, 8, KILLED)
"""Outcomes that ``outcome="failed"`` means."""


@dataclass(frozen=True, slots=True)
class Term:
    """One condition of a query, as SQL that may use an index, and as SQL that may not."""

    quick: str
    """With its index."""
    plain: str
    """Without: the unary plus keeps SQLite from choosing that index."""
    given: tuple[Any, ...] = ()
    """What its question marks stand for."""
    rank: int = MANY + 1
    """Which condition leaves fewest rows, as a rule; its index is used."""


def attempts_table(
    project: "Project",
    stage: str | None,
    id: int | str | None,
    labels: Mapping[str, Any],
    *,
    worker: str | None = None,
    host: str | None = None,
    outcome: str | Sequence[str] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    session: int | None = None,
    limit: int | None = None,
) -> "pd.DataFrame":
    """See `Project.attempts`.

    Columns: ``stage``, ``tile`` (name), the lattice labels, ``attempt``, ``outcome`` (in words),
    ``queued``, ``started`` and ``ended`` (UTC), ``duration_s``, ``cpu_s``, ``peak_memory_bytes``,
    ``bytes_read``, ``bytes_written``, ``exit_code``, ``worker``, ``host``, ``session``, ``error``,
    ``message``, ``traceback``, ``stdout`` and ``stderr`` (paths of logs, where there are any).
    Removed stages are called ``"clean (removed)"``.
    """
    import pandas as pd

    known = KnownStages(project)
    if limit is not None and limit < 1:
        raise ProjectError(f"limit={limit}: give how many of the last attempts you want, from 1")
    terms = [
        *unit_terms(known, stage, id, labels),
        *time_terms(since, until),
        *outcome_terms(outcome),
        *worker_terms(project, worker, host),
    ]
    if session is not None:
        terms.append(Term("a.session = ?", "a.session = ?", (session,)))
    terms.sort(key=lambda term: term.rank)
    where, values = combined(terms, last=limit is not None)
    sql = f"{QUERY}{where} order by a.id desc{'' if limit is None else f' limit {int(limit)}'}"
    rows = project.query(sql, values)[::-1]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["outcome"] = table["outcome"].map(OUTCOMES)
    for column in TIMES:
        times = pd.to_numeric(table[column]).astype("float64")
        table[column] = pd.to_datetime(times, unit="s", utc=True).dt.as_unit("us")
    for column in NUMBERS:
        table[column] = pd.to_numeric(table[column]).astype("float64")
    for column in WHOLE:
        table[column] = table[column].astype("Int64")
    return with_labels(known, table)


# -------------------------------------------------------------------- conditions


def combined(terms: Sequence[Term], *, last: bool = False) -> tuple[str, list[Any]]:
    """The ``where`` of some conditions: the first may use its index, the others may not.

    Where just the `last` attempts are wanted, the index of a condition that many fulfil is slower
    than going through them from the end.
    """
    if not terms:
        return "", []
    first = terms[0].plain if last and terms[0].rank >= MANY else terms[0].quick
    parts = [first, *(term.plain for term in terms[1:])]
    return f" where {' and '.join(parts)}", [value for term in terms for value in term.given]


def unit_terms(
    known: KnownStages, stage: str | None, id: int | str | None, labels: Mapping[str, Any]
) -> list[Term]:
    """Which stages and units are meant."""
    stages = list(known.by_id.values()) if stage is None else known.named(stage)
    if id is None and not labels:
        if stage is None:
            return []
        these = ",".join(str(one.id) for one in stages)
        return [Term(f"a.stage in ({these})", f"+a.stage in ({these})", rank=MANY)]
    chosen = chosen_units(known, stages, id, labels, strict=stage is not None)
    parts, values = [], []
    for ids, units in chosen.values():
        numbers = ",".join(map(str, ids))
        parts.append(f"(a.stage in ({numbers}) and a.unit in {UNITS})")
        values.append(json.dumps(units.tolist()))
    sql = f"({' or '.join(parts) or '0'})"
    return [Term(sql, sql, tuple(values), rank=0)]


def time_terms(since: Moment | None, until: Moment | None) -> list[Term]:
    """Attempts that ended in a span; those that never did count by when they started."""
    bounds = [
        (sign, seconds_since_1970(moment))
        for sign, moment in ((">=", since), ("<", until))
        if moment is not None
    ]
    if not bounds:
        return []
    ended = " and ".join(f"a.ended {sign} ?" for sign, _ in bounds)
    started = " and ".join(f"a.started {sign} ?" for sign, _ in bounds)
    sql = f"(({ended}) or (a.ended is null and {started}))"
    values = tuple(at for _, at in bounds)
    return [Term(sql, sql.replace("a.ended", "+a.ended"), (*values, *values), rank=2)]


def outcome_terms(outcome: str | Sequence[str] | None) -> list[Term]:
    """Attempts that came out so.

    Raises
    ------
    ProjectError
        If an outcome has another name.
    """
    if outcome is None:
        return []
    numbers = {
        word: {number for number, name in OUTCOMES.items() if name == word}
        for word in OUTCOMES.values()
    }
    wanted: set[int] = set()
    for word in [outcome] if isinstance(outcome, str) else outcome:
        if word == "failed":
            wanted |= set(FAILURES)
        elif word in numbers:
            wanted |= numbers[word]
        else:
            raise ProjectError(
                f"there is no outcome {word!r}; there are {', '.join(numbers)}, and 'failed' for "
                "all that are failures"
            )
    listed = ",".join(map(str, sorted(wanted)))
    if 1 in wanted:
        return [Term(f"+a.outcome in ({listed})", f"+a.outcome in ({listed})")]
    quick = f"(a.outcome in ({listed}) and a.outcome <> 1)"
    return [Term(quick, f"+a.outcome in ({listed})", rank=1)]


def worker_terms(project: "Project", worker: str | None, host: str | None) -> list[Term]:
    """Attempts of a worker, or of those on a host.

    Raises
    ------
    ProjectError
        If there never was one.
    """
    terms = []
    for column, name, wanted in (("address", "worker", worker), ("host", "host", host)):
        if wanted is None:
            continue
        workers = project.query(f"select id, {column} from workers order by id desc")  # noqa: S608 - names above
        mine = [str(number) for number, value in workers if value == wanted]
        if not mine:
            seen = ", ".join(map(repr, dict.fromkeys(value for _, value in workers[:LISTED])))
            raise ProjectError(f"there was no {name} {wanted!r}; the last ones: {seen or 'none'}")
        listed = ",".join(mine)
        terms.append(Term(f"a.worker in ({listed})", f"+a.worker in ({listed})", rank=3))
    return terms


# -------------------------------------------------------------------- labels


def with_labels(known: KnownStages, table: "pd.DataFrame") -> "pd.DataFrame":
    """The table with names of stages, and names and labels of tiles, instead of numbers."""
    import pandas as pd

    stages = table.pop("stage_id").to_numpy(dtype="int64")
    units = table.pop("unit").to_numpy(dtype="int64")
    present = np.unique(stages).tolist()
    dims = axes_of([known.project.lattice, *(known.lattice_of(stage) for stage in present)])
    names = np.full(len(units), "", dtype=object)
    tiles = np.full(len(units), "(all tiles)", dtype=object)
    labels = {dim: np.full(len(units), None, dtype=object) for dim in dims}
    for stage in present:
        rows = np.flatnonzero(stages == stage)
        names[rows] = known.by_id[stage].shown
        if known.keys[stage] == UNIT:
            continue
        lattice = known.lattice_of(stage)
        inside = rows[units[rows] < len(lattice)]
        if len(inside) < len(rows):  # of a lattice that the stage had before
            tiles[rows] = [f"unit {unit}" for unit in units[rows].tolist()]
        where = lattice.rows_of(units[inside])
        tiles[inside] = lattice.names[where]
        for column, dim in enumerate(lattice.dims):
            labels[dim][inside] = lattice.labels[dim][lattice.index[where, column]]
    table.insert(0, "stage", names)
    table.insert(1, "tile", tiles)
    for k, dim in enumerate(dims):
        table.insert(2 + k, dim, labels[dim])
    table[dims] = table[dims].infer_objects()
    out, err = log_paths(known, stages, units, table["attempt"].to_numpy())
    table["stdout"] = pd.Series(out, table.index, dtype=object)
    table["stderr"] = pd.Series(err, table.index, dtype=object)
    return table


def axes_of(lattices: Iterable[Lattice]) -> list[str]:
    """The dims of some lattices, each once."""
    return list(dict.fromkeys(dim for lattice in lattices for dim in lattice.dims))
