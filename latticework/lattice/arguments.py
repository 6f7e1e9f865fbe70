"""What callers write for grids, overlaps, blocks and pixel sizes, checked and made alike."""

import math
import numbers
import re
from collections.abc import Mapping
from typing import Any

from latticework.errors import LatticeError


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value) and float(value).is_integer()


def grid_argument(grid: Any) -> dict[str, int]:
    """Tiles by axis.

    Raises
    ------
    LatticeError
        If the axes are not named, or a number of tiles is not whole.

    Examples
    --------
    >>> grid_argument((7, 9))
    Traceback (most recent call last):
        ...
    latticework.errors.LatticeError: grid=(7, 9) names no axes: write grid={"y": 7, "x": 9}
    >>> grid_argument("4x2")
    Traceback (most recent call last):
        ...
    latticework.errors.LatticeError: grid='4x2' names no axes: write grid={"y": 4, "x": 2}
    """
    if not isinstance(grid, Mapping):
        given: Any = grid
        counts: tuple[Any, ...] = (7, 9)
        if isinstance(grid, str) and re.fullmatch(r"\s*\d+(\s*[x×,]\s*\d+){1,2}\s*", grid):
            grid = tuple(int(n) for n in re.findall(r"\d+", grid))
        if isinstance(grid, tuple | list) and len(grid) in (2, 3) and all(map(_is_whole, grid)):
            counts = tuple(int(n) for n in grid)
        axes = ("z", "y", "x")[-len(counts) :]
        shown = ", ".join(f'"{axis}": {n}' for axis, n in zip(axes, counts, strict=True))
        raise LatticeError(f"grid={given!r} names no axes: write grid={{{shown}}}")
    bad = {axis: n for axis, n in grid.items() if not _is_whole(n)}
    if bad:
        raise LatticeError(f"grid={dict(grid)!r}: expected whole numbers of tiles, not {bad}")
    return {str(axis): int(n) for axis, n in grid.items()}


def overlap_argument(overlap: Any) -> "Mapping[str, float] | float | None":
    """An overlap as numbers: whole ones are pixels, those below 1 fractions.

    Raises
    ------
    LatticeError
        For what is neither a number, a percentage, nor these by axis.

    Examples
    --------
    >>> overlap_argument("10%"), overlap_argument({"y": 51, "x": "12.5 %"})
    (0.1, {'y': 51, 'x': 0.125})
    """
    if overlap is None:
        return None
    if isinstance(overlap, Mapping):
        return {str(axis): _one_overlap(value, overlap) for axis, value in overlap.items()}
    return _one_overlap(overlap, overlap)


def _one_overlap(value: Any, said: Any) -> float:
    number: Any = value
    if isinstance(value, str):
        text = value.strip()
        try:
            number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            number = None
    if not _is_number(number):
        raise LatticeError(
            f'overlap={said!r}: write a fraction (0.1 or "10%") or pixels (51), for y and x alike '
            'or by axis, as in overlap={"y": 51, "x": 51}'
        )
    if isinstance(number, numbers.Integral) or (_is_whole(number) and number >= 1):
        if isinstance(value, str) and value.strip().endswith("%"):
            raise LatticeError(f"overlap={said!r}: neighbours share less than 100 % of a tile")
        return int(number)
    if not number < 1:
        raise LatticeError(
            f"overlap={said!r}: {number} is neither whole pixels nor a fraction below 1; write "
            f'{max(1, round(float(number))) if math.isfinite(number) else 51} or "10%"'
        )
    return float(number)


def block_argument(block: Any) -> dict[str, int]:
    """Pixels of a block by axis; one number is for y and x.

    Raises
    ------
    LatticeError
        If the axes are not named, or a number of pixels is not whole.

    Examples
    --------
    >>> block_argument(256), block_argument({"z": 64, "y": 128})
    ({'y': 256, 'x': 256}, {'z': 64, 'y': 128})
    """
    sizes: Any = {"y": block, "x": block} if _is_number(block) else block
    if not isinstance(sizes, Mapping) or not all(_is_whole(n) for n in sizes.values()):
        raise LatticeError(
            f"block={block!r}: write whole pixels, one number for y and x (256) or by axis, as in "
            'block={"z": 64, "y": 256, "x": 256}'
        )
    return {str(axis): int(n) for axis, n in sizes.items()}


def pixel_size_argument(given: Any) -> dict[str, float]:
    """Micrometres of a pixel by axis; one number is for y and x, None is nothing.

    Raises
    ------
    LatticeError
        If the axes are not named, or a size is not a positive number.

    Examples
    --------
    >>> pixel_size_argument(0.4), pixel_size_argument({"z": 2}), pixel_size_argument(None)
    ({'y': 0.4, 'x': 0.4}, {'z': 2.0}, {})
    """
    if given is None:
        return {}
    sizes: Any = {"y": given, "x": given} if _is_number(given) else given
    if not isinstance(sizes, Mapping) or not all(_is_number(size) for size in sizes.values()):
        raise LatticeError(
            f"pixel_size_um={given!r}: write micrometres, one number for y and x (0.4) or by axis, "
            'as in pixel_size_um={"z": 2.0, "y": 0.4, "x": 0.4}'
        )
    bad = {axis: size for axis, size in sizes.items() if not (math.isfinite(size) and size > 0)}
    if bad:
        raise LatticeError(f"pixel sizes must be positive numbers of micrometres, not {bad}")
    return {str(axis): float(size) for axis, size in sizes.items()}
