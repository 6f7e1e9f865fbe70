"""Planes of a lattice: the tiles that a picture of y and x shows together."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice import Lattice
from latticework.lattice.offsets import lattice_dim
from latticework.viz.folding import Folding


def plane_dims(lattice: Lattice) -> tuple[str, ...]:
    """Lattice dims of which every combination of labels is a plane: all but y and x."""
    return tuple(dim for dim in lattice.dims if dim not in ("tile_y", "tile_x"))


def plane_numbers(lattice: Lattice) -> tuple[np.ndarray, Callable[[int], str]]:
    """For each tile the number of its plane, and what gives the title of a number.

    Examples
    --------
    >>> grid, shape = {"z": 2, "y": 1, "x": 2}, {"y": 8, "x": 8}
    >>> lattice = Lattice.from_grid(grid, tile_shape=shape, dtype="u1")
    >>> numbers, title = plane_numbers(lattice)
    >>> numbers.tolist(), title(1)
    ([0, 0, 1, 1], 'z 1')
    """
    dims = plane_dims(lattice)
    if not dims:
        return np.zeros(len(lattice), np.int64), lambda _: ""
    folding = Folding(dims, dims, None, None, lattice.labels)
    columns = [lattice.dims.index(dim) for dim in dims]
    shape = tuple(lattice.shape[c] for c in columns)
    numbers = np.ravel_multi_index(tuple(lattice.index[:, c] for c in columns), shape)
    return numbers, lambda k: folding.plane_title(k, k + 1)


def planes_present(numbers: np.ndarray) -> np.ndarray:
    """Numbers of the planes that have tiles, in order."""
    return np.flatnonzero(np.bincount(numbers)) if len(numbers) else np.zeros(0, np.int64)


def chosen_plane(
    lattice: Lattice, numbers: np.ndarray, plane: int | Mapping[str, Any] | None
) -> int:
    """The number of a plane that is given by its number or its labels; the middle one if neither.

    Parameters
    ----------
    lattice
        The lattice.
    numbers
        Of its tiles, as `plane_numbers` gives them.
    plane
        A number from 0, counted over all labels, or labels by axis such as ``{"z": 3}``.

    Raises
    ------
    LatticeError
        If there is no such plane.
    """
    dims = plane_dims(lattice)
    shape = tuple(lattice.sizes[dim] for dim in dims)
    n = int(np.prod(shape, dtype=np.int64))
    if plane is None:
        present = planes_present(numbers)
        return int(present[len(present) // 2]) if len(present) else 0
    if not isinstance(plane, Mapping):
        number = int(plane)
        if not -n <= number < n:
            raise LatticeError(f"plane={plane}: expected a number from 0 to {n - 1}, or labels")
        return number % n
    given = {lattice_dim(axis): label for axis, label in plane.items()}
    unknown = sorted(set(given) - set(dims))
    if unknown:
        raise LatticeError(f"plane={dict(plane)}: planes have the axes {', '.join(dims) or 'none'}")
    index = []
    for dim in dims:
        labels = np.asarray(lattice.labels[dim]).tolist()
        label = given.get(dim, labels[0] if len(labels) == 1 else None)
        if label not in labels:
            shown = ", ".join(map(str, labels[:12]))
            raise LatticeError(f"plane={dict(plane)}: along {dim} there are the labels {shown}")
        index.append(labels.index(label))
    return int(np.ravel_multi_index(tuple(index), shape)) if dims else 0


__all__ = ["chosen_plane", "plane_dims", "plane_numbers", "planes_present"]
