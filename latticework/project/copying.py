"""A trial project: the same stages on some of the tiles."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError, ProjectError
from latticework.io.parts_source import PartsSource
from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State
from latticework.project.adding import put_stage, with_parents
from latticework.project.copying_outputs import copy_outputs
from latticework.project.creating import create
from latticework.project.ledger import recover
from latticework.project.pipeline import SOURCE, Node
from latticework.project.settings import Settings
from latticework.project.stage_history import units_at
from latticework.stages.reads import Reads, reads_from_json

if TYPE_CHECKING:
    from latticework.project.project import Project


def copy_project(
    project: "Project",
    path: Path | str,
    *,
    region: Mapping[str, Any] | Lattice | None = None,
    stages: Iterable[str] | None = None,
    outputs: bool = False,
    name: str | None = None,
) -> "Project":
    """See `Project.copy`."""
    nodes = chosen_stages(project, stages)
    ids = ids_in(project, region)
    whole = len(ids) == len(project.lattice)
    tiles = project.lattice if whole else numbered_anew(project.lattice, ids)
    new = create(path, tiles, name=name)
    for node in nodes:
        _copy_stage(project, new, node)
    with new.lock().held():
        new.keep_settings(_settings_for(project.settings, tiles, {node.name for node in nodes}))
        new.close_writer()
    if outputs:
        copy_outputs(project, new, ids)
    return new


def chosen_stages(project: "Project", stages: Iterable[str] | None) -> list[Node]:
    """The stages to copy, parents first.

    Raises
    ------
    ProjectError
        If one of them reads another that is not copied.
    """
    if stages is None:
        return list(project.pipeline)
    names = {stages} if isinstance(stages, str) else set(stages)
    for stage in names:
        missing = sorted(set(project.pipeline[stage].parents) - names - {SOURCE})
        if missing:
            raise ProjectError(
                f"stage {stage!r} reads {', '.join(map(repr, missing))}: copy that too "
                f"(stages={sorted(names | set(missing))!r})"
            )
    return [node for node in project.pipeline if node.name in names]


def ids_in(project: "Project", region: Mapping[str, Any] | Lattice | None) -> np.ndarray:
    """Ids of the tiles of a region that are there: neither withdrawn nor still to come.

    Raises
    ------
    LatticeError
        If there are none.
    """
    lattice = project.lattice
    if region is None:
        ids = np.asarray(lattice.ids)
    elif isinstance(region, Lattice):
        ids = np.asarray(region.ids)
        lattice.rows_of(ids)
    else:
        ids = units_at(lattice, region)
    presence = project.pipeline[SOURCE].presence
    if presence is not None:
        ids = ids[presence[lattice.rows_of(ids)] == State.COMPLETE]
    if not len(ids):
        raise LatticeError(f"there are no tiles to copy in {region}")
    return np.sort(ids)


def numbered_anew(lattice: Lattice, ids: np.ndarray) -> Lattice:
    """Some tiles of a lattice as one of their own, with the same pixels.

    Ids are new, 0 to n - 1; labels, names and positions are those that the tiles had, and the grid
    is as much of the old one as they span.
    """
    assert lattice.source is not None
    some = lattice.take(ids)
    low, high = some.index.min(axis=0).tolist(), some.index.max(axis=0).tolist()
    spans = {dim: slice(a, b + 1) for dim, a, b in zip(some.dims, low, high, strict=True)}
    names = np.asarray(lattice.names)[lattice.rows_of(ids)]
    some = some.isel(**spans)
    place = {tile: number for number, tile in enumerate(some.ids.tolist())}
    return some.replace(
        ids=None,
        names=names,
        problems={place[tile]: text for tile, text in some.problems.items()},
        volume_shape=None,
        source=PartsSource.of(lattice.source, rows=some.ids),
    )


def _copy_stage(project: "Project", new: "Project", node: Node) -> None:
    """Have the same stage in the new project; its code too, where that is at hand."""
    reads = reads_from_json(node.definition["reads"])
    patterns = [reads] if isinstance(reads, Reads) else list(reads.values())
    for key in {pattern.key for pattern in patterns if pattern.key.startswith("own:")}:
        new.keep_own_lattice(key, project.pipeline.lattices[key])
    recover(node)
    if node.stage is not None:
        put_stage(new, node.stage, node.parents)
        return
    with new.lock().held():  # as in the project itself, it waits for its code to be given again
        same = with_parents(new.pipeline, node, node.parents)
        new.add_node(same, json.dumps(same.definition))
        new.close_writer()
    new.seen_now()


def _settings_for(settings: Settings, tiles: Lattice, stages: set[str]) -> Settings:
    """What is set in a copy: parameters and skipped planes; no region, and it does not grow."""
    skipped = {
        dim: tuple(label for label in labels if label in tiles.labels[dim].tolist())
        for dim, labels in settings.skipped.items()
    }
    return Settings(
        paused=settings.paused,
        paused_stages=tuple(name for name in settings.paused_stages if name in stages),
        self_paused={name: why for name, why in settings.gave_up.items() if name in stages},
        patience=settings.patience,
        skipped={dim: labels for dim, labels in skipped.items() if labels},
        parameters=settings.parameters,
    )
