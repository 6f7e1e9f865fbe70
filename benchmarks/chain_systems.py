"""A chain of four cheap filters over the blocks of a volume, by each system."""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.clock import Stopwatch
from benchmarks.cluster import bytes_read, local_cluster
from benchmarks.functions import CHAIN, all_four
from benchmarks.peers_dask import TensorStoreArray
from benchmarks.volume import VolumePlan, check_result, open_volume, write_specimen

MODULES = ("latticework", "zarr", "tensorstore", "dask.array", "scipy.ndimage", "benchmarks.volume")


def ours(
    scratch: Path,
    watch: Stopwatch,
    *,
    source: str,
    truth: str,
    plan: dict[str, Any],
    fused: bool = False,
    workers: int = 2,
) -> dict[str, float]:
    """`project.run` of four stages, each of which keeps its results; or of all four in one."""
    volume = VolumePlan.from_arguments(**plan)
    few = VolumePlan((4, 64, 64), (1, 64, 64), (1, 32, 64))
    write_specimen(scratch / "few.zarr", few)
    with local_cluster(scratch, workers=workers, warm=MODULES) as client:
        _project(scratch / "warm.lw", str(scratch / "few.zarr"), few, fused=fused).run(
            client, progress="none"
        )
        project = _project(scratch / "chain.lw", source, volume, fused=fused)
        before = bytes_read(client)
        with watch:
            project.run(client, progress="none")
        read = bytes_read(client) - before
        last = list(project.pipeline)[-1].name
        result = Path(project[last].path) / last
    check_result(result, volume, truth)
    return {"bytes_read": float(read)}


def _project(path: Path, source: str, plan: VolumePlan, *, fused: bool) -> Any:
    import zarr

    import latticework as lw

    block = dict(zip("zyx", plan.block, strict=True))
    lattice = lw.Lattice.from_array(zarr.open_array(source, mode="r"), block=block)
    project = lw.create(path, lattice)
    before = None
    for step in (all_four,) if fused else CHAIN:
        project.add(step, **({} if before is None else {"after": before}))
        before = step.__name__
    return project


def dask(
    scratch: Path,
    watch: Stopwatch,
    *,
    source: str,
    truth: str,
    plan: dict[str, Any],
    keep: bool = True,
    workers: int = 2,
) -> dict[str, float]:
    """`map_blocks` through tensorstore; with `keep`, each stage is stored and read again."""
    import dask.array as da

    volume = VolumePlan.from_arguments(**plan)
    with local_cluster(scratch, workers=workers, warm=MODULES, tuned=True) as client:
        before = bytes_read(client)
        with watch:
            path, result = source, scratch / "none"
            array = da.from_array(TensorStoreArray(path), chunks=volume.block)
            for step in CHAIN:
                array = da.map_blocks(step, array, dtype="u2")
                if keep or step is CHAIN[-1]:
                    result = scratch / f"{step.__name__}.zarr"
                    open_volume(result, create=volume)
                    da.store(array, TensorStoreArray(str(result)), lock=False)
                    array = da.from_array(TensorStoreArray(str(result)), chunks=volume.block)
        read = bytes_read(client) - before
    check_result(result, volume, truth)
    return {"bytes_read": float(read)}


def daisy(
    scratch: Path,
    watch: Stopwatch,
    *,
    source: str,
    truth: str,
    plan: dict[str, Any],
    workers: int = 2,
) -> dict[str, float]:
    """Four tasks in a row with tracking; starting their workers is part of the call."""
    import daisy.v2 as library
    from daisy.logging import set_log_basedir

    set_log_basedir(str(scratch / "logs"))
    volume = VolumePlan.from_arguments(**plan)
    block = library.Roi((0, 0, 0), volume.block)
    paths = [source, *(str(scratch / f"{step.__name__}.zarr") for step in CHAIN)]
    for path in paths[1:]:
        open_volume(path, create=volume)
    tasks = [
        library.Task(
            step.__name__,
            total_roi=library.Roi((0, 0, 0), volume.shape),
            read_roi=block,
            write_roi=block,
            process_function=functools.partial(_one_block, step, *ends),
            read_write_conflict=False,
            max_workers=workers,
            tracking_path=str(scratch / f"tracking_{step.__name__}"),
        )
        for step, ends in zip(CHAIN, itertools.pairwise(paths), strict=True)
    ]
    with watch:
        states = library.run_blockwise(
            functools.reduce(lambda first, then: first + then, tasks),
            progress=False,
            summary=False,
            return_states=True,
            host="127.0.0.1",
        )
    done = [state.completed_count for state in states.values()]
    assert done == [len(volume.origins())] * len(CHAIN), done
    check_result(paths[-1], volume, truth)
    return {}


def _one_block(step: Callable[[Any], Any], source: str, target: str, block: Any) -> None:
    box = tuple(
        slice(a, a + n) for a, n in zip(block.read_roi.offset, block.read_roi.shape, strict=True)
    )
    _opened(target)[box].write(step(_opened(source)[box].read().result())).result()


_opened = functools.lru_cache(maxsize=8)(open_volume)
