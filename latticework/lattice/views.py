"""The lattice as xarray."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.lattice.offsets import spatial_axis

if TYPE_CHECKING:
    import xarray as xr

    from latticework.lattice.lattice import Lattice


def on_grid(lattice: "Lattice", values: np.ndarray, fill: Any) -> np.ndarray:
    """Values per tile (rows of `lattice`) laid on its grid; `fill` in holes."""
    grid = np.full(lattice.shape + values.shape[1:], fill, dtype=values.dtype)
    if lattice.dims:
        grid[tuple(lattice.index.T)] = values
    elif len(values):
        grid[...] = values[0]  # the unit lattice: one unit, no axes
    return grid


def made_names(lattice: "Lattice") -> np.ndarray:
    """Names made from the labels, such as ``y1_x2``: an array of str objects."""
    index = lattice.index
    names: Any = None
    for column, dim in enumerate(lattice.dims):
        axis = spatial_axis(dim)
        before = "" if names is None else "_"
        before += axis or f"{dim}="
        words = np.array([f"{before}{label}" for label in lattice.labels[dim].tolist()], object)
        part = words[index[:, column]]
        names = part if names is None else names + part
    return np.full(len(index), "all", dtype=object) if names is None else np.asarray(names)


def made_name(lattice: "Lattice", row: int) -> str:
    """Name made from the labels of one row."""
    parts = []
    for dim, position in zip(lattice.dims, lattice.index[row].tolist(), strict=True):
        axis = spatial_axis(dim)
        parts.append(f"{axis or f'{dim}='}{lattice.labels[dim][position]}")
    return "_".join(parts) or "all"


def grid_coords(lattice: "Lattice") -> Mapping[str, Any]:
    """Labels as coordinates of the lattice dims."""
    return {dim: (dim, lattice.labels[dim]) for dim in lattice.dims}


def as_dataset(lattice: "Lattice") -> "xr.Dataset":
    """See `Lattice.dataset`."""
    import xarray as xr

    dims = lattice.dims
    variables = {
        "tile": (dims, lattice.id_grid),
        "present": (dims, lattice.id_grid >= 0),
        "name": (dims, on_grid(lattice, lattice.names, "")),
        "position_um": ((*dims, "axis"), on_grid(lattice, lattice.position_um, np.nan)),
    }
    if lattice.shapes is not None:
        shape = on_grid(lattice, lattice.shapes, 0)
        variables["tile_shape_px"] = ((*dims, "tile_dim"), shape)
    coords = {**grid_coords(lattice), "axis": list(lattice.spatial_dims)}
    attrs = {
        "tile_dims": list(lattice.tile_dims),
        "tile_shape": list(lattice.tile_shape.values()),
        "dtype": lattice.dtype.str,
        "pixel_size_um": dict(lattice.pixel_size_um),
        "step_px": dict(lattice.step_px),
        "overlap_px": lattice.overlap_px,
    }
    return xr.Dataset(variables, coords, attrs)
