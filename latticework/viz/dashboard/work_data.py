"""How the work goes: completed units over time, durations, memory, workers, the slowest units."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from latticework.viz.dashboard.feed import Snapshot
from latticework.viz.dashboard.figures import nice_step

if TYPE_CHECKING:
    from latticework.project.project import Project

MOST_BINS = 120
"""Steps of time in a figure."""
SHORTEST_SPAN_S = 600.0
"""Seconds of which a figure shows steps, at least: else single units make it jump."""
MOST_WORKERS = 20
"""Workers that are told of."""
MOST_SLOW = 12
"""Slowest units that are told of."""
SHORTEST_S, PER_DECADE, DECADES = 1e-3, 8, 8
"""Durations are counted in equal steps of their logarithm: from a millisecond to a day."""
DURATION_EDGES_S = SHORTEST_S * 10 ** (np.arange(PER_DECADE * DECADES + 1) / PER_DECADE)
"""Edges of the bins of durations."""


@dataclass(frozen=True, slots=True)
class StageWork:
    """How one stage's attempts went."""

    name: str
    """Name of the stage."""
    per_minute: np.ndarray
    """Units completed per minute, in each step of time."""
    memory: np.ndarray
    """Largest memory of an attempt in each step of time, bytes; NaN where there was none."""
    durations: np.ndarray
    """Share of the complete attempts in each bin of durations, in percent."""
    complete: int
    """Complete attempts that durations are taken of."""
    quantiles_s: tuple[float, float, float]
    """Median, 90 % and longest of their durations; NaN without any."""
    memory_bytes: tuple[float, float]
    """Median and largest memory; NaN without any."""


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What one worker did."""

    address: str
    """Its address."""
    host: str
    """Where it was."""
    attempts: int
    """Attempts that ended there."""
    failed: int
    """Those that did not complete."""
    busy_s: float
    """Seconds that they took, one after the other."""


@dataclass(frozen=True, slots=True)
class SlowUnit:
    """An attempt that took long."""

    stage: str
    """Name of the stage."""
    unit: int
    """Id of the unit."""
    duration_s: float
    """How long it took."""
    times: float
    """How many times the median of its stage that is."""
    worker: int
    """Number of its worker."""


@dataclass(frozen=True, slots=True)
class Work:
    """How the work went in a span of time."""

    at: np.ndarray
    """Middle of each step of time, seconds since 1970."""
    step_s: float
    """Length of a step."""
    stages: tuple[StageWork, ...]
    """One for each stage, parents first."""
    durations_s: np.ndarray
    """Middle of each bin of durations that occurs."""
    workers: tuple[WorkerShare, ...]
    """Workers, the busiest first."""
    n_workers: int
    """How many there were."""
    slowest: tuple[SlowUnit, ...]
    """Attempts that took longest beyond their stage's median."""
    since: float
    """Durations, memory and workers are of attempts that ended from then on."""
    from_journal: bool
    """Whether completed units had to be asked of the journal: the span is a long one."""


