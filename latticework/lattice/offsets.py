"""Sets of lattice offsets: which neighbours are meant."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from latticework.errors import LatticeError

SPATIAL = ("z", "y", "x")

Offset = str | Mapping[str, int] | Sequence[int]
Offsets = Offset | Iterable[Offset]

PART = re.compile(r"([+-])(\d*)([^\W\d]\w*)")
"""A step along an axis in the name of an offset: sign, how many, axis."""
PARTS = re.compile(rf"(?:{PART.pattern})+")


def lattice_dim(axis: str) -> str:
    """Lattice dim of an axis: ``z`` and ``tile_z`` both give ``tile_z``, others stay."""
    return f"tile_{axis}" if axis in SPATIAL else axis


def spatial_axis(dim: str) -> str | None:
    """Spatial axis of a lattice dim (``tile_z`` gives ``z``), or None."""
    axis = dim.removeprefix("tile_")
    return axis if dim.startswith("tile_") and axis in SPATIAL else None


def resolve_offsets(offsets: Offsets, dims: Sequence[str]) -> np.ndarray:
    """Offsets as an integer array of shape (number of offsets, number of dims).

    Parameters
    ----------
    offsets
        ``"faces"`` (one spatial axis differs by one), ``"edges"`` (two), ``"corners"``
        (every spatial axis), ``"all"`` (all of these); ``"+z"``, ``"-y+x"``, ``"+2z"``;
        ``{"z": 1, "y": -1}``; a tuple in the order of `dims`; or several of these.
    dims
        Lattice dims.

    Raises
    ------
    LatticeError
        For an offset that names no dim of the lattice, or that is zero.

    Examples
    --------
    >>> resolve_offsets("faces", ("tile_y", "tile_x")).tolist()
    [[-1, 0], [0, -1], [0, 1], [1, 0]]
    >>> resolve_offsets(["+z", {"y": -2}], ("tile_z", "tile_y", "tile_x")).tolist()
    [[1, 0, 0], [0, -2, 0]]
    >>> resolve_offsets(["-y+x", "+2x"], ("tile_y", "tile_x")).tolist()
    [[-1, 1], [0, 2]]
    """
    given: Any = offsets.tolist() if isinstance(offsets, np.ndarray) else offsets
    if isinstance(given, str | Mapping) or _is_vector(given):
        given = [given]
    if not isinstance(given, Iterable):
        raise LatticeError(f"offsets are names, mappings or tuples of whole numbers, not {given!r}")
    several: list[Offset] = list(given)
    rows = [row for offset in several for row in _rows(offset, tuple(dims))]
    unique = list(dict.fromkeys(rows))
    if not unique:
        raise LatticeError("no offset given: name at least one neighbour, such as '+z' or 'faces'")
    if (0,) * len(dims) in unique:
        raise LatticeError(f"offset {offsets!r} is zero: a tile is not its own neighbour")
    return np.array(unique, dtype=np.int64)


def _is_vector(offset: object) -> bool:
    return (
        isinstance(offset, Sequence)
        and bool(offset)
        and all(isinstance(step, int | np.integer) for step in offset)
    )


def _rows(offset: Offset, dims: tuple[str, ...]) -> list[tuple[int, ...]]:
    if isinstance(offset, str):
        return _named(offset, dims)
    if isinstance(offset, Mapping):
        steps = {lattice_dim(axis): int(step) for axis, step in offset.items()}
        unknown = sorted(set(steps) - set(dims))
        if unknown:
            raise LatticeError(f"offset {dict(offset)} names {unknown}, but the lattice has {dims}")
        return [tuple(steps.get(dim, 0) for dim in dims)]
    if not _is_vector(offset):
        raise LatticeError(f"offset {offset!r} is no name, mapping or tuple of whole numbers")
    if len(offset) != len(dims):
        raise LatticeError(f"offset {tuple(offset)} has {len(offset)} numbers for dims {dims}")
    return [tuple(int(step) for step in offset)]


def _named(name: str, dims: tuple[str, ...]) -> list[tuple[int, ...]]:
    spatial = [spatial_axis(dim) is not None for dim in dims]
    wanted = {"faces": {1}, "edges": {2}, "corners": {sum(spatial)}, "all": {1, 2, 3}}.get(name)
    if wanted is not None:
        steps = product(*((-1, 0, 1) if here else (0,) for here in spatial))
        return [step for step in steps if sum(map(abs, step)) in wanted]
    sign = {"+": 1, "-": -1}.get(name[:1])
    if sign is not None and lattice_dim(name[1:]) in dims:
        return [tuple(sign * (dim == lattice_dim(name[1:])) for dim in dims)]
    if PARTS.fullmatch(name):  # such as -y+x and +2z
        parts = [(lattice_dim(axis), f"{plus}{n or 1}") for plus, n, axis in PART.findall(name)]
        along = {dim: int(step) for dim, step in parts}
        if len(along) == len(parts) and set(along) <= set(dims):
            return [tuple(along.get(dim, 0) for dim in dims)]
    known = ["faces", "edges", "corners", "all"]
    known += [sign + dim.removeprefix("tile_") for dim in dims for sign in "+-"]
    raise LatticeError(f"no offset is called {name!r}; there are {', '.join(known)}")
