"""latticework itself, as a user would call it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.clock import Stopwatch
from benchmarks.cluster import bytes_read, local_cluster
from benchmarks.functions import REACH, gradient_tile, nothing
from benchmarks.volume import VolumePlan, check_result, write_specimen


def noop(scratch: Path, watch: Stopwatch, *, tiles: int) -> dict[str, float]:
    """`project.run` of one stage that does nothing, on a warm cluster."""
    return _run_nothing(scratch, watch, scratch / "noop.lw", tiles)


def finish(scratch: Path, watch: Stopwatch, *, project: str, tiles: int) -> dict[str, float]:
    """The same into a folder that is kept, for `reopen`."""
    return _run_nothing(scratch, watch, Path(project), tiles)


def reopen(_scratch: Path, watch: Stopwatch, *, project: str, tiles: int) -> dict[str, float]:
    """`open_project` and the first status of a project whose units are all complete."""
    import latticework as lw

    with watch:
        status = lw.open_project(project).status
        complete = int((status.state.values == int(lw.State.COMPLETE)).sum())
    assert complete == tiles, f"{complete:,} of {tiles:,} complete"
    return {"peak_rss_bytes": _peak_rss()}


def halo(
    scratch: Path, watch: Stopwatch, *, source: str, truth: str, plan: dict[str, Any]
) -> dict[str, float]:
    """A stage with `overlap=` from a Zarr array into the project's own."""
    volume = VolumePlan.from_arguments(**plan)
    few = VolumePlan((16, 32, 32), (16, 16, 16), None)
    write_specimen(scratch / "few.zarr", few)
    with local_cluster(scratch) as client:
        _halo_project(scratch / "warm.lw", str(scratch / "few.zarr"), few).run(
            client, progress="none"
        )
        project = _halo_project(scratch / "halo.lw", source, volume)
        before = bytes_read(client)
        with watch:
            project.run(client, progress="none")
        read = bytes_read(client) - before
        result = Path(project["gradient_tile"].path) / "gradient_tile"
    check_result(result, volume, truth)
    return {"bytes_read": float(read)}


def _halo_project(path: Path, source: str, plan: VolumePlan) -> Any:
    import zarr

    import latticework as lw

    block = dict(zip("zyx", plan.block, strict=True))
    lattice = lw.Lattice.from_array(zarr.open_array(source, mode="r"), block=block)
    project = lw.create(path, lattice)
    project.add(gradient_tile, overlap=REACH)
    return project


def _run_nothing(scratch: Path, watch: Stopwatch, path: Path, tiles: int) -> dict[str, float]:
    import latticework as lw

    with local_cluster(scratch, warm=("latticework",)) as client:
        project_of(scratch / "warm.lw", 4).run(client, progress="none")
        project = project_of(path, tiles)
        with watch:
            project.run(client, progress="none")
        complete = int((project.status.state.values == int(lw.State.COMPLETE)).sum())
    assert complete == tiles, f"{complete:,} of {tiles:,} complete"
    return {"peak_rss_bytes": _peak_rss()}


def project_of(path: Path, tiles: int, step: Callable[[Any], None] = nothing) -> Any:
    """A new project of that many tiles and a stage that does nothing with each."""
    import zarr

    import latticework as lw

    rows = max(k for k in range(1, int(tiles**0.5) + 1) if tiles % k == 0)
    shape = (8 * rows, 8 * (tiles // rows))
    empty = zarr.create_array(
        path.with_suffix(".zarr"), shape=shape, chunks=shape, dtype="u1", dimension_names=["y", "x"]
    )
    project = lw.create(path, lw.Lattice.from_array(empty, block={"y": 8, "x": 8}))
    project.add(step, reads=lw.nothing())
    return project


def _peak_rss() -> float:
    """Largest resident memory of this process so far, in bytes.

    `getrusage` will not do: a child begins with the peak of the process that started it.
    """
    import psutil

    if sys.platform != "linux":
        return float(psutil.Process().memory_info().rss)
    text = Path("/proc/self/status").read_text()
    return 1024.0 * int(text.split("VmHWM:")[1].split()[0])
