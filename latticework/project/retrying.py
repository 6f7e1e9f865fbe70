"""Letting units run again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import ProjectError
from latticework.lattice.states import State
from latticework.project.ledger import apply_change
from latticework.project.pipeline import Node

if TYPE_CHECKING:
    from latticework.project.project import Project


def retry_units(
    project: "Project", stage: str | None, *, failed: bool, labels: Mapping[str, Any]
) -> int:
    """See `Project.retry`."""
    if project.running:
        raise ProjectError("this project is running: retry when it has ended")
    nodes = list(project.pipeline) if stage is None else [project.pipeline[stage]]
    total = 0
    with project.lock().held():
        journal = project.writable_journal()
        for node in nodes:
            units = meant(project, node, failed=failed, labels=labels)
            if len(units):
                journal.add_change(node.id, "retry", units.astype("<i8").tobytes())
                apply_change(node, "retry", units)
                total += len(units)
        journal.commit()
        project.close_writer()
        project.pipeline.derive()
    project.seen_now()
    return total


def meant(project: "Project", node: Node, *, failed: bool, labels: Mapping[str, Any]) -> np.ndarray:
    """Units that a retry means."""
    states = [State.FAILED, State.CANCELLED]
    if not failed:
        states += [State.COMPLETE, State.STALE]
    units = np.flatnonzero(np.isin(node.units.state, states))
    if not labels:
        return units
    if node.reduction:
        return units[:0]
    return np.intersect1d(units, project.lattice.sel(**labels).ids)
