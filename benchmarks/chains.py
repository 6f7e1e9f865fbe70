"""(e) The cluster: no-op units up to a million, a chain of stages beside one function, scaling."""

import json
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.cases import Report, Settings, at_most, problems, ratio_rows, unrest
from benchmarks.functions import all_four
from benchmarks.measure import Contestant, Standing, contest
from benchmarks.orchestration import DASK_AT_MOST
from benchmarks.table import Row
from benchmarks.volume import VolumePlan, open_volume, write_specimen

SIZES = (10_000, 100_000, 1_000_000)
PLANS = {
    "512 x 512 px": VolumePlan((256, 512, 512), (1, 512, 512), (1, 256, 512)),
    "1024 x 1024 px": VolumePlan((96, 1024, 1024), (1, 1024, 1024), (1, 256, 512)),
}
TOY = {"64 x 64 px": VolumePlan((8, 64, 64), (1, 64, 64), (1, 32, 64))}
WITHIN = 1.3
PAUSED_S = 1.0
KILLED_AFTER_S = 20.0

CHAIN, FUSED = "latticework, 4 stages", "latticework, one function"
DASK_KEPT = "dask map_blocks, each stage stored"
DASK_FUSED = "dask map_blocks, only the last stored"
DAISY = "daisy 2, 4 tasks, starts its workers"
ONE = ", 1 worker"


def report(settings: Settings) -> Report:
    """Units per second and memory by number; seconds of a chain by size of tile; speed-up."""
    rows: list[Row] = []
    standings: list[Standing] = []
    sizes = (settings.tiles or 500,) if settings.toy or settings.tiles else SIZES
    for tiles in sizes:
        found, measured = noop(tiles, settings)
        rows, standings = rows + found, standings + measured
    found, measured = pausing(sizes[-1], settings)
    rows, standings = rows + found, standings + measured
    found, measured = restarting(sizes[-1], settings)
    rows, standings = rows + found, standings + measured
    plans = TOY if settings.toy else PLANS
    for name, plan in plans.items():
        scaling = name == list(plans)[-1]
        found, measured = chain(name, plan, settings, scaling=scaling)
        rows, standings = rows + found, standings + measured
    notes = [*NOTES, *unrest(standings)]
    if not _daisy_is_here():
        notes.append(NO_DAISY)
    return Report(rows, notes, problems(standings))


def noop(tiles: int, settings: Settings) -> tuple[list[Row], list[Standing]]:
    """Units that do nothing: how many a second, and memory."""
    settings.say(f"no-op units, {tiles:,}")
    few = min(tiles, 200 if settings.toy else DASK_AT_MOST)
    contestants = [
        Contestant("latticework", "benchmarks.ours:noop", {"tiles": tiles}),
        Contestant("daisy 2 with tracking", "benchmarks.peers_daisy:noop", {"tiles": tiles}),
        Contestant(f"dask client.map ({few:,})", "benchmarks.peers_dask:noop", {"tiles": few}),
    ]
    if not _daisy_is_here():
        del contestants[1]
    repeats = 1 if tiles > SIZES[1] else settings.repeats
    standings = contest(contestants, settings.scratch, repeats=repeats, say=settings.say)
    title = f"no-op, {tiles:,} units"
    rates = [
        (s.contestant.system, s.contestant.arguments["tiles"] / s.median("seconds"))  # type: ignore[operator]
        for s in standings
    ]
    memory = [(s.contestant.system, s.median("peak_bytes") / 1e6) for s in standings]
    largest = [(s.contestant.system, s.median("largest_bytes") / 1e6) for s in standings]
    rows = [
        *ratio_rows(title, "units/s", rates),
        *ratio_rows(f"{title}: memory, all processes", "MB", memory),
        *ratio_rows(f"{title}: memory, largest process", "MB", largest),
    ]
    return rows, standings


def pausing(tiles: int, settings: Settings) -> tuple[list[Row], list[Standing]]:
    """How long a pause takes while so many units that do nothing run."""
    settings.say(f"a pause among {tiles:,} no-op units")
    every_s = 0.01 if settings.toy else 1.0
    arguments = {"tiles": tiles, "every_s": every_s}
    ours = Contestant("latticework", "benchmarks.pausing:pause", arguments)
    standings = contest([ours], settings.scratch, repeats=1, say=settings.say)
    held, landed = (standings[0].median(figure) for figure in ("held_s", "landed_s"))
    title = f"a pause among {tiles:,} no-op units"
    rows = [
        *ratio_rows(
            f"{title}: until no more is sent",
            "s",
            [("latticework", held)],
            aims=[(f"< {PAUSED_S:.0f} s", at_most(held, PAUSED_S))],
        ),
        *ratio_rows(f"{title}: until nothing runs", "s", [("latticework", landed)]),
    ]
    return rows, standings


