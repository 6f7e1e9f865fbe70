"""Adding stages to a project: everything that can be found wrong is found here."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from latticework.errors import ProjectError, StageError
from latticework.lattice.halo import halo
from latticework.lattice.lattice import Lattice
from latticework.project.pipeline import SOURCE, Node, Pipeline
from latticework.project.units import Units
from latticework.stages.callables import check_call
from latticework.stages.stage import Stage, as_stage, fingerprint

if TYPE_CHECKING:
    from latticework.project.project import Project


def add_stage(
    project: "Project",
    function: Callable[..., Any] | Stage,
    after: Any,
    params: Mapping[str, Any],
    options: Mapping[str, Any],
) -> str:
    """Name of the stage added; see `Project.add`."""
    stage = as_stage(function, **{**options, "params": params})
    parents = parent_names(project, after)
    check_stage(project.pipeline, stage, parents)
    values = definition_of(stage, parents)
    known = project.pipeline.nodes.get(stage.name)
    if (
        known is not None
        and known.fingerprint == fingerprint(values)
        and known.retries == stage.retries
    ):
        known.stage, known.missing = stage, None
        return stage.name
    if project.running:
        raise ProjectError(
            f"stage {stage.name!r}: this project is running; add stages when it has ended"
        )
    with project.lock().held():
        node = node_for(project.pipeline, stage, parents, values)
        project.add_node(node, json.dumps(values))
        project.pipeline.derive()
        project.close_writer()
    project.seen_now()
    return stage.name


def parent_names(project: "Project", after: Any) -> tuple[str, ...]:
    """Names of the parents that a user gave in one way or another."""
    if after is None:
        return (SOURCE,)
    several = after if isinstance(after, list | tuple) else [after]
    names = []
    for parent in several:
        name = parent if isinstance(parent, str) else getattr(parent, "name", None)
        if not isinstance(name, str):
            raise StageError(f"after={parent!r}: give what add() returned, or names of stages")
        if name not in project.pipeline.nodes:
            known = ", ".join(project.pipeline.nodes)
            raise StageError(f"after={name!r}: there is no such stage; there are {known}")
        names.append(name)
    if not names:
        raise StageError("after=[] names no parent: leave it out to read the source")
    if len(set(names)) != len(names):
        raise StageError(f"after={names} names a parent twice")
    return tuple(names)


def check_stage(pipeline: Pipeline, stage: Stage, parents: tuple[str, ...]) -> None:
    """Refuse a stage that cannot work."""
    check_call(stage.function, len(parents), stage.params, stage.name)
    lattice = pipeline.lattice
    taken = {*lattice.dims, *lattice.tile_dims, "tile_name", "z_um", "y_um", "x_um"}
    if stage.name in taken:
        raise StageError(
            f"{stage.name!r} is the name of an axis: call the stage something else (name=...)"
        )
    if stage.name in _ancestors(pipeline, parents):
        raise StageError(f"stage {stage.name!r} cannot read what is made from itself")
    whole = stage.reads.pattern == "all tiles"
    if stage.overlap and stage.reads.pattern != "same tile":
        raise StageError(
            f"stage {stage.name!r} reads {stage.reads.pattern}: it can have no halo (overlap)"
        )
    if not whole and all(not pipeline[parent].lattice.dims for parent in parents):
        raise StageError(
            f"stage {stage.name!r} reads only {', '.join(parents)}, which is made once for the "
            "whole lattice: read tiles too (after=[project.source, ...]), or give "
            "reads=latticework.all_tiles()"
        )
    if stage.overlap and SOURCE in parents:
        halo(lattice, stage.overlap, stage.boundary)
    if stage.overlap and stage.trim is not False and stage.output and stage.output.kind == "table":
        return


def _ancestors(pipeline: Pipeline, names: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(pipeline[name].parents)
    return found - {SOURCE}


def definition_of(stage: Stage, parents: tuple[str, ...]) -> dict[str, Any]:
    """Everything that decides what the stage makes, and how often it is tried."""
    values = stage.definition()
    text = json.dumps({**values, "parents": list(parents)}, sort_keys=True)
    return {**json.loads(text), "retries": stage.retries}


def node_for(
    pipeline: Pipeline, stage: Stage, parents: tuple[str, ...], values: Mapping[str, Any]
) -> Node:
    """A new node, or the new version of one that is there."""
    lattice = Lattice.unit() if stage.reads.pattern == "all tiles" else pipeline.lattice
    node = Node(
        0,
        stage.name,
        stage,
        values,
        fingerprint(values),
        parents,
        lattice,
        Units.waiting(len(lattice)),
    )
    known = pipeline.nodes.get(stage.name)
    if known is not None:
        if known.reduction == node.reduction:
            node.id, node.units = known.id, known.units
            node.output, node.settled_for = known.output, known.settled_for
        node.generation = known.generation + 1
    return node


__all__ = ["add_stage", "parent_names"]
