"""Small project folders made by hand, to see what one unit is given: no project, no cluster."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from latticework.io.lattice_store import save_lattice
from latticework.io.publish import publish
from latticework.io.records import to_json
from latticework.io.sources import save_source
from latticework.io.tables import stage_table
from latticework.io.tile_array import TileArray
from latticework.stages.bench import Bench, grows, plan_layout
from latticework.stages.execute import run_unit
from latticework.stages.lattices import TILES, UNIT, Lattices, lattice_key
from latticework.stages.order import Input, WorkOrder
from latticework.stages.outputs import Output, found_output
from latticework.stages.paths import (
    array_folder,
    files_folder,
    lattice_folder,
    own_lattice_folder,
    source_folder,
    table_folder,
    tile_folder,
)
from latticework.stages.produced import write_facts

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def folder_of(tiles, *, live=False):
    """A project folder with a lattice, as `ByHand`."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield ByHand(Path(folder), tiles, live=live)


class ByHand:
    """A project folder: stages are what is put there, and units are run one at a time."""

    def __init__(self, folder, tiles, *, live=False):
        self.folder, self.live = folder, live
        self.key = folder.name
        save_lattice(tiles, lattice_folder(folder))
        if tiles.source is not None:
            save_source(tiles.source, source_folder(folder), base=folder)
        self.lattices = Lattices(tiles, {}.__getitem__)
        tile_dims, shape = tiles.tile_dims, tuple(tiles.tile_shape.values())
        self.made = {"source": (TILES, Output("array", tiles.dtype.str, tile_dims, shape))}
        self.records = {}

    def own(self, lattice):
        """Keep a lattice of a stage's own; its key."""
        key = lattice_key(lattice)
        save_lattice(lattice, own_lattice_folder(self.folder, key))
        self.lattices.keep(key, lattice)
        return key

    def put(self, stage, values, key=TILES):
        """What a stage made, by unit: arrays, tables, records, or {file name: text}."""
        lattice, first = self.lattices[key], next(iter(values.values()))
        if isinstance(first, np.ndarray):
            largest = max(values.values(), key=lambda value: value.size)
            dims = lattice.tile_dims or tuple("zyx"[-first.ndim :])
            output = found_output(largest, dims, stage)
            live = self.live and grows(key)
            layout = plan_layout(lattice, output, stage, live=live)
            store = TileArray.create(array_folder(self.folder, stage), layout, lattice)
            for unit, value in values.items():
                place = layout.place(lattice, unit)
                store.stage(self.folder / "staging", place, value)
                publish(self.folder / "staging", store.path, layout.keys(place))
        elif hasattr(first, "columns"):
            output = Output("table")
            for unit, value in values.items():
                stage_table(table_folder(self.folder, stage), unit, value)
        elif isinstance(first, dict) and all(isinstance(v, str) for v in first.values()):
            output = Output("files")
            for unit, value in values.items():
                where = tile_folder(unit, lattice.tile(unit).name)
                folder = files_folder(self.folder, stage) / where
                folder.mkdir(parents=True)
                for name, text in value.items():
                    (folder / name).write_text(text)
                write_facts(folder, {name.partition(".")[0]: name for name in value}, {})
        else:
            output = Output("record")
            self.records[stage] = {unit: to_json(value) for unit, value in values.items()}
        self.made[stage] = key, output

    def bench(self, function, reads, key=TILES, *, halo=None, numpy=False, **options):
        """A bench for a stage that reads each parent named in `reads` in a pattern."""
        inputs = [
            Input(
                parent=parent,
                reads=pattern,
                lattice=self.made[parent][0],
                output=self.made[parent][1],
                halo=halo,
            )
            for parent, pattern in reads.items()
        ]
        order = {
            "output": None,
            "declared": None,
            "trim": None,
            "lattice_version": 1,
            "params": {},
            **options,
        }
        return Bench(
            WorkOrder(
                project=self.folder,
                key=self.key,
                stage="read",
                function=function,
                numpy=numpy,
                inputs=tuple(inputs),
                lattice=key,
                staging=self.folder / "staging",
                cores=1,
                live=self.live,
                **order,
            )
        )

    def run(self, bench, unit=0, absent=None):
        """Run one unit; `absent` holds ids of holes by parent."""
        holes = [
            np.array(sorted((absent or {}).get(source.spec.parent, ())), dtype="<i8").tobytes()
            for source in bench.inputs
        ]
        return run_unit(
            bench, unit, self.records, self.folder / "staging", None, holes if any(holes) else ()
        )

    def given(self, reads, unit=0, key=TILES, absent=None, **options):
        """What the callable of one unit is given, and what was made of it."""
        seen = []

        def look(*arguments):
            seen.extend(arguments)

        self.run(self.bench(look, reads, key, **options), unit, absent)
        return seen


__all__ = ["UNIT", "ByHand", "folder_of"]
