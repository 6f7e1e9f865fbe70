"""Removing stages: what becomes of their children and of what they made."""

import json
import shutil
from typing import TYPE_CHECKING

from latticework.errors import ProjectError
from latticework.project.adding import with_parents
from latticework.project.pipeline import Node, Pipeline
from latticework.stages.paths import previews_folder, removed_folder, stage_folder

if TYPE_CHECKING:
    from latticework.project.desk import Desk

CHILDREN = ("reparent", "remove")


def remove_stage(
    desk: "Desk", name: str, children: str | None, *, outputs: bool
) -> dict[str, str | None]:
    """Take a stage out of the pipeline.

    Parameters
    ----------
    desk
        The project's desk.
    name
        The stage.
    children
        What becomes of stages that read it: ``"reparent"`` (they read its parents instead),
        ``"remove"`` (they are removed as well), or None if there are none.
    outputs
        Whether what it made is deleted too; else it is kept in the folder ``removed``.

    Returns
    -------
    dict
        For each stage that was removed, where its outputs are now; None where they are gone.

    Raises
    ------
    ProjectError
        If other stages read it and nothing is said about them.
    """
    pipeline = desk.pipeline
    node = pipeline[name]
    if node.is_source:
        raise ProjectError("the source cannot be removed: it is the acquisition itself")
    readers = list(dict.fromkeys(child.name for child, _ in pipeline.children(name)))
    if readers and children not in CHILDREN:
        raise ProjectError(
            f"stage {name!r} is read by {', '.join(map(repr, readers))}: give "
            'children="reparent" to let them read '
            f'{", ".join(map(repr, node.parents))} instead, or children="remove"'
        )
    gone: dict[str, str | None] = {}
    if children == "remove":
        for reader in reversed(pipeline.below(name)):
            gone[reader] = _take_out(desk, reader, outputs=outputs)
    else:
        for changed in reparented(pipeline, name):
            desk.put_stage(changed)
    gone[name] = _take_out(desk, name, outputs=outputs)
    return gone


def reparented(pipeline: Pipeline, name: str) -> list[Node]:
    """The readers of a stage as they are when they read its parents instead; nothing changes yet.

    Raises
    ------
    StageError
        If one of them cannot work so.
    """
    above = pipeline[name].parents
    nodes = []
    for child in {child.name: child for child, _ in pipeline.children(name)}.values():
        parents: list[str] = []
        for parent in child.parents:
            parents += [p for p in (above if parent == name else (parent,)) if p not in parents]
        nodes.append(with_parents(pipeline, child, tuple(parents)))
    return nodes


def _take_out(desk: "Desk", name: str, *, outputs: bool) -> str | None:
    """Remove one stage that nothing reads."""
    node, project = desk.pipeline[name], desk.project
    folder = stage_folder(project.path, name)
    kept = removed_folder(project.path, name, node.id)
    desk.take_out(node)
    settings = desk.settings
    if name in settings.paused_stages:
        paused = tuple(stage for stage in settings.paused_stages if stage != name)
        desk.use(settings.replace(paused_stages=paused))
    desk.journal.commit()  # first: what is removed from the pipeline is not looked for any more
    shutil.rmtree(previews_folder(project.path, name), ignore_errors=True)
    if not folder.exists():
        return None
    if outputs:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    kept.parent.mkdir(exist_ok=True)
    folder.rename(kept)
    (kept / "definition.json").write_text(json.dumps(dict(node.definition), indent=1))
    return str(kept)
