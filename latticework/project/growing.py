"""A project that grows: tiles join, are imaged again, leave; and what has to be so for that."""

import time
from typing import TYPE_CHECKING

import numpy as np

from latticework.errors import ProjectError
from latticework.io.compacting import compact
from latticework.io.growth_store import Growth, apply_growth, pending, save_growth
from latticework.io.list_conversion import convert_to_list
from latticework.lattice.states import State
from latticework.project.pipeline import SOURCE
from latticework.stages.lattices import lattice_grows
from latticework.stages.paths import array_folder

if TYPE_CHECKING:
    from latticework.project.desk import Desk

MOST_GROWTHS = 200
"""Growths of the lattice that are kept one by one."""


def make_live(desk: "Desk") -> None:
    """Let a project have more tiles: from now on they are stored by their ids.

    Raises
    ------
    ProjectError
        If its tiles are the blocks of one volume, which has no more of them.
    """
    project, settings = desk.project, desk.settings
    if settings.live:
        desk.use(settings.replace(ended=False))
        return
    if project.lattice.volume_shape is not None:
        raise ProjectError(
            f"the tiles of {project.path} are blocks of one volume, which cannot grow: "
            "watch an acquisition of tiles"
        )
    desk.use(settings.replace(live=True, ended=False))
    desk.journal.commit()  # first: should this process end now, the next run goes on here
    keep_by_id(desk)
    desk.orders_changed()


def keep_by_id(desk: "Desk") -> None:
    """See that the tiles of every stage are stored by their ids; quick where they are."""
    for node in desk.pipeline:
        if node.output is not None and node.output.kind == "array" and lattice_grows(node.key):
            folder = array_folder(desk.project.path, node.name)
            if folder.exists() or folder.with_name(f".{folder.name}.list").exists():
                convert_to_list(folder, node.lattice)
                node.generation += 1


def grow_project(desk: "Desk", growth: Growth) -> np.ndarray:
    """Let a project's lattice grow; ids of the tiles that joined, changed, came or left.

    What is new is on disk before it is anywhere else, and counts once ``project.json`` says so.
    """
    project, pipeline = desk.project, desk.pipeline
    old = pipeline.lattice
    lattice = apply_growth(old, growth)
    version = project.lattice_version + 1
    save_growth(project.path, version, growth)
    project.keep_lattice(lattice, version)
    touched = [np.arange(len(old), len(lattice))]
    if growth.replaced is not None:
        touched.append(np.asarray(growth.replaced[0]))
        pipeline[SOURCE].generation += 1
    if growth.presence is not None:
        touched.append(np.asarray(growth.presence[0]))
    ids = np.unique(np.concatenate(touched)).astype(np.int64)
    known = {node.name: len(node.units) for node in pipeline}
    moved = pipeline.grown(lattice)
    presence = pipeline[SOURCE].presence
    assert presence is not None
    came = int(np.count_nonzero(presence[ids] == State.COMPLETE))  # not: announced, withdrawn
    if came:
        desk.journal.add_arrivals(time.time(), came)
    new = {node.name: np.arange(known[node.name], len(node.units)) for node in pipeline}
    desk.lattice_grown({SOURCE: ids, **new})
    if moved:  # tiles may have other neighbours than before
        desk.states.begin()
    return ids


def tidy(desk: "Desk", *, most: int = MOST_GROWTHS) -> None:
    """Write a lattice that has grown many times as one, so that workers open it quickly.

    Only while nothing is out: work orders of older versions could not be followed any more.
    """
    project = desk.project
    if pending(project.path) > most:
        lattice = compact(project.path, project.lattice, project.lattice_version)
        project.keep_lattice(lattice, project.lattice_version)
        desk.pipeline.grown(lattice)
