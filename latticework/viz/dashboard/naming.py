"""Which unit, or which region, somebody means by what was typed or is in an address."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from latticework.errors import LatticeworkError, TileNotFoundError
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import lattice_dim
from latticework.lattice.tile import Tile
from latticework.stages.lattices import TILES
from latticework.viz.dashboard.feed import Snapshot, StageNow
from latticework.viz.folding import axis_name
from latticework.viz.words import plain

_BETWEEN = re.compile(r"[\s;]+|,(?=\s*[^\W\d]\w*\s*=)")
"""What separates one axis from the next: blanks, or a comma before the next name."""
_WHOLE = re.compile(r"0|[1-9]\d{0,11}")
_ALIKE = 8
"""Names that a message proposes."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of work in all stages on its lattice."""

    key: str
    """Key of its lattice."""
    lattice: Lattice
    """Its lattice."""
    id: int
    """Its id there."""
    stage: str | None
    """The stage that was asked for, if one was."""

    @property
    def tile(self) -> Tile:
        """Where it is and what it is."""
        return self.lattice.tile(self.id)


def find_unit(snapshot: Snapshot, stage: str | None, text: str) -> Unit:
    """The unit that is meant by an id, a name, or labels.

    Parameters
    ----------
    snapshot
        The project.
    stage
        A stage on whose lattice it lies; the acquisition's tiles if not given.
    text
        ``12`` (an id), ``y0_x1`` (a name), ``z=3 y=1 x=2`` or ``3, 1, 2`` (labels).

    Raises
    ------
    LatticeworkError
        If there is none, saying what there is.
    """
    now: StageNow | None = None
    if stage is not None and stage != "source":
        now = snapshot.stage(stage)
        if now is None:
            names = ", ".join(repr(one.name) for one in snapshot.stages) or "none yet"
            raise LatticeworkError(f"there is no stage {plain(stage, 100)!r}; there are {names}")
    key, lattice = (TILES, snapshot.lattice) if now is None else (now.key, now.lattice)
    if not lattice.dims:
        return Unit(key, lattice, 0, stage)
    return Unit(key, lattice, unit_of(lattice, text), stage)


def unit_of(lattice: Lattice, text: str) -> int:
    """Id of a unit, given by id, name or labels.

    Raises
    ------
    TileNotFoundError
        If there is none.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> [unit_of(lattice, text) for text in ("4", "y1_x1", "y=1 x=1", "y=1,x=1", "(1, 1)")]
    [4, 4, 4, 4, 4]
    """
    wanted = text.strip()
    if "=" in wanted:
        return lattice.id_at(**read_labels(lattice, wanted, ranges=False))
    if _WHOLE.fullmatch(wanted):
        return int(lattice.tile(int(wanted)).id)
    several = re.split(r"[\s,]+", wanted.strip("()[] "))
    if len(several) == len(lattice.dims) > 1:
        named = dict(zip(lattice.dims, several, strict=True))
        try:
            return lattice.id_at(**{dim: _label(lattice, dim, got) for dim, got in named.items()})
        except LatticeworkError:
            pass  # it may be a name all the same
    return _named(lattice, wanted)


def _named(lattice: Lattice, wanted: str) -> int:
    found = np.flatnonzero(lattice.names == wanted)
    if len(found) == 1:
        return int(lattice.ids[found[0]])
    shown = plain(wanted, 100)
    if len(found):
        some = ", ".join(str(int(lattice.ids[row])) for row in found[:_ALIKE])
        raise TileNotFoundError(f"{len(found)} tiles are called {shown!r}: give an id, of {some}")
    small = wanted.lower()
    alike = [name for name in lattice.names.tolist() if small and small in name.lower()]
    if len(alike) == 1:
        return int(lattice.ids[int(np.flatnonzero(lattice.names == alike[0])[0])])
    axes = " ".join(f"{axis_name(dim)}={lattice.labels[dim][0]}" for dim in lattice.dims)
    hint = f"give an id from 0 to {int(lattice.ids.max())}, a name, or labels as in {axes}"
    if alike:
        some = ", ".join(plain(name, 60) for name in alike[:_ALIKE])
        hint = f"{len(alike):,} names contain it, such as {some}"
    raise TileNotFoundError(f"there is no tile {shown!r}: {hint}")


def read_labels(lattice: Lattice, text: str, *, ranges: bool = True) -> dict[str, Any]:
    """Labels by axis, as methods of a project take them.

    Parameters
    ----------
    lattice
        Whose axes are meant.
    text
        ``z=3``, ``z=2..5`` (both ends included, either may be left out), ``z=1,4``; of several
        axes with blanks between.
    ranges
        Whether more than one label may be given for an axis.

    Raises
    ------
    LatticeworkError
        If it cannot be read, or there is no such axis.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 9, "x": 9}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> read_labels(lattice, "y=2..5, x=1,4")
    {'tile_y': slice(2, 5, None), 'tile_x': [1, 4]}
    >>> read_labels(lattice, "y=..3 x=0")
    {'tile_y': slice(None, 3, None), 'tile_x': 0}
    """
    found: dict[str, Any] = {}
    for part in filter(None, _BETWEEN.split(text.strip())):
        axis, equals, given = part.partition("=")
        if not equals or not given:
            raise LatticeworkError(
                f"{plain(part, 60)!r} is no selection: give labels by axis, as in "
                f"{_example(lattice)}"
            )
        dim = lattice_dim(axis)
        if dim not in lattice.dims:
            names = ", ".join(axis_name(dim) for dim in lattice.dims)
            raise LatticeworkError(f"there is no axis {plain(axis, 60)!r}; there are {names}")
        if dim in found:
            raise LatticeworkError(f"the axis {plain(axis, 60)!r} is given twice")
        found[dim] = _labels(lattice, dim, given, ranges=ranges)
    return found


def _labels(lattice: Lattice, dim: str, given: str, *, ranges: bool) -> Any:
    first, dots, last = given.partition("..")
    if dots and ranges:
        return slice(
            _label(lattice, dim, first) if first else None,
            _label(lattice, dim, last) if last else None,
        )
    several = [one for one in given.split(",") if one]
    if len(several) > 1 and ranges:
        return [_label(lattice, dim, one) for one in several]
    return _label(lattice, dim, given)


def _label(lattice: Lattice, dim: str, text: str) -> Any:
    """A label as that axis has them: a number, or the text."""
    kind = lattice.labels[dim].dtype.kind
    try:
        return int(text) if kind in "iub" else float(text) if kind == "f" else text
    except ValueError as error:
        axis = axis_name(dim)
        raise LatticeworkError(
            f"{plain(text, 60)!r} is no label along {axis}: those are numbers, such as "
            f"{lattice.labels[dim][0]}"
        ) from error


def _example(lattice: Lattice) -> str:
    return " ".join(f"{axis_name(dim)}={lattice.labels[dim][0]}" for dim in lattice.dims[:2])
