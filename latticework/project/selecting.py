"""Which units a user means: by stage, state, tile or region."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from latticework.errors import ProjectError
from latticework.lattice.lattice import Lattice
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


def units_within(lattice: Lattice, bounds: Mapping[str, Any]) -> np.ndarray:
    """Ids of the units in a region; none where the lattice lacks one of its axes."""
    if any(dim not in lattice.dims for dim in bounds):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(inside(lattice, bounds))
