"""A worker's bench: what it opened for one work order, kept from batch to batch."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from latticework.errors import StageError
from latticework.io.handles import HALO_CACHE_BYTES
from latticework.io.layout import ArrayLayout
from latticework.io.stage_group import stored_layout
from latticework.io.tile_array import TileArray
from latticework.lattice.dependencies import Dependency
from latticework.lattice.geometry import Box
from latticework.lattice.halo import HaloGeometry, HaloPlan, fill
from latticework.lattice.lattice import Lattice
from latticework.stages.allocator import keep_freed_memory
from latticework.stages.known import own_lattice, project_lattice, project_source
from latticework.stages.lattices import TILES, UNIT, Lattices
from latticework.stages.order import Input, SealedOrder, WorkOrder, output_lattice
from latticework.stages.outputs import Output
from latticework.stages.overlap import Overlap
from latticework.stages.paths import array_folder
from latticework.stages.reads import Ends, dependency
from latticework.stages.recent_here import find_written

SOURCE = "source"
"""Name of the acquisition among the parents of a stage."""


@dataclass(slots=True)
class OpenInput:
    """A parent, opened."""

    spec: Input
    lattice: Lattice
    """The parent's; where it makes arrays, with their tile shape, steps and dtype."""


@dataclass(slots=True)
class ArrayInput(OpenInput):
    """A parent whose pixels are read: the acquisition or an array stage."""

    reader: Any
    """A TileArray or a TileSource."""
    geometry: HaloGeometry | None

    def read(self, tile: int, absent: Collection[int] = ()) -> tuple[np.ndarray, HaloPlan | None]:
        """Pixels of a tile, with its halo if there is one, in which absent tiles are holes."""
        if self.geometry is None:
            return self.read_box(tile, None), None
        plan = self.geometry.plan(tile, absent)
        volume = self._volume_box(tile, plan)
        if volume is not None:
            return fill(self._read_volume(volume), plan), plan
        array = np.empty(plan.shape, dtype=self.lattice.dtype)
        pending = []
        for piece in plan.pieces:
            target = array[piece.target.slices]
            if isinstance(self.reader, TileArray):
                index = self._index(piece.tile)
                found = find_written(self.reader, index, piece.source)
                if found is None:
                    pending.append(self.reader.start_read(index, piece.source, target))
                else:
                    target[...] = found
            else:
                target[...] = self.reader.read(piece.tile, piece.source)
        for read in pending:
            read.result()
        return fill(array, plan), plan

    def _index(self, tile: int) -> tuple[int, ...]:
        return self.reader.layout.place(self.lattice, tile)  # type: ignore[no-any-return]

    def read_box(self, tile: int, box: Box | None) -> np.ndarray:
        """Pixels of a box of a tile, or of all of it, without a halo."""
        if box is None:
            shapes = self.lattice.shapes
            sizes = (
                list(self.lattice.tile_shape.values()) if shapes is None else shapes[tile].tolist()
            )
            box = Box.whole(sizes)
        if isinstance(self.reader, TileArray):
            index = self._index(tile)
            found = find_written(self.reader, index, box)
            return self.reader.read(index, box) if found is None else found
        return np.asarray(self.reader.read(tile, box))

    def _volume_box(self, tile: int, plan: HaloPlan) -> Box | None:
        """The pieces as one box of the volume, where they are one."""
        if self.lattice.volume_shape is None or plan.holes or len(plan.pieces) < 2:
            return None
        if isinstance(self.reader, TileArray):
            if self.reader.layout.kind != "volume":
                return None
        elif not hasattr(self.reader, "read_volume"):
            return None
        own = next(piece for piece in plan.pieces if not any(piece.side) and piece.tile == tile)
        start = self.lattice.volume_box(tile).start
        box = Box.whole(plan.shape).shift(
            [a - b for a, b in zip(start, own.target.start, strict=True)]
        )
        inside = Box.whole([self.lattice.volume_shape[dim] for dim in self.lattice.tile_dims])
        return box if inside.contains(box) and "periodic" not in plan.modes else None

    def _read_volume(self, box: Box) -> np.ndarray:
        if isinstance(self.reader, TileArray):
            array = np.empty(box.shape, dtype=self.lattice.dtype)
            self.reader.start_read_volume(box, array).result()
            return array
        return np.asarray(self.reader.read_volume(box))


