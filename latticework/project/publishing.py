"""What comes back from workers appears where everyone reads it: settled, published, dropped."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latticework.io.layout import ArrayLayout
from latticework.io.publish import publish
from latticework.io.tables import table_key
from latticework.io.tile_array import TileArray
from latticework.lattice.lattice import Lattice
from latticework.project.outage import Outage
from latticework.project.pipeline import Node
from latticework.stages.bench import plan_layout
from latticework.stages.lattices import lattice_grows
from latticework.stages.outputs import Output
from latticework.stages.paths import (
    array_folder,
    previews_folder,
    stage_folder,
    table_folder,
    tile_folder,
)
from latticework.stages.produced import publish_files
from latticework.stages.worker import BatchReport, disagreeing

if TYPE_CHECKING:
    from latticework.project.desk import Desk

UNSETTLED = 0
"""Stands for no definition: what the stage makes has to be found again."""


class Publisher:
    """Puts the outputs of units in place, for one session.

    Parameters
    ----------
    desk
        The project's desk.
    outdated
        Called with a node whose readers need new work orders.
    """

    def __init__(self, desk: "Desk", outdated: Callable[[Node], None]) -> None:
        self.desk, self.outdated = desk, outdated
        self._stores: dict[str, TileArray] = {}
        self.outage: Outage | None = None

    def _again(self, error: OSError) -> bool:
        """Whether to try again what could not be written; waits for room."""
        return self.outage is not None and self.outage.bear(error)

    def agreed(self, node: Node, report: BatchReport) -> BatchReport:
        """The report, its units failed if they made something else than those before them.

        The first that make something settle what the stage makes. Those that make nothing settle
        that only for as long as no other makes something.
        """
        found, known = report.output, node.output if node.settled else None
        if found is None or found == known:
            return report
        if known is None or known.kind == "nothing":
            self.settle(node, found)
            return report
        return disagreeing(report, known)

    def publish(self, node: Node, unit: int, staging: Path) -> None:
        """Put what an attempt staged in place."""
        assert node.output is not None
        folder = self.desk.project.path
        if node.output.kind == "files":
            name = tile_folder(unit, node.lattice.tile(unit).name)
            publish_files(staging, folder, node.name, name, again=self._again)
        elif node.output.kind == "table":
            target = table_folder(folder, node.name)
            publish(staging, target, [table_key(unit)], again=self._again)
        else:
            store = self.store(node)
            keys = store.layout.keys(store.layout.place(node.lattice, unit))
            publish(staging, store.path, keys, again=self._again)

    def store(self, node: Node) -> TileArray:
        """The array of a stage."""
        store = self._stores.get(node.name)
        if store is None:
            store = TileArray.open(array_folder(self.desk.project.path, node.name))
            self._stores[node.name] = store
        return store

    def settle(self, node: Node, output: Output) -> None:
        """The first tile decides what the stage makes: create its store."""
        project, pipeline = self.desk.project, self.desk.pipeline
        if node.output != output:
            self.drop_outputs(node)
            for child, _ in pipeline.children(node.name):
                child.settled_for = UNSETTLED  # what it makes may follow from what it reads
                project.keep_output(child)
        node.output, node.settled_for = output, node.fingerprint
        project.keep_output(node)
        if output.kind == "array":
            live = project.settings.live and lattice_grows(node.key)
            layout = plan_layout(node.lattice, output, node.name, live=live)
            self._create(array_folder(project.path, node.name), layout, node.lattice)
        for child, _ in pipeline.children(node.name):
            pipeline.relink(child)
        self.outdated(node)

    def _create(self, folder: Path, layout: ArrayLayout, lattice: Lattice) -> None:
        while True:
            try:
                TileArray.create(folder, layout, lattice)
            except OSError as error:
                if self._again(error):
                    continue
                raise
            return

    def drop_outputs(self, node: Node) -> None:
        """The stage was changed and makes something else now: what it made before goes.

        So does what a run left behind that was killed before anything was complete.
        """
        published = np.flatnonzero(node.units.published)
        self.desk.change_units(node, "drop", published)
        self.desk.journal.commit()
        node.generation += 1
        self.forget(node.name)
        shutil.rmtree(stage_folder(self.desk.project.path, node.name), ignore_errors=True)
        shutil.rmtree(previews_folder(self.desk.project.path, node.name), ignore_errors=True)

    def forget(self, stage: str) -> None:
        """The stage's outputs are others from now on."""
        self._stores.pop(stage, None)

    def grow(self, *, at_last: bool = False) -> None:
        """Tell the stores of tiles that have joined: now and then, or at once if `at_last`."""
        if not self.desk.settings.live:
            return
        for node in self.desk.pipeline:
            there = node.output is not None and node.output.kind == "array" and node.settled
            if there and lattice_grows(node.key):
                if at_last:
                    self.store(node).refresh_coordinates(node.lattice)
                else:
                    self.store(node).grow(node.lattice)
