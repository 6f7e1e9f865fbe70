"""How far tiles may lie from where they should, as a person says it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from latticework.errors import LatticeError

Reach = float | Mapping[str, float] | Sequence[float]
"""Pixels: one number for all axes, by axis, or one for each of them in order."""
MOST_PX = 1e5
"""What no tile is moved by."""


def reach_of(given: Reach | None, dims: Sequence[str]) -> tuple[float, ...] | None:
    """How far tiles may lie from where they should, in pixels along each dim.

    Parameters
    ----------
    given
        One number for all, numbers by dim, or one for each dim in order; None where nothing is
        said.
    dims
        The tiles' spatial dims.

    Raises
    ------
    LatticeError
        That names what was given, and what was expected.

    Examples
    --------
    >>> reach_of(20, "yx"), reach_of({"x": 16, "y": 8}, "yx"), reach_of((8, 16), "yx")
    ((20.0, 20.0), (8.0, 16.0), (8.0, 16.0))
    """
    if given is None:
        return None
    found = _numbers(given, dims)
    if found is None or not all(0 < px < MOST_PX for px in found):
        text = dict(given) if isinstance(given, Mapping) else given
        raise LatticeError(
            f"reach={text!r}: give pixels, above 0: one number, or one along each of "
            f"{', '.join(dims)}"
        )
    return found


def _numbers(given: Any, dims: Sequence[str]) -> tuple[float, ...] | None:
    """A number for each dim; None if that is not what was given."""
    try:
        if isinstance(given, Mapping):
            return tuple(float(given[dim]) for dim in dims) if set(given) == set(dims) else None
        if isinstance(given, str | bytes):
            return None
        each = given if isinstance(given, Iterable) else [given] * len(dims)
        numbers = tuple(map(float, each))
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == len(dims) else None


__all__ = ["Reach", "reach_of"]
