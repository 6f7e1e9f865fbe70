"""Metadata and coordinates of arrays that were deleted or damaged: written anew before a run.

They follow from the lattice and from what the stage makes, which the project knows; tiles are not
touched.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticework.errors import ProjectError, StoreError
from latticework.io.layout import ArrayLayout
from latticework.io.plain_zarr import read_group, read_json
from latticework.io.stage_group import stored_layout, write_metadata
from latticework.stages.bench import plan_layout
from latticework.stages.lattices import lattice_grows
from latticework.stages.paths import array_folder

if TYPE_CHECKING:
    from latticework.project.folder import ProjectFolder
    from latticework.project.pipeline import Node


def restore_stores(project: "ProjectFolder", nodes: Iterable["Node"]) -> list[str]:
    """Write anew what is not there of the groups of stages that make arrays; their names.

    Raises
    ------
    ProjectError
        If tiles are there that are stored in another way than the project would store them.
    """
    restored = []
    for node in nodes:
        if node.output is None or node.output.kind != "array" or not node.settled:
            continue
        folder = array_folder(project.path, node.name)
        if _is_whole(folder, node.name):
            continue
        layout = _layout(project, node, folder)
        (folder / "zarr.json").unlink(missing_ok=True)  # a group that opens is whole
        write_metadata(folder, layout, node.lattice)
        restored.append(node.name)
    return restored


def _is_whole(folder: Path, array: str) -> bool:
    """Whether a group has all the coordinates that it says."""
    try:
        members = read_group(folder, what="store of a stage")["members"]
        stored_layout(folder)
        for name in members:
            read_json(folder / name / "zarr.json", what="array")
            chunks = (folder / name).glob("c*")
            if name != array and not any(file.exists() for file in chunks):
                return False
    except (StoreError, ValueError):
        return False
    return array in members


def _layout(project: "ProjectFolder", node: "Node", folder: Path) -> ArrayLayout:
    """How a stage's tiles are stored: as the group says, or as it would be made now."""
    try:
        return stored_layout(folder)
    except (StoreError, ValueError):
        pass
    assert node.output is not None
    live = project.settings.live and lattice_grows(node.key)
    layout = plan_layout(node.lattice, node.output, node.name, live=live)
    try:
        there: dict[str, Any] = read_json(folder / node.name / "zarr.json", what="array")
    except (StoreError, ValueError):
        return layout
    planned = layout.metadata()
    differ = [
        key
        for key in ("data_type", "chunk_grid", "codecs")
        if there.get(key) not in (None, planned[key])
    ]
    if differ:
        raise ProjectError(
            f"{folder} has lost its metadata, and its tiles are stored with another "
            f"{', '.join(differ)} than they would be now: remove that folder, and "
            f"project.verify({node.name!r}) lets all of it be made again"
        )
    return layout
