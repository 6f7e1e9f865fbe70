"""What goes out to the workers, and where: the deepest stages first, each to its pool."""

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.lattice.states import State
from latticework.project.deriving import settle
from latticework.project.dispatch import Batch
from latticework.project.orders import absent_inputs, records_read, work_order
from latticework.project.pipeline import Node
from latticework.project.pools import Pool
from latticework.stages.order import SealedOrder, seal
from latticework.stages.worker import run_batch

if TYPE_CHECKING:
    from latticework.project.coordinator import Coordinator

AHEAD_S = 5.0
"""Seconds of work for which another slot is worth asking for."""


class Sender:
    """Fills the windows of the pools.

    Parameters
    ----------
    coordinator
        The coordinator.
    """

    def __init__(self, coordinator: "Coordinator") -> None:
        self.of = coordinator
        self._batches = 0

    # ---------------------------------------------------------------- what there is

    def has_work(self, name: str) -> bool:
        """Whether anything of a stage could go out."""
        of = self.of
        queue = of.ready[name]
        waits = of.suspects.of(name) or of.outgrown.waiting(name)
        if not (queue or queue.n_held or waits):
            return False
        return bool(of.pools.home(of.pipeline[name].needs))

    def demand(self, pool: Pool) -> int:
        """Slots of a pool for which there is work that has not gone out."""
        of, slots = self.of, 0
        for node in self._open():
            if pool in of.pools.home(node.needs):
                ready, seconds = len(of.ready[node.name]), of.pace[node.name].seconds
                if not node.settled:
                    ready = min(ready, self._scouts(node))
                elif seconds is not None:
                    ready = min(ready, -int(-ready * seconds // AHEAD_S))
                slots += ready + of.suspects.of(node.name)
            slots += len(self._heavy(node, pool))
        return slots

    def _open(self) -> list[Node]:
        """Stages of which units may go out, the deepest first."""
        of = self.of
        nodes = reversed(list(of.pipeline))
        return [n for n in nodes if n.name in of.ready and not of.settings.holds(n.name)]

    def _heavy(self, node: Node, pool: Pool) -> list[int]:
        """Units that have outgrown smaller pools, and fit into this one."""
        of = self.of
        return [
            unit
            for unit in of.outgrown.waiting(node.name)
            if pool in of.pools.larger(node.needs, of.outgrown.needs(node.name, unit))
        ]

    # ---------------------------------------------------------------- out

    def send(self) -> None:
        """Fill the windows, so that what was just written is read soon."""
        if self.of.outage.on:
            return
        for pool in self.of.pools:
            if pool.free <= 0:
                continue
            for node in self._open():
                self._bring_back(node)
                self._send_heavy(node, pool)
                if pool in self.of.pools.home(node.needs):
                    self._send_light(node, pool)

    def _send_light(self, node: Node, pool: Pool) -> None:
        of = self.of
        while pool.free > 0 and not of.stopping:
            if not (of.ready[node.name] or self._suspect_may_go(node, pool)):
                return
            if not node.settled and self._out(node) >= self._scouts(node):
                return  # the first tile decides what the stage makes
            units, alone = self._next_units(node, pool)
            if len(units):
                self._submit(node, pool, units, alone=alone)

    def _send_heavy(self, node: Node, pool: Pool) -> None:
        of = self.of
        for unit in self._heavy(node, pool):
            if pool.free <= 0 or of.stopping:
                return
            of.outgrown.take(node.name, unit)
            if self._may_run(node, np.array([unit])):
                self._submit(node, pool, np.array([unit]))

    def _bring_back(self, node: Node) -> None:
        """Units that wait for a larger pool which is not there any more go with the others."""
        of = self.of
        for unit in of.outgrown.waiting(node.name):
            if not of.pools.larger(node.needs, of.outgrown.needs(node.name, unit)):
                of.outgrown.take(node.name, unit)
                if self._may_run(node, np.array([unit])):
                    of.ready[node.name].add(np.array([unit]))

    def _may_run(self, node: Node, unit: np.ndarray) -> bool:
        """Whether a unit that was put aside may still run; it is not among the ready ones then."""
        there = unit[0] < len(node.units)  # the stage may be another of the same name
        if not (there and settle(self.of.pipeline, node, unit)[0]):
            return False
        self.of.ready[node.name].remove(unit)
        return True

    def _suspect_may_go(self, node: Node, pool: Pool) -> bool:
        """Whether a unit that may have killed a worker can be tried by itself now.

        As many as there are workers, if those have one thread: what had not begun is not blamed.
        (Sent to one worker by name, it would wait for that one for ever, should it go.)
        """
        if not self.of.suspects.of(node.name):
            return False
        return pool.alone < (pool.workers if pool.single else 1)

    def _out(self, node: Node) -> int:
        return sum(batch.stage == node.name for batch, _ in self.of.flying.values())

    def _scouts(self, node: Node) -> int:
        """How many units may be out of a stage of which none has told yet what it makes.

        One, unless that was declared, or the first failed and many may have to be tried.
        """
        declared = node.stage.output if node.stage is not None else None
        known = declared is not None and declared.settled
        return max(1, self.of.pools.slots) if known or node.name in self.of.failed else 1

    def _next_units(self, node: Node, pool: Pool) -> tuple[np.ndarray, bool]:
        """Units of the next batch, and whether it is one to be tried alone."""
        of = self.of
        while self._suspect_may_go(node, pool):
            unit = np.array([of.suspects.take(node.name)], dtype=np.int64)
            if self._may_run(node, unit):
                return unit, True
        ready = of.ready[node.name]
        n = 1 if not node.settled else of.batch_size(node, pool.slots)
        light, heavy = of.outgrown.split(
            node.name, ready.take(n), lambda needs: bool(of.pools.larger(node.needs, needs))
        )
        of.outgrown.put(node.name, heavy)
        return light, False

    def _submit(self, node: Node, pool: Pool, units: np.ndarray, *, alone: bool = False) -> None:
        of = self.of
        node.units.put(units, State.QUEUED)
        node.units.attempts[units] += 1
        self._batches += 1
        batch = Batch(
            number=self._batches,
            stage=node.name,
            units=units,
            attempts=node.units.attempts[units],
            fingerprints=of.pipeline.expected(node, units),
            dispatched=time.time(),
            node=node,
            definition=node.fingerprint,
            pool=pool,
            alone=alone,
        )
        of.journal.write(
            "insert into batches values (?, ?, ?, ?, ?, ?)",
            (
                *(of.session, batch.number, node.id),
                *(units.astype("<i8").tobytes(), batch.attempts.astype("<u2").tobytes()),
                batch.dispatched,
            ),
        )
        future = pool.client.submit(
            run_batch,
            self._order(node),
            batch.number,
            units.astype("<i8").tobytes(),
            batch.attempts.astype("<u2").tobytes(),
            records_read(of.project, node, units),
            absent_inputs(of.pipeline, node, units),
            key=(node.name, of.project.key, of.session, batch.number),
            pure=False,
            retries=0,
            priority=of.depth(node),
            **self._where(batch),
        )
        of.fly(batch, future)
        future.add_done_callback(lambda _, number=batch.number: of.events.put(("done", number)))

    def _where(self, batch: Batch) -> dict[str, Any]:
        """On which workers of its pool a batch may run, or had better."""
        of, pool = self.of, batch.pool
        must = of.care.placing.options(batch.number, batch.node.id, batch.units, pool.addresses)
        if must or batch.alone:
            return must
        return of.nearness.hint(batch)

    def _order(self, node: Node) -> SealedOrder:
        orders = self.of.orders
        if node.name not in orders:
            orders[node.name] = seal(work_order(self.of.project, node, self.of.staging))
        return orders[node.name]


__all__ = ["Sender"]
