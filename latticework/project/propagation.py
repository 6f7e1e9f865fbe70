"""What follows when units complete or fail: what is ready, stale or blocked now.

Every step costs time in proportion to what it touches, not to the size of the lattice.
"""

from collections.abc import Callable, Mapping

import numpy as np

from latticework.lattice.dependencies import EveryUnit
from latticework.lattice.states import State
from latticework.project.dispatch import Batch, ReadyUnits
from latticework.project.fingerprints import failure_stamps
from latticework.project.pipeline import Node, Pipeline

MOST_TRIES = 255
"""Tries are counted in a byte."""


class Propagation:
    """Keeps the states of all stages in step while units come back.

    Parameters
    ----------
    pipeline
        The stages.
    ready
        Where ready units of the stages that run are queued.
    outdated
        Called with a node whose readers need a new work order (its outputs were replaced).
    """

    def __init__(
        self,
        pipeline: Pipeline,
        ready: Mapping[str, ReadyUnits],
        outdated: Callable[[Node], None] = lambda _node: None,
    ) -> None:
        self.pipeline = pipeline
        self.ready = ready
        self.outdated = outdated
        self._witness: dict[tuple[str, int], int] = {}

    def completed(self, node: Node, batch: Batch, good: np.ndarray) -> None:
        """The units of a batch where `good` are published."""
        units, done = node.units, batch.units[good]
        again = done[units.published[done] > 0]
        units.state[done] = State.COMPLETE
        units.tries[done] = 0
        units.published[done] = batch.attempts[good]
        units.fingerprint[done] = batch.fingerprints[good]
        if len(again):
            node.generation += 1
            self.outdated(node)
            self._spread_stale(node, again)
        self._see_changes(node, done, batch.fingerprints[good])
        for child, number in self.pipeline.children(node.name):
            readers = child.dependencies[number].readers(done)
            if len(again):
                self.pipeline.forgive(child, readers[child.units.state[readers] == State.FAILED])
            if child.name in self.ready:
                self.find_ready(child, readers)

    def _see_changes(self, node: Node, done: np.ndarray, made_with: np.ndarray) -> None:
        """Units whose inputs or stage changed while they ran are stale at once."""
        changed = done[self.pipeline.expected(node, done) != made_with]
        if len(changed):
            node.units.state[changed] = State.STALE
            self.find_ready(node, changed)

    def failed(self, node: Node, units: np.ndarray, fingerprints: np.ndarray) -> None:
        """These units failed once more: they wait for another try, or have failed for good."""
        node.units.tries[units] += node.units.tries[units] < MOST_TRIES
        node.units.fingerprint[units] = failure_stamps(fingerprints)
        final = node.units.tries[units] > min(node.retries, MOST_TRIES - 1)
        node.units.state[units] = State.WAITING
        self.given_up(node, units[final])
        self.find_ready(node, units[~final])

    def given_up(self, node: Node, units: np.ndarray) -> None:
        """These units have failed for good: what reads them is blocked."""
        node.units.state[units] = State.FAILED
        self._block_readers(node, units)

    def _block_readers(self, node: Node, broken: np.ndarray) -> None:
        if not len(broken):
            return
        for child, number in self.pipeline.children(node.name):
            readers = child.dependencies[number].readers(broken)
            held = np.isin(child.units.state[readers], (State.WAITING, State.STALE, State.COMPLETE))
            child.units.state[readers[held]] = State.BLOCKED
            self._block_readers(child, readers[held])

    def _spread_stale(self, node: Node, changed: np.ndarray) -> None:
        """What was made from these units is stale, and what was made from that."""
        if not len(changed):
            return
        for child, number in self.pipeline.children(node.name):
            readers = child.dependencies[number].readers(changed)
            done = readers[child.units.state[readers] == State.COMPLETE]
            child.units.state[done] = State.STALE
            self._spread_stale(child, done)

    def withdrawn(self, node: Node, units: np.ndarray) -> None:
        """What these units made is gone: nothing that reads it is ready, what did is stale."""
        if not len(units):
            return
        self._spread_stale(node, units)
        if node.name in self.ready:
            self.find_ready(node, units)
        for child, _ in self.pipeline.children(node.name):
            if child.name in self.ready:
                queued = self.ready[child.name].take(len(child.units))
                self.find_ready(child, queued)

    def find_ready(self, node: Node, candidates: np.ndarray) -> None:
        """Queue those candidates that wait and whose inputs are all complete."""
        state = node.units.state[candidates]
        waiting = candidates[(state == State.WAITING) | (state == State.STALE)]
        if len(waiting) and not self._surely_not(node):
            self.ready[node.name].add(waiting[~self.pipeline.unready(node, waiting)])

    def _surely_not(self, node: Node) -> bool:
        """Whether a node that reads every unit of a parent misses one, known from before.

        Looking at all units each time one completes would take time in their number squared; so
        one that is missing is remembered, and looked at first.
        """
        for number, edge in enumerate(node.dependencies):
            if not isinstance(edge, EveryUnit) or edge.n_parents == 1:
                continue
            state = self.pipeline[node.parents[number]].units.state
            key = (node.name, number)
            if state[self._witness.get(key, -1)] != State.COMPLETE:
                return True
            missing = np.flatnonzero(state != State.COMPLETE)
            if len(missing):
                self._witness[key] = int(missing[-1])
                return True
        return False
