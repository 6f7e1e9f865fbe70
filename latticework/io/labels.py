"""Labels of a lattice axis as short JSON."""

from collections.abc import Mapping
from typing import Any

Label = int | float | str


def compact(labels: tuple[Label, ...]) -> Any:
    """A run of consecutive integers as its first and number; anything else as it is.

    Examples
    --------
    >>> compact((3, 4, 5)), compact(("a", "b"))
    ({'first': 3, 'number': 3}, ['a', 'b'])
    """
    if len(labels) > 2 and all(isinstance(label, int) for label in labels):
        first = int(labels[0])
        if labels == tuple(range(first, first + len(labels))):
            return {"first": first, "number": len(labels)}
    return list(labels)


def expand(labels: Any) -> tuple[Label, ...]:
    """The labels that `compact` made short.

    Examples
    --------
    >>> expand({"first": 3, "number": 3})
    (3, 4, 5)
    """
    if isinstance(labels, Mapping):
        return tuple(range(labels["first"], labels["first"] + labels["number"]))
    return tuple(labels)
