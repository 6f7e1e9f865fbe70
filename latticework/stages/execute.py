"""One unit of work: read what the stage reads, call it, stage what it made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import StageError
from latticework.io.records import from_json, to_json
from latticework.io.tables import TILE_COLUMN, read_tables, stage_table
from latticework.lattice.halo import HaloPlan
from latticework.lattice.tile import Tile
from latticework.stages.bench import ArrayInput, Bench
from latticework.stages.gathered import all_arrays, all_records, all_tables
from latticework.stages.labelled import labelled_tile
from latticework.stages.order import Input
from latticework.stages.outputs import Output, found_output
from latticework.stages.paths import table_folder


class UnreadableInputError(Exception):
    """An input could not be read: the cause is not the stage's code."""


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


Records = Mapping[str, Sequence[str]]
"""Records that a unit reads, as JSON, by parent."""


def run_unit(
    bench: Bench, unit: int, records: Records, staging: Path, seen: Output | None = None
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
    """
    order = bench.order
    tile = None if order.reduction else bench.lattice.tile(unit)
    arguments, plan, size = _arguments(bench, unit, tile, records)
    value = order.function(*arguments, **order.params)
    made = _stage_output(bench, unit, tile, value, plan, staging, seen)
    made.bytes_read = size
    return made


# -------------------------------------------------------------------- inputs


def _arguments(
    bench: Bench, unit: int, tile: Tile | None, records: Records
) -> tuple[list[Any], tuple[ArrayInput, HaloPlan] | None, int]:
    arguments, size = [], 0
    haloed: tuple[ArrayInput, HaloPlan] | None = None
    for source in bench.inputs:
        spec = source.spec if isinstance(source, ArrayInput) else source
        try:
            if spec.how == "nothing":
                arguments.append(tile)
                continue
            if isinstance(source, ArrayInput) and spec.how == "tile":
                if tile is not None and tile.problem and spec.parent == "source":
                    raise StageError(
                        f"tile {tile.name} {tile.address} cannot be read: {tile.problem}"
                    )
                array, plan = source.read(unit)
                if plan is not None and haloed is None:
                    haloed = source, plan
                value: Any = array
                size += array.nbytes
                if not bench.order.numpy and tile is not None:
                    value = labelled_tile(
                        tile,
                        array,
                        source.lattice.tile_dims,
                        before=None if plan is None else plan.inner.start,
                        inner=None if plan is None else plan.inner.shape,
                        name=spec.parent,
                        channels=source.lattice.channels,
                    )
            else:
                value = _other_input(bench, source, spec, unit, records)
                size += int(getattr(value, "nbytes", 0))
        except (OSError, StageError, EOFError) as error:
            raise UnreadableInputError(f"input {spec.parent!r}: {error}") from error
        arguments.append(value)
    return arguments, haloed, size


def _other_input(bench: Bench, source: Any, spec: Input, unit: int, records: Records) -> Any:
    order = bench.order
    if isinstance(source, ArrayInput):
        if spec.how == "only":
            array = source.read_box(0, None)
            if order.numpy:
                return array
            import xarray as xr

            return xr.DataArray(array, dims=source.lattice.tile_dims, name=spec.parent)
        return all_arrays(source)
    if spec.output.kind == "table":
        folder = table_folder(order.project, spec.parent)
        if spec.how == "all":
            return all_tables(folder, bench.lattice)
        table = read_tables(folder, [0 if spec.how == "only" else unit])
        return table.drop(columns=TILE_COLUMN)
    if spec.output.kind == "record":
        texts = records[spec.parent]
        return all_records(texts, bench.lattice) if spec.how == "all" else from_json(texts[0])
    return None


# -------------------------------------------------------------------- outputs


def _stage_output(
    bench: Bench,
    unit: int,
    tile: Tile | None,
    value: Any,
    haloed: tuple[ArrayInput, HaloPlan] | None,
    staging: Path,
    seen: Output | None,
) -> Made:
    order = bench.order
    address = "(all tiles)" if tile is None else f"{tile.name} {tile.address}"
    arrays = [source for source in bench.inputs if isinstance(source, ArrayInput)]
    dims = arrays[0].lattice.tile_dims if arrays else bench.lattice.tile_dims
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
    if wanted is not None and (wrong := wanted.differences(found)):
        origin = "as was declared" if known is None else "as for the other tiles"
        raise StageError(f"tile {address}: the stage returned {wrong}, {origin}")
    made = Made(found)
    if tile is not None and found.kind in ("table", "record"):
        check_names(value, tile)
    if found.kind == "array":
        index = () if tile is None else tile.index
        made.bytes_written = bench.store(found).stage(staging, index, np.asarray(value))
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
    haloed: tuple[ArrayInput, HaloPlan],
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
