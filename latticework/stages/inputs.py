"""What the callable of a unit is given: for each parent what the stage reads of it.

=====================  ====================================================================
same tile              the tile, with its halo
neighbours             the tile, then its neighbours as `Tiles`
intersecting           the tiles as `Tiles`, each cut to what meets the unit
plane, all tiles       one lazy array, or one table (`latticework.stages.gathered`)
nothing                the unit's `Tile`
=====================  ====================================================================

What was made once for the whole lattice, or once for a plane, is given as it is to every unit
that reads it. Where there is none, because it is absent, None is given.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import StageError
from latticework.io.records import from_json
from latticework.io.tables import TILE_COLUMN, read_tables, table_key
from latticework.lattice.dependencies import OffsetUnits
from latticework.lattice.geometry import Box
from latticework.lattice.halo import Halo, HaloPlan
from latticework.lattice.intersections import crop, extent_um
from latticework.lattice.lattice import Lattice
from latticework.lattice.tile import Tile
from latticework.stages.bench import SOURCE, ArrayInput, Bench, OpenInput
from latticework.stages.collections import AbsentUnits, Tiles, offset_names, size_of
from latticework.stages.gathered import all_arrays, all_files, all_records, all_tables
from latticework.stages.labelled import labelled_crop, labelled_tile
from latticework.stages.paths import table_folder
from latticework.stages.produced import read_files

if TYPE_CHECKING:
    import pandas as pd


class UnreadableInputError(Exception):
    """An input could not be read: the cause is not the stage's code."""


Records = Mapping[str, Mapping[int, str]]
"""Records that a unit reads, as JSON, by parent and its unit."""

UNREADABLE = (OSError, StageError, EOFError)
"""What readers and stores raise."""


def arguments_of(
    bench: Bench, unit: int, tile: Tile | None, records: Records, absent: Sequence[bytes] = ()
) -> tuple[list[Any], tuple[OpenInput, HaloPlan] | None, int]:
    """Arguments of the call, what it was given with a halo, and the bytes that were read.

    Parameters
    ----------
    bench
        What is opened for the stage.
    unit, tile
        The unit, and its address; None for a reduction over all tiles.
    records
        Records that it reads.
    absent
        For each input (or empty, where that is so for none), as int64: units of the parent that
        are holes.

    Raises
    ------
    UnreadableInputError
        Naming the parent. `Tiles` raise it when they are asked for something.
    """
    reading = Reading(bench, unit, tile, records, absent)
    arguments: list[Any] = []
    for number, pattern in enumerate(bench.patterns):
        try:
            arguments.extend(FORMS[pattern](reading, number))
        except UNREADABLE as error:
            parent = bench.inputs[number].spec.parent
            raise UnreadableInputError(f"input {parent!r}: {error}") from error
    return arguments, reading.haloed, reading.size


def lazily_read(arguments: Sequence[Any]) -> int:
    """Bytes that a call read of what it was given lazily."""
    return sum(given.bytes_read for given in arguments if isinstance(given, Tiles))


def _table_of(file: Path, unit: int) -> "pd.DataFrame":
    """A table that many units read, from memory as long as its file is the same."""
    try:
        found = file.stat()
    except OSError:  # reading it says what is wrong
        return _table_in(str(file), unit, ())
    return _table_in(str(file), unit, (found.st_ino, found.st_mtime_ns, found.st_size))


@lru_cache(maxsize=4)
def _table_in(file: str, unit: int, version: tuple[int, ...]) -> "pd.DataFrame":
    del version  # another one is another table
    return read_tables(Path(file).parents[len(Path(table_key(unit)).parts) - 1], [unit]).drop(
        columns=TILE_COLUMN
    )


@lru_cache(maxsize=64)
def absent_units(ids: bytes) -> AbsentUnits:
    """Absent units from their int64 bytes; those of a batch are the same for all of its units."""
    return AbsentUnits(np.frombuffer(ids, dtype="<i8"))


