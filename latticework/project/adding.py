"""Adding stages to a project: everything that can be found wrong is found here."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from latticework.errors import StageError
from latticework.lattice.halo import halo
from latticework.project.ledger import recovered
from latticework.project.pipeline import SOURCE, Node, Pipeline
from latticework.project.units import Units
from latticework.stages.budgets import Retries
from latticework.stages.callables import check_call
from latticework.stages.command_checks import check_command
from latticework.stages.reads import (
    Reads,
    check_reads,
    reads_from_json,
    reads_of,
    reads_to_json,
    units_key,
)
from latticework.stages.stage import HOW, Stage, as_stage, fingerprint

if TYPE_CHECKING:
    from latticework.project.folder import ProjectFolder
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
    return put_stage(project, stage, parent_names(project, after))


def put_stage(project: "Project", stage: Stage, parents: tuple[str, ...]) -> str:
    """Add a stage below these parents, or change the one of its name; its name."""
    check_stage(project.pipeline, stage, parents)
    check_placeholders_of(project, stage, parents)
    values = definition_of(stage, parents)
    known = project.pipeline.nodes.get(stage.name)
    if known is not None and same_definition(known, values):
        known.stage, known.missing = stage, None
        return stage.name
    patterns = [stage.reads] if isinstance(stage.reads, Reads) else list(stage.reads.values())
    for pattern in patterns:
        if pattern.lattice is not None:
            project.keep_own_lattice(pattern.key, pattern.lattice)
    project.ask("add", {"name": stage.name, "definition": values, "stage": stage})
    return stage.name


def same_definition(node: Node, values: Mapping[str, Any]) -> bool:
    """Whether a node is defined like this already, as far as it matters to a run."""
    return node.fingerprint == fingerprint(values) and all(
        node.definition.get(key) == values.get(key) for key in HOW
    )


def node_from_request(pipeline: Pipeline, arguments: Mapping[str, Any]) -> Node | None:
    """The node of a request to add a stage; None if there is one like it.

    Raises
    ------
    StageError
        If the stage cannot work, or its code cannot be had in this process.
    """
    name, values = str(arguments["name"]), arguments["definition"]
    stage = arguments.get("stage")
    parents = tuple(values["parents"])
    known = pipeline.nodes.get(name)
    if known is not None and same_definition(known, values):
        known.stage = stage or known.stage
        return None
    for parent in parents:
        if parent not in pipeline.nodes:
            raise StageError(
                f"after={parent!r}: there is no such stage; there are {', '.join(pipeline.nodes)}"
            )
    if stage is None:
        same = known is not None and known.definition["function"] == values["function"]
        function = known.stage.function if same and known and known.stage else None
        try:
            stage = recovered(name, values, function)
        except StageError as error:
            raise StageError(
                f"stage {name!r} cannot be added to the run in process {os.getpid()}: {error}. "
                "Only code that can be imported there can be added from another process"
            ) from error
        if fingerprint(definition_of(stage, parents)) != fingerprint(values):
            raise StageError(
                f"stage {name!r}: the process that runs the project ({os.getpid()}) has another "
                "version of its code than the one that asks: install the same one, or end that "
                "run and start it anew"
            )
    check_stage(pipeline, stage, parents)
    return node_for(pipeline, stage, parents, values)


def parent_names(project: "ProjectFolder", after: Any) -> tuple[str, ...]:
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
    check_call(stage.function, call_arguments(stage, parents), stage.params, stage.name)
    lattice = pipeline.lattice
    taken = {*lattice.dims, *lattice.tile_dims, "tile_name", "z_um", "y_um", "x_um"}
    if stage.name in taken:
        raise StageError(
            f"{stage.name!r} is the name of an axis: call the stage something else (name=...)"
        )
    if stage.name in _ancestors(pipeline, parents):
        raise StageError(f"stage {stage.name!r} cannot read what is made from itself")
    units_key(stage.name, stage.reads, {name: pipeline[name].key for name in parents})
    patterns = {parent: reads_of(stage.reads, parent) for parent in parents}
    if not isinstance(stage.reads, Reads):
        unknown = sorted(set(stage.reads) - set(parents))
        if unknown:
            raise StageError(
                f"stage {stage.name!r}: reads names {', '.join(map(repr, unknown))}, but its "
                f"parents are {', '.join(map(repr, parents))}"
            )
    for parent, pattern in patterns.items():
        check_reads(pattern, pipeline[parent].lattice, stage.name)
    if stage.overlap and not any(
        pattern.pattern in ("same tile", "intersecting") for pattern in patterns.values()
    ):
        raise StageError(
            f"stage {stage.name!r} reads {', '.join(p.pattern for p in patterns.values())}: it can "
            "have no halo (overlap)"
        )
    if stage.overlap and SOURCE in parents and patterns[SOURCE].pattern == "same tile":
        halo(lattice, stage.overlap, stage.boundary)


def check_placeholders_of(project: "ProjectFolder", stage: Stage, parents: tuple[str, ...]) -> None:
    """Refuse a command with placeholders that will have no value."""
    pipeline = project.pipeline
    patterns = [reads_of(stage.reads, parent) for parent in parents]
    own = {pattern.key: pattern.lattice for pattern in patterns if pattern.lattice is not None}
    key = units_key(stage.name, stage.reads, {name: pipeline[name].key for name in parents})
    check_command(
        stage,
        own[key] if key in own else pipeline.lattices[key],
        {name: pipeline[name].definition.get("function") for name in parents},
        project.settings.parameters,
    )


def call_arguments(stage: Stage, parents: Sequence[str]) -> int:
    """How many arguments the callable gets: two for a parent that is read with its neighbours."""
    return sum(
        2 if reads_of(stage.reads, parent).pattern == "neighbours" else 1 for parent in parents
    )


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
    given = stage.retries
    retries = given if isinstance(given, int) else Retries.of(given).to_json()
    how = {key: getattr(stage, key) for key in HOW}
    return {**json.loads(text), **how, "retries": retries}


def with_parents(pipeline: Pipeline, node: Node, parents: tuple[str, ...]) -> Node:
    """A stage as it would be with other parents.

    Raises
    ------
    StageError
        If it cannot work so.
    """
    reads = reads_from_json(node.definition["reads"])
    if not isinstance(reads, Reads):
        old = [name for name in node.parents if name not in parents]
        passed_on = {reads[name] for name in old if name in reads}
        new = [name for name in parents if name not in node.parents]
        reads = {name: reads[name] for name in parents if name in reads}
        if len(passed_on) == 1:
            reads |= dict.fromkeys(new, next(iter(passed_on)))
    definition = {
        **node.definition,
        "parents": list(parents),
        "reads": reads_to_json(reads),
    }
    stage = node.stage
    if stage is not None:
        stage = stage.with_options(reads=reads)
        check_stage(pipeline, stage, parents)
    return _node(pipeline, node.name, stage, parents, definition, node.missing)


def node_for(
    pipeline: Pipeline, stage: Stage, parents: tuple[str, ...], values: Mapping[str, Any]
) -> Node:
    """A new node, or the new version of one that is there."""
    return _node(pipeline, stage.name, stage, parents, values, None)


def _node(
    pipeline: Pipeline,
    name: str,
    stage: Stage | None,
    parents: tuple[str, ...],
    values: Mapping[str, Any],
    missing: str | None,
) -> Node:
    key = pipeline.key_of(name, values)
    lattice = pipeline.lattices[key]
    known = pipeline.nodes.get(name)
    same = known is not None and known.key == key
    units = known.units if known is not None and same else Units.waiting(len(lattice))
    node = Node(0, name, stage, values, fingerprint(values), parents, key, lattice, units)
    node.missing = missing
    if known is not None:
        if same:
            node.id = known.id
            node.output, node.settled_for = known.output, known.settled_for
        node.generation = known.generation + 1
    return node


__all__ = ["add_stage", "parent_names"]
