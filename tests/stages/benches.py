"""A worker's view of a project without one: a lattice, a source and work orders in a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from latticework.io import open_tiles
from latticework.io.lattice_store import save_lattice
from latticework.io.sources import save_source
from latticework.lattice.lattice import Lattice
from latticework.stages.black_box import REPORT
from latticework.stages.lattices import UNIT
from latticework.stages.order import Input, SealedOrder, WorkOrder, seal
from latticework.stages.outputs import Output
from latticework.stages.paths import lattice_folder, source_folder
from latticework.stages.reads import reads_of
from latticework.stages.stage import Stage
from latticework.stages.worker import BatchReport, run_batch

NAMES = ("plain", "with space", "quote's", 'dou"ble', "ünï", "new\nline")
"""Names of six tiles, none of them easy."""


def tiff_tiles(folder: Path) -> Lattice:
    """Six tiles in two rows, a file each."""
    import tifffile

    folder.mkdir(parents=True)
    for k in range(6):
        pixels = np.full((8, 8), k, "u2")
        tifffile.imwrite(folder / f"tile_y{k // 3}_x{k % 3}.tif", pixels)
    return open_tiles(folder, pattern="tile_y{y}_x{x}.tif", pixel_size_um={"y": 0.5, "x": 0.5})


def array_tiles(names: Sequence[str] = NAMES) -> Lattice:
    """Six tiles in memory, with names."""
    tiles = [np.full((8, 8), k, "u2") for k in range(6)]
    return open_tiles(tiles, grid={"y": 2, "x": 3}).replace(names=list(names))


class Place:
    """A folder laid out as a project is, for running units of one stage after another."""

    def __init__(self, folder: Path, lattice: Lattice) -> None:
        self.folder, self.lattice = folder, lattice
        self.sessions = 0
        folder.mkdir(parents=True, exist_ok=True)
        save_lattice(lattice, lattice_folder(folder))
        save_source(lattice.source, source_folder(folder), base=folder)

    def order(
        self, stage: Stage, parents: Mapping[str, Output] | None = None, **changes: Any
    ) -> WorkOrder:
        """The order for a stage on the tiles, with parents and what they make."""
        given = parents or {"source": Output("array")}
        inputs = tuple(
            Input(name, reads_of(stage.reads, name), "tiles", output)
            for name, output in given.items()
        )
        once = all(spec.reads.pattern == "all tiles" for spec in inputs)
        self.sessions += 1
        order = WorkOrder(
            project=self.folder,
            key=str(self.folder),
            stage=stage.name,
            function=stage.function,
            params=stage.params,
            numpy=stage.takes_numpy,
            inputs=inputs,
            lattice=UNIT if once else "tiles",
            output=None,
            declared=stage.output,
            trim=stage.trim,
            staging=self.folder / "staging" / str(self.sessions),
            lattice_version=1,
            cores=1,
            timeout=stage.timeout,
        )
        return replace(order, **changes)

    def run(
        self, order: WorkOrder | Stage, units: Sequence[int] = (0,), attempt: int = 1, **more: Any
    ) -> tuple[np.ndarray, BatchReport]:
        """Run units of an order as a batch: rows of the report, and the report."""
        sealed = self.sealed(order)
        report = run_batch(
            sealed,
            1,
            np.array(units, "<i8").tobytes(),
            np.full(len(units), attempt, "<u2").tobytes(),
            **more,
        )
        return np.frombuffer(report.rows, dtype=REPORT), report

    def sealed(self, order: WorkOrder | Stage) -> SealedOrder:
        """An order as it travels."""
        return seal(self.order(order) if isinstance(order, Stage) else order)