def restarting(tiles: int, settings: Settings) -> tuple[list[Row], list[Standing]]:
    """How long it takes from the end of a run by `kill -9` until units run again."""
    settings.say(f"a run of {tiles:,} no-op units is killed")
    tiles, run_s = (50_000, 0.3) if settings.toy else (tiles, KILLED_AFTER_S)
    target = "benchmarks.restarting:restart"
    contestants = [
        Contestant(system, target, {"system": key, "tiles": tiles, "run_s": run_s})
        for system, key in (("latticework", "latticework"), ("daisy 2 with tracking", "daisy"))
    ]
    if not _daisy_is_here():
        contestants.pop()
    standings = contest(contestants, settings.scratch, repeats=settings.repeats, say=settings.say)
    title = f"killed among {tiles:,} no-op units: until units run again"
    seconds = [(s.contestant.system, s.median("again_s")) for s in standings]
    return ratio_rows(title, "s", seconds), standings


def chain(
    name: str, plan: VolumePlan, settings: Settings, *, scaling: bool
) -> tuple[list[Row], list[Standing]]:
    """Four stages beside one function, on the same tiles; with `scaling`, also on one worker."""
    title = f"chain of 4, {len(plan.origins())} tiles of {name}"
    settings.say(title)
    arrays, stored = prepare(settings.scratch / f"chain_{plan.block[-1]}", plan)
    system = "benchmarks.chain_systems"
    contestants = [
        Contestant(CHAIN, f"{system}:ours", arrays),
        Contestant(FUSED, f"{system}:ours", {**arrays, "fused": True}),
        Contestant(DASK_KEPT, f"{system}:dask", arrays),
        Contestant(DASK_FUSED, f"{system}:dask", {**arrays, "keep": False}),
        Contestant(DAISY, f"{system}:daisy", arrays),
    ]
    if not _daisy_is_here():
        contestants.pop()
    twice = [c for c in contestants if c.system in (CHAIN, DASK_KEPT, DAISY)] if scaling else []
    alone = [Contestant(c.system + ONE, c.target, {**c.arguments, "workers": 1}) for c in twice]
    standings = contest(
        [*contestants, *alone], settings.scratch, repeats=settings.repeats, say=settings.say
    )
    seconds = {s.contestant.system: s.median("seconds") for s in standings}
    aim = f"within {WITHIN} of one function"
    read = [
        (s.contestant.system, s.median("bytes_read") / stored)
        for s in standings
        if s.contestant.system in (CHAIN, FUSED, DASK_KEPT, DASK_FUSED)
    ]
    rows = [
        *ratio_rows(
            title,
            "s",
            [(c.system, seconds[c.system]) for c in contestants],
            aims=[(aim, at_most(seconds[CHAIN], WITHIN * seconds[FUSED]))],
        ),
        *ratio_rows(f"{title}: bytes read / bytes of the input", "", read),
    ]
    if twice:
        speed_up = [(c.system, seconds[c.system + ONE] / seconds[c.system]) for c in twice]
        rows += ratio_rows(f"{title}: speed-up from 1 to 2 workers", "times", speed_up)
    return rows, standings


def prepare(folder: Path, plan: VolumePlan) -> tuple[dict[str, object], int]:
    """Write the input and what it should become; arguments of all, bytes of the input on disk."""
    folder.mkdir()
    write_specimen(folder / "source.zarr", plan)
    array = open_volume(folder / "source.zarr")
    blocks = (all_four(array[plan.box(o)].read().result()) for o in plan.origins())
    truth = [zlib.crc32(np.ascontiguousarray(block).data) for block in blocks]
    (folder / "truth.json").write_text(json.dumps(truth))
    stored = sum(f.stat().st_size for f in (folder / "source.zarr").rglob("*") if f.is_file())
    arguments: dict[str, object] = {
        "source": str(folder / "source.zarr"),
        "truth": str(folder / "truth.json"),
        "plan": plan.as_arguments(),
    }
    return arguments, stored


def _daisy_is_here() -> bool:
    return find_spec("daisy") is not None


NO_DAISY = (
    "cluster: daisy is not installed, so it was not measured: pip install 'latticework[bench]'"
)

NOTES = (
    (
        "no-op: a stage that does nothing, 2 worker processes with 1 thread each; the times of "
        "latticework and client.map are without the start of the workers, daisy's are with it. "
        "client.map keeps no record and was given no more futures than its row says."
    ),
    (
        "killed: kill -9 of all processes of a run, which is started again at once; the time until "
        "the first unit runs holds the start of Python, of what it imports and of two workers. "
        "client.map would begin with the first unit again."
    ),
    (
        "chain: mean of 5 x 5, least of 3 x 3, largest of 3 x 3 and a Gaussian, in each plane; the "
        "same functions everywhere, results compared with them. Four stages keep the results of "
        "each, published and recorded; so do 'each stage stored' (without records or retries, "
        "one stage after the other) and daisy. One function and 'only the last stored' keep the "
        "last. dask reads and writes through tensorstore, on workers that keep freed memory."
    ),
    (
        "chain: bytes read are those of the workers' system calls; what a worker wrote just now "
        "it has in memory still. daisy gives each task "
        "workers of its own, which have ended when they could be asked."
    ),
)
