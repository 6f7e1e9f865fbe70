"""What a stage reads of its parents: the declared patterns, and which units that means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from latticework.errors import LatticeError, StageError
from latticework.lattice.dependencies import (
    Dependency,
    EveryUnit,
    GroupUnit,
    MemberUnits,
    NearbyUnits,
    OffsetUnits,
    SameUnit,
    plane_groups,
)
from latticework.lattice.halo import Halo, HaloGeometry
from latticework.lattice.intersections import IntersectingUnits
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import Offsets, lattice_dim, resolve_offsets, spatial_axis
from latticework.stages.lattices import TILES, lattice_key, planes_of

MISSING = ("wait", "run", "absent")
"""What a unit does where something that it would read is missing."""


@dataclass(frozen=True, slots=True)
class Reads:
    """A reading pattern; made by `same_tile`, `neighbours`, `plane`, `all_tiles` and so on.

    Examples
    --------
    >>> all_tiles()
    Reads(pattern='all tiles')
    >>> neighbours("+z", missing="absent")
    Reads(pattern='neighbours', missing='absent', offsets=('+z',))
    """

    pattern: str
    """``"same tile"``, ``"neighbours"``, ``"plane"``, ``"all tiles"``, ``"intersecting"`` or
    ``"nothing"``."""
    missing: str = "wait"
    """``"wait"``, ``"run"`` or ``"absent"``; see `neighbours`."""
    offsets: tuple[Any, ...] = ()
    """Neighbours: the offsets, as names, or tuples of (axis, step) pairs."""
    axis: str | None = None
    """Plane: the lattice dim along which every label is a plane."""
    lattice: Lattice | None = None
    """Intersecting: the lattice of the stage's own units, where it was given."""
    key: str = TILES
    """Intersecting: under which key the project keeps that lattice."""
    whole: bool = True
    """Neighbours: whether the tile itself is read, or only what is asked for."""

    def __post_init__(self) -> None:
        if self.missing not in MISSING:
            raise StageError(
                f"missing={self.missing!r} is none of {', '.join(map(repr, MISSING))}: wait until "
                "the acquisition has ended, run without, or mark the unit absent"
            )

    def __repr__(self) -> str:
        shown = [f"pattern={self.pattern!r}"]
        if self.missing != "wait":
            shown.append(f"missing={self.missing!r}")
        if self.offsets:
            shown.append(f"offsets={self.offsets!r}")
        if self.axis is not None:
            shown.append(f"axis={self.axis!r}")
        if self.key != TILES:
            shown.append(f"key={self.key!r}")
        if not self.whole:
            shown.append("whole=False")
        return f"Reads({', '.join(shown)})"

    def to_json(self) -> Any:
        """As plain values; just the pattern's name where it has no options."""
        values: dict[str, Any] = {"pattern": self.pattern}
        if self.missing != "wait":
            values["missing"] = self.missing
        if self.offsets:
            values["offsets"] = [
                offset if isinstance(offset, str) else dict(offset) for offset in self.offsets
            ]
        if self.axis is not None:
            values["axis"] = self.axis
        if self.key != TILES:
            values["lattice"] = self.key
        if not self.whole:
            values["whole"] = False
        return self.pattern if len(values) == 1 else values

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """From `to_json`."""
        if isinstance(values, str):
            return cls(values)
        return cls(
            values["pattern"],
            missing=values.get("missing", "wait"),
            offsets=tuple(
                offset if isinstance(offset, str) else tuple(offset.items())
                for offset in values.get("offsets", ())
            ),
            axis=values.get("axis"),
            key=values.get("lattice", TILES),
            whole=values.get("whole", True),
        )

    def resolved_offsets(self, dims: Sequence[str]) -> np.ndarray:
        """Offsets as integers, shape (k, lattice dims).

        Raises
        ------
        LatticeError
            If they do not fit the lattice.
        """
        given = [offset if isinstance(offset, str) else dict(offset) for offset in self.offsets]
        return resolve_offsets(given, dims)


