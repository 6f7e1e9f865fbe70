"""The floor under the halo map: the same blocks read and written, with nothing in between."""

from functools import cache
from pathlib import Path
from typing import Any

import tensorstore as ts

from benchmarks.clock import Stopwatch
from benchmarks.cluster import bytes_read, local_cluster
from benchmarks.functions import REACH, gradient
from benchmarks.volume import VolumePlan, check_result, open_volume


def copy(
    scratch: Path,
    watch: Stopwatch,
    *,
    source: str,
    truth: str,
    plan: dict[str, Any],
    compute: str = "nothing",
    tuned: bool = False,
) -> dict[str, float]:
    """Each block through tensorstore on the same cluster, one `client.map` over all of them.

    `compute`: "nothing" copies; "block" applies the function to the block without its halo (the
    result is wrong at the seams); "halo" reads the halo too: a bare loop with no bookkeeping.
    `tuned`: see `local_cluster`.
    """
    volume = VolumePlan.from_arguments(**plan)
    result = scratch / "result.zarr"
    with local_cluster(scratch, warm=("benchmarks.plain_copy",), tuned=tuned) as client:
        before = bytes_read(client)
        with watch:
            open_volume(result, create=volume)
            blocks = [(source, str(result), volume, o, compute) for o in volume.origins()]
            client.gather(client.map(copy_block, blocks, pure=False))
        read = bytes_read(client) - before
    if compute == "halo":
        check_result(result, volume, truth)
    return {"bytes_read": float(read)}


def copy_block(job: tuple[str, str, VolumePlan, tuple[int, ...], str]) -> None:
    """Read one block, compute what was asked, write it."""
    source, result, plan, origin, compute = job
    halo = REACH if compute == "halo" else 0
    box, wanted = plan.box(origin, halo), plan.box(origin)
    pixels = _opened(source)[box].read().result()
    if compute != "nothing":
        pixels = gradient(pixels)
    inside = tuple(
        slice(w.start - b.start, w.stop - b.start) for w, b in zip(wanted, box, strict=True)
    )
    _opened(result)[wanted].write(pixels[inside]).result()


@cache
def _opened(path: str) -> ts.TensorStore:
    return open_volume(path)