class Bench:
    """Everything opened for one work order."""

    def __init__(self, order: WorkOrder) -> None:
        self.order = order
        tiles = project_lattice(order.project, order.lattice_version, order.key)
        self.lattices = Lattices(tiles, lambda key: own_lattice(order.project, order.key, key))
        self.lattice = self.lattices[order.lattice]
        self.output = order.output
        self._stores: dict[Output, TileArray] = {}
        self._edges: dict[int, Dependency] = {}
        self.inputs: list[OpenInput] = [self._open(spec) for spec in order.inputs]
        self.patterns = [given_pattern(spec, order.lattice) for spec in order.inputs]
        """In which form each input is given: see `given_pattern`."""
        self.overlap = Overlap()
        """How long its units wait for what they read and write."""

    def _open(self, spec: Input) -> OpenInput:
        lattice = self.lattices[spec.lattice]
        pixels = spec.parent == SOURCE or spec.output.kind == "array"
        if spec.reads.pattern == "nothing" or not pixels:
            return OpenInput(spec, lattice)
        order = self.order
        return open_array_input(
            order.project, spec, lattice, order.lattice_version, order.cores, order.key
        )

    def edge(self, number: int) -> Dependency:
        """Which units of an input each unit reads: what the coordinator goes by, too."""
        if number not in self._edges:
            source, order = self.inputs[number], self.order
            ends = Ends(order.lattice, self.lattice, source.spec.lattice, source.lattice)
            self._edges[number] = dependency(
                ends, source.spec.reads, source.spec.halo, order.skipped
            )
        return self._edges[number]

    @property
    def dims(self) -> tuple[str, ...]:
        """Dims of a result that does not name them: those of what the stage is given."""
        arrays = [source for source in self.inputs if isinstance(source, ArrayInput)]
        if not arrays or "intersecting" in self.patterns:
            return self.lattice.tile_dims
        return arrays[0].lattice.tile_dims

    def store(self, output: Output) -> TileArray:
        """Where arrays are staged; `output` is what this order's stage makes."""
        if output not in self._stores:
            order = self.order
            live = order.live and grows(order.lattice)
            layout = plan_layout(self.lattice, output, order.stage, live=live)
            folder = array_folder(order.project, order.stage)
            if layout.kind == "volume" and (folder / "zarr.json").exists():
                # volumes of older projects have their files in folders
                layout = replace(layout, separator=stored_layout(folder).separator)
            self._stores[output] = TileArray(folder, layout, cores=order.cores)
        return self._stores[output]

    def place(self, output: Output, unit: int) -> tuple[int, ...]:
        """Address of a unit's tile in that store."""
        return self.store(output).layout.place(self.lattice, unit)


def given_pattern(spec: Input, key: str) -> str:
    """In which form a parent is given to the units of the lattice with a key.

    A pattern's name, or ``"once"`` where the parent is made once for the whole lattice, or
    ``"group"`` where it is made once for each plane, and units are tiles.
    """
    if spec.reads.pattern == "nothing":
        return "nothing"
    if spec.lattice == UNIT:
        return "once"
    if spec.reads.pattern in ("all tiles", "intersecting", "plane"):
        return spec.reads.pattern
    return spec.reads.pattern if spec.lattice == key else "group"


def grows(key: str) -> bool:
    """Whether a lattice grows with the acquisition: its tiles and their planes, none of one's own.

    Examples
    --------
    >>> grows("planes:tile_z:tiles"), grows("own:1f0c2d"), grows("unit")
    (True, False, False)
    """
    return key.rpartition(":")[2] == TILES


def plan_layout(lattice: Lattice, output: Any, stage: str, *, live: bool = False) -> ArrayLayout:
    """How a stage's array lies on disk: a pure function of lattice and output.

    Parameters
    ----------
    lattice
        Of the stage's units.
    output
        What they make.
    stage
        Name of the stage.
    live
        Whether that lattice may grow (see `grows`): then tiles are stored by their ids.
    """
    return ArrayLayout.plan(
        lattice,
        dims=output.dims,
        shape=output.shape,
        dtype=output.dtype,
        name=stage,
        kind="list" if live else None,
    )


def open_array_input(
    project: Path, spec: Input, lattice: Lattice, version: int, cores: int, key: str | None = None
) -> ArrayInput:
    """Open a parent whose pixels are read.

    Parameters
    ----------
    project
        The project folder.
    spec
        How it is read.
    lattice
        Of the parent's units.
    version, cores
        As in the work order.
    key
        The project's; without it, the acquisition is taken from the lattice that is given.
    """
    if spec.parent == SOURCE:
        reader: Any = lattice.source if key is None else project_source(project, version, key)
        made = lattice
    else:
        made = output_lattice(lattice, spec.output)
        cached = spec.halo is not None or spec.reads.pattern == "intersecting"
        reader = TileArray.open(
            array_folder(project, spec.parent),
            cache_bytes=HALO_CACHE_BYTES if cached else 0,
            generation=spec.generation,
            cores=cores,
        )
    geometry = None
    if spec.halo is not None and not spec.halo.empty and spec.reads.pattern == "same tile":
        geometry = HaloGeometry(made, spec.halo)
    return ArrayInput(spec, made, reader, geometry)


_lock = threading.Lock()
_benches: OrderedDict[str, Bench] = OrderedDict()


def bench_for(sealed: SealedOrder, *, keep: int = 16) -> Bench:
    """The bench of a work order, opened at its first batch on this worker.

    Raises
    ------
    StageError
        If the stage's code cannot be imported here.
    """
    with _lock:
        if sealed.key in _benches:
            _benches.move_to_end(sealed.key)
            return _benches[sealed.key]
        keep_freed_memory()
        try:
            order = cloudpickle.loads(sealed.payload)
        except (ImportError, AttributeError) as error:
            raise StageError(
                f"this worker cannot import the stage's code: {error}. Install the module where "
                "the workers run, or define the function in the notebook or script itself"
            ) from error
        bench = Bench(order)
        for other in _benches.values():
            if (other.order.key, other.order.stage) == (order.key, order.stage):
                bench.overlap = other.overlap  # its units cost what they did
        _benches[sealed.key] = bench
        while len(_benches) > keep:
            _benches.popitem(last=False)
        return _benches[sealed.key]


__all__: Sequence[str] = ["Bench", "bench_for"]
