"""What a command reads, as paths: the acquisition's own files, or files written for it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import LatticeworkError, StageError
from latticework.io.records import from_json
from latticework.io.tables import TILE_COLUMN, read_tables, table_key
from latticework.lattice.dependencies import OffsetUnits
from latticework.lattice.halo import HaloPlan
from latticework.stages.bench import SOURCE, ArrayInput, Bench, OpenInput
from latticework.stages.collections import AbsentUnits, offset_names
from latticework.stages.command import Command
from latticework.stages.command_files import size_of, write_array
from latticework.stages.inputs import Records, UnreadableInputError, absent_units
from latticework.stages.known import project_source
from latticework.stages.own_files import own_files
from latticework.stages.paths import table_folder, tile_folder
from latticework.stages.placeholders import unknown
from latticework.stages.produced import read_files

OF_ARRAYS, OF_TABLES, OF_RECORDS = ("tiff", "npy", "zarr"), ("parquet", "csv"), ("json",)
ENDINGS = {"tiff": ".tif", "npy": ".npy", "zarr": ".zarr"}
SEVERAL = ("plane", "all tiles", "intersecting")
"""Patterns that read many units of a parent."""


@dataclass(slots=True)
class CommandInputs:
    """Paths of what one unit reads; each is found, or written, when it is first asked for."""

    bench: Bench
    unit: int
    records: Records
    """Records that it reads, as JSON, by parent and unit."""
    absent: Sequence[bytes]
    """By input (or empty, where that is so for none), as int64: units that are holes."""
    scratch: Path
    """Folder for what is written."""
    command: Command
    bytes_read: int = 0
    """Of what was asked for."""
    haloed: tuple[OpenInput, HaloPlan] | None = None
    """What was written with a halo."""
    _known: dict[tuple[int, int, bool], Sequence[Path]] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        """Value of a placeholder that is about inputs, such as ``"neighbour.clean[+z]"``.

        Raises
        ------
        StageError
            If it stands for nothing.
        UnreadableInputError
            If what it stands for cannot be read.
        """
        rest, _, key = name.removesuffix("]").partition("[")
        base, _, of = rest.partition(".")
        number, member = self._parent(base, of)
        if base in ("input", "inputs", "input_list", "inputs_list"):
            every = base.startswith("inputs")
            paths = self._paths(number, self._units(number), member, every=every)
            if base.endswith("_list"):
                return self._list(base.replace("_list", f"-{number}"), paths)
            several = every or self.bench.patterns[number] in SEVERAL
            return self.command.absent if not paths and not several else _one_or_all(paths)
        found = self._neighbours(number)
        named = base.startswith("neighbour_name")
        if base in ("neighbours", "neighbour_names"):
            units = [unit for unit in found.values() if unit is not None]
            if named:
                return [self._name(number, unit) for unit in units]
            return self._paths(number, units, member)
        if not key and len(found) == 1:
            key = next(iter(found))
        if key not in found:
            raise unknown(name, [f"{base}[{offset}]" for offset in found])
        unit = found[key]
        if unit is None:
            return self.command.absent
        if named:
            return self._name(number, unit)
        return _one_or_all(self._paths(number, [unit], member))

    def _parent(self, base: str, of: str) -> tuple[int, str | None]:
        """Number of a parent, and the declared file of it that is meant."""
        names = [source.spec.parent for source in self.bench.inputs]
        if not names:
            raise StageError(f"{{{base}}}: the stage has no parent to read")
        if not of:
            if base.startswith("neighbour") and "neighbours" in self.bench.patterns:
                return self.bench.patterns.index("neighbours"), None
            return 0, None
        if of in names:
            return names.index(of), None
        parent, _, member = of.rpartition(".")
        if parent not in names:
            raise unknown(f"{base}.{of}", [f"{base}.{name}" for name in names])
        return names.index(parent), member

    # ---------------------------------------------------------------- which units

    def _units(self, number: int) -> list[int]:
        """Units that {input} stands for."""
        if self.bench.patterns[number] not in (*SEVERAL, "once", "group"):
            return [self.unit]
        _, units = self.bench.edge(number).inputs(np.array([self.unit], dtype=np.int64))
        there: list[int] = self._absent(number).without(units).tolist()
        return there

    def _neighbours(self, number: int) -> dict[str, int | None]:
        """Neighbours by the name of their offset; None where there is none."""
        if self.bench.patterns[number] != "neighbours":
            raise StageError(
                "{neighbour} stands for nothing: the stage reads no neighbours; give "
                "reads=latticework.neighbours('+z')"
            )
        edge = self.bench.edge(number)
        assert isinstance(edge, OffsetUnits)
        absent = self._absent(number)
        found = edge.neighbours(np.array([self.unit], dtype=np.int64))[0].tolist()
        names = offset_names(edge.offsets, edge.lattice.dims)
        return {
            name: None if unit < 0 or unit in absent else unit
            for name, unit in zip(names, found, strict=True)
        }

    def _absent(self, number: int) -> AbsentUnits:
        return absent_units(self.absent[number] if self.absent else b"")

    def _name(self, number: int, unit: int) -> str:
        return str(self.bench.inputs[number].lattice.tile(unit).name)

    # ---------------------------------------------------------------- where they are

    def _paths(
        self, number: int, units: Sequence[int], member: str | None, *, every: bool = False
    ) -> list[str]:
        """One path for each unit; all of its own files if `every` is asked for."""
        source = self.bench.inputs[number]
        parent = source.spec.parent
        if member is not None and source.spec.output.kind != "files":
            raise StageError(f"{{input.{parent}.{member}}}: {parent} makes no files")
        paths: list[str] = []
        for unit in units:
            try:
                if member is not None:
                    paths.append(str(self._files(source, unit)[member]))
                    continue
                paths += map(str, self._of_unit(number, source, unit, every=every))
            except (OSError, LatticeworkError, EOFError, KeyError) as error:
                raise UnreadableInputError(f"input {parent!r}: {error}") from error
        return paths

    def _of_unit(self, number: int, source: OpenInput, unit: int, *, every: bool) -> Sequence[Path]:
        key = number, unit, every
        if key in self._known:
            return self._known[key]
        own = self._own(source, unit)
        if every and len(own) < 2:
            self._known[key] = self._of_unit(number, source, unit, every=False)
            return self._known[key]
        found = own if every or len(own) == 1 else [self._found(number, source, unit)]
        self.bytes_read += sum(map(size_of, found))
        self._known[key] = found
        return found

    def _own(self, source: OpenInput, unit: int) -> list[Path]:
        """The acquisition's own files of a tile, where they can be given as they are."""
        parent = source.spec.parent
        haloed = isinstance(source, ArrayInput) and source.geometry is not None
        if parent != SOURCE or haloed or self.command.inputs.get(parent) is not None:
            return []
        tile = source.lattice.tile(unit)
        if tile.problem:
            raise StageError(f"tile {tile.name} {tile.address} cannot be read: {tile.problem}")
        found = own_files(self.source(source), unit)
        for path in found:
            path.stat()  # an error names it
        return list(found)

    def _found(self, number: int, source: OpenInput, unit: int) -> Path:
        """What a unit of a parent made; written, where that is no file."""
        spec, form = source.spec, self.command.inputs.get(source.spec.parent)
        if spec.parent == SOURCE or spec.output.kind == "array":
            return self._array(number, source, unit, _allowed(spec.parent, form, OF_ARRAYS))
        if spec.output.kind == "table":
            form = _allowed(spec.parent, form, OF_TABLES)
            folder = table_folder(self.bench.order.project, spec.parent)
            if form != "csv":
                return folder / table_key(unit)
            path = self._place(number, source, unit, ".csv")
            read_tables(folder, [unit]).drop(columns=TILE_COLUMN).to_csv(path, index=False)
            return path
        if spec.output.kind == "record":
            _allowed(spec.parent, form, OF_RECORDS)
            path = self._place(number, source, unit, ".json")
            text = self.records[spec.parent][unit]
            from_json(text)
            path.write_text(text, encoding="utf-8")
            return path
        if spec.output.kind == "files":
            return Path(self._files(source, unit).path)
        raise StageError("it makes nothing that a command could read")

    def _files(self, source: OpenInput, unit: int) -> Any:
        order = self.bench.order
        return read_files(order.project, source.spec.parent, source.lattice, unit)

    def _array(self, number: int, source: OpenInput, unit: int, form: str | None) -> Path:
        tile = source.lattice.tile(unit)
        if source.spec.parent == SOURCE and tile.problem:
            raise StageError(f"tile {tile.name} {tile.address} cannot be read: {tile.problem}")
        if not isinstance(source, ArrayInput):
            raise StageError(
                "its pixels would have to be written to a file for the command, but the stage "
                "reads nothing: give reads=latticework.same_tile(), or {inputs} for files as they "
                "are"
            )
        if source.geometry is not None and unit == self.unit:
            pixels, plan = source.read(unit, self._absent(number))
            if plan is not None and self.haloed is None:
                self.haloed = source, plan
        else:
            pixels = source.read_box(unit, None)
        path = self._place(number, source, unit, ENDINGS[form or "tiff"])
        write_array(path, pixels, source.lattice.tile_dims, tile, source.lattice.channels)
        return path

    def source(self, source: OpenInput) -> Any:
        """The acquisition's reader."""
        if isinstance(source, ArrayInput):
            return source.reader
        order = self.bench.order
        return project_source(order.project, order.lattice_version, order.key)

    def _place(self, number: int, source: OpenInput, unit: int, ending: str) -> Path:
        folder = self.scratch / f"input-{number}-{source.spec.parent}"
        folder.mkdir(parents=True, exist_ok=True)
        name = tile_folder(unit, self._name(number, unit)).rpartition("/")[2]
        return folder / f"{name}{ending}"

    def _list(self, name: str, paths: Sequence[str]) -> str:
        path = self.scratch / f"{name}.txt"
        if any("\n" in line for line in paths):
            path = path.with_suffix(".json")
            path.write_text(json.dumps(list(paths)), encoding="utf-8")
        else:
            path.write_text("".join(f"{line}\n" for line in paths), encoding="utf-8")
        return str(path)


def _allowed(parent: str, form: str | None, formats: Sequence[str]) -> str | None:
    if form is not None and form not in formats:
        raise StageError(
            f"inputs={{{parent!r}: {form!r}}}: what it makes can be written as {', '.join(formats)}"
        )
    return form


def _one_or_all(paths: list[str]) -> str | list[str]:
    return paths[0] if len(paths) == 1 else paths
