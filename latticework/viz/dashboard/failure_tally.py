"""Failures of a project, read once and grouped: by message, kind, host, plane and time.

The journal is read on from where it was read last, so that a look costs what has failed since.
Messages are the same that differ only in numbers and paths. Nothing here knows of pages.
"""

import re
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latticework.io.journal import LARGER, NODE_FAILURE, OUTCOMES, PREEMPTED, WALLTIME
from latticework.lattice.states import State
from latticework.project.history import FAILURES
from latticework.viz.words import plain

if TYPE_CHECKING:
    from latticework.project.project import Project

MOST = 200_000
"""Failed attempts that are looked at: the last ones."""
AT_ONCE = 20_000
"""Rows that are read at once, so that no one who writes has to wait long."""
MOST_GROUPS = 2_000
"""Different messages; what comes beyond them is one group."""
TAKEN = (PREEMPTED, WALLTIME, NODE_FAILURE)
"""Outcomes of attempts whose workers a cluster has taken away."""
MEMORY = (3, LARGER)
"""Outcomes of attempts that had too little memory."""
BAD = (*FAILURES, LARGER, *TAKEN)
"""Outcomes that are told of."""
FAILURE = np.dtype(
    [
        ("id", "i8"),
        ("stage", "i4"),
        ("unit", "i8"),
        ("attempt", "i4"),
        ("outcome", "i2"),
        ("ended", "f8"),
        ("worker", "i4"),
        ("error", "i8"),
    ]
)
"""One failed attempt, by the journal's numbers; -1 where there is none."""
_COLUMNS = (
    "select a.id, a.stage, a.unit, a.attempt, a.outcome, coalesce(a.ended, a.dispatched, 0), "
    "coalesce(a.worker, -1), coalesce(a.error, -1) from attempts a "
)
_BAD = ",".join(map(str, sorted(BAD)))
_FIRST = (
    f"{_COLUMNS} where a.outcome in ({_BAD}) and a.outcome <> 1 order by a.id desc limit {MOST}"
)
_NEXT = f"{_COLUMNS} where a.id > ? and +a.outcome in ({_BAD}) order by a.id limit {AT_ONCE}"
_ERRORS = (
    f"select id, type, substr(message, 1, 400) from errors where id > ? order by id limit {AT_ONCE}"  # noqa: S608 - names above
)
_SAME = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][^\s'\"/\\:,;]+){2,}[/\\]?|0x[0-9a-fA-F]+|\d+(?:\.\d+)?")
"""What may differ between two messages that are the same: paths and numbers."""


def same_message(text: str) -> str:
    """A message without what differs from unit to unit.

    Examples
    --------
    >>> same_message("no file /data/raw/00012.tif (tile 12 of 0.5 px)")
    'no file … (tile # of # px)'
    """
    return plain(
        _SAME.sub(lambda got: "…" if got[0][0] in "/\\" or ":" in got[0] else "#", text), 300
    )


@dataclass(frozen=True, slots=True)
class Group:
    """Failures that are the same."""

    number: int
    """What it is called; stays."""
    kind: str
    """Outcome in words."""
    message: str
    """Type and message, without what differs."""
    units: int
    """Units that are failed now, last for this reason."""
    attempts: int
    """Attempts that failed so."""
    mended: int
    """Units that failed so and have completed since."""
    stages: tuple[tuple[str, int], ...]
    """Names of stages and attempts that failed there, most first."""
    hosts: tuple[tuple[str, int], ...]
    """The same of hosts."""
    first: float
    """When it happened first, seconds since 1970."""
    last: float
    """When it happened last."""
    tiles: tuple[tuple[str, int], ...]
    """Stage and id of the first units that are failed now."""
    error: int
    """Number of one error in the journal, for its traceback; -1 if there is none."""


@dataclass(frozen=True, slots=True)
class Failures:
    """All failures, grouped."""

    failed: int
    """Units that are failed now."""
    mended: int
    """Units that failed once or more and are complete."""
    again: int
    """Units that failed and wait to be tried again, or are tried now."""
    attempts: int
    """Attempts that failed."""
    lost: int
    """Attempts that were lost with their worker."""
    taken: int
    """Attempts whose worker a cluster has taken away."""
    memory: int
    """Attempts that had too little memory."""
    groups: tuple[Group, ...]
    """By message, those with most failed units first."""
    n_groups: int
    """How many groups there are."""
    kinds: tuple[tuple[str, int, int], ...]
    """Outcome in words, attempts, units failed now."""
    hosts: tuple[tuple[str, int, int], ...]
    """Host, failed attempts there, and attempts there among the last ones."""
    planes: tuple[tuple[str, np.ndarray, np.ndarray], ...]
    """Lattice dim of tiles, its labels, and failed units at each."""
    ended: np.ndarray
    """When attempts failed, sorted, float64."""
    cut: bool
    """Whether there are more failed attempts than are looked at."""


class FailureTally:
    """The failed attempts of a project, read on from where they were read last; of one thread."""

    def __init__(self) -> None:
        self.rows = np.zeros(0, FAILURE)
        self.last = 0
        self._error_seen = 0
        self._group_of_error: dict[int, int] = {}
        self._groups: dict[str, int] = {}
        self._texts: list[str] = []
        self._whole: dict[int, str | None] = {}
        self.groups = np.zeros(0, np.int32)
        """The group of each row."""
        self.hosts: dict[int, str] = {}
        """Host of each worker, by its number."""
        self.names: dict[int, str] = {}
        """Name of each stage, by its number; removed ones too."""

    def look(self, project: "Project") -> bool:
        """Read what is new; whether anything was."""
        newest = project.attempts_made()
        if newest == self.last:
            return False
        if self.last == 0:
            new = np.array(project.query(_FIRST)[::-1], dtype=FAILURE)
            self.last = newest
        else:
            new = self._read_on(project)
        self._see_errors(project)
        pairs = zip(new["outcome"].tolist(), new["error"].tolist(), strict=True)
        groups = np.array([self._group(*pair) for pair in pairs], dtype=np.int32)
        self.rows = np.concatenate([self.rows, new])[-MOST:]
        self.groups = np.concatenate([self.groups, groups])[-MOST:]
        self.hosts = dict(project.query("select id, coalesce(host, address) from workers"))
        stages = project.query("select id, name, removed from stages")
        self.names = {n: name if gone is None else f"{name} (removed)" for n, name, gone in stages}
        return True

    def _read_on(self, project: "Project") -> np.ndarray:
        parts = [np.zeros(0, FAILURE)]
        newest = project.attempts_made()
        while True:
            part = np.array(project.query(_NEXT, (self.last,)), dtype=FAILURE)
            if not len(part):
                break
            parts.append(part)
            self.last = int(part["id"][-1])
        self.last = max(self.last, newest)
        return np.concatenate(parts)

    def _see_errors(self, project: "Project") -> None:
        while True:
            rows = project.query(_ERRORS, (self._error_seen,))
            if not rows:
                return
            for number, kind, message in rows:
                group = self._called(f"{kind}: {same_message(message)}")
                self._group_of_error[number] = group
                whole = plain(f"{kind}: {message}", 300)
                if self._whole.setdefault(group, whole) != whole:
                    self._whole[group] = None
            self._error_seen = int(rows[-1][0])

    def _group(self, outcome: int, error: int) -> int:
        known = self._group_of_error.get(error)
        return self._called(OUTCOMES[outcome]) if known is None else known

    def _called(self, text: str) -> int:
        if text not in self._groups and len(self._groups) >= MOST_GROUPS:
            text = "other messages"
        if text not in self._groups:
            self._groups[text] = len(self._texts)
            self._texts.append(text)
        return self._groups[text]

    def text(self, group: int) -> str:
        """The message of a group: as it is if all are equal, else without what differs."""
        return self._whole.get(group) or self._texts[group]


_TALLIES: "weakref.WeakKeyDictionary[Project, FailureTally]" = weakref.WeakKeyDictionary()


def tally_of(project: "Project") -> FailureTally:
    """The tally of a thread's project, up to date; one for all pages that ask in that thread."""
    tally = _TALLIES.get(project)
    if tally is None:
        tally = _TALLIES[project] = FailureTally()
    tally.look(project)
    return tally


def traceback_of(project: "Project", error: int) -> str:
    """The traceback of an error, or its whole message where it has none."""
    rows = project.query("select message, traceback from errors where id = ?", (error,))
    return str(rows[0][1] or rows[0][0]) if rows else ""


def counted(values: np.ndarray, names: Mapping[int, str], most: int) -> tuple[tuple[str, int], ...]:
    """How often each of some numbers occurs, by its name; those that occur most first.

    Examples
    --------
    >>> counted(np.array([1, 2, 2]), {1: "a", 2: "b"}, 5)
    (('b', 2), ('a', 1))
    """
    found: Counter[str] = Counter()
    numbers, times = np.unique(values, return_counts=True)
    for number, n in zip(numbers.tolist(), times.tolist(), strict=True):
        found[names.get(number, "unknown")] += n
    return tuple(found.most_common(most))


IS_AGAIN = (State.WAITING, State.QUEUED, State.RUNNING)
"""States of units that failed and are tried again."""
