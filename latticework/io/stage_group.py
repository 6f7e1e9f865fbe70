"""The Zarr group of one stage: its array beside the labels and positions of the lattice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.layout import ArrayLayout
from latticework.io.list_group import ListGroup
from latticework.io.plain_zarr import read_group, write_array, write_group, write_json


def write_metadata(path: Path, layout: ArrayLayout, lattice: Any) -> None:
    """Coordinates first, the group last: a group that opens is whole."""
    if layout.kind == "list":
        ListGroup(path).write(layout, lattice)
        return
    members: dict[str, Mapping[str, Any]] = {}
    if layout.kind == "tiles":
        for dim, labels in zip(layout.lattice_dims, layout.labels, strict=True):
            members[dim] = write_array(path, dim, np.array(labels), dims=(dim,))
    for axis, (dims, values) in positions_um(layout, lattice).items():
        members[axis] = write_array(path, axis, values, dims=dims, attributes={"units": "um"})
    members[layout.name] = layout.metadata()
    write_json(path / layout.name / "zarr.json", layout.metadata())
    write_group(path, members, {"latticework": layout.to_json()})


def stored_layout(path: Path) -> ArrayLayout:
    """The layout that a group was made with.

    Raises
    ------
    StoreError
        Where there is no group, or it is not one of a stage.
    """
    attributes = read_group(path, what="store of a stage")["attributes"]
    try:
        return ArrayLayout.from_json(attributes["latticework"])
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is a Zarr group, but not one of a stage: {error}") from error


def positions_um(
    layout: ArrayLayout, lattice: Any = None
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Coordinates ``{axis}_um`` in micrometres: of each tile on the grid, or of a volume's pixels.

    The grid is the array's; for a list the lattice's as it is now.
    """
    sizes = dict(layout.pixel_size_um)
    if layout.volume_shape is not None:
        shape = dict(zip(layout.dims, layout.volume_shape, strict=True))
        return {f"{dim}_um": ((dim,), np.arange(shape[dim]) * size) for dim, size in sizes.items()}
    if lattice is None or not layout.lattice_dims:
        return {}
    position = np.asarray(lattice.position_um, dtype=float)
    at = tuple(np.asarray(lattice.index).T)
    found = {}
    for column, axis in enumerate(lattice.spatial_dims):
        positions = tuple(lattice.shape) if layout.kind == "list" else layout.grid
        grid = np.full(positions, np.nan)
        grid[at] = position[:, column]
        found[f"{axis}_um"] = (layout.lattice_dims, grid)
    return found
