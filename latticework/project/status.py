"""The state of every unit as xarray."""

from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.lattice.states import State
from latticework.lattice.views import grid_coords, on_grid
from latticework.project.pipeline import Node
from latticework.project.pool_facts import pools_now
from latticework.stages.lattices import TILES, lattice_grows

if TYPE_CHECKING:
    import xarray as xr

    from latticework.project.folder import ProjectFolder


def status_columns(node: Node) -> dict[str, np.ndarray]:
    """Variables of the status array for one stage, a value per unit."""
    units = node.units
    return {
        "state": units.state,
        "attempts": units.attempts,
        "duration_s": units.duration_s,
        "ended": units.ended,
    }


def on_tiles(node: Node) -> bool:
    """Whether a stage's units are the acquisition's tiles."""
    return node.key == TILES


def flags() -> dict[str, Any]:
    """Attributes that say which number is which state (CF conventions)."""
    return {
        "flag_values": [int(state) for state in State],
        "flag_meanings": " ".join(state.label for state in State),
    }


def node_dataset(node: Node) -> "xr.Dataset":
    """Status of one stage over its own lattice dims."""
    import xarray as xr

    dims = node.lattice.dims
    variables = {
        name: (dims, on_grid(node.lattice, values, 0))
        for name, values in status_columns(node).items()
    }
    dataset = xr.Dataset(variables, grid_coords(node.lattice), {"stage": node.name})
    dataset["state"].attrs.update(flags())
    dataset["duration_s"].attrs["units"] = "s"
    dataset["ended"].attrs["units"] = "seconds since 1970-01-01"
    return dataset


def status_dataset(project: "ProjectFolder") -> "xr.Dataset":
    """See `Project.status`.

    Stages over tiles share ``state`` and its companions, with a dim ``stage``; reductions, which
    have one unit, are in ``reduction_state`` over the dim ``reduction``. Stages with units of
    another kind, planes or blocks, have a variable of their own, ``means.state``, over dims of
    their own, ``means.tile_z``, with an attribute ``unit``, ``"plane"`` or ``"own lattice"``; the
    coordinate ``other_stage`` lists them. Counts of all are in ``count`` by ``any_stage`` and
    ``in_state``.
    """
    import xarray as xr

    nodes = list(project.pipeline)
    tiled = [node for node in nodes if on_tiles(node)]
    lattice = project.lattice
    names = (
        list(status_columns(tiled[0])) if tiled else ["state", "attempts", "duration_s", "ended"]
    )
    columns = {node.name: status_columns(node) for node in tiled}
    dims = ("stage", *lattice.dims)
    empty = np.zeros((0, *lattice.shape))
    variables: dict[str, Any] = {
        name: (
            dims,
            np.stack([on_grid(lattice, columns[node.name][name], 0) for node in tiled])
            if tiled
            else empty,
        )
        for name in names
    }
    reductions = [node for node in nodes if node.reduction]
    variables["reduction_state"] = (
        "reduction",
        np.array([node.units.state[0] for node in reductions], dtype=np.uint8),
    )
    others = [node for node in nodes if not on_tiles(node) and not node.reduction]
    own_coords: dict[str, Any] = {}
    for node in others:
        own_dims = tuple(f"{node.name}.{dim}" for dim in node.lattice.dims)
        states = on_grid(node.lattice, node.units.state, 0)
        is_plane = lattice_grows(node.key)  # others than tiles that grow with them are planes
        unit = {"unit": "plane" if is_plane else "own lattice"}
        variables[f"{node.name}.state"] = (own_dims, states, {**flags(), **unit})
        for dim, own in zip(node.lattice.dims, own_dims, strict=True):
            own_coords[own] = node.lattice.labels[dim]
    variables["present"] = (lattice.dims, lattice.id_grid >= 0)
    counts = [[node.units.count().get(state, 0) for state in State] for node in nodes]
    variables["count"] = (
        ("any_stage", "in_state"),
        np.array(counts, dtype=np.int64).reshape(len(nodes), len(State)),
    )
    coords = {
        "stage": [node.name for node in tiled],
        "reduction": [node.name for node in reductions],
        "other_stage": [node.name for node in others],
        "any_stage": [node.name for node in nodes],
        "in_state": [state.label for state in State],
        **grid_coords(lattice),
        **own_coords,
    }
    about = {"project": project.name, "path": str(project.path), "outage": project.outage}
    pools = pools_now(project)
    if pools:
        about["pools"] = "; ".join(map(str, pools))
    dataset = xr.Dataset(variables, coords, about)
    for name in ("state", "reduction_state"):
        dataset[name].attrs.update(flags())
    dataset["duration_s"].attrs["units"] = "s"
    dataset["ended"].attrs["units"] = "seconds since 1970-01-01"
    return dataset
