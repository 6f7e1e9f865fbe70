"""(f) Tiles on a distant server: what is gained by reading and writing while others compute."""

from benchmarks.cases import Report, Settings, at_most, problems, ratio_rows, unrest
from benchmarks.chains import prepare
from benchmarks.measure import Contestant, contest
from benchmarks.volume import VolumePlan

PLAN = VolumePlan((240, 512, 512), (1, 512, 512), (1, 256, 512))
TOY = VolumePlan((8, 64, 64), (1, 64, 64), (1, 32, 64))
WAIT_S, TOY_WAIT_S = 0.02, 0.005
GAIN = 0.6


def report(settings: Settings) -> Report:
    """Seconds for a stage whose every read and write waits for a while."""
    plan, wait_s = (TOY, TOY_WAIT_S) if settings.toy else (PLAN, WAIT_S)
    title = f"{len(plan.origins())} tiles, {1000 * wait_s:.0f} ms of waiting to read and to write"
    settings.say(title)
    arrays, _ = prepare(settings.scratch / "far", plan)
    arguments = {**arrays, "wait_s": wait_s}
    system = "benchmarks.overlap_systems"
    contestants = [
        Contestant("latticework", f"{system}:ours", arguments),
        Contestant(
            "latticework, one after the other", f"{system}:ours", {**arguments, "overlap": False}
        ),
        Contestant("dask client.map", f"{system}:dask", arguments),
        Contestant(
            "dask client.map, 2 threads a worker", f"{system}:dask", {**arguments, "threads": 2}
        ),
    ]
    standings = contest(contestants, settings.scratch, repeats=settings.repeats, say=settings.say)
    seconds = [(s.contestant.system, s.median("seconds")) for s in standings]
    aim = f"< {GAIN} of one after the other"
    met = at_most(seconds[0][1], GAIN * seconds[1][1])
    rows = ratio_rows(title, "s", seconds, aims=[(aim, None if settings.toy else met)])
    return Report(rows, [*NOTES, *unrest(standings)], problems(standings))


NOTES = (
    (
        "waiting: reading and writing a tile sleep first, as a network file system would have them "
        "wait, then read and write it here. The stage is the chain of four filters in one "
        "function; 2 workers. client.map keeps no record."
    ),
)
