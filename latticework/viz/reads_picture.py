"""What a unit of a stage reads, as a little picture in SVG: nine tiles, and which of them count."""

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from latticework.errors import LatticeError
from latticework.lattice.offsets import resolve_offsets
from latticework.viz.html import escaped

if TYPE_CHECKING:
    from latticework.stages.reads import Reads
    from latticework.stages.stage import Overlap

_STEP, _SIZE, _BACK = 22, 19, 8
_READ = 'fill="#4f87b8" fill-opacity=".75"'
_FAR = 'fill="#4f87b8" fill-opacity=".4"'
_PLAIN = 'fill="currentColor" fill-opacity=".1"'
Place = tuple[int, int]
"""Row and column of a tile, from the one in the middle."""
_DIMS = ("tile_z", "tile_y", "tile_x")


def reads_svg(reads: "Reads", overlap: "Overlap | None" = None) -> str:
    """The tile in the middle and those around it; what is read is blue, a halo is dashed.

    Neighbours along other axes than y and x stand behind and in front.

    Examples
    --------
    >>> from latticework.stages.reads import neighbours
    >>> reads_svg(neighbours("+x")).count("#4f87b8")
    2
    """
    behind, front, read = _tiles_read(reads)
    grid = list(itertools.product((-1, 0, 1), repeat=2))
    shapes = [_square(down, across, _FAR, -_BACK) for down, across in behind]
    shapes += [_square(y, x, _READ if (y, x) in read else _PLAIN) for y, x in grid]
    shapes += [_square(down, across, _READ, _BACK) for down, across in front]
    shapes.append(_outline(0, reads.pattern))
    if _has_halo(overlap) and reads.pattern == "same tile":
        shapes.append(_outline(4, "halo"))
    side = 3 * _STEP + 2 * _BACK
    return (
        f'<svg width="{side}" height="{side}" viewBox="{-side / 2:g} {-side / 2:g} {side} {side}" '
        f'role="img"><title>{escaped(reads_words(reads, overlap))}</title>{"".join(shapes)}</svg>'
    )


def reads_words(reads: "Reads", overlap: "Overlap | None" = None) -> str:
    """The same in words.

    Examples
    --------
    >>> from latticework.stages.reads import neighbours, same_tile
    >>> reads_words(same_tile(), {"y": 2, "x": 2})
    'the same tile, with a halo of y 2, x 2 pixels'
    >>> reads_words(neighbours("+z", missing="run"))
    'the tile and its neighbours +z; runs without what is missing'
    """
    words = {
        "same tile": "the same tile",
        "neighbours": "the tile and its neighbours " + ", ".join(map(_offset, reads.offsets)),
        "plane": f"every tile of a plane along {(reads.axis or '').removeprefix('tile_')}",
        "all tiles": "all tiles, once",
        "intersecting": "what lies where the unit lies",
        "nothing": "no pixels: the tile's address",
    }[reads.pattern]
    if _has_halo(overlap):
        words += f", with a halo of {_halo(overlap)} pixels"
    missing = {"run": "; runs without what is missing", "absent": "; absent where one is missing"}
    return words + missing.get(reads.missing, "")


def _tiles_read(reads: "Reads") -> tuple[list[Place], list[Place], set[Place]]:
    """Tiles read behind, in front of and in the plane of the unit, as rows and columns."""
    whole: set[Place] = {(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)}
    if reads.pattern == "all tiles":
        return [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)], [], whole
    if reads.pattern == "plane":
        return [], [], whole
    if reads.pattern == "intersecting":
        return [], [], {(0, 0), (0, 1), (1, 0), (1, 1)}
    if reads.pattern == "nothing":
        return [], [], set()
    behind: list[Place] = []
    front: list[Place] = []
    read = {(0, 0)}
    for z, y, x in _offsets(reads):
        place = (max(-1, min(1, y)), max(-1, min(1, x)))
        if z:
            (behind if z > 0 else front).append(place)
        else:
            read.add(place)
    return behind, front, read


def _offsets(reads: "Reads") -> Iterable[tuple[int, int, int]]:
    """Offsets as z, y, x; what is along no such axis is left out."""
    given: list[Any] = [o if isinstance(o, str) else dict(o) for o in reads.offsets]
    try:
        return [tuple(row) for row in resolve_offsets(given, _DIMS).tolist()] if given else []
    except LatticeError:
        return []


def _offset(offset: Any) -> str:
    return offset if isinstance(offset, str) else ", ".join(f"{a} {n:+d}" for a, n in offset)


def _has_halo(overlap: "Overlap | None") -> bool:
    if isinstance(overlap, Mapping):
        return any(sum(_two(value)) for value in overlap.values())
    return bool(overlap)


def _halo(overlap: "Overlap | None") -> str:
    if not isinstance(overlap, Mapping):
        return str(overlap)
    sides = {axis: _two(overlap[axis]) for axis in sorted(overlap, reverse=True)}
    return ", ".join(
        f"{axis} {before}" if before == after else f"{axis} {before} and {after}"
        for axis, (before, after) in sides.items()
    )


def _two(value: Any) -> tuple[int, int]:
    """Pixels of a halo before and after."""
    before, after = value if isinstance(value, list | tuple) else (value, value)
    return int(before), int(after)


def _square(down: int, across: int, look: str, shift: int = 0) -> str:
    x, y = across * _STEP - _SIZE / 2 - shift, down * _STEP - _SIZE / 2 + shift
    return f'<rect x="{x:g}" y="{y:g}" width="{_SIZE}" height="{_SIZE}" rx="2" {look}/>'


def _outline(beyond: int, what: str) -> str:
    """A frame around the unit, or around its halo; around a block that meets four tiles."""
    middle = _STEP / 2 if what == "intersecting" else 0
    half = _SIZE / 2 + beyond
    dash = ' stroke-dasharray="3 2"' if what in ("halo", "nothing", "intersecting") else ""
    return (
        f'<rect x="{middle - half:g}" y="{middle - half:g}" width="{2 * half:g}" '
        f'height="{2 * half:g}" rx="2" fill="none" stroke="currentColor" stroke-width="1.3"{dash}/>'
    )
