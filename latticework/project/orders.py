"""What goes out to the workers: the work order of a stage, and the records that its units read."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latticework.project.pipeline import Node
from latticework.stages.order import WorkOrder

if TYPE_CHECKING:
    from latticework.project.project import Project


def work_order(project: "Project", node: Node, staging: Path) -> WorkOrder:
    """How the units of a stage are run, as of now."""
    stage = node.stage
    assert stage is not None  # run() refuses stages whose code is missing
    return WorkOrder(
        project=project.path,
        key=project.key,
        stage=node.name,
        function=stage.function,
        params=stage.params,
        numpy=stage.takes_numpy,
        inputs=project.pipeline.inputs_of(node),
        reduction=node.reduction,
        output=node.output if node.settled else None,
        declared=stage.output,
        trim=stage.trim,
        staging=staging,
        lattice_version=project.lattice_version,
        cores=1,
    )


def records_read(project: "Project", node: Node, units: np.ndarray) -> list[dict[str, list[str]]]:
    """For each unit the records that it reads, as JSON by parent; empty if no parent makes any."""
    found: list[dict[str, list[str]]] = []
    for edge, parent in zip(node.dependencies, node.parents, strict=True):
        made = project.pipeline[parent]
        if made.output is None or made.output.kind != "record":
            continue
        found = found or [{} for _ in range(len(units))]
        which, read = edge.inputs(units)
        values = project.records(made, np.unique(read))
        for row in range(len(units)):
            found[row][parent] = []
        for row, unit in zip(which.tolist(), read.tolist(), strict=True):
            found[row][parent].append(values[unit])
    return found
