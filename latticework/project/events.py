"""Events: what happens in a project that somebody may want to know of at once."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from latticework.errors import ProjectError
from latticework.io.journal import Journal
from latticework.project.moments import Moment, seconds_since_1970

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.folder import ProjectFolder

KINDS = {
    "run begun": "a run begins",
    "run ended": "a run ends, whatever is left to do",
    "stage complete": "everything of a stage is complete",
    "first failure": "an attempt of a stage has failed for the first time in this run",
    "units failed": "units have failed for good",
    "stage paused itself": "most of the first units of a stage have failed",
    "project paused": "the project has paused itself, as it cannot write, or a user has paused it",
    "project resumed": "the project goes on: it can write again, or a user has resumed it",
    "node set aside": "a host is given no more work, as it fails much more than the others",
    "pool refused": "SLURM does not take the jobs of a pool: once for each reason",
    "worker lost": "a worker has died or left with units that it had begun",
    "acquisition ended": "no more tiles will come",
}
"""Every kind of event, and when it happens."""
MOST_KEPT = 10_000
"""Events that a journal keeps: the last ones."""
MOST_TILES = 20
"""Tiles that an event names."""
_SWEEP = 500
"""Events after which older ones are removed."""
TABLE = """
create table if not exists events (
    id integer primary key, at real not null, kind text not null, stage text, tiles text not null,
    host text, message text not null, counts text not null
)
"""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a project, and where.

    Examples
    --------
    >>> event = Event("units failed", "2 units of 'clean' failed: ValueError: too dark",
    ...     project="/data/brain.lw", stage="clean", tiles=("y0_x1", "y3_x2"), at=0.0)
    >>> event.subject
    "brain.lw: 2 units of 'clean' failed: ValueError: too dark"
    >>> event.to_json()["tiles"], event.to_json()["time"]
    (['y0_x1', 'y3_x2'], '1970-01-01T00:00:00+00:00')
    """

    kind: str
    """What happened: one of `KINDS`."""
    message: str
    """The same in a sentence."""
    project: str
    """Folder of the project."""
    stage: str | None = None
    """Name of the stage, where it is about one."""
    tiles: tuple[str, ...] = ()
    """Names of the first tiles that it is about."""
    host: str | None = None
    """The host on which it happened, where that is known."""
    at: float = field(default_factory=time.time)
    """When, in seconds since 1970."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Numbers that belong to it, such as units by state."""

    @property
    def subject(self) -> str:
        """One line, as for the subject of a letter."""
        from pathlib import Path

        from latticework.viz.words import plain

        return plain(f"{Path(self.project).name}: {self.message}", 150)

    @property
    def text(self) -> str:
        """All of it, a line for each part."""
        facts = self.to_json()
        lines = [f"{name}: {facts[name]}" for name in ("kind", "time", "project", "stage", "host")]
        lines = [line for line in lines if not line.endswith(": None")]
        if self.tiles:
            lines.append(f"tiles: {', '.join(self.tiles)}")
        lines += [f"{name}: {n:,}" for name, n in self.counts.items()]
        return "\n".join([self.message, "", *lines])

    def to_json(self) -> dict[str, Any]:
        """As plain values, with the time as text."""
        from datetime import UTC, datetime

        values = asdict(self)
        at = values.pop("at")
        values["time"] = datetime.fromtimestamp(at, UTC).isoformat()
        return {**values, "tiles": list(self.tiles), "counts": dict(self.counts)}


def check_kind(kind: str) -> str:
    """A kind of event, as it is.

    Raises
    ------
    ProjectError
        If there is none of that name.
    """
    if kind not in KINDS:
        raise ProjectError(f"there is no event {kind!r}; there are {', '.join(KINDS)}")
    return kind


class EventLog:
    """Keeps events in the journal, the last `MOST_KEPT` of them.

    Parameters
    ----------
    journal
        The journal, writable.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        journal.write(TABLE)

    def keep(self, event: Event) -> None:
        """One event more."""
        number = self._journal.write(
            "insert into events (at, kind, stage, tiles, host, message, counts) "
            "values (?, ?, ?, ?, ?, ?, ?)",
            (
                *(event.at, event.kind, event.stage, json.dumps(list(event.tiles)), event.host),
                *(event.message, json.dumps(dict(event.counts))),
            ),
        )
        if number % _SWEEP == 0:
            self._journal.write("delete from events where id <= ?", (number - MOST_KEPT,))


def events_table(
    project: "ProjectFolder",
    kind: str | None,
    *,
    stage: str | None,
    since: Moment | None,
    limit: int | None,
) -> "pd.DataFrame":
    """See `Project.events`."""
    import pandas as pd

    terms, values = [], []
    for sql, value in (
        ("kind = ?", None if kind is None else check_kind(kind)),
        ("stage = ?", stage),
        ("at >= ?", None if since is None else seconds_since_1970(since)),
    ):
        if value is not None:
            terms.append(sql)
            values.append(value)
    rows = []
    if project.query("select 1 from sqlite_master where type = 'table' and name = 'events'"):
        where = f" where {' and '.join(terms)}" if terms else ""
        columns = "at, kind, stage, tiles, host, message, counts"
        rows = project.query(
            f"select {columns} from events{where} order by id desc limit ?",  # noqa: S608 - names above
            [*values, -1 if limit is None else limit],
        )[::-1]
    names = ["time", "event", "stage", "tiles", "host", "message", "counts"]
    table = pd.DataFrame(rows, columns=names)
    at = table["time"].astype("float64")
    table["time"] = pd.to_datetime(at, unit="s", utc=True).dt.as_unit("us")
    for column in ("tiles", "counts"):
        table[column] = pd.Series(list(map(json.loads, table[column])), dtype=object)
    return table


class Gathering:
    """Turns many things of one kind into few events: the first at once, others now and then.

    Parameters
    ----------
    every_s
        Seconds between two events about the same.
    clock
        Seconds.

    Examples
    --------
    >>> now = [0.0]
    >>> gathering = Gathering(60.0, clock=lambda: now[0])
    >>> gathering.add("clean", ["y0_x0"])
    >>> gathering.due()
    [('clean', 1, ['y0_x0'])]
    >>> gathering.add("clean", ["y0_x1"]); gathering.add("clean", ["y0_x2", "y0_x3"])
    >>> gathering.due()
    []
    >>> now[0] = 61
    >>> gathering.due()
    [('clean', 3, ['y0_x1', 'y0_x2', 'y0_x3'])]
    """

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s, self._clock = every_s, clock
        self._next: dict[Any, float] = {}
        self._open: dict[Any, tuple[int, list[Any]]] = {}

    def add(self, key: Any, things: list[Any]) -> None:
        """These happened."""
        n, first = self._open.get(key, (0, []))
        self._open[key] = n + len(things), [*first, *things][:MOST_TILES]

    def due(self, *, all_of_them: bool = False) -> list[tuple[Any, int, list[Any]]]:
        """What is to be told now: key, how many things, and the first of them."""
        if not self._open:
            return []
        now = self._clock()
        ready = [key for key in self._open if all_of_them or now >= self._next.get(key, now)]
        for key in ready:
            self._next[key] = now + self._every_s
        return [(key, *self._open.pop(key)) for key in ready]
