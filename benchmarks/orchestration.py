"""(a) How many no-op units a second get through the whole durable system."""

from benchmarks.cases import Report, Settings, held, problems, ratio_rows
from benchmarks.measure import Contestant, contest
from benchmarks.table import Row

DASK_AT_MOST = 10_000
"""Futures given to `client.map`: 100,000 would take it minutes, and its rate only falls."""

STARTUP_TILES = 2


def report(settings: Settings) -> Report:
    """Tiles per second at the standard sizes, beside `client.map` and daisy 2 with tracking."""
    sizes = [settings.tiles] if settings.tiles else [10_000, 100_000]
    if settings.toy:
        sizes = [settings.tiles or 500]
    rows: list[Row] = []
    trouble: list[str] = []
    for tiles in sizes:
        found, failed = _at(tiles, settings)
        rows += found
        trouble += failed
    return Report(rows, NOTES, trouble)


def _at(tiles: int, settings: Settings) -> tuple[list[Row], list[str]]:
    settings.say(f"no-op, {tiles:,} tiles")
    few = min(tiles, 200 if settings.toy else DASK_AT_MOST)
    contestants = [
        Contestant("latticework", "benchmarks.ours:noop", {"tiles": tiles}),
        Contestant("daisy 2", "benchmarks.peers_daisy:noop", {"tiles": tiles}),
        Contestant("daisy 2 start-up", "benchmarks.peers_daisy:noop", {"tiles": STARTUP_TILES}),
        Contestant("client.map", "benchmarks.peers_dask:noop", {"tiles": few}),
    ]
    standings = contest(contestants, settings.scratch, repeats=settings.repeats, say=settings.say)
    ours, daisy, startup, dask = (s.median("seconds") for s in standings)
    rates = [
        ("latticework (journal, published states)", tiles / ours),
        ("daisy 2, tracking_path, starts its workers", tiles / daisy),
        ("daisy 2, its start-up taken off", tiles / max(daisy - startup, 1e-6)),
        (f"dask client.map, a future per tile ({few:,})", few / dask),
    ]
    aim = ("faster than daisy 2, warm", held(rates[0][1] > rates[2][1], ours, daisy, startup))
    name = f"no-op, {tiles:,} tiles"
    rows = ratio_rows(name, "tiles/s", rates, aims=[aim])
    memory = [
        (label, standing.median("peak_bytes") / 1e6)
        for (label, _), standing in zip(
            (rates[0], rates[1], rates[3]), (standings[0], standings[1], standings[3]), strict=True
        )
    ]
    rows += ratio_rows(f"{name}: memory of all processes", "MB", memory)
    return rows, problems(standings)


NOTES = (
    "no-op: a stage that does nothing, 2 worker processes with 1 thread each. latticework and "
    "client.map are timed on a cluster that runs and is warm; daisy 2 starts its workers inside "
    "the timed call and cannot be had otherwise, so it stands here twice: as it is, and less the "
    f"median of runs over {STARTUP_TILES} blocks. The aim is held against the second, stricter one.",
    "no-op: latticework's time is that of `project.run`: dispatch, journal, attempts, status array; "
    "daisy's includes its done markers. client.map keeps no record at all; where fewer tiles "
    "than the benchmark's are named in its row, its rate is from those (more futures only slow it).",
)
