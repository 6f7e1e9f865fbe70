"""What follows when facts change: the states of what is touched, and what may run now.

Every step costs time in proportion to what it touches, not to the size of the lattice.
"""

from collections.abc import Mapping

import numpy as np

from latticework.project.deriving import settle
from latticework.project.dispatch import ReadyUnits
from latticework.project.pipeline import Node, Pipeline

Touched = Mapping[str, np.ndarray]
"""Units whose facts changed, by stage; each named once."""


class Propagation:
    """Keeps the states of all stages in step with the facts.

    Parameters
    ----------
    pipeline
        The stages.
    ready
        Where units that may run are queued, for the stages that run.
    """

    def __init__(self, pipeline: Pipeline, ready: Mapping[str, ReadyUnits]) -> None:
        self.pipeline = pipeline
        self.ready = ready

    def begin(self) -> None:
        """Settle every unit, and queue all that may run."""
        for node in self.pipeline.nodes.values():
            self.begin_node(node)

    def begin_node(self, node: Node) -> None:
        """Settle every unit of a node, and queue those that may run."""
        pieces = self.pipeline.derive_node(node)
        queue = self.ready.get(node.name)
        if queue is not None:
            queue.clear()
            for units in pieces:
                queue.add(units)

    def spread(self, touched: Touched) -> dict[str, int]:
        """Settle these units and what reads them, and so on down.

        Returns
        -------
        dict
            Number of units whose state changed, by stage.
        """
        todo: dict[str, list[np.ndarray]] = {
            name: [units] for name, units in touched.items() if len(units)
        }
        moved: dict[str, int] = {}
        for node in self.pipeline.nodes.values():
            parts = todo.pop(node.name, None)
            if parts is None:
                if not todo:
                    break
                continue
            units = parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))
            before = node.units.state[units]
            may_run = settle(self.pipeline, node, units)
            queue = self.ready.get(node.name)
            if queue is not None:
                queue.remove(units[~may_run])
                queue.add(units[may_run])
            changed = units[before != node.units.state[units]]
            moved[node.name] = len(changed)
            told = touched.get(node.name)
            if told is not None:
                changed = told if not len(changed) else np.union1d(told, changed)
            if len(changed):
                for child, edge in self.pipeline.children(node.name):
                    readers = edge.dependency.readers(changed)
                    if len(readers):
                        todo.setdefault(child.name, []).append(readers)
        return moved
