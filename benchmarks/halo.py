"""(b) A 3-D map with an 8 px halo from Zarr to Zarr."""

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases import Report, Settings, at_most, problems, ratio_rows, unrest
from benchmarks.functions import REACH
from benchmarks.measure import Contestant, Standing, contest
from benchmarks.table import Row
from benchmarks.volume import VolumePlan, write_specimen

FULL = VolumePlan((512, 1024, 1024), (128, 256, 256), (32, 64, 64))  # 64 tiles, 1.07 GB
TOY = VolumePlan((48, 64, 64), (24, 32, 32), (8, 16, 16))
FASTER = 2.5
FLOOR = 1.2

OURS = "latticework"
COPY = "plain copy"
COPY_TUNED = "plain copy, tuned"
FUNCTION = "copy + function, no halo, tuned"
BARE = "bare loop with halo, tuned"
DASK = "dask map_overlap"
DASK_UNSHARDED = "dask map_overlap, unsharded"
DASK_BEST = "dask map_overlap, tensorstore, tuned"


def report(settings: Settings) -> Report:
    """Seconds, bytes read and memory, beside `map_overlap` and beside plain copying."""
    plan = TOY if settings.toy else FULL
    settings.say(f"halo map: writing {plan.n_bytes / 1e9:.2f} GB twice")
    arrays = _prepare(settings.scratch / "sharded", plan)
    unsharded = _prepare(settings.scratch / "unsharded", VolumePlan(plan.shape, plan.block, None))
    standings = contest(
        contestants(arrays, unsharded), settings.scratch, repeats=settings.repeats, say=settings.say
    )
    stored = sum(f.stat().st_size for f in Path(str(arrays["source"])).rglob("*") if f.is_file())
    notes = (*NOTES, *unrest(standings))
    return Report(rows(standings, plan, stored), notes, problems(standings))


def contestants(arrays: dict[str, object], unsharded: dict[str, object]) -> list[Contestant]:
    """Everybody, ours first; arguments say where the input is and how it is stored."""
    copy, dask = "benchmarks.plain_copy:copy", "benchmarks.peers_dask:halo"
    tuned = {**arrays, "tuned": True}
    return [
        Contestant(OURS, "benchmarks.ours:halo", arrays),
        Contestant(COPY, copy, arrays),
        Contestant(COPY_TUNED, copy, tuned),
        Contestant(FUNCTION, copy, {**tuned, "compute": "block"}),
        Contestant(BARE, copy, {**tuned, "compute": "halo"}),
        Contestant(DASK, dask, arrays),
        Contestant(DASK_UNSHARDED, dask, unsharded),
        Contestant(DASK_BEST, dask, {**tuned, "engine": "tensorstore"}),
    ]


def rows(standings: Sequence[Standing], plan: VolumePlan, stored: int) -> list[Row]:
    """The table's part; `stored` is the size of the sharded input on disk."""

    def column(figure: str, scale: float = 1.0) -> list[tuple[str, float]]:
        return [(s.contestant.system, s.median(figure) * scale) for s in standings]

    seconds = dict(column("seconds"))
    aims = [
        (
            f"{FASTER} times map_overlap's speed",
            at_most(FASTER * seconds[OURS], seconds[DASK]),
        ),
        (f"within {FLOOR} of the plain copy", at_most(seconds[OURS], FLOOR * seconds[COPY])),
    ]
    share = plan.halo_share(REACH)
    read = [
        (system, found / stored / (share if system in (OURS, BARE) else 1.0))
        for system, found in column("bytes_read")
        if system != DASK_UNSHARDED  # another input
    ]
    name = f"halo map, {plan.n_bytes / 1e9:.2g} GB"
    return [
        *ratio_rows(name, "s", list(seconds.items()), aims=aims),
        *ratio_rows(f"{name}: bytes read / needed", "", read),
        *ratio_rows(f"{name}: memory, all processes", "MB", column("peak_bytes", 1e-6)),
        *ratio_rows(f"{name}: memory, largest process", "MB", column("largest_bytes", 1e-6)),
    ]


def _prepare(folder: Path, plan: VolumePlan) -> dict[str, object]:
    folder.mkdir()
    truth = folder / "truth.json"
    truth.write_text(json.dumps(write_specimen(folder / "source.zarr", plan)))
    return {
        "source": str(folder / "source.zarr"),
        "truth": str(truth),
        "plan": plan.as_arguments(),
    }


NOTES = (
    (
        "halo map: the difference of pixels 8 ahead and 8 behind along z, y and x, 9 ms per 16 MiB "
        "tile, the same function everywhere, outputs compared with the function on the whole "
        "array; 2 worker processes with 1 thread each, warm; input in the page cache; nobody waits "
        "for the disk."
    ),
    (
        "halo map: all arrays are Zarr v3, Blosc-LZ4 with bitshuffle, and one tile is one shard. "
        "map_overlap is also given unsharded arrays with one chunk per tile, which suit "
        "zarr-python better."
    ),
    (
        "halo map: 'tuned' workers keep the memory that they free (mallopt), which Dask's own "
        "settings prevent and latticework sets. The plain copy of the aim is one on workers as "
        "Dask starts them; 'copy + function' is the least that any halo map could take here, and "
        "the bare loop reads halos but keeps no records and retries nothing."
    ),
    (
        "halo map: bytes needed are the compressed bytes of the pixels that a system has to read: "
        "tiles with their halos for latticework and the bare loop, tiles alone for copies and for "
        "map_overlap, which passes halos between workers through sockets (not counted)."
    ),
    (
        "memory: peak of the sum of resident memory over scheduler, coordinator and workers, "
        "sampled 20 times a second within the timed window; the largest is the peak of any one "
        "process."
    ),
)
