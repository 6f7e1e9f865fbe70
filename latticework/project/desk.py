"""The desk: what changes a project, whether it runs or not.

Whoever holds the project's lock has one: the coordinator for as long as it runs, any other process
for the moment of one change. Everything that users ask for (`latticework.project.steering`) is
done here, in the same way.
"""

import json
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.io.journal import Journal
from latticework.lattice.states import ACTIVE, State
from latticework.project.dispatch import ReadyUnits
from latticework.project.ledger import FOUND_DAMAGED, apply_change
from latticework.project.pipeline import Node, Pipeline
from latticework.project.propagation import Propagation, Touched
from latticework.project.settings import Settings, check_settings, scope_of
from latticework.stages.paths import removed_folder, stage_folder

if TYPE_CHECKING:
    from latticework.project.folder import ProjectFolder


class Desk:
    """Changes a project whose lock is held.

    Parameters
    ----------
    project
        The project.
    ready
        Where units that may run are queued; nowhere if nothing runs.
    """

    def __init__(
        self, project: "ProjectFolder", ready: Mapping[str, ReadyUnits] | None = None
    ) -> None:
        self.project = project
        self.pipeline: Pipeline = project.pipeline
        self.journal: Journal = project.writable_journal()
        self.states = Propagation(self.pipeline, {} if ready is None else ready)

    @property
    def settings(self) -> Settings:
        """What users have set."""
        return self.project.settings

    # ---------------------------------------------------------------- facts

    def change_units(self, node: Node, what: str, units: np.ndarray) -> None:
        """A change of some units that is no attempt: recorded, applied and followed up."""
        if not len(units):
            return
        self.journal.add_change(node.id, what, units.astype("<i8").tobytes())
        apply_change(node, what, units)
        self.states.spread({node.name: units})

    def make_again(self, node: Node, units: np.ndarray) -> None:
        """What these units had made was found damaged: they run again, and it is kept why."""
        if len(units):
            self.change_units(node, "retry", units)
            self.journal.add_change(node.id, FOUND_DAMAGED, units.astype("<i8").tobytes())

    def use(self, settings: Settings) -> None:
        """Keep other settings, and let everything follow that depends on them."""
        old, pipeline = self.settings, self.pipeline
        check_settings(pipeline.lattice, settings)
        self.project.keep_settings(settings)
        if old.deciding != settings.deciding:
            pipeline.follow(settings, scope_of(pipeline.lattice, settings))
            self.orders_changed()
            self.states.begin()
        if old.priority != settings.priority:
            self.priority_changed()

    def start_afresh(self, stages: Iterable[str]) -> None:
        """Stages that had paused themselves go on; how their units ended does not count any more.

        Parameters
        ----------
        stages
            Names of stages.
        """
        settings = self.settings
        gone = settings.gave_up.keys() & set(stages)
        if gone:
            paused = tuple(name for name in settings.paused_stages if name not in gone)
            why = {name: why for name, why in settings.gave_up.items() if name not in gone}
            self.use(settings.replace(paused_stages=paused, self_paused=why))
            self.pauses_changed()

    # ---------------------------------------------------------------- stages

    def put_stage(self, node: Node) -> None:
        """Keep a new stage, or a new definition of one, and let everything follow."""
        known = self.pipeline.nodes.get(node.name)
        if not node.id:
            self._clear_the_way(node.name)
        self.project.add_node(node, json.dumps(node.definition))
        self.stage_put(node)
        if known is None or known.fingerprint != node.fingerprint:
            self.start_afresh([node.name])
        self.states.begin_node(node)
        for name in self.pipeline.below(node.name):
            self.states.begin_node(self.pipeline[name])

    def _clear_the_way(self, name: str) -> None:
        """Set aside what a stage of this name has left behind: it is none of the new one's."""
        folder = stage_folder(self.project.path, name)
        if folder.exists():
            aside = removed_folder(self.project.path, name, time.time_ns())
            aside.parent.mkdir(exist_ok=True)
            folder.rename(aside)

    def take_out(self, node: Node) -> None:
        """A stage that nothing reads goes; its attempts stay in the journal."""
        self.journal.write("update stages set removed=? where id=?", (time.time(), node.id))
        self.pipeline.remove(node.name)
        self.stage_taken_out(node)

    # ---------------------------------------------------------------- tiles

    def lattice_grown(self, touched: Touched) -> None:
        """The acquisition has changed: tiles joined, were replaced, came or went; units joined."""
        self.pipeline.scope = scope_of(self.pipeline.lattice, self.settings)
        self.orders_changed()
        self.states.spread(touched)

    # ---------------------------------------------------------------- what a run adds to it

    def orders_changed(self) -> None:
        """What workers are told has changed: a matter of whoever sends work."""

    def priority_changed(self) -> None:
        """Another order of units: a matter of whoever sends work."""

    def stage_put(self, node: Node) -> None:
        """A stage is new or has another definition: a matter of whoever sends work."""

    def stage_taken_out(self, node: Node) -> None:
        """A stage is gone: a matter of whoever sends work."""

    def pauses_changed(self) -> None:
        """Stages were paused or resumed: a matter of whoever sends work."""

    def hosts_changed(self, old: Settings) -> None:
        """Hosts were set aside or taken back: a matter of whoever sends work."""

    def cancel(self, node: Node, units: np.ndarray) -> int:
        """Cancel units, also those that are running; how many."""
        state = node.units.state[units]
        waiting = units[np.isin(state, (State.WAITING, State.STALE, State.BLOCKED))]
        self.change_units(node, "cancel", waiting)
        active = units[np.isin(state, ACTIVE)]
        self.cancel_active(node, active)
        return len(waiting) + len(active)

    def cancel_active(self, node: Node, units: np.ndarray) -> None:
        """Cancel what workers have: a matter of whoever sent it."""

    def about(self) -> dict[str, Any]:
        """Who sits here."""
        return {"running": False}
