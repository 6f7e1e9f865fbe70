"""Whether what complete units have made is still there, and whole.

Existence and size of every file are compared with what the journal recorded when it was published;
on request, everything is also read and decoded. What is damaged is made again by the next run, and
then what read it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.tables import read_tables, table_key
from latticework.io.tile_array import TileArray
from latticework.lattice.states import State
from latticework.project.ledger import FOUND_DAMAGED
from latticework.project.pipeline import Node
from latticework.stages.command_files import size_of
from latticework.stages.paths import array_folder, files_folder, table_folder, tile_folder
from latticework.stages.produced import FACTS, read_files

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.folder import ProjectFolder


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with the output of one unit."""

    stage: str
    """Name of the stage."""
    unit: int
    """Id of the unit."""
    file: str
    """The file or folder."""
    problem: str
    """What is wrong with it."""
    waits: bool = False
    """Whether that was found before: it waits to be made again."""


Look = Callable[[int, int | None], tuple[Path, str] | None]
"""Looks at a unit, with the bytes that it should have: the file and the problem, or None."""


def verify(
    project: "ProjectFolder",
    stages: Iterable[str] | None = None,
    *,
    thorough: bool = False,
    mark: bool = True,
) -> "pd.DataFrame":
    """See `latticework.project.controls.Controls.verify`."""
    names = [node.name for node in project.pipeline if not node.is_source]
    nodes = [project.pipeline[name] for name in (names if stages is None else stages)]
    found = [damage for node in nodes for damage in damaged(project, node, thorough=thorough)]
    units: dict[str, list[int]] = {}
    for damage in found:
        if not damage.waits:
            units.setdefault(damage.stage, []).append(damage.unit)
    if mark and units:
        project.ask("make again", {"units": units})
    return _table(project, found)


def damaged(project: "ProjectFolder", node: Node, *, thorough: bool = False) -> Iterator[Damage]:
    """What is wrong with the outputs of a stage's complete units, and of those found before."""
    if node.is_source or node.output is None:
        return
    before = set(not_mended(project, node).tolist())
    complete = np.flatnonzero(node.units.state == State.COMPLETE)
    units = np.union1d(complete, np.array(sorted(before), dtype=np.int64))
    if not len(units):
        return
    try:
        look = _LOOKS[node.output.kind](project, node, units, thorough)
    except KeyError:
        return  # it keeps nothing
    except StoreError as error:
        folder, why = str(array_folder(project.path, node.name)), str(error)

        def look(_unit: int, _size: int | None) -> tuple[Path, str]:
            return Path(folder), why

    sizes = _sizes(project, node)
    for unit in units.tolist():
        found = look(unit, sizes.get(unit))
        if found is None and unit in before:  # a look may see less than the one that found it
            files = published_files(project, node)(unit)
            found = (files[0] if files else project.path), "it was found damaged before"
        if found is not None:
            yield Damage(node.name, unit, str(found[0]), found[1], unit in before)


def not_mended(project: "ProjectFolder", node: Node) -> np.ndarray:
    """Units of which the output was found damaged, and has not been made again since."""
    rows = project.query(
        "select after, units from changes where stage = ? and what = ? order by id",
        (node.id, FOUND_DAMAGED),
    )
    found = {unit: after for after, ids in rows for unit in np.frombuffer(ids, "<i8").tolist()}
    if not found:
        return np.zeros(0, dtype=np.int64)
    made = project.query(
        "select unit, max(id) from attempts where stage = ? and outcome = 1 and id > ? "
        "group by unit",
        (node.id, min(found.values())),
    )
    for unit, attempt in made:
        if attempt > found.get(unit, attempt):
            del found[unit]
    units = np.array(sorted(found), dtype=np.int64)
    gone = np.isin(node.units.state[units], (State.ABSENT, State.COMPLETE))
    waits: np.ndarray = units[(node.units.published[units] > 0) & ~gone]
    return waits


def _sizes(project: "ProjectFolder", node: Node) -> dict[int, int]:
    """Bytes that units published, as their last successful attempts recorded them."""
    sql = (
        "select unit, bytes_written, max(id) from attempts where stage = ? and outcome = 1 "
        "group by unit"
    )
    return {unit: size for unit, size, _ in project.query(sql, (node.id,)) if size}


