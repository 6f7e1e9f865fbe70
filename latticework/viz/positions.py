"""Where tiles lie: as the stage said, or as they were found to lie."""

from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError, ProjectError
from latticework.lattice import Lattice

if TYPE_CHECKING:
    from latticework.project.project import Project

PLACES = "places"
"""Stage of a stitching that says where tiles lie."""


def positioned(project: "Project", lattice: Lattice, positions: Any) -> Lattice:
    """A stage's lattice with its tiles at other positions.

    Parameters
    ----------
    project
        The project.
    lattice
        Of the stage's units.
    positions
        ``"nominal"``: as it is. ``"solved"``: as the project's stage ``places`` found them, or the
        name of another stage that makes such a table once (columns ``id``, ``position_y_um``,
        ``position_x_um``). Or a lattice with the same tiles, or what has one (a `Placement`).

    Raises
    ------
    LatticeError, ProjectError
        If there are no such positions.
    """
    if isinstance(positions, str) and positions == "nominal":
        return lattice
    axes = [axis for axis in lattice.spatial_dims if axis in ("y", "x")]
    if isinstance(positions, str):
        stage = PLACES if positions == "solved" else positions
        found = _from_table(project, stage, lattice, axes)
    else:
        found = _from_lattice(getattr(positions, "lattice", positions), lattice, axes)
    position = lattice.position_um.copy()
    position[:, [lattice.spatial_dims.index(axis) for axis in axes]] = found
    return lattice.replace(position_um=position)


def _from_table(project: "Project", stage: str, lattice: Lattice, axes: list[str]) -> np.ndarray:
    if stage not in project.pipeline.nodes:
        if stage == PLACES:
            raise ProjectError(
                "nothing in this project has found where its tiles lie: "
                f"`latticework.stitch.stitch` (or `latticework stitch`) makes a stage "
                f"{PLACES!r} that does. Without one, give the lattice that `place` "
                "returned, or the name of a stage that makes a table of positions once (columns "
                "id, position_y_um, position_x_um)"
            )
        raise ProjectError(
            f"positions={stage!r}: there is no such stage. Positions are 'nominal', 'solved' (of a "
            f"stitching's stage {PLACES!r}), a stage that makes a table of them once, or a lattice"
        )
    table = project[stage].tile()
    columns = [f"position_{axis}_um" for axis in axes]
    if not {"id", *columns} <= set(getattr(table, "columns", ())):
        raise ProjectError(
            f"stage {stage!r} does not say where tiles lie: expected a table with the columns id, "
            f"{', '.join(columns)}"
        )
    here = [lattice.spatial_dims.index(axis) for axis in axes]
    found = lattice.position_um[:, here].copy()
    known = table[np.isin(table["id"], lattice.ids)]
    rows = lattice.rows_of(known["id"].to_numpy(np.int64))
    moved = known[columns].to_numpy("f8") - found[rows]
    found += np.median(moved, axis=0) if len(rows) else 0.0  # of tiles that could not be read
    found[rows] = known[columns].to_numpy("f8")
    return found


def _from_lattice(other: Any, lattice: Lattice, axes: list[str]) -> np.ndarray:
    if not isinstance(other, Lattice) or len(other) != len(lattice):
        what = f"{len(other)} tiles" if isinstance(other, Lattice) else repr(other)
        raise LatticeError(
            f"positions are of {what}: expected 'nominal', 'solved', or a lattice of the "
            f"{len(lattice)} tiles of the stage"
        )
    columns = [other.spatial_dims.index(axis) for axis in axes]
    return np.asarray(other.position_um[:, columns])


__all__ = ["positioned"]
