"""Stages that a project has or had, and the lattices on which their units lie."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError, ProjectError, StageError, TileNotFoundError
from latticework.lattice.lattice import Lattice
from latticework.lattice.selection import positions_of
from latticework.project.pipeline import SOURCE
from latticework.stages.lattices import TILES, UNIT
from latticework.stages.reads import reads_from_json, units_key

if TYPE_CHECKING:
    from latticework.project.project import Project

REMOVED = " (removed)"
"""What follows the name of a stage that is not in the pipeline any more."""


@dataclass(frozen=True)
class KnownStage:
    """A stage that a project has or had."""

    id: int
    """Number in the journal."""
    name: str
    """Name that it has or had."""
    definition: Mapping[str, Any]
    """Its last definition."""
    defined: float
    """Since when that has been its definition, seconds since 1970."""
    created: float
    """When it was added."""
    removed: float | None
    """When it was removed; None if it is there."""

    @property
    def shown(self) -> str:
        """Its name in tables: ``"clean (removed)"`` once it is not there any more."""
        return self.name if self.removed is None else self.name + REMOVED

    def is_called(self, name: str) -> bool:
        """Whether it goes by that name."""
        return name in (self.name, self.shown)


class KnownStages:
    """All stages that a project has or had.

    Parameters
    ----------
    project
        The project.
    """

    def __init__(self, project: "Project") -> None:
        self.project = project
        self.by_id = {
            number: KnownStage(number, name, json.loads(definition), *times)
            for number, name, definition, *times in project.query(
                "select id, name, definition, coalesce((select max(since) from definitions d "
                "where d.stage = s.id), created), created, removed from stages s order by id"
            )
        }

    def named(self, name: str) -> list[KnownStage]:
        """The stage of that name, or those that were removed; ``"clean (removed)"`` for these.

        Raises
        ------
        ProjectError
            If there never was one.
        """
        found = [stage for stage in self.by_id.values() if stage.is_called(name)]
        now = [stage for stage in found if stage.shown == name]
        if not found:
            names = dict.fromkeys(stage.shown for stage in self.by_id.values())
            raise ProjectError(
                f"there is no stage {name!r}, and never was; there are "
                f"{', '.join(names) or 'none yet'}"
            )
        return now or found

    def called_at(self, name: str, at: float) -> KnownStage | None:
        """The stage that had a name at a time, or the next to have it; None if there was none."""
        named = [
            stage
            for stage in self.by_id.values()
            if stage.name == name and (stage.removed is None or stage.removed >= at)
        ]
        then = [stage for stage in named if stage.created <= at]
        return then[-1] if then else next(iter(named), None)

    @cached_property
    def keys(self) -> dict[int, str]:
        """Key of the lattice of every stage's units, by the stage's id."""
        nodes = {node.id: node.key for node in self.project.pipeline}
        keys: dict[int, str] = {}
        for number, stage in self.by_id.items():
            keys[number] = nodes[number] if number in nodes else self._key(stage, nodes)
        return keys

    def _key(self, stage: KnownStage, nodes: Mapping[int, str], deep: int = 0) -> str:
        """Key of the lattice of a stage that was removed, from what it and its parents read."""
        parents: dict[str, str] = {}
        for name in stage.definition["parents"]:
            above = None if name == SOURCE else self.called_at(name, stage.defined)
            if above is None or deep > len(self.by_id):
                parents[name] = TILES
            elif above.id in nodes:
                parents[name] = nodes[above.id]
            else:
                parents[name] = self._key(above, nodes, deep + 1)
        try:
            return units_key(stage.name, reads_from_json(stage.definition["reads"]), parents)
        except StageError:
            return TILES

    def lattice(self, key: str) -> Lattice:
        """The lattice of a key."""
        if key == TILES:
            return self.project.lattice
        return self.project.pipeline.lattices[key]

    def lattice_of(self, stage: int) -> Lattice:
        """The lattice of a stage's units."""
        return self.lattice(self.keys[stage])


def units_at(lattice: Lattice, labels: Mapping[str, Any]) -> np.ndarray:
    """Ids of the units with these labels: single ones, lists, or slices with both ends."""
    rows = np.ones(len(lattice), dtype=bool)
    for dim, wanted in positions_of(lattice, labels).items():
        column = lattice.dims.index(dim)
        chosen = np.zeros(len(lattice.labels[dim]), dtype=bool)
        chosen[wanted] = True
        rows &= chosen[lattice.index[:, column]]
    return np.asarray(lattice.ids[rows])


def unit_called(lattice: Lattice, id: int | str) -> int:
    """The unit with this id or name.

    Raises
    ------
    TileNotFoundError
        If there is none, or several have that name.
    """
    if not isinstance(id, str):
        return int(lattice.ids[lattice.rows_of([int(id)])[0]])
    found = np.flatnonzero(lattice.names == id)
    if len(found) != 1:
        raise TileNotFoundError(
            f"{len(found) or 'no'} tile(s) are called {id!r}: give its id, or labels as in z=3"
        )
    return int(lattice.ids[found[0]])


def chosen_units(
    known: KnownStages,
    stages: Iterable[KnownStage],
    id: int | str | None,
    labels: Mapping[str, Any],
    *,
    strict: bool,
) -> dict[str, tuple[list[int], np.ndarray]]:
    """Units that an id, a name or labels mean, for each of some stages.

    Parameters
    ----------
    known
        All stages.
    stages
        Those that are asked about.
    id, labels
        What is wanted: a unit, or labels along some axes of the lattice.
    strict
        Whether the stages were named: then their lattice must have what is wanted. Else only
        stages whose lattice has it are meant, and ids are those of the acquisition's tiles.

    Returns
    -------
    dict
        By key of a lattice: ids of stages, and the units.
    """
    groups: dict[str, list[int]] = {}
    for stage in stages:
        groups.setdefault(known.keys[stage.id], []).append(stage.id)
    if not strict:
        if id is None:
            units_at(known.project.lattice, labels)  # what no axis or tile is called is an error
        else:
            groups = {key: ids for key, ids in groups.items() if key == TILES}
    found = {}
    for key, ids in groups.items():
        lattice = known.lattice(key)
        if key == UNIT:
            if strict:
                found[key] = ids, np.zeros(1, dtype=np.int64)
            continue
        try:
            units = units_at(lattice, labels) if id is None else _one(lattice, id)
        except LatticeError:
            if strict or id is not None:
                raise
            continue
        found[key] = ids, units
    return found


def _one(lattice: Lattice, id: int | str) -> np.ndarray:
    return np.array([unit_called(lattice, id)], dtype=np.int64)
