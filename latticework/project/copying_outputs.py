"""Results that go along into a copy of a project: those that the copy would make just the same."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latticework.io.tables import TILE_COLUMN, read_tables, stage_table
from latticework.lattice.states import State
from latticework.project.deriving import inputs_read
from latticework.project.desk import Desk
from latticework.project.fingerprints import mix
from latticework.project.outputs import open_reader
from latticework.project.pipeline import SOURCE, Edge, Node, Pipeline
from latticework.project.publishing import Publisher
from latticework.stages.bench import ArrayInput
from latticework.stages.lattices import TILES, UNIT
from latticework.stages.paths import files_folder, staging_folder, table_folder, tile_folder
from latticework.stages.produced import staged_files

if TYPE_CHECKING:
    from latticework.project.project import Project

AT_ONCE = 4096
"""Units that are copied before they are recorded."""


def copy_outputs(project: "Project", new: "Project", ids: np.ndarray) -> None:
    """Copy results of units that read just what they read in the original.

    Parameters
    ----------
    project
        The original.
    new
        Its copy, with stages and without results.
    ids
        For each tile of the copy, the id that it has in the original.
    """
    with new.lock().held():
        session = new.start_session()
        staging = staging_folder(new.path, session)
        copier = Copier(project, new, ids, session)
        for node in copier.desk.pipeline:
            copier.copy(node, staging)
        shutil.rmtree(staging, ignore_errors=True)
        new.close_writer()
    new.forget()


class Copier:
    """Copies results from one project to another.

    Parameters
    ----------
    project, new, ids
        See `copy_outputs`.
    session
        Of the copy, that its attempts are recorded under.
    """

    def __init__(self, project: "Project", new: "Project", ids: np.ndarray, session: int) -> None:
        self.project, self.new, self.session = project, new, session
        self.old: Pipeline = project.pipeline
        self.desk = Desk(new)
        self.publisher = Publisher(self.desk, lambda _node: None)
        self.whole = len(ids) == len(project.lattice)
        self._readers: dict[str, ArrayInput] = {}
        self._places: dict[str, np.ndarray] = {SOURCE: ids}
        self._copied = {SOURCE: np.ones(len(ids), dtype=bool)}

    def copy(self, node: Node, staging: Path) -> None:
        """Copy what can be of one stage; its parents have been."""
        old = self.old[node.name]
        self._places[node.name] = self._places_of(node, old)
        self._copied[node.name] = np.zeros(len(node.units), dtype=bool)
        if old.output is None or not old.settled:
            return
        units = np.flatnonzero(self._alike(node, old))
        if not len(units):
            return
        self.publisher.settle(node, old.output)
        for start in range(0, len(units), AT_ONCE):
            some = units[start : start + AT_ONCE]
            places = self._places[node.name][some]
            for unit, place in zip(some.tolist(), places.tolist(), strict=True):
                self._copy_unit(node, old, unit, place, staging)
            self._record(node, old, some, places)
        self._copied[node.name][units] = True

    # ---------------------------------------------------------------- which

    def _places_of(self, node: Node, old: Node) -> np.ndarray:
        """For each unit of a stage the one that it was in the original; -1 where there is none."""
        n = len(node.units)
        if node.key == TILES:
            return self._places[SOURCE]
        if self.whole or node.key == UNIT or node.key.startswith("own:"):
            return np.arange(n)
        dim = node.lattice.dims[0]  # planes: by their labels
        then = {label: unit for unit, label in enumerate(labels_of(old, dim))}
        return np.array([then.get(label, -1) for label in labels_of(node, dim)], dtype=np.int64)

    def _alike(self, node: Node, old: Node) -> np.ndarray:
        """For each unit, whether it is complete in the original and read the same there."""
        places = self._places[node.name]
        alike = places >= 0
        alike[alike] = old.units.state[places[alike]] == State.COMPLETE
        alike &= node.units.state != State.ABSENT
        units = np.flatnonzero(alike)
        for edge, before in zip(node.edges, old.edges, strict=True):
            if len(units):
                units = units[self._reads_alike(edge, before, units, places[units])]
        found = np.zeros(len(node.units), dtype=bool)
        found[units] = True
        return found

    def _reads_alike(
        self, edge: Edge, before: Edge, units: np.ndarray, places: np.ndarray
    ) -> np.ndarray:
        """For each of some units, whether all that it reads is copied, and all that it read."""
        n = len(units)
        which, read = inputs_read(self.desk.pipeline, edge, units)
        which_then, read_then = inputs_read(self.old, before, places)
        missing = np.bincount(which, ~self._copied[edge.parent][read], minlength=n) > 0
        now = reads_sum(which, self._places[edge.parent][read], n)
        result: np.ndarray = (now == reads_sum(which_then, read_then, n)) & ~missing
        return result

    # ---------------------------------------------------------------- how

    def _copy_unit(self, node: Node, old: Node, unit: int, place: int, staging: Path) -> None:
        assert old.output is not None
        if old.output.kind == "array":
            store = self.publisher.store(node)
            if old.name not in self._readers:
                self._readers[old.name] = open_reader(self.project, old)
            pixels = self._readers[old.name].read_box(place, None)
            store.stage(staging, store.layout.place(node.lattice, unit), pixels)
        elif old.output.kind == "table":
            table = read_tables(table_folder(self.project.path, old.name), [place])
            stage_table(staging, unit, table.drop(columns=TILE_COLUMN))
        elif old.output.kind == "files":
            then = files_folder(self.project.path, old.name) / folder_of(old, place)
            shutil.copytree(then, staged_files(staging, folder_of(node, unit)))
        else:
            return
        self.publisher.publish(node, unit, staging)

    def _record(self, node: Node, old: Node, units: np.ndarray, places: np.ndarray) -> None:
        """Say in the copy's journal where these results come from."""
        journal, own, then = self.desk.journal, node.units, old.units
        fingerprints = self.desk.pipeline.expected(node, units)
        worker = journal.worker_id(f"copied from {self.project.path}", "")
        ended, seconds = then.ended[places], then.duration_s[places]
        blank = (None,) * 4
        journal.add_attempts(
            (node.id, unit, 1, 1, self.session, end - length, end, *blank, fingerprint, worker)
            for unit, end, length, fingerprint in zip(
                units.tolist(),
                ended.tolist(),
                seconds.tolist(),
                fingerprints.view("i8").tolist(),
                strict=True,
            )
        )
        if old.output is not None and old.output.kind == "record":
            texts = self.project.records(old, places)
            journal.write_many(
                "insert or replace into records values (?, ?, ?)",
                [
                    (node.id, unit, texts[place])
                    for unit, place in zip(units.tolist(), places.tolist(), strict=True)
                ],
            )
        own.attempts[units] = own.published[units] = 1
        own.fingerprint[units] = fingerprints
        own.ended[units], own.duration_s[units] = ended, seconds
        self.desk.pipeline.derive_node(node)


def folder_of(node: Node, unit: int) -> str:
    """Folder of a unit's files."""
    return tile_folder(unit, node.lattice.tile(unit).name)


def labels_of(node: Node, dim: str) -> list[object]:
    """Labels of a node's units along a dim."""
    column = node.lattice.dims.index(dim)
    found: list[object] = node.lattice.labels[dim][node.lattice.index[:, column]].tolist()
    return found


def reads_sum(which: np.ndarray, read: np.ndarray, n: int) -> np.ndarray:
    """A number for each of `n` units that tells what it reads, in whatever order."""
    total = np.zeros(n, dtype=np.uint64)
    np.add.at(total, which, mix(read.astype(np.uint64)))
    return total
