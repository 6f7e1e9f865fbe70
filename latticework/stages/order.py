"""The work order: all that a worker needs to run units of one stage, as one value.

The coordinator makes it, cloudpickle carries it (functions of a notebook by value, others by
reference), and a worker keeps what it opened for it (`latticework.stages.bench`). It is never
written to disk.
"""

import contextlib
import functools
import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle

from latticework.lattice.halo import Halo
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import spatial_axis
from latticework.stages.outputs import Output
from latticework.stages.reached import is_own_module
from latticework.stages.reads import Reads
from latticework.stages.travelling import dumps


@dataclass(frozen=True, slots=True)
class Input:
    """One parent, as a unit reads it."""

    parent: str
    """Name of the parent stage, or ``"source"``."""
    reads: Reads
    """The pattern in which it is read."""
    lattice: str
    """Key of the parent's lattice (`latticework.stages.lattices`)."""
    output: Output
    """What the parent makes."""
    halo: Halo | None = None
    """Margin to read from the neighbours."""
    generation: int = 0
    """Counts the parent's rewritings, so that nothing old is read from a cache."""


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """How to run units of one stage."""

    project: Path
    """The project folder."""
    key: str
    """The project's own key: another project may have been in that folder before."""
    stage: str
    """Name of the stage."""
    function: Callable[..., Any]
    """What is called."""
    params: Mapping[str, Any]
    """Keyword arguments of every call."""
    numpy: bool
    """Whether it takes NumPy arrays."""
    inputs: tuple[Input, ...]
    """Its parents, in order of the call's arguments."""
    lattice: str
    """Key of the lattice of its units (`latticework.stages.lattices`)."""
    output: Output | None
    """What it makes, once that is settled."""
    declared: Output | None
    """What the user declared: arrays are converted to a declared dtype."""
    trim: bool | None
    """See `Stage.trim`."""
    staging: Path
    """Folder below which attempts write."""
    lattice_version: int
    """Counts changes of the project's lattice."""
    cores: int
    """Threads for decoding and encoding."""
    skipped: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Labels of planes that neighbours step over, by lattice dim."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The project's own parameters, for commands."""
    live: bool = False
    """Whether the acquisition may grow: then tiles are stored by their ids."""
    timeout: float | None = None
    """Seconds that an attempt may take."""
    read_on: bool = False
    """Whether other stages read what it makes: then workers keep that for a while."""
    preview: str | None = None
    """How previews of what it makes are projected; None where none are made."""
    source_preview: str | None = None
    """The same for previews of the tiles of the source that it reads."""

    @property
    def reduction(self) -> bool:
        """Whether its one unit reads all tiles."""
        return self.lattice == "unit"


@dataclass(frozen=True, slots=True)
class SealedOrder:
    """A work order as bytes, with the key under which workers keep it."""

    key: str
    """Hash of the bytes."""
    payload: bytes
    """The pickled order."""
    staging: Path
    """As in the order."""


def seal(order: WorkOrder) -> SealedOrder:
    """Pickle a work order for the way to the workers."""
    payload = dump(order, order.function)
    key = hashlib.blake2b(payload, digest_size=12).hexdigest()
    return SealedOrder(key, payload, order.staging)


def dump(value: Any, function: Callable[..., Any]) -> bytes:
    """Pickle what holds a function; one of the user's own modules travels by value.

    Workers may have imported that module before it was edited and loaded again here. What cannot
    travel so, because its module holds a lock or a file, is imported by the worker.
    """
    while isinstance(function, functools.partial):
        function = function.func
    module = sys.modules.get(getattr(function, "__module__", None) or type(function).__module__)
    registered = cloudpickle.list_registry_pickle_by_value()
    if module is None or module.__name__ in {"__main__", *registered} or not is_own_module(module):
        return dumps(value)
    cloudpickle.register_pickle_by_value(module)
    try:
        with contextlib.suppress(Exception):
            return dumps(value)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    return dumps(value)


def output_lattice(lattice: Lattice, output: Output) -> Lattice:
    """The lattice with the tiles that a stage makes: its dims, shapes, steps and pixel sizes.

    Where a stage changes the number of pixels along an axis, the step and the pixel size change
    in proportion; a projection is one pixel thick, as large as the tile was deep.
    """
    if output.dims is None or output.shape is None or output.dtype is None:
        return lattice
    new = dict(zip(output.dims, output.shape, strict=True))
    ratio = {
        axis: new.get(axis, 1) / lattice.tile_shape[axis]
        for axis in lattice.spatial_dims
        if axis in lattice.tile_shape
    }
    axes = [axis for axis in map(spatial_axis, lattice.dims) if axis is not None]
    shapes = None
    if lattice.shapes is not None:
        old = lattice.shapes
        columns = [
            old[:, lattice.tile_dims.index(dim)]
            if dim in lattice.tile_shape and lattice.tile_shape[dim] == size
            else old[:, 0] * 0 + size
            for dim, size in new.items()
        ]
        shapes = [list(row) for row in zip(*columns, strict=True)]
    same = output.dims == lattice.tile_dims and output.shape == tuple(lattice.tile_shape.values())
    return lattice.replace(
        tile_dims=output.dims,
        tile_shape=output.shape,
        dtype=output.dtype,
        shapes=shapes,
        step_px={axis: max(1, round(lattice.step_px[axis] * ratio.get(axis, 1))) for axis in axes},
        pixel_size_um={
            axis: size / ratio.get(axis, 1) for axis, size in lattice.pixel_size_um.items()
        },
        position_um=_positions(lattice, output),
        volume_shape=lattice.volume_shape if same else None,
        source=lattice.source if same else None,
        channels=lattice.channels if new.get("c") == lattice.tile_shape.get("c") else None,
    )


def _positions(lattice: Lattice, output: Output) -> Any:
    if not lattice.dims:
        return None
    axes = {axis for axis in map(spatial_axis, lattice.dims) if axis is not None}
    keep = [
        column
        for column, axis in enumerate(lattice.spatial_dims)
        if axis in axes or axis in (output.dims or ())
    ]
    return lattice.position_um[:, keep]
