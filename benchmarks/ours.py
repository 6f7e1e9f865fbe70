"""latticework itself, as a user would call it."""

import sys
from pathlib import Path
from typing import Any

from benchmarks.clock import Stopwatch
from benchmarks.cluster import bytes_read, local_cluster
from benchmarks.functions import REACH, gradient_tile, nothing
from benchmarks.volume import VolumePlan, check_result


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
    import zarr

    import latticework as lw

    volume = VolumePlan.from_arguments(**plan)
    with local_cluster(scratch, warm=("latticework", "tensorstore", "xarray")) as client:
        block = dict(zip("zyx", volume.block, strict=True))
        lattice = lw.Lattice.from_array(zarr.open_array(source, mode="r"), block=block)
        project = lw.create(scratch / "halo.lw", lattice)
        stage = project.add(gradient_tile, overlap=dict.fromkeys("zyx", REACH))
        before = bytes_read(client)
        with watch:
            project.run(client, progress="silent")
        read = bytes_read(client) - before
        result = Path(project[stage.name].path)
    check_result(result, volume, truth)
    return {"bytes_read": float(read)}


def _run_nothing(scratch: Path, watch: Stopwatch, path: Path, tiles: int) -> dict[str, float]:
    import latticework as lw

    with local_cluster(scratch, warm=("latticework",)) as client:
        _project_of(scratch / "warm.lw", 4).run(client, progress="silent")
        project = _project_of(path, tiles)
        with watch:
            project.run(client, progress="silent")
        complete = int((project.status.state.values == int(lw.State.COMPLETE)).sum())
    assert complete == tiles, f"{complete:,} of {tiles:,} complete"
    return {"peak_rss_bytes": _peak_rss()}


def _project_of(path: Path, tiles: int) -> Any:
    import latticework as lw

    rows = max(k for k in range(1, int(tiles**0.5) + 1) if tiles % k == 0)
    lattice = lw.Lattice.from_grid(
        {"y": rows, "x": tiles // rows}, tile_shape={"y": 64, "x": 64}, dtype="uint16"
    )
    project = lw.create(path, lattice)
    project.add(nothing, reads=lw.nothing())
    return project


def _peak_rss() -> float:
    """Largest resident memory of this process so far, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