def work_of(project: "Project", snapshot: Snapshot, rows: np.ndarray, span_s: float | None) -> Work:
    """How the work went in a span of time that ends now; for another thread.

    Parameters
    ----------
    project
        The project.
    snapshot
        It at this moment.
    rows
        Its last attempts (`latticework.viz.dashboard.recent.ATTEMPT`).
    span_s
        Seconds; None for all time.
    """
    covered = _covered_since(rows)
    now = snapshot.at if snapshot.running else _last(rows, snapshot.at)
    begin = _first(project, rows, now)
    if span_s is not None:
        begin = max(begin, now - span_s)
    step = nice_step(max(now - begin, SHORTEST_SPAN_S), MOST_BINS)
    first = step * np.floor(begin / step)
    bins = max(1, int((now - first) // step))
    edges = first + step * np.arange(bins + 1)
    mine = rows[rows["ended"] >= first]
    from_journal = first < covered
    counts = (
        _from_journal(project, snapshot, edges)
        if from_journal
        else {stage.number: _completed(mine, stage.number, edges) for stage in snapshot.stages}
    )
    used, stages = _stages(snapshot, mine, edges, counts)
    workers, n_workers = worker_shares(project, mine)
    return Work(
        at=(edges[:-1] + edges[1:]) / 2,
        step_s=step,
        stages=stages,
        durations_s=np.sqrt(DURATION_EDGES_S[:-1] * DURATION_EDGES_S[1:])[used],
        workers=workers,
        n_workers=n_workers,
        slowest=slowest(snapshot, mine),
        since=max(float(first), covered),
        from_journal=from_journal,
    )


def _covered_since(rows: np.ndarray) -> float:
    """From when on the last attempts are all attempts; minus infinity if they are all ever."""
    if not len(rows) or int(rows["id"][0]) == 1:
        return -np.inf
    return float(rows["ended"][:1000].max())


def _last(rows: np.ndarray, otherwise: float) -> float:
    """A moment just after the last attempt, so that it is not in a step that is not over."""
    return float(rows["ended"].max()) + 1.0 if len(rows) else otherwise


def _first(project: "Project", rows: np.ndarray, now: float) -> float:
    if len(rows) and int(rows["id"][0]) == 1:
        return float(rows["ended"].min())
    found = project.query("select min(ended) from attempts")[0][0]
    return now - 60.0 if found is None else float(found)


def _completed(rows: np.ndarray, stage: int, edges: np.ndarray) -> np.ndarray:
    ended = rows["ended"][(rows["stage"] == stage) & (rows["outcome"] == 1)]
    counts, _ = np.histogram(ended, bins=len(edges) - 1, range=(edges[0], edges[-1]))
    return np.asarray(counts)


def _from_journal(
    project: "Project", snapshot: Snapshot, edges: np.ndarray
) -> dict[int, np.ndarray]:
    """Units completed in each step of time, counted by the journal."""
    step = float(edges[1] - edges[0])
    since = datetime.fromtimestamp(float(edges[0]), UTC)
    table = project.throughput(every=step, since=since)
    began = table["time"].astype("int64").to_numpy() / 1e6
    place = np.rint((began - edges[0]) / step).astype(int)
    good = (place >= 0) & (place < len(edges) - 1)
    found = {}
    for stage in snapshot.stages:
        mine = good & (table["stage"] == stage.name).to_numpy()
        counts = np.zeros(len(edges) - 1, np.int64)
        np.add.at(counts, place[mine], table["completed"].to_numpy()[mine])
        found[stage.number] = counts
    return found


def _stages(
    snapshot: Snapshot, rows: np.ndarray, edges: np.ndarray, counts: dict[int, np.ndarray]
) -> tuple[slice, tuple[StageWork, ...]]:
    """The stages, and which bins of durations occur at all."""
    step = float(edges[1] - edges[0])
    found, shares = [], []
    for stage in snapshot.stages:
        mine = rows[rows["stage"] == stage.number]
        done = mine[mine["outcome"] == 1]
        took = np.maximum(done["ended"] - done["started"], SHORTEST_S)
        binned, _ = np.histogram(took, bins=DURATION_EDGES_S)
        memory = done["memory"][done["memory"] > 0]
        share = 100.0 * binned / max(1, len(done))
        shares.append(share)
        found.append(
            StageWork(
                name=stage.name,
                per_minute=counts[stage.number] * 60.0 / step,
                memory=_largest(mine, edges),
                durations=share,
                complete=len(done),
                quantiles_s=_three(took),
                memory_bytes=(float(np.median(memory)), float(memory.max()))
                if len(memory)
                else (np.nan, np.nan),
            )
        )
    used = _occurring(np.sum(shares, axis=0) if shares else np.zeros(len(DURATION_EDGES_S) - 1))
    return used, tuple(_cut(stage, used) for stage in found)


def _cut(stage: StageWork, used: slice) -> StageWork:
    from dataclasses import replace

    return replace(stage, durations=stage.durations[used])


def _occurring(share: np.ndarray) -> slice:
    """Bins that occur, with one more on both sides."""
    there = np.flatnonzero(share)
    if not len(there):
        return slice(0, 0)
    return slice(max(0, int(there[0]) - 1), min(len(share), int(there[-1]) + 2))


def _three(took: np.ndarray) -> tuple[float, float, float]:
    if not len(took):
        return np.nan, np.nan, np.nan
    median, most = np.quantile(took, (0.5, 0.9)).tolist()
    return median, most, float(took.max())


def _largest(rows: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Largest memory in each step of time; NaN where nothing is known."""
    bins = len(edges) - 1
    place = ((rows["ended"] - edges[0]) // (edges[1] - edges[0])).astype(int)
    good = (place >= 0) & (place < bins) & (rows["memory"] > 0)
    found = np.full(bins, -np.inf)
    np.maximum.at(found, place[good], rows["memory"][good])
    return np.where(np.isfinite(found), found, np.nan)


def worker_shares(project: "Project", rows: np.ndarray) -> tuple[tuple[WorkerShare, ...], int]:
    """What each worker did, the busiest first, and how many there were."""
    mine = rows[rows["worker"] >= 0]
    numbers, where = np.unique(mine["worker"], return_inverse=True)
    if not len(numbers):
        return (), 0
    busy = np.bincount(where, np.maximum(mine["ended"] - mine["started"], 0.0))
    attempts = np.bincount(where)
    failed = np.bincount(where, mine["outcome"] != 1)
    told = {n: (a, h) for n, a, h in project.query("select id, address, host from workers")}
    order = np.argsort(-busy)[:MOST_WORKERS].tolist()
    shares = []
    for k in order:
        address, host = told.get(int(numbers[k]), ("unknown", ""))
        shares.append(
            WorkerShare(
                address=str(address),
                host=str(host or ""),
                attempts=int(attempts[k]),
                failed=int(failed[k]),
                busy_s=float(busy[k]),
            )
        )
    return tuple(shares), len(numbers)


def slowest(snapshot: Snapshot, rows: np.ndarray) -> tuple[SlowUnit, ...]:
    """Complete attempts that took longest, beyond the median of their stage."""
    found: list[SlowUnit] = []
    for stage in snapshot.stages:
        mine = rows[(rows["stage"] == stage.number) & (rows["outcome"] == 1)]
        if len(mine) < 2:
            continue
        took = mine["ended"] - mine["started"]
        median = max(float(np.median(took)), 1e-6)
        most = np.argpartition(took, -min(MOST_SLOW, len(took)))[-MOST_SLOW:]
        for k in most.tolist():
            seconds = float(took[k])
            unit, worker = int(mine["unit"][k]), int(mine["worker"][k])
            found.append(SlowUnit(stage.name, unit, seconds, seconds / median, worker))
    return tuple(sorted(found, key=lambda one: one.duration_s * (1 / one.times - 1))[:MOST_SLOW])