def same_tile(*, missing: str = "wait") -> Reads:
    """The same tile of the parents, with a halo where the stage has one: the default.

    Parameters
    ----------
    missing
        With a halo, what a unit does where a neighbour is missing: see `neighbours`.
    """
    return Reads("same tile", missing=missing)


def neighbours(*offsets: Offsets, missing: str = "wait", whole: bool = True) -> Reads:
    """The tile itself and those at some lattice offsets.

    The callable gets two arguments for each parent: the tile, and its neighbours as a
    `latticework.stages.collections.Tiles`, a mapping from the offset's name (``"+z"``, ``"-y+x"``)
    to the neighbour, or to None where there is none::

        def match(tile, neighbours, *, radius=5):
            above = neighbours["+z"]
            ...

    Skipped planes are stepped over.

    Parameters
    ----------
    *offsets
        ``"+z"``, ``"-x"``, ``"faces"``, ``"edges"``, ``"corners"``, ``"all"``, or mappings such
        as ``{"z": 1, "y": -1}``.
    missing
        What a unit does where a neighbour is missing, because it was not acquired (yet) or was
        withdrawn. ``"wait"``: wait for it while the acquisition goes on, then run without it.
        ``"run"``: run without at once, also without neighbours that failed, and again when they
        are there. ``"absent"``: there is no such unit, until all of its neighbours are there.
    whole
        False: of an array no pixel is read unless it is asked for, not even of the tile itself. The
        first argument is the tile's address, a `latticework.lattice.tile.Tile`; pixels come box by
        box, from ``neighbours.own(box)`` and ``neighbours.read("+x", box)``.

    Examples
    --------
    >>> neighbours("+x", "+y").offsets
    ('+x', '+y')
    """
    if not offsets:
        raise StageError("neighbours() names no offset: give some, such as '+z' or 'faces'")
    return Reads("neighbours", missing=missing, offsets=_plain_offsets(offsets), whole=whole)


def _plain_offsets(offsets: Sequence[Any]) -> tuple[Any, ...]:
    plain: list[Any] = []
    for offset in offsets:
        if isinstance(offset, str):
            plain.append(offset)
        elif isinstance(offset, Mapping):
            plain.append(tuple((str(axis), int(step)) for axis, step in offset.items()))
        elif isinstance(offset, Sequence):
            plain.extend(_plain_offsets(offset))
        else:
            raise StageError(
                f"offset {offset!r} is no name such as '+z' and no mapping such as {{'z': 1}}"
            )
    return tuple(plain)


def plane(axis: str, *, missing: str = "wait") -> Reads:
    """Every tile of a plane: the stage has one unit for each label along a lattice axis.

    The callable gets, for each parent, what `all_tiles` gives, of one plane. A stage on tiles that
    has such a stage as a parent gets for each tile what was made of its plane.

    Parameters
    ----------
    axis
        Lattice axis, such as ``"z"``.
    missing
        ``"wait"``: for the end of the acquisition, since more tiles may come; ``"run"``: with
        what there is, also without tiles that failed.
    """
    return Reads("plane", missing=missing, axis=lattice_dim(axis))


def all_tiles(*, missing: str = "wait") -> Reads:
    """Every tile of the parents, once: the stage is a reduction over the lattice.

    The callable gets, for a parent that makes arrays, one lazy `xarray.DataArray` with a leading
    dim ``tile`` (labels and names as coordinates); for tables and records one
    `pandas.DataFrame` with the lattice labels as columns. Tiles come in the order of the grid,
    whatever the order in which they arrived.

    Parameters
    ----------
    missing
        ``"wait"``: for all tiles, and for the end of the acquisition; ``"run"``: with what there
        is when nothing more is on its way, also without tiles that failed.
    """
    return Reads("all tiles", missing=missing)


