"""(a) How many no-op units a second get through the whole durable system."""

from importlib.util import find_spec

from benchmarks.cases import Report, Settings, at_most, problems, ratio_rows, unrest
from benchmarks.measure import Contestant, Standing, contest
from benchmarks.table import Row

DASK_AT_MOST = 10_000
"""Futures given to `client.map`: 100,000 would take it minutes, and its rate only falls."""

STARTUP_TILES = 2


def report(settings: Settings) -> Report:
    """Tiles per second at the standard sizes, beside `client.map` and daisy 2 with tracking."""
    sizes = [10_000, 100_000]
    if settings.tiles or settings.toy:
        sizes = [settings.tiles or 500]
    rows: list[Row] = []
    standings: list[Standing] = []
    for tiles in sizes:
        found, measured = _at(tiles, settings)
        rows += found
        standings += measured
    notes = [*NOTES, *unrest(standings)]
    if not _daisy_is_here():
        notes.append(NO_DAISY)
    return Report(rows, notes, problems(standings))


def _at(tiles: int, settings: Settings) -> tuple[list[Row], list[Standing]]:
    settings.say(f"no-op, {tiles:,} tiles")
    few = min(tiles, 200 if settings.toy else DASK_AT_MOST)
    ours, daisy, startup, dask = contestants = [
        Contestant("latticework", "benchmarks.ours:noop", {"tiles": tiles}),
        Contestant("daisy 2", "benchmarks.peers_daisy:noop", {"tiles": tiles}),
        Contestant("daisy 2 start-up", "benchmarks.peers_daisy:noop", {"tiles": STARTUP_TILES}),
        Contestant("client.map", "benchmarks.peers_dask:noop", {"tiles": few}),
    ]
    if not _daisy_is_here():
        contestants = [ours, dask]
    standings = contest(contestants, settings.scratch, repeats=settings.repeats, say=settings.say)
    by_name = {standing.contestant.system: standing for standing in standings}

    def median(contestant: Contestant, figure: str = "seconds") -> float:
        return by_name.get(contestant.system, Standing(contestant, [])).median(figure)

    names = (
        "latticework",
        "daisy 2 with tracking, starts its workers",
        "daisy 2 with tracking, start-up taken off",
        f"dask client.map, a future per tile ({few:,})",
    )
    warm_s = median(daisy) - median(startup)
    seconds = (median(ours), median(daisy), warm_s)
    figures = [*(tiles / s if s > 0 else float("nan") for s in seconds), few / median(dask)]
    rates = list(zip(names, figures, strict=True))
    memory = [
        (name, median(contestant, "peak_bytes") / 1e6)
        for name, contestant in zip(names, (ours, daisy, None, dask), strict=True)
        if contestant
    ]
    title = f"no-op, {tiles:,} tiles"
    aims = [
        ("above daisy 2", at_most(figures[1], figures[0])),
        ("above daisy 2, start-up taken off", at_most(figures[2], figures[0])),
    ]
    rows = [
        *ratio_rows(title, "tiles/s", rates, aims=aims),
        *ratio_rows(f"{title}: memory, all processes", "MB", memory),
    ]
    return rows, standings


def _daisy_is_here() -> bool:
    return find_spec("daisy") is not None


NO_DAISY = "no-op: daisy is not installed, so it was not measured: pip install 'latticework[bench]'"

NOTES = (
    (
        "no-op: a stage that does nothing, 2 worker processes with 1 thread each. latticework and "
        "client.map are timed on a cluster that runs and is warm; daisy 2 starts its workers "
        "inside the timed call and cannot be had otherwise, so it stands here twice: as it is, and "
        f"less the median of runs over {STARTUP_TILES} blocks."
    ),
    (
        "no-op: latticework's time is that of `project.run`: dispatch, journal, attempts, status "
        "array; daisy's includes its done markers. client.map keeps no record at all; where fewer "
        "tiles than the benchmark's are named in its row, its rate is from those (more futures "
        "only slow it)."
    ),
)