class Reading:
    """One unit reading its inputs."""

    __slots__ = ("_absent", "bench", "haloed", "records", "size", "tile", "unit")

    def __init__(
        self,
        bench: Bench,
        unit: int,
        tile: Tile | None,
        records: Records,
        absent: Sequence[bytes],
    ) -> None:
        self.bench = bench
        self.unit = unit
        self.tile = tile
        self.records = records
        self._absent = absent
        self.haloed: tuple[OpenInput, HaloPlan] | None = None
        self.size = 0

    def absent(self, number: int) -> AbsentUnits:
        """Units of an input that are holes."""
        return absent_units(self._absent[number] if self._absent else b"")

    def units(self, number: int) -> np.ndarray:
        """Units of an input that the unit reads, with those that are absent."""
        return self.bench.edge(number).inputs(np.array([self.unit], dtype=np.int64))[1]

    # ---------------------------------------------------------------- of one unit of a parent

    def value(self, number: int, unit: int) -> Any:
        """What one unit of an input made, whole."""
        source, order = self.bench.inputs[number], self.bench.order
        spec = source.spec
        if isinstance(source, ArrayInput):
            self._check_readable(source, unit)
            return self._labelled(source, unit, source.read_box(unit, None))
        if spec.output.kind == "table":
            table = read_tables(table_folder(order.project, spec.parent), [unit])
            return table.drop(columns=TILE_COLUMN)
        if spec.output.kind == "record":
            return from_json(self._record(spec.parent, unit))
        if spec.output.kind == "files":
            return read_files(order.project, spec.parent, source.lattice, unit)
        return None

    def counted(self, value: Any) -> Any:
        """An input, counted as read."""
        self.size += size_of(value)
        return value

    def _record(self, parent: str, unit: int) -> str:
        try:
            return self.records[parent][unit]
        except KeyError:
            raise StageError(
                f"no record of unit {unit} came with the work: run it again, and report this "
                "with the project's journal if it persists"
            ) from None

    def _check_readable(self, source: ArrayInput, unit: int) -> None:
        problems = source.lattice.problems
        if problems and unit in problems and source.spec.parent == SOURCE:
            tile = source.lattice.tile(unit)
            raise StageError(f"tile {tile.name} {tile.address} cannot be read: {tile.problem}")

    def _labelled(
        self, source: ArrayInput, unit: int, array: np.ndarray, plan: HaloPlan | None = None
    ) -> Any:
        if self.bench.order.numpy:
            return array
        lattice, name = source.lattice, source.spec.parent
        if not lattice.dims:
            import xarray as xr

            return xr.DataArray(array, dims=lattice.tile_dims, name=name)
        own = self.tile if unit == self.unit and lattice is self.bench.lattice else None
        return labelled_tile(
            own or lattice.tile(unit),
            array,
            lattice.tile_dims,
            before=None if plan is None else plan.inner.start,
            inner=None if plan is None else plan.inner.shape,
            name=name,
            channels=lattice.channels,
        )

    # ---------------------------------------------------------------- forms

    def nothing(self, number: int) -> list[Any]:  # noqa: ARG002  as the other forms
        """The unit's address."""
        return [self.tile]

    def same_tile(self, number: int) -> list[Any]:
        """The same tile, with its halo."""
        source = self.bench.inputs[number]
        if not isinstance(source, ArrayInput) or source.geometry is None:
            return [self.counted(self.value(number, self.unit))]
        self._check_readable(source, self.unit)
        array, plan = source.read(self.unit, self.absent(number))
        self.size += array.nbytes
        if plan is not None and self.haloed is None:
            self.haloed = source, plan
        return [self._labelled(source, self.unit, array, plan)]

    def one(self, number: int) -> list[Any]:
        """What was made once: of the lattice, or of the unit's plane."""
        unit = int(self.units(number)[0])
        if unit in self.absent(number):
            return [None]
        spec = self.bench.inputs[number].spec
        if spec.output.kind == "table":  # every unit is given the same one
            file = table_folder(self.bench.order.project, spec.parent) / table_key(unit)
            return [self.counted(_table_of(file, unit).copy())]
        return [self.counted(self.value(number, unit))]

    def neighbours(self, number: int) -> list[Any]:
        """The tile, and its neighbours by offset."""
        edge, lattice = self.bench.edge(number), self.bench.inputs[number].lattice
        assert isinstance(edge, OffsetUnits)
        assert self.tile is not None
        absent = self.absent(number)
        ids = edge.neighbours(np.array([self.unit], dtype=np.int64))[0].tolist()
        found = dict(zip(offset_names(edge.offsets, lattice.dims), ids, strict=True))
        source = self.bench.inputs[number]
        in_parts = not source.spec.reads.whole and isinstance(source, ArrayInput)
        tiles = Tiles(
            self.tile,
            {key: id >= 0 and id not in absent for key, id in found.items()},
            self._lazily(number, lambda key: self.value(number, found[key])),
            lambda key: lattice.tile(found[key]),
            part=self._parts(number, {None: self.unit, **found}, own=in_parts),
        )
        return [self.tile if in_parts else self.counted(self.value(number, self.unit)), tiles]

    def intersecting(self, number: int) -> list[Any]:
        """The tiles that meet the unit, by id, cut to it."""
        source, absent = self.bench.inputs[number], self.absent(number)
        assert self.tile is not None
        ids = self.units(number)
        there = absent.without(ids)
        extent = extent_um(self.tile, source.spec.halo)
        self._frame(source, source.spec.halo)

        def box(id: int) -> Box:
            return crop(source.lattice, id, extent)

        def load(id: int) -> Any:
            if isinstance(source, ArrayInput):
                return self._cut(source, id, box(id))
            return self.value(number, id)

        return [
            Tiles(
                self.tile,
                dict.fromkeys(there.tolist(), True),
                self._lazily(number, load),
                source.lattice.tile,
                absent=np.setdiff1d(ids, there).tolist(),
                box=box,
                extent_um=extent,
                part=self._parts(number, {id: id for id in there.tolist()}),
            )
        ]

    def gathered(self, number: int) -> list[Any]:
        """Every tile of a plane, or of the lattice."""
        source, order = self.bench.inputs[number], self.bench.order
        units, parent = self.absent(number).without(self.units(number)), source.spec.parent
        if isinstance(source, ArrayInput):
            return [all_arrays(source, units)]
        if source.spec.output.kind == "table":
            folder = table_folder(order.project, parent)
            return [self.counted(all_tables(folder, source.lattice, units))]
        if source.spec.output.kind == "record":
            texts = [self._record(parent, unit) for unit in units.tolist()]
            return [self.counted(all_records(texts, source.lattice, units))]
        if source.spec.output.kind == "files":
            return [all_files(order.project, parent, source.lattice, units)]
        return [None]

    # ---------------------------------------------------------------- parts of these

    def _lazily(self, number: int, load: Callable[[Any], Any]) -> Callable[[Any], Any]:
        parent = self.bench.inputs[number].spec.parent

        def read(key: Any) -> Any:
            try:
                return load(key)
            except UNREADABLE as error:
                where = "" if key is None else f" at {key!r}"
                raise UnreadableInputError(f"input {parent!r}{where}: {error}") from error

        return read

    def _parts(
        self, number: int, units: Mapping[Any, int], *, own: bool = False
    ) -> Callable[[Any, Box], Any] | None:
        """How boxes of tiles are read, of an input that makes arrays."""
        source = self.bench.inputs[number]
        if not isinstance(source, ArrayInput):
            return None

        def read(key: Any, box: Box) -> Any:
            if key is None and not own:
                raise StageError(
                    f"tile {self.tile.name if self.tile else ''} itself was given to the stage: "
                    "take its pixels from there, or read neighbours(..., whole=False)"
                )
            return self._cut(source, units[key], box)

        def guarded(key: Any, box: Box) -> Any:
            return self._lazily(number, lambda of: read(of, box))(key)

        return guarded

    def _cut(self, source: ArrayInput, unit: int, box: Box) -> Any:
        self._check_readable(source, unit)
        array = source.read_box(unit, box)
        if self.bench.order.numpy:
            return array
        return labelled_crop(
            *(source.lattice.tile(unit), array, source.lattice.tile_dims, box),
            name=source.spec.parent,
            channels=source.lattice.channels,
        )

    def _frame(self, source: OpenInput, halo: Halo | None) -> None:
        """Have the margin around a unit cut off its result, as a halo is."""
        if halo is None or halo.empty or self.haloed is not None or self.tile is None:
            return
        own = self.tile.box.shift(halo.before)
        whole = Box.whole([n + a for n, a in zip(own.stop, halo.after, strict=True)])
        lattice: Lattice = self.bench.lattice
        plan = HaloPlan(
            *(whole.shape, (), (), ((0, 0),) * whole.ndim, halo.modes), keep=whole, inner=own
        )
        self.haloed = OpenInput(source.spec, lattice), plan


FORMS: Mapping[str, Callable[[Reading, int], list[Any]]] = {
    "nothing": Reading.nothing,
    "same tile": Reading.same_tile,
    "once": Reading.one,
    "group": Reading.one,
    "neighbours": Reading.neighbours,
    "intersecting": Reading.intersecting,
    "plane": Reading.gathered,
    "all tiles": Reading.gathered,
}
"""How a parent is given, by `latticework.stages.bench.given_pattern`."""