def intersecting(lattice: Lattice | None = None, *, missing: str = "wait") -> Reads:
    """The tiles that lie, in micrometres, where a unit of another lattice lies.

    The stage's units are the tiles of `lattice`, such as the blocks of a stitched volume; each
    reads the units of its parents whose extents meet its own (widened by the stage's
    ``overlap``, in its own pixels). The callable gets one
    `latticework.stages.collections.Tiles` for each parent, whose ``unit`` tells where and how
    large the unit is.

    Parameters
    ----------
    lattice
        The lattice of the stage's units; the project's tiles if not given: the way back, from
        blocks to tiles.
    missing
        As for `all_tiles`.
    """
    if lattice is None:
        return Reads("intersecting", missing=missing)
    if not isinstance(lattice, Lattice):
        raise StageError(f"intersecting() takes a Lattice, not {type(lattice).__name__}")
    if lattice.shuffled:  # a selection: units are numbered from 0
        lattice = lattice.replace(ids=None, source=None)
    return Reads("intersecting", missing=missing, lattice=lattice, key=lattice_key(lattice))


def nothing() -> Reads:
    """No pixels: the callable gets a `Tile`, the address with its facts.

    The unit still runs only after the same unit of its parents, if it has any but the source.
    """
    return Reads("nothing")


# -------------------------------------------------------------------- several parents

ReadsOf = Reads | Mapping[str, Reads]
"""One pattern for every parent, or one for each by name (the same tile for those not named)."""


def reads_of(reads: ReadsOf, parent: str) -> Reads:
    """The pattern in which a parent is read."""
    return reads if isinstance(reads, Reads) else reads.get(parent, same_tile())


def reads_to_json(reads: ReadsOf) -> Any:
    """As plain values."""
    if isinstance(reads, Reads):
        return reads.to_json()
    return {"parents": {name: reads[name].to_json() for name in sorted(reads)}}


def reads_from_json(values: Any) -> ReadsOf:
    """From `reads_to_json`."""
    if isinstance(values, Mapping) and "parents" in values:
        return {name: Reads.from_json(value) for name, value in values["parents"].items()}
    return Reads.from_json(values)


def units_key(stage: str, reads: ReadsOf, parents: Mapping[str, str]) -> str:
    """Key of the lattice on which a stage's units lie.

    Parameters
    ----------
    stage
        Its name, for messages.
    reads
        What it reads.
    parents
        For each parent, the key of its lattice.

    Raises
    ------
    StageError
        If its parents lie on different lattices, and nothing says which is meant.
    """
    patterns = {name: reads_of(reads, name) for name in parents}
    if all(pattern.pattern == "all tiles" for pattern in patterns.values()):
        return "unit"
    own = {p.key for p in patterns.values() if p.pattern == "intersecting"}
    planes = {
        planes_of(parents[name], str(pattern.axis))
        for name, pattern in patterns.items()
        if pattern.pattern == "plane" and parents[name] != "unit"
    }
    same = {
        parents[name]
        for name, pattern in patterns.items()
        if pattern.pattern in ("same tile", "neighbours", "nothing") and parents[name] != "unit"
    }
    if not own and not planes:
        planes = {key for key in same if key.startswith("planes:")}
        same -= planes
        planes = set() if same else planes
    found = own or planes or same
    if len(found) == 1 and (not own or same <= own):
        return next(iter(found))
    if not found:
        raise StageError(
            f"stage {stage!r} reads only {', '.join(parents)}, which is made once for the whole "
            "lattice: read tiles too (after=[project.source, ...]), or give "
            "reads=latticework.all_tiles()"
        )
    where = ", ".join(f"{name!r} on {_words(key)}" for name, key in parents.items())
    other = next((name for name, key in parents.items() if key != TILES), "its parent")
    raise StageError(
        f"stage {stage!r} reads units of several lattices ({where}): say which are its own. For "
        f"the acquisition's tiles: reads={{{other!r}: latticework.intersecting()}}; for those of "
        "another lattice: reads={parent: latticework.intersecting(that lattice)}"
    )


