"""Units that wait before they are tried again: a heap of moments, beside the queues of a run."""

import heapq
import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from latticework.project.deriving import settle

if TYPE_CHECKING:
    from latticework.project.pipeline import Node
    from latticework.project.run_desk import RunDesk


class Delays:
    """Lets failed units wait as long as the budgets of their stage say.

    While it waits a unit is *held* by the queue of its stage (`ReadyUnits.hold`), which then does
    not offer it. Nothing is kept, and nothing costs time, where no stage waits.

    Parameters
    ----------
    desk
        Whose queues.
    clock
        Seconds since 1970.
    """

    def __init__(self, desk: "RunDesk", clock: Callable[[], float] = time.time) -> None:
        self._desk, self._clock = desk, clock
        self._heap: list[tuple[float, int, str, np.ndarray]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def begin(self) -> None:
        """A run begins: what had failed in an earlier one waits for the rest of its time."""
        now = self._clock()
        for node in self._desk.pipeline:
            if node.budgets.waits:
                units = np.flatnonzero((node.units.tries > 0) & (node.units.mark == 0))
                since = np.minimum(node.units.ended[units], now)
                self._hold(node, units, since)

    def failed(self, node: "Node", units: np.ndarray) -> None:
        """These failed just now, and are queued again where they may be tried again."""
        if node.budgets.waits:
            units = units[node.units.mark[units] == 0]
            self._hold(node, units, np.full(len(units), self._clock()))

    def _hold(self, node: "Node", units: np.ndarray, since: np.ndarray) -> None:
        queue = self._desk.ready.get(node.name)
        if queue is None or not len(units):
            return
        due = since + node.budgets.waits_s(node.units.spent[units])
        late = due > self._clock()
        units, due = units[late], due[late]
        held = queue.hold(units, due)
        units, due = units[held], due[held]
        for moment in np.unique(due).tolist():
            entry = (moment, next(self._numbers), node.name, units[due == moment])
            heapq.heappush(self._heap, entry)

    def release(self) -> None:
        """Queue what has waited long enough, if it still may run."""
        now = self._clock() if self._heap else 0.0
        while self._heap and self._heap[0][0] <= now:
            _, _, name, units = heapq.heappop(self._heap)
            node, queue = self._desk.pipeline.nodes.get(name), self._desk.ready.get(name)
            if node is None or queue is None:
                continue
            units = units[units < len(node.units)]  # the stage may be another of the same name
            units = queue.release(units, now)
            if len(units):
                queue.add(units[settle(self._desk.pipeline, node, units)])


def wait_left_s(node: "Node", unit: int, now: float) -> float:
    """Seconds that a unit still waits before it is tried again; 0 if it does not wait.

    Parameters
    ----------
    node
        Its stage.
    unit
        Its id.
    now
        Seconds since 1970.
    """
    units = node.units
    if not units.tries[unit] or units.mark[unit]:
        return 0.0
    wait = float(node.budgets.waits_s(units.spent[unit : unit + 1])[0])
    return max(0.0, min(float(units.ended[unit]), now) + wait - now)
