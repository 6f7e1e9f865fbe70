"""(b) A 3-D map with an 8 px halo from Zarr to Zarr."""

import json
from pathlib import Path

from benchmarks.cases import Report, Settings, held, problems, ratio_rows
from benchmarks.functions import REACH
from benchmarks.measure import Contestant, Standing, contest
from benchmarks.table import Row
from benchmarks.volume import VolumePlan, write_specimen

FULL = VolumePlan((512, 1024, 1024), (128, 256, 256), (32, 64, 64))  # 64 tiles, 1.07 GB
TOY = VolumePlan((48, 64, 64), (24, 32, 32), (8, 16, 16))
NEIGHBOURLY = 2.5
FLOOR = 1.2

OURS, COPY, FUNCTION, BARE, DASK, DASK_PLAIN, DASK_TENSORSTORE = range(7)


def report(settings: Settings) -> Report:
    """Seconds, bytes read and memory, beside `map_overlap` and beside plain copying."""
    plan = TOY if settings.toy else FULL
    plain = VolumePlan(plan.shape, plan.block, None)
    settings.say(f"halo map: writing {plan.n_bytes / 1e9:.2f} GB twice")
    sharded_input = _prepare(settings.scratch / "sharded", plan)
    plain_input = _prepare(settings.scratch / "plain", plain)
    copy, dask = "benchmarks.plain_copy:copy", "benchmarks.peers_dask:halo"
    contestants = [
        Contestant("latticework", "benchmarks.ours:halo", sharded_input),
        Contestant("plain copy, same blocks", copy, sharded_input),
        Contestant("copy + function, no halo", copy, {**sharded_input, "compute": "block"}),
        Contestant("bare loop with halo, no records", copy, {**sharded_input, "compute": "halo"}),
        Contestant("dask map_overlap, same arrays", dask, sharded_input),
        Contestant("dask map_overlap, unsharded", dask, plain_input),
        Contestant(
            "dask map_overlap, tensorstore", dask, {**sharded_input, "engine": "tensorstore"}
        ),
    ]
    standings = contest(contestants, settings.scratch, repeats=settings.repeats, say=settings.say)
    stored = _size(Path(str(sharded_input["source"])))
    return Report(_rows(standings, plan, stored), NOTES, problems(standings))


def _rows(standings: list[Standing], plan: VolumePlan, stored: int) -> list[Row]:
    def column(figure: str, scale: float = 1.0) -> list[tuple[str, float]]:
        return [(s.contestant.system, s.median(figure) * scale) for s in standings]

    seconds = column("seconds")
    ours, copy, dask = (seconds[k][1] for k in (OURS, COPY, DASK))
    aims = [
        (
            f"{NEIGHBOURLY} times map_overlap's speed",
            held(dask > NEIGHBOURLY * ours, ours, dask),
        ),
        (f"within {FLOOR} of the plain copy", held(ours <= FLOOR * copy, ours, copy)),
    ]
    name = f"halo map, {plan.n_bytes / 1e9:.2g} GB"
    rows = ratio_rows(name, "s", seconds, aims=aims)
    with_halo = {OURS, BARE}
    needed = [stored * (plan.halo_share(REACH) if k in with_halo else 1.0) for k in range(7)]
    read = [
        (system, found / need)
        for (system, found), need in zip(column("bytes_read"), needed, strict=True)
        if system != standings[DASK_PLAIN].contestant.system
    ]
    rows += ratio_rows(f"{name}: bytes read / bytes needed", "", read)
    rows += ratio_rows(f"{name}: memory of all processes", "MB", column("peak_bytes", 1e-6))
    rows += ratio_rows(f"{name}: memory of the largest", "MB", column("largest_bytes", 1e-6))
    return rows


def _prepare(folder: Path, plan: VolumePlan) -> dict[str, object]:
    folder.mkdir()
    truth = folder / "truth.json"
    truth.write_text(json.dumps(write_specimen(folder / "source.zarr", plan)))
    return {
        "source": str(folder / "source.zarr"),
        "truth": str(truth),
        "plan": plan.as_arguments(),
    }


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


NOTES = (
    "halo map: the difference of pixels 8 ahead and 8 behind along z, y and x, 9 ms per 16 MiB "
    "tile, the same function everywhere, outputs compared with the function on the whole array; "
    "2 worker processes with 1 thread each, warm; input in the page cache; nobody waits for the disk.",
    "halo map: all arrays are Zarr v3, Blosc-LZ4 with bitshuffle; one tile is one shard. map_overlap "
    "is also given unsharded arrays with one chunk per tile, which suit zarr-python best, and "
    "tensorstore in place of zarr-python.",
    "halo map: bytes needed are the compressed bytes of the pixels each system has to read: tiles "
    "with their halos for latticework and the bare loop, tiles alone for copies and for "
    "map_overlap (which passes halos between workers over sockets, not counted).",
    "memory: peak of the sum of resident memory over scheduler, coordinator and workers, sampled "
    "20 times a second within the timed window; the largest is the peak of any one process.",
)