def published_files(project: "ProjectFolder", node: Node) -> Callable[[int], list[Path]]:
    """Which files a unit of a stage has published."""
    kind = None if node.output is None else node.output.kind
    if kind == "array":
        store = TileArray.open(array_folder(project.path, node.name), cores=1)
        return lambda unit: [
            store.path / key for key in store.layout.keys(store.layout.place(node.lattice, unit))
        ]
    if kind == "table":
        folder = table_folder(project.path, node.name)
        return lambda unit: [folder / table_key(unit)]
    if kind == "files":
        own = files_folder(project.path, node.name)
        return lambda unit: [own / tile_folder(unit, node.lattice.tile(unit).name) / FACTS]
    return lambda _unit: []


# -------------------------------------------------------------------- by kind


def _of_arrays(project: "ProjectFolder", node: Node, _units: np.ndarray, thorough: bool) -> Look:  # noqa: FBT001
    store = TileArray.open(array_folder(project.path, node.name), cores=1)
    files_of = published_files(project, node)

    def look(unit: int, size: int | None) -> tuple[Path, str] | None:
        files = files_of(unit)
        problem = _wrong_size(files, size)
        if problem is None and thorough:
            place = store.layout.place(node.lattice, unit)
            problem = _unreadable(files[0], lambda: store.read(place))
        return problem

    return look


def _of_tables(project: "ProjectFolder", node: Node, _units: np.ndarray, thorough: bool) -> Look:  # noqa: FBT001
    folder = table_folder(project.path, node.name)

    def look(unit: int, size: int | None) -> tuple[Path, str] | None:
        file = folder / table_key(unit)
        problem = _wrong_size([file], size)
        if problem is None and thorough:
            problem = _unreadable(file, lambda: read_tables(folder, [unit]))
        return problem

    return look


def _of_files(project: "ProjectFolder", node: Node, _units: np.ndarray, _thorough: bool) -> Look:  # noqa: FBT001
    folder = files_folder(project.path, node.name)

    def look(unit: int, size: int | None) -> tuple[Path, str] | None:
        own = folder / tile_folder(unit, node.lattice.tile(unit).name)
        problem = _unreadable(own, lambda: read_files(project.path, node.name, node.lattice, unit))
        if problem is not None or size is None:
            return problem
        there = size_of(own) - (own / FACTS).stat().st_size
        return None if there == size else (own, _sizes_differ(there, size))

    return look


def _of_records(project: "ProjectFolder", node: Node, units: np.ndarray, _thorough: bool) -> Look:  # noqa: FBT001
    there = project.records(node, units)

    def look(unit: int, _size: int | None) -> tuple[Path, str] | None:
        lost = unit not in there
        return (project.path / "journal.sqlite", "its record is not there") if lost else None

    return look


_LOOKS: dict[str, Callable[["ProjectFolder", Node, np.ndarray, bool], Look]] = {
    "array": _of_arrays,
    "table": _of_tables,
    "files": _of_files,
    "record": _of_records,
}


def _wrong_size(files: list[Path], size: int | None) -> tuple[Path, str] | None:
    total = 0
    for file in files:
        try:
            found = file.stat()
        except FileNotFoundError:
            return file, "it is not there"
        except OSError as error:
            return file, f"it cannot be looked at: {error.strerror}"
        if not file.is_file():
            return file, "it is no file"
        if not found.st_size:
            return file, "it is empty"
        total += found.st_size
    return None if size is None or total == size else (files[0], _sizes_differ(total, size))


def _sizes_differ(there: int, size: int) -> str:
    return f"it has {there:,} bytes, but {size:,} were published"


def _unreadable(file: Path, read: Callable[[], Any]) -> tuple[Path, str] | None:
    try:
        read()
    except (StoreError, OSError, ValueError) as error:
        return file, f"it cannot be read: {error}"
    return None


def _table(project: "ProjectFolder", found: list[Damage]) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    for damage in found:
        node = project.pipeline[damage.stage]
        tile = node.lattice.tile(damage.unit)
        named = "" if node.reduction else f"{tile.name} {tile.address}"
        rows.append((damage.stage, damage.unit, named, damage.file, damage.problem, damage.waits))
    return pd.DataFrame(rows, columns=["stage", "unit", "tile", "file", "problem", "waits"])
