"""A worker's bench: what it opened for one work order, kept from batch to batch."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from latticework.errors import StageError
from latticework.io.handles import HALO_CACHE_BYTES
from latticework.io.lattice_store import load_lattice
from latticework.io.layout import ArrayLayout
from latticework.io.sources import load_source
from latticework.io.tile_array import TileArray
from latticework.lattice.geometry import Box
from latticework.lattice.halo import HaloGeometry, HaloPlan, fill
from latticework.lattice.lattice import Lattice
from latticework.stages.allocator import keep_freed_memory
from latticework.stages.order import Input, SealedOrder, WorkOrder, output_lattice
from latticework.stages.outputs import Output
from latticework.stages.paths import array_folder, lattice_folder, source_folder


@dataclass(slots=True)
class ArrayInput:
    """A parent whose pixels are read: the acquisition or an array stage."""

    spec: Input
    lattice: Lattice
    """With the parent's own tile shape, steps and dtype."""
    reader: Any
    """A TileArray or a TileSource."""
    geometry: HaloGeometry | None

    def read(self, tile: int) -> tuple[np.ndarray, HaloPlan | None]:
        """Pixels of a tile, with its halo if there is one."""
        if self.geometry is None:
            return self.read_box(tile, None), None
        plan = self.geometry.plan(tile)
        volume = self._volume_box(tile, plan)
        if volume is not None:
            return fill(self._read_volume(volume), plan), plan
        array = np.empty(plan.shape, dtype=self.lattice.dtype)
        pending = []
        for piece in plan.pieces:
            target = array[piece.target.slices]
            if isinstance(self.reader, TileArray):
                index = self._index(piece.tile)
                pending.append(self.reader.start_read(index, piece.source, target))
            else:
                target[...] = self.reader.read(piece.tile, piece.source)
        for read in pending:
            read.result()
        return fill(array, plan), plan

    def _index(self, tile: int) -> tuple[int, ...]:
        return tuple(self.lattice.index[tile].tolist())

    def read_box(self, tile: int, box: Box | None) -> np.ndarray:
        """Pixels of a box of a tile, or of all of it, without a halo."""
        if box is None:
            shapes = self.lattice.shapes
            sizes = (
                list(self.lattice.tile_shape.values()) if shapes is None else shapes[tile].tolist()
            )
            box = Box.whole(sizes)
        if isinstance(self.reader, TileArray):
            return self.reader.read(self._index(tile), box)
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
        self.lattice = project_lattice(order.project, order.lattice_version, order.key)
        self.output = order.output
        self._stores: dict[Output, TileArray] = {}
        self.inputs = [self._open(spec) for spec in order.inputs]

    def _open(self, spec: Input) -> Any:
        if spec.how == "nothing" or spec.output.kind in ("table", "record", "nothing"):
            return spec
        order = self.order
        return open_array_input(
            order.project, spec, self.lattice, order.lattice_version, order.cores, order.key
        )

    def store(self, output: Output) -> TileArray:
        """Where arrays are staged; `output` is what this order's stage makes."""
        if output not in self._stores:
            lattice = Lattice.unit() if self.order.reduction else self.lattice
            layout = plan_layout(lattice, output, self.order.stage)
            folder = array_folder(self.order.project, self.order.stage)
            self._stores[output] = TileArray(folder, layout, cores=self.order.cores)
        return self._stores[output]


def plan_layout(lattice: Lattice, output: Any, stage: str) -> ArrayLayout:
    """How a stage's array lies on disk: a pure function of lattice and output."""
    return ArrayLayout.plan(
        lattice, dims=output.dims, shape=output.shape, dtype=output.dtype, name=stage
    )


def open_array_input(
    project: Path, spec: Input, lattice: Lattice, version: int, cores: int, key: str | None = None
) -> ArrayInput:
    """Open a parent whose pixels are read.

    `key` is the project's; without it, the acquisition is taken from the lattice that is given.
    """
    if spec.parent == "source":
        reader: Any = lattice.source if key is None else project_source(project, version, key)
        made = lattice
    else:
        made = output_lattice(Lattice.unit() if spec.how == "only" else lattice, spec.output)
        reader = TileArray.open(
            array_folder(project, spec.parent),
            cache_bytes=HALO_CACHE_BYTES if spec.halo is not None else 0,
            generation=spec.generation,
            cores=cores,
        )
    geometry = None
    if spec.halo is not None and not spec.halo.empty:
        geometry = HaloGeometry(made, spec.halo)
    return ArrayInput(spec, made, reader, geometry)


_lock = threading.Lock()
_benches: OrderedDict[str, Bench] = OrderedDict()
_opened: dict[tuple[str, str, str, int], Any] = {}


def _once(kind: str, project: Path, key: str, version: int, load: Any) -> Any:
    which = (kind, str(project), key, version)
    if which not in _opened:
        for old in [k for k in _opened if k[:2] == which[:2]]:
            del _opened[old]
        _opened[which] = load()
    return _opened[which]


def project_lattice(project: Path, version: int, key: str) -> Lattice:
    """The project's lattice, loaded once per process, project and version."""
    return _once("lattice", project, key, version, lambda: load_lattice(lattice_folder(project)))  # type: ignore[no-any-return]


def project_source(project: Path, version: int, key: str) -> Any:
    """The project's source, loaded once per process, project and version."""
    return _once(
        "source", project, key, version, lambda: load_source(source_folder(project), base=project)
    )


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
        _benches[sealed.key] = Bench(order)
        while len(_benches) > keep:
            _benches.popitem(last=False)
        return _benches[sealed.key]


__all__: Sequence[str] = ["Bench", "bench_for"]
