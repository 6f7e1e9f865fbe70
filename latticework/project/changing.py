"""A stage with something changed: its callable, parents, parameters or options."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from latticework.errors import StageError
from latticework.project.adding import (
    check_placeholders_of,
    check_stage,
    definition_of,
    parent_names,
)
from latticework.project.ledger import recover, recovered
from latticework.project.pipeline import Node
from latticework.stages.callables import Reference
from latticework.stages.stage import Stage, as_stage

if TYPE_CHECKING:
    from latticework.project.folder import ProjectFolder
    from latticework.project.project import Project

OPTIONS = tuple(name for name in Stage.__slots__ if name not in ("function", "name", "params"))
"""What of a stage is not a parameter of its callable."""


def changed_stage(
    project: "ProjectFolder",
    name: str,
    function: Callable[..., Any] | Stage | None,
    after: Any,
    params: Mapping[str, Any],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The request that changes a stage; see `Project.change`.

    Raises
    ------
    StageError
        If the stage cannot work so.
    """
    node = project.pipeline[name]
    if node.is_source:
        raise StageError("the source is the acquisition: it is no stage that can be changed")
    recover(node)
    if function is not None:
        new = as_stage(function, name=name)
        if not isinstance(function, Stage) and node.stage is not None:
            kept = {option: getattr(node.stage, option) for option in OPTIONS if option != "numpy"}
            new = new.with_options(**kept, params=node.stage.params)
    else:
        new = node.stage or _without_code(node)
    chosen = {key: value for key, value in options.items() if key in OPTIONS}
    more = {key: value for key, value in options.items() if key not in OPTIONS}
    new = new.with_options(params={**new.params, **params, **more}, **chosen)
    parents = node.parents if after is None else parent_names(project, after)
    check_stage(project.pipeline, new, parents)
    check_placeholders_of(project, new, parents)
    return {"name": name, "definition": definition_of(new, parents), "stage": new}


class CodeElsewhere:
    """Stands for a callable that only the process has in which it was defined: a notebook's.

    Parameters
    ----------
    reference
        Where it comes from, and which code it is.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """It cannot be called here."""
        del inputs, params
        self.reference.check()


def _without_code(node: Node) -> Stage:
    """The stage of a node whose code is not to be had here, for a look at what a change does."""
    function = CodeElsewhere(Reference.from_json(node.definition["function"]))
    try:
        return recovered(node.name, node.definition, function)
    except StageError as error:
        raise StageError(f"stage {node.name!r} cannot be changed: {error}") from error


def to_be_asked(project: "ProjectFolder", request: Mapping[str, Any]) -> dict[str, Any]:
    """The request as it is asked: code that is elsewhere is left to the run that has it.

    Raises
    ------
    StageError
        If no process runs the project, or this one does, without that code.
    """
    if not isinstance(request["stage"].function, CodeElsewhere):
        return dict(request)
    node = project.pipeline[request["name"]]
    if project.coordinator is not None or not project.is_run():
        raise StageError(f"stage {node.name!r} cannot be changed: {node.missing}")
    return {**request, "stage": None}


def put_between(project: "Project", name: str, before: Any) -> None:
    """Let some stages read a stage instead of what it reads itself.

    Raises
    ------
    StageError
        If one of them reads nothing that the stage reads.
    """
    several = before if isinstance(before, list | tuple) else [before]
    above = set(project.pipeline[name].parents)
    for reader in parent_names(project, several) if several else ():
        parents = project.pipeline[reader].parents
        if name in parents:
            continue  # it was put between before
        if not above & set(parents):
            raise StageError(
                f"before={reader!r}: it reads {', '.join(map(repr, parents))}, and {name!r} reads "
                f"{', '.join(map(repr, sorted(above)))}: there is nothing to be put between"
            )
        project.change(
            reader, after=list(dict.fromkeys(name if p in above else p for p in parents))
        )
