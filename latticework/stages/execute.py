"""One unit of work: read what the stage reads, call it, stage what it made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import StageError
from latticework.io.records import to_json
from latticework.io.tables import stage_table
from latticework.io.tile_array import TileArray
from latticework.lattice.halo import HaloPlan
from latticework.lattice.tile import Tile
from latticework.stages.bench import Bench, OpenInput
from latticework.stages.command import Command
from latticework.stages.command_run import run_command
from latticework.stages.failures import NO_CODE, OutputCheckError
from latticework.stages.inputs import Records, arguments_of, lazily_read
from latticework.stages.outputs import Output, files_output, found_output
from latticework.stages.recent_here import keep_written
from latticework.stages.running_units import RunningUnit


@dataclass(slots=True)
class Made:
    """What one unit made."""

    output: Output
    """What it is, for a tile of full size."""
    bytes_read: int = 0
    """Pixels, rows and records handed to the stage, in bytes."""
    bytes_written: int = 0
    """Bytes staged."""
    record: str | None = None
    """The record as JSON, where it is one."""
    exit_code: int = NO_CODE
    """Exit code of the program, where it is one."""
    pixels: "Pixels | None" = None
    """What is to be staged yet."""


@dataclass(slots=True)
class Given:
    """What one unit has read."""

    tile: Tile | None
    """Its address; None for a reduction."""
    arguments: list[Any]
    """Arguments of the call."""
    haloed: tuple[OpenInput, HaloPlan] | None
    """What was given with a halo."""
    bytes_read: int
    """Pixels, rows and records among the arguments, in bytes."""


@dataclass(slots=True)
class Pixels:
    """Pixels that a unit made, and where they are to be staged."""

    store: TileArray
    staging: Path
    index: tuple[int, ...]
    """Place of the tile in the store."""
    array: np.ndarray
    """The pixels, as the stage returned them."""
    read_on: bool
    """Whether they are kept in memory for other stages, too."""
    own: bool = False
    """Whether nobody else has them."""

    def copy(self) -> "Pixels":
        """The same in memory of their own.

        The stage may use its buffer for the next unit, or go on writing to it; there is no telling
        who else holds it. A copy costs a small part of what writing does.
        """
        return replace(self, array=self.array.copy(), own=True)

    def stage(self) -> int:
        """Write them; how many bytes that are."""
        written = self.store.stage(self.staging, self.index, self.array)
        if self.read_on:
            keep_written(self.store, self.staging, self.index, self.array, own=self.own)
        return written


def run_unit(
    bench: Bench,
    unit: int,
    records: Records,
    staging: Path,
    seen: Output | None = None,
    absent: Sequence[bytes] = (),
    running: RunningUnit | None = None,
) -> Made:
    """Run one unit.

    Parameters
    ----------
    bench
        What is opened for the stage.
    unit
        Tile id (0 for a reduction).
    records
        Records of parents that make some.
    staging
        Where its outputs are written; the caller publishes them.
    seen
        What other units made, where the work order does not know it yet.
    absent
        For each input, int64 ids of its units that are holes; empty where there are none at all.
    running
        The unit as it is known here, so that it can be ended; for commands also which attempt.
    """
    order = bench.order
    if isinstance(order.function, Command):
        running = running or RunningUnit(str(order.staging), 0, unit)
        return _run_command(bench, unit, records, staging, seen, absent, running)
    made = call_unit(bench, unit, read_unit(bench, unit, records, absent), staging, seen)
    if made.pixels is not None:
        made.bytes_written = made.pixels.stage()
    return made


def read_unit(bench: Bench, unit: int, records: Records, absent: Sequence[bytes] = ()) -> Given:
    """Read what a unit reads, as in `run_unit`."""
    tile = None if bench.order.reduction else bench.lattice.tile(unit)
    return Given(tile, *arguments_of(bench, unit, tile, records, absent))


def call_unit(
    bench: Bench, unit: int, given: Given, staging: Path, seen: Output | None = None
) -> Made:
    """Call the stage on what was read: what it made, of which `Made.pixels` are not staged yet."""
    order = bench.order
    value = order.function(*given.arguments, **order.params)
    made = _made_of(bench, unit, given.tile, value, given.haloed, staging, seen)
    made.bytes_read = given.bytes_read + lazily_read(given.arguments)
    return made


def _run_command(
    bench: Bench,
    unit: int,
    records: Records,
    staging: Path,
    seen: Output | None,
    absent: Sequence[bytes],
    running: RunningUnit,
) -> Made:
    """Run one unit of a command: what it made is files, or what its result file holds."""
    ran = run_command(bench, unit, records, staging, running, absent=absent)
    try:
        if ran.files:
            made = Made(files_output(), bytes_written=ran.bytes_written)
        else:
            tile = None if bench.order.reduction else bench.lattice.tile(unit)
            made = _made_of(bench, unit, tile, ran.value, ran.haloed, staging, seen)
            if made.pixels is not None:
                made.bytes_written = made.pixels.stage()
    except StageError as error:
        raise OutputCheckError(str(error), ran.exit_code) from error
    made.bytes_read, made.exit_code = ran.bytes_read, ran.exit_code
    return made


# -------------------------------------------------------------------- outputs


def _made_of(
    bench: Bench,
    unit: int,
    tile: Tile | None,
    value: Any,
    haloed: tuple[OpenInput, HaloPlan] | None,
    staging: Path,
    seen: Output | None,
) -> Made:
    """What a unit made, checked; all but pixels is staged."""
    order = bench.order
    address = "(all tiles)" if tile is None else f"{tile.name} {tile.address}"
    dims = bench.dims
    is_array = isinstance(value, np.ndarray) or (hasattr(value, "dims") and hasattr(value, "ndim"))
    if haloed is not None and is_array and value.ndim:
        value = trimmed(value, dims, haloed, trim=order.trim, address=address)
    if order.declared is not None:
        value = converted(value, order.declared)
    found = found_output(value, dims, address)
    if found.kind == "array":
        found = full_size(found, bench, tile)
    known = something(order.output) or something(seen)
    wanted = known or order.declared
    if wanted is not None and wanted.kind == "record" and found.kind == "nothing":
        found = wanted  # None is a record like others where there are records
    if wanted is not None and (wrong := wanted.differences(found)):
        origin = "as was declared" if known is None else "as for the other tiles"
        raise StageError(f"tile {address}: the stage returned {wrong}, {origin}")
    made = Made(found)
    if tile is not None and found.kind in ("table", "record"):
        check_names(value, tile)
    if found.kind == "array":
        index = bench.place(found, unit)
        pixels = np.asarray(value)
        made.pixels = Pixels(bench.store(found), staging, index, pixels, order.read_on)
    elif found.kind == "table":
        key = stage_table(staging, unit, value)
        made.bytes_written = (staging / key).stat().st_size
    elif found.kind == "record":
        made.record = to_json(value.item() if hasattr(value, "dims") else value)
        made.bytes_written = len(made.record)
    return made


def something(output: Output | None) -> Output | None:
    """An output that binds others: tiles that make nothing do not say what the others make."""
    return None if output is None or output.kind == "nothing" else output


def check_names(value: Any, tile: Tile) -> None:
    """Refuse columns or keys that contradict what every result is labelled with.

    Raises
    ------
    StageError
        Naming them.
    """
    own = {"tile": tile.name, **tile.labels}
    if isinstance(value, dict):
        found = {name: [value[name]] for name in own if name in value}
    else:
        names = getattr(value, "column_names", getattr(value, "columns", ()))
        found = {name: np.unique(value[name]).tolist() for name in own if name in names}
    wrong = sorted(name for name, values in found.items() if any(v != own[name] for v in values))
    if wrong:
        raise StageError(
            f"tile {tile.name} {tile.address}: the stage returned columns called "
            f"{', '.join(wrong)}, which is how results are labelled with their tile: call them "
            "something else"
        )


def trimmed(
    value: Any,
    dims: Sequence[str],
    haloed: tuple[OpenInput, HaloPlan],
    *,
    trim: bool | None,
    address: str,
) -> Any:
    """The result without its halo, where it still has one.

    An axis of the result that has as many pixels as the tile with its halo is trimmed, one that
    has as many as the tile is left alone. Anything else is an error: nobody could tell which of
    its pixels are the halo's. A stage with ``trim=False`` cuts the halo off itself.
    """
    if trim is False:
        return value
    source, plan = haloed
    halo_dims = source.lattice.tile_dims
    names = tuple(map(str, value.dims)) if hasattr(value, "dims") else tuple(dims)
    if len(names) != value.ndim:
        return unhaloed(value, plan, halo_dims, address)
    slices: list[slice] = [slice(None)] * value.ndim
    for axis, name in enumerate(names):
        if name not in halo_dims:
            continue
        k = halo_dims.index(name)
        if value.shape[axis] == plan.keep.shape[k]:
            slices[axis] = plan.inner.slices[k]
        elif value.shape[axis] != plan.inner.shape[k]:
            raise StageError(
                f"tile {address}: the result has {value.shape[axis]} px along {name}, neither the "
                f"tile with its halo ({plan.keep.shape[k]}) nor the tile ({plan.inner.shape[k]}): "
                "cut the halo off in the stage and give trim=False, or keep the shape"
            )
    return value[tuple(slices)]


def unhaloed(value: Any, plan: HaloPlan, halo_dims: Sequence[str], address: str) -> Any:
    """An array with other axes than its tile and no names for them, if it has no halo any more.

    Raises
    ------
    StageError
        Where an axis is as long as one of the tile with its halo: which one, nobody can tell.
    """
    for name, given, own in zip(halo_dims, plan.keep.shape, plan.inner.shape, strict=True):
        if given != own and given in value.shape:
            raise StageError(
                f"tile {address}: the result has {value.ndim} axes without names, one of them "
                f"with {given} px, as many as the tile with its halo along {name}: return an "
                "xarray.DataArray, whose dims say what to trim, or cut the halo off in the stage "
                "and give trim=False"
            )
    return value


def converted(value: Any, declared: Output) -> Any:
    """An array in its declared dtype: rounded and clipped to the range of an integer type."""
    if declared.dtype is None or not hasattr(value, "astype") or not hasattr(value, "dtype"):
        return value
    dtype = np.dtype(declared.dtype)
    if value.dtype == dtype or value.dtype.kind not in "biuf":
        return value
    if dtype.kind in "iu" and value.dtype.kind == "f":
        limits = np.iinfo(dtype)
        top = float(limits.max)
        if top > limits.max:  # 2**63 and 2**64 are not the largest of their types
            top = float(np.nextafter(top, 0))
        value = np.clip(np.nan_to_num(np.rint(value)), limits.min, top)
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        own = np.iinfo(value.dtype) if value.dtype.kind in "iu" else None
        if own is not None:
            value = np.clip(value, max(limits.min, own.min), min(limits.max, own.max))
    return value.astype(dtype)


def full_size(found: Output, bench: Bench, tile: Tile | None) -> Output:
    """What a ragged tile's result would be for a tile of full size."""
    lattice = bench.lattice
    if tile is None or lattice.shapes is None or found.dims is None or found.shape is None:
        return found
    own = dict(zip(lattice.tile_dims, tile.shape, strict=True))
    sizes = []
    for dim, size in zip(found.dims, found.shape, strict=True):
        ragged = dim in own and own[dim] != lattice.tile_shape[dim] and size == own[dim]
        sizes.append(lattice.tile_shape[dim] if ragged else size)
    return Output("array", found.dtype, found.dims, tuple(sizes))
