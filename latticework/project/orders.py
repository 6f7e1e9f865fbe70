"""What goes out to the workers: the work order of a stage, and the records that its units read."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latticework.project.deriving import inputs_read, left_out
from latticework.project.pipeline import Node, Pipeline
from latticework.project.preview_rules import projection_of, source_projection
from latticework.stages.order import WorkOrder

if TYPE_CHECKING:
    from latticework.project.folder import ProjectFolder


def work_order(project: "ProjectFolder", node: Node, staging: Path) -> WorkOrder:
    """How the units of a stage are run, as of now."""
    stage = node.stage
    assert stage is not None  # run() refuses stages whose code is missing
    settings = project.settings
    return WorkOrder(
        project=project.path,
        key=project.key,
        stage=node.name,
        function=stage.function,
        params=stage.params,
        numpy=stage.takes_numpy,
        inputs=project.pipeline.inputs_of(node),
        lattice=node.key,
        output=node.output if node.settled else None,
        declared=stage.output,
        trim=stage.trim,
        staging=staging,
        lattice_version=project.lattice_version,
        cores=1,
        skipped=project.pipeline.skipped,
        parameters=settings.parameters,
        live=settings.live,
        timeout=stage.timeout,
        read_on=bool(list(project.pipeline.children(node.name))),
        preview=projection_of(settings, stage.preview),
        source_preview=source_projection(project.pipeline, settings, node),
    )


def records_read(
    project: "ProjectFolder", node: Node, units: np.ndarray
) -> list[dict[str, dict[int, str]]]:
    """For each unit the records that it reads, by parent and unit; empty if there are none."""
    found: list[dict[str, dict[int, str]]] = []
    for edge in node.edges:
        made = project.pipeline[edge.parent]
        if made.output is None or made.output.kind != "record":
            continue
        found = found or [{} for _ in range(len(units))]
        which, read = inputs_read(project.pipeline, edge, units)
        values = project.records(made, np.unique(read))
        for row in range(len(units)):
            found[row][edge.parent] = {}
        for row, unit in zip(which.tolist(), read.tolist(), strict=True):
            found[row][edge.parent][unit] = values[unit]
    return found


def absent_inputs(pipeline: Pipeline, node: Node, units: np.ndarray) -> tuple[bytes, ...]:
    """For each parent, the units of it that these would read but for their being holes."""
    found, some = [], False
    for edge in node.edges:
        none_out = left_out(pipeline, edge, units[:0], units[:0], units[:0]) is None
        if none_out:
            found.append(b"")
            continue
        which, read = edge.dependency.inputs(units)
        out = left_out(pipeline, edge, units, which, read)
        holes = np.unique(read[out]) if out is not None else read[:0]
        some = some or len(holes) > 0
        found.append(holes.astype("<i8").tobytes())
    return tuple(found) if some else ()
