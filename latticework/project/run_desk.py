"""The desk of a run: queues, work orders and what is out follow every change at once."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.project.desk import Desk
from latticework.project.dispatch import Batch, Pace, ReadyUnits
from latticework.project.nearness import Nearness
from latticework.project.outgrown import Outgrown, too_few
from latticework.project.pipeline import Node
from latticework.project.propagation import Touched
from latticework.project.publishing import Publisher
from latticework.project.settings import Settings, ranks_of
from latticework.stages.order import SealedOrder

if TYPE_CHECKING:
    from latticework.project.care import Care
    from latticework.project.mishaps import Mishaps
    from latticework.project.outage import Outage
    from latticework.project.project import Project


class RunDesk(Desk):
    """What a coordinator keeps for each stage, and how that follows changes.

    Parameters
    ----------
    project
        The project; its lock is held.
    only
        Names of the stages to run; all if None, also those that are added.
    """

    mishaps: "Mishaps"
    """Deals with what is out and not wanted any more."""
    outage: "Outage"
    """Whether the project can be written to."""
    care: "Care"
    """Looks after waits, stages that pause themselves, hosts, and events."""

    def __init__(self, project: "Project", only: Iterable[str] | None) -> None:
        self.ready: dict[str, ReadyUnits] = {}
        """Units that may run, by stage."""
        super().__init__(project, self.ready)
        self.only = None if only is None else set(only)
        self.pace: dict[str, Pace] = {}
        """How long units of each stage take."""
        self.orders: dict[str, SealedOrder] = {}
        """What workers are told, by stage."""
        self.flying: dict[int, tuple[Batch, Any]] = {}
        """What is out: batches with their futures, by number."""
        self.failed: set[str] = set()
        """Stages of which a unit has failed."""
        self.outgrown = Outgrown()
        """Units that need a larger pool, by stage."""
        self.publisher = Publisher(self, self.readers_changed)
        self.nearness = Nearness()
        """Which worker made what is read next."""
        self.paused_here = False
        """Whether something was paused while this run goes on: then it waits."""

    def change_units(self, node: Node, what: str, units: np.ndarray) -> None:
        """See `Desk.change_units`; nothing waits any longer that a user has touched."""
        if node.name in self.ready:
            self.ready[node.name].release(units)
        super().change_units(node, what, units)

    def batch_size(self, node: Node, slots: int) -> int:
        """Units for the next batch of a node, given what else there is to do."""
        others_s = sum(
            len(queue) * (self.pace[name].seconds or 0.0)
            for name, queue in self.ready.items()
            if name != node.name and not self.settings.holds(name)
        )
        return self.pace[node.name].batch_size(len(self.ready[node.name]), slots, others_s)

    def depth(self, node: Node) -> int:
        """Dask's priority of a node: workers take the deepest of what is sent to them first."""
        return list(self.pipeline.nodes).index(node.name)

    def readers_changed(self, node: Node) -> None:
        """The readers of a node, and itself, need new work orders."""
        self.orders.pop(node.name, None)
        for child, _ in self.pipeline.children(node.name):
            self.orders.pop(child.name, None)

    def orders_changed(self) -> None:
        """Every stage needs a new work order."""
        self.orders.clear()

    def priority_changed(self) -> None:
        """Queues are sorted anew."""
        for node in self.pipeline:
            if node.name in self.ready:
                self.ready[node.name].rank_by(ranks_of(node.lattice, self.settings.priority))

    def stage_put(self, node: Node) -> None:
        """A stage is new or has another definition: it needs a queue, and new orders."""
        if self.only is None or node.name in self.only:
            rank = ranks_of(node.lattice, self.settings.priority)
            self.ready[node.name] = ReadyUnits(len(node.units), rank)
        self.pace[node.name] = Pace()
        self.publisher.forget(node.name)
        self.failed.discard(node.name)
        sql = "select what, units from changes where stage = ? and what like ? || '%'"
        learned = self.journal.query(sql, (node.id, too_few(node.fingerprint)))
        self.outgrown.recall(node.name, learned)
        self.readers_changed(node)
        self.mishaps.recall(node.name)

    def stage_taken_out(self, node: Node) -> None:
        """A stage is gone: what is out of it is not wanted any more."""
        self.ready.pop(node.name, None)
        self.pace.pop(node.name, None)
        self.orders.pop(node.name, None)
        self.outgrown.forget(node.name)
        self.publisher.forget(node.name)
        self.mishaps.recall(node.name)

    def pauses_changed(self) -> None:
        """What was sent but not begun of paused stages comes back."""
        self.outage.look_now()
        settings = self.settings
        self.paused_here = settings.paused or bool(
            set(settings.paused_stages) - set(settings.gave_up)
        )
        held = [pair for pair in self.flying.values() if settings.holds(pair[0].stage)]
        self.mishaps.hand_back(held)
        self.care.pauses_changed()

    def waits_for(self, held: set[str]) -> bool:
        """Whether the run goes on for stages that are held back: not for what gave up itself."""
        return self.paused_here and bool(held - set(self.settings.gave_up))

    def start_afresh(self, stages: Iterable[str]) -> None:
        """See `Desk.start_afresh`."""
        for stage in stages:
            self.care.trials.start_afresh(stage)
        super().start_afresh(stages)

    def hosts_changed(self, old: Settings) -> None:
        """Hosts were set aside or taken back."""
        self.care.hosts_changed(old)

    def cancel_active(self, node: Node, units: np.ndarray) -> None:
        """Cancel what workers have."""
        self.mishaps.cancel(node, units)

    def lattice_grown(self, touched: Touched) -> None:
        """The acquisition has changed: queues and stores have room for it first."""
        for node in self.pipeline:
            if node.name in self.ready:
                rank = ranks_of(node.lattice, self.settings.priority)
                self.ready[node.name].grow(len(node.units), rank)
        self.publisher.grow()
        super().lattice_grown(touched)
