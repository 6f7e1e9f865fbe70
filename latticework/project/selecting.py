"""Which units a user means: by stage, state, tile or region."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from latticework.errors import ProjectError, TileNotFoundError
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import lattice_dim
from latticework.lattice.selection import positions_of, shown_labels
from latticework.lattice.states import State
from latticework.project.pipeline import Node, Pipeline
from latticework.project.settings import inside


def chosen_units(
    pipeline: Pipeline, meant: Mapping[str, Any], states: Iterable[State]
) -> list[tuple[Node, np.ndarray]]:
    """Units by node, parents first.

    Parameters
    ----------
    pipeline
        The stages.
    meant
        ``stages`` (a name, several, or None for all), ``unit`` (an id), ``units`` (several) or
        ``bounds`` (a region, see `latticework.project.settings.bounds_of`).
    states
        Only units in one of these states.
    """
    names = meant.get("stages")
    names = [names] if isinstance(names, str) else names
    nodes = list(pipeline) if names is None else [pipeline[name] for name in names]
    found = []
    for node in nodes:
        units = _meant(node, meant)
        keep = np.isin(node.units.state[units], [int(state) for state in states])
        found.append((node, units[keep]))
    return found


def _meant(node: Node, meant: Mapping[str, Any]) -> np.ndarray:
    n = len(node.units)
    if meant.get("unit") is not None:
        units = [int(meant["unit"])]
    elif meant.get("units") is not None:
        units = [int(unit) for unit in meant["units"]]
    elif meant.get("bounds"):
        return units_within(node.lattice, meant["bounds"])
    else:
        return np.arange(n)
    wrong = [unit for unit in units if not 0 <= unit < n]
    if wrong:
        raise ProjectError(f"stage {node.name!r} has the units 0 to {n - 1}, no unit {wrong[0]}")
    return np.unique(np.array(units, dtype=np.int64))


def check_labels(lattices: Iterable[Lattice], labels: Mapping[str, Any]) -> None:
    """Refuse labels of which no lattice has any tile: most often, they were mistyped.

    Parameters
    ----------
    lattices
        Those that may be meant; the ones without these axes do not matter.
    labels
        By axis: one, several, or a slice, both ends included.

    Raises
    ------
    TileNotFoundError
        With the axis, and the labels that there are.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> check_labels([lattice], {"y": 1, "x": slice(2, None)})
    >>> check_labels([lattice], {"x": slice(3, 9)})
    Traceback (most recent call last):
    ...
    latticework.errors.TileNotFoundError: no labels 3 to 9 along tile_x: there are 0, 1, 2
    """
    wrong = None
    for lattice in lattices:
        if all(lattice_dim(axis) in lattice.dims for axis in labels):
            try:
                positions = positions_of(lattice, labels)
            except TileNotFoundError as error:
                wrong = wrong or error
                continue
            empty = [dim for dim, found in positions.items() if not np.size(found)]
            if not empty:
                return
            wrong = wrong or _no_labels(lattice, empty[0], labels)
    if wrong is not None:
        raise wrong


def _no_labels(lattice: Lattice, dim: str, labels: Mapping[str, Any]) -> TileNotFoundError:
    [given] = [label for axis, label in labels.items() if lattice_dim(axis) == dim]
    said = f" {given.start} to {given.stop}" if isinstance(given, slice) else ""
    return TileNotFoundError(
        f"no labels{said} along {dim}: there are {shown_labels(lattice.labels[dim])}"
    )


def units_within(lattice: Lattice, bounds: Mapping[str, Any]) -> np.ndarray:
    """Ids of the units in a region; none where the lattice lacks one of its axes."""
    if any(dim not in lattice.dims for dim in bounds):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(inside(lattice, bounds))
