"""The failures of a project as a page shows them: what has failed now, and what was mended."""

import numpy as np

from latticework.io.journal import KILLED, OUTCOMES
from latticework.lattice.states import State
from latticework.stages.lattices import TILES
from latticework.viz.dashboard.failure_tally import (
    IS_AGAIN,
    MEMORY,
    MOST,
    TAKEN,
    Failures,
    FailureTally,
    Group,
    counted,
)
from latticework.viz.dashboard.feed import Snapshot, StageNow

MOST_SHOWN = 15
"""Groups that are told one by one."""
MOST_TILES = 6
"""Units that a group names."""
MOST_HOSTS = 30
"""Hosts that are told."""


def failures(
    snapshot: Snapshot, tally: FailureTally, recent: np.ndarray, stage: str | None = None
) -> Failures:
    """The failures of a project, grouped, with what has become of their units.

    Parameters
    ----------
    snapshot
        The project, with the states of its units.
    tally
        Its failed attempts.
    recent
        Its last attempts, failed or not: `latticework.viz.dashboard.recent.RecentAttempts.rows`.
    stage
        Only those of a stage of this name.
    """
    rows, groups = tally.rows, tally.groups
    meant = [one for one in snapshot.stages if stage is None or one.name == stage]
    if stage is not None:
        numbers = [number for number, name in tally.names.items() if name == stage]
        mine = np.isin(rows["stage"], numbers)
        rows, groups = rows[mine], groups[mine]
        recent = recent[np.isin(recent["stage"], numbers)]
    states = states_at(snapshot, rows)
    final = last_of_unit(rows)
    failed = final & (states == State.FAILED)
    mended = final & np.isin(states, (State.COMPLETE, State.STALE))
    again = final & np.isin(states, IS_AGAIN)
    outcome = rows["outcome"]
    return Failures(
        failed=sum(one.count(State.FAILED) for one in meant),
        mended=int(mended.sum()),
        again=int(again.sum()),
        attempts=len(rows),
        lost=int((outcome == KILLED).sum()),
        taken=int(np.isin(outcome, TAKEN).sum()),
        memory=int(np.isin(outcome, MEMORY).sum()),
        groups=_groups(tally, rows, groups, failed, mended),
        n_groups=len(np.unique(groups)),
        kinds=_kinds(outcome, failed),
        hosts=_hosts(tally, rows, recent),
        planes=_planes(snapshot, rows[failed]),
        ended=np.sort(rows["ended"]),
        cut=len(tally.rows) >= MOST,
    )


def states_at(snapshot: Snapshot, rows: np.ndarray) -> np.ndarray:
    """The state of the unit of each attempt now, uint8; 0 where its stage is not there any more."""
    found = np.zeros(len(rows), np.uint8)
    for stage in snapshot.stages:
        mine = np.flatnonzero(rows["stage"] == stage.number)
        if len(mine):
            units = rows["unit"][mine]
            there = units < len(stage.lattice)
            found[mine[there]] = _states(stage, units[there])
    return found


def _states(stage: StageNow, units: np.ndarray) -> np.ndarray:
    lattice = stage.lattice
    if not lattice.dims:
        return np.repeat(stage.states.reshape(-1)[:1], len(units))
    where = lattice.index[lattice.rows_of(units)]
    return np.asarray(stage.states[tuple(where.T)], dtype=np.uint8)


def last_of_unit(rows: np.ndarray) -> np.ndarray:
    """For each attempt, whether it is the last of its unit in its stage.

    Examples
    --------
    >>> rows = np.array([(1, 7), (1, 8), (1, 7)], [("stage", "i4"), ("unit", "i8")])
    >>> last_of_unit(rows).tolist()
    [False, True, True]
    """
    last = np.zeros(len(rows), dtype=bool)
    if len(rows):
        keys = rows["stage"].astype(np.int64) << 40 | rows["unit"]
        _, first = np.unique(keys[::-1], return_index=True)
        last[len(rows) - 1 - first] = True
    return last


def _groups(
    tally: FailureTally,
    rows: np.ndarray,
    groups: np.ndarray,
    failed: np.ndarray,
    mended: np.ndarray,
) -> tuple[Group, ...]:
    n = int(groups.max()) + 1 if len(groups) else 0
    units = np.bincount(groups[failed], minlength=n)
    attempts = np.bincount(groups, minlength=n)
    order = np.lexsort([-attempts, -units])[:MOST_SHOWN]
    found = []
    for number in order.tolist():
        mine = groups == number
        if attempts[number]:
            found.append(_group(tally, number, rows[mine], failed[mine], int(mended[mine].sum())))
    return tuple(found)


def _group(
    tally: FailureTally, group: int, rows: np.ndarray, failed: np.ndarray, mended: int
) -> Group:
    now = rows[failed]
    with_error = rows["error"][rows["error"] >= 0]
    outcomes, times = np.unique(rows["outcome"], return_counts=True)
    return Group(
        number=group,
        kind=OUTCOMES[int(outcomes[np.argmax(times)])],
        message=tally.text(group),
        units=len(now),
        attempts=len(rows),
        mended=mended,
        stages=counted(rows["stage"], tally.names, 6),
        hosts=counted(rows["worker"], tally.hosts, 6),
        first=float(rows["ended"].min()),
        last=float(rows["ended"].max()),
        tiles=tuple(
            (tally.names.get(int(row["stage"]), ""), int(row["unit"])) for row in now[:MOST_TILES]
        ),
        error=int(with_error[-1]) if len(with_error) else -1,
    )


def _kinds(outcome: np.ndarray, failed: np.ndarray) -> tuple[tuple[str, int, int], ...]:
    found: dict[str, tuple[int, int]] = {}
    for number in np.unique(outcome).tolist():
        mine = outcome == number
        attempts, units = found.get(OUTCOMES[number], (0, 0))
        found[OUTCOMES[number]] = attempts + int(mine.sum()), units + int(failed[mine].sum())
    rows = [(kind, *numbers) for kind, numbers in found.items()]
    return tuple(sorted(rows, key=lambda row: -row[1]))


def _hosts(
    tally: FailureTally, rows: np.ndarray, recent: np.ndarray
) -> tuple[tuple[str, int, int], ...]:
    """Hosts with failures, among the last attempts of all."""
    since = int(recent["id"][0]) if len(recent) else 0
    late = rows[rows["id"] >= since]
    made = dict(counted(recent["worker"][recent["worker"] >= 0], tally.hosts, 100_000))
    bad = counted(late["worker"][late["worker"] >= 0], tally.hosts, MOST_HOSTS)
    return tuple((host, n, max(n, made.get(host, 0))) for host, n in bad)


def _planes(snapshot: Snapshot, rows: np.ndarray) -> tuple[tuple[str, np.ndarray, np.ndarray], ...]:
    """Failed units of stages on the acquisition's tiles, at each label of each lattice dim."""
    lattice = snapshot.lattice
    mine = [stage.number for stage in snapshot.stages if stage.key == TILES]
    units = rows["unit"][np.isin(rows["stage"], mine)]
    index = lattice.index[lattice.rows_of(units[units < len(lattice)])]
    return tuple(
        (dim, lattice.labels[dim], np.bincount(index[:, k], minlength=len(lattice.labels[dim])))
        for k, dim in enumerate(lattice.dims)
    )