def _words(key: str) -> str:
    """What the units of a lattice are."""
    if key == TILES:
        return "tiles"
    return "planes" if key.startswith("planes:") else "units of its own"


# -------------------------------------------------------------------- which units that means


@dataclass(frozen=True, slots=True)
class Ends:
    """The two lattices that an edge joins."""

    key: str
    """Of the stage that reads."""
    lattice: Lattice
    """Of the stage that reads."""
    parent_key: str
    """Of its parent."""
    parent: Lattice
    """Of its parent; with the parent's own tiles (`Node.made_lattice`) where pixels matter."""


def dependency(
    ends: Ends,
    reads: Reads,
    halo: Halo | None = None,
    skipped: Mapping[str, Sequence[Any]] | None = None,
    *,
    grows: bool = False,
) -> Dependency:
    """Which units of a parent each unit of a stage reads.

    Parameters
    ----------
    ends
        The lattices.
    reads
        The pattern.
    halo
        For ``"same tile"``: the margin in the parent's pixels; for ``"intersecting"``: in the
        unit's own.
    skipped
        Labels of planes that neighbours step over, by lattice dim.
    grows
        Whether tiles may join beyond the ends of the lattice: then a halo reaches there, too.
    """
    n, n_parents = len(ends.lattice), len(ends.parent)
    if reads.pattern == "all tiles":
        return EveryUnit(n_parents, n)
    if ends.parent_key == "unit":
        return EveryUnit(1, n)  # what a reduction made, for every unit
    if reads.pattern == "intersecting":
        return IntersectingUnits.between(ends.lattice, ends.parent, halo)
    if reads.pattern == "plane":
        return MemberUnits(plane_groups(ends.parent, str(reads.axis)), n)
    if ends.parent_key != ends.key:  # what was made of a plane, for every tile in it
        _, dim, _ = ends.parent_key.split(":", 2)
        return GroupUnit(plane_groups(ends.lattice, dim))
    if reads.pattern == "neighbours":
        offsets = reads.resolved_offsets(ends.lattice.dims)
        return OffsetUnits.stepping(ends.lattice, offsets, skipped or {})
    if halo is None or halo.empty:
        return SameUnit()
    return NearbyUnits(
        ends.lattice,
        _reach(ends.lattice, ends.parent, halo, grows=grows),
        _periodic(ends.lattice, ends.parent, halo),
    )


def check_reads(reads: Reads, lattice: Lattice, stage: str) -> None:
    """Refuse a pattern that does not fit the lattice of a stage's parent.

    Raises
    ------
    StageError
        Saying what it names and what there is.
    """
    try:
        if reads.pattern == "neighbours":
            reads.resolved_offsets(lattice.dims)
    except LatticeError as error:
        raise StageError(f"stage {stage!r}: {error}") from error
    if reads.pattern == "plane" and reads.axis not in lattice.dims:
        raise StageError(
            f"stage {stage!r} reads planes along {reads.axis}, but the lattice has the axes "
            f"{', '.join(lattice.dims) or '(none)'}"
        )


def _reach(lattice: Lattice, parent: Lattice, halo: Halo, *, grows: bool) -> np.ndarray:
    """All offsets whose tiles a halo can touch."""
    geometry = HaloGeometry(parent, halo)
    spans = []
    for dim in lattice.dims:
        axis = spatial_axis(dim)
        k = parent.tile_dims.index(axis) if axis in parent.tile_dims else None
        before, after = geometry.reach(k, beyond=grows) if k is not None else (0, 0)
        spans.append(np.arange(-before, after + 1))
    offsets = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, len(spans))
    return offsets[offsets.any(axis=1)]


def _periodic(lattice: Lattice, parent: Lattice, halo: Halo) -> tuple[bool, ...]:
    modes = dict(zip(parent.tile_dims, halo.modes, strict=True))
    return tuple(modes.get(spatial_axis(dim) or "") == "periodic" for dim in lattice.dims)
