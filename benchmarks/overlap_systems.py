"""A stage whose tiles lie on a distant server: every read and every write takes a while."""

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from benchmarks.chain_systems import MODULES
from benchmarks.clock import Stopwatch
from benchmarks.cluster import local_cluster
from benchmarks.functions import all_four
from benchmarks.volume import VolumePlan, check_result, open_volume, write_specimen
from latticework.io.sources import register_source
from latticework.lattice import Box, Lattice


@dataclass(frozen=True)
class DistantVolume:
    """Blocks of an array behind a network file system: each read waits for an answer first."""

    kind: ClassVar[str] = "distant"

    path: str
    starts: tuple[tuple[int, ...], ...]
    read_s: float

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of a box of a block, after a while."""
        time.sleep(self.read_s)
        return np.asarray(
            open_volume(self.path)[box.shift(self.starts[tile]).slices].read().result()
        )

    def fingerprints(self) -> np.ndarray:
        """Block numbers: nothing changes."""
        return np.arange(len(self.starts), dtype=np.uint64)

    def save(self, _folder: Path, _base: Path) -> dict[str, Any]:
        """What `load` needs."""
        return {"path": self.path, "starts": self.starts, "read_s": self.read_s}

    @classmethod
    def load(cls, _folder: Path, _base: Path, spec: Mapping[str, Any]) -> Self:
        """The source, from what `save` returned."""
        starts = tuple(tuple(start) for start in spec["starts"])
        return cls(spec["path"], starts, float(spec["read_s"]))


register_source(DistantVolume.kind, f"{__name__}:DistantVolume")


def ours(
    scratch: Path,
    watch: Stopwatch,
    *,
    source: str,
    truth: str,
    plan: dict[str, Any],
    wait_s: float,
    overlap: bool = True,
) -> dict[str, float]:
    """`project.run` of one stage; without `overlap`, units read, compute and write in turn."""
    volume = VolumePlan.from_arguments(**plan)
    few = VolumePlan((4, 64, 64), (1, 64, 64), (1, 32, 64))
    write_specimen(scratch / "few.zarr", few)
    with local_cluster(scratch, warm=(*MODULES, __name__)) as client:
        client.run(_write_far, wait_s)
        if not overlap:
            client.run(_one_after_the_other)
        _project(scratch / "warm.lw", str(scratch / "few.zarr"), few, 0.0).run(
            client, progress="none"
        )
        project = _project(scratch / "far.lw", source, volume, wait_s)
        with watch:
            project.run(client, progress="none")
        result = Path(project["all_four"].path) / "all_four"
    check_result(result, volume, truth)
    return {}


def _project(path: Path, source: str, plan: VolumePlan, read_s: float) -> Any:
    import latticework as lw

    block = dict(zip("zyx", plan.block, strict=True))
    lattice = Lattice.from_array(np.broadcast_to(np.uint16(0), plan.shape), block=block)
    far = DistantVolume(source, tuple(plan.origins()), read_s)
    project = lw.create(path, lattice.replace(source=far))
    project.add(all_four)
    return project


def _write_far(write_s: float) -> None:
    """In this worker, staging a tile takes a while from now on."""
    from latticework.io.tile_array import TileArray

    stage = TileArray.stage

    def far(store: TileArray, staging: Any, index: Any, data: Any) -> int:
        time.sleep(write_s)
        return stage(store, staging, index, data)

    TileArray.stage = far  # type: ignore[method-assign]


def _one_after_the_other() -> None:
    """In this worker, nothing is read ahead or written behind from now on."""
    from latticework.stages.overlap import Waiting

    Waiting.pays = lambda _waiting, _unit_s: False  # type: ignore[method-assign]


def dask(
    scratch: Path,
    watch: Stopwatch,
    *,
    source: str,
    truth: str,
    plan: dict[str, Any],
    wait_s: float,
    threads: int = 1,
) -> dict[str, float]:
    """`client.map`, a future per tile, which reads, computes and writes it."""
    volume = VolumePlan.from_arguments(**plan)
    result = scratch / "result.zarr"
    origins = volume.origins()
    far = DistantVolume(source, tuple(origins), wait_s)
    one_tile = functools.partial(
        _one_tile, far=far, result=str(result), block=volume.block, write_s=wait_s
    )
    modules = (*MODULES, __name__)
    with local_cluster(scratch, threads=threads, warm=modules, tuned=True) as client, watch:
        open_volume(result, create=volume)
        client.gather(client.map(one_tile, range(len(origins))))
    check_result(result, volume, truth)
    return {}


def _one_tile(
    tile: int, *, far: DistantVolume, result: str, block: tuple[int, ...], write_s: float
) -> None:
    made = all_four(far.read(tile, Box.whole(block)))
    time.sleep(write_s)
    open_volume(result)[Box.whole(block).shift(far.starts[tile]).slices].write(made).result()
