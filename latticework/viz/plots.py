"""One entry for every picture of a lattice, and what it shares with that of a project."""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError, LatticeworkError
from latticework.lattice import Lattice

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_of_lattice(lattice: Lattice, what: str, options: Mapping[str, Any]) -> "Figure":
    """A picture of a lattice.

    Parameters
    ----------
    lattice
        The lattice.
    what
        ``"planes"``: `plot_lattice`; ``"positions"``: `plot_positions`, with ``found=``.
    options
        Of that function.

    Raises
    ------
    LatticeError
        If there is no such picture, or it has no such option.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> plot_of_lattice(lattice, "planets", {})
    Traceback (most recent call last):
    ...
    latticework.errors.LatticeError: there is no plot 'planets' of a lattice; there are 'planes', \
'positions'
    """
    from latticework.viz.lattice_plot import plot_lattice
    from latticework.viz.positions_plot import plot_positions

    kinds: dict[str, Callable[..., Any]] = {"planes": plot_lattice, "positions": plot_positions}
    drawn: Figure = chosen(kinds, what, options, "a lattice", LatticeError)(lattice, **options)
    return drawn


def chosen(
    kinds: Mapping[str, Callable[..., Any]],
    what: str,
    options: Mapping[str, Any],
    of: str,
    kind: type[LatticeworkError],
) -> Callable[..., Any]:
    """What draws a picture.

    Raises
    ------
    LatticeworkError
        Of that kind, if there is no such picture, or it takes other options.
    """
    if what not in kinds:
        raise kind(f"there is no plot {what!r} of {of}; there are {', '.join(map(repr, kinds))}")
    draw = kinds[what]
    takes = list(inspect.signature(draw).parameters)[1:]
    if unknown := sorted(set(options) - set(takes)):
        raise kind(
            f"the plot {what!r} of {of} does not take {', '.join(unknown)}; it takes "
            f"{', '.join(takes)}"
        )
    lacking = [
        name
        for name, about in list(inspect.signature(draw).parameters.items())[1:]
        if about.default is inspect.Parameter.empty and name not in options
    ]
    if lacking:
        raise kind(f"the plot {what!r} of {of} needs {', '.join(map(needed, lacking))}")
    planes = options.get("planes", 1)
    if not isinstance(planes, int | np.integer) or isinstance(planes, bool) or planes < 1:
        raise kind(
            f"the plot {what!r} of {of}: planes={planes!r}: give how many planes are drawn at "
            "most, a whole number from 1"
        )
    return draw


def needed(name: str) -> str:
    """An argument that a plot cannot do without, and what it is."""
    meant = {
        "found": "the same tiles where they were found to lie: a lattice, or what `place` gave"
    }
    return f"{name}={f' ({meant[name]})' if name in meant else ''}"


__all__ = ["chosen", "plot_of_lattice"]
