"""Boxes of pixels: integer, half-open, in the order of some named dims."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from operator import gt, le, lt, sub
from typing import Self


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open box of pixels, ``start <= pixel < stop`` along every dim.

    Boxes carry no dim names: whoever hands one out says in which order it is
    (`Lattice.tile_dims` almost everywhere).

    Examples
    --------
    >>> box = Box((0, 10), (4, 30))
    >>> box.shape, box.size
    ((4, 20), 80)
    >>> box.intersect(Box((2, 0), (9, 12)))
    Box(start=(2, 10), stop=(4, 12))
    >>> box.dilate((1, 1), (2, 2)).slices
    (slice(-1, 6, None), slice(9, 32, None))
    """

    start: tuple[int, ...]
    """First pixel along each dim."""
    stop: tuple[int, ...]
    """One past the last pixel along each dim; never below `start`."""

    def __post_init__(self) -> None:
        if len(self.start) != len(self.stop):
            raise ValueError(f"box from {self.start} to {self.stop}: give both as many numbers")
        if any(map(gt, self.start, self.stop)):
            raise ValueError(f"box from {self.start} to {self.stop} ends before it starts")

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Self:
        """Box of a whole array of this shape."""
        return cls((0,) * len(shape), tuple(map(int, shape)))

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return len(self.start)

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels along each dim."""
        return tuple(map(sub, self.stop, self.start))

    @property
    def size(self) -> int:
        """Number of pixels."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as an index of an array (only meaningful where `start` is not negative)."""
        return tuple(map(slice, self.start, self.stop))

    def intersect(self, other: "Box") -> "Box":
        """Pixels in both boxes; empty, at this box's near side, where they do not meet."""
        start = tuple(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = tuple(min(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        return Box(start, tuple(max(a, b) for a, b in zip(start, stop, strict=True)))

    def meets(self, other: "Box") -> bool:
        """Whether there is a pixel in both boxes."""
        return (
            all(map(lt, self.start, other.stop))
            and all(map(lt, other.start, self.stop))
            and bool(self.size and other.size)
        )

    def shift(self, by: Sequence[int]) -> "Box":
        """The box moved by so many pixels along each dim."""
        return Box(
            tuple(a + d for a, d in zip(self.start, by, strict=True)),
            tuple(b + d for b, d in zip(self.stop, by, strict=True)),
        )

    def dilate(self, before: Sequence[int], after: Sequence[int]) -> "Box":
        """The box with so many pixels more at its near and far sides."""
        return Box(
            tuple(a - d for a, d in zip(self.start, before, strict=True)),
            tuple(b + d for b, d in zip(self.stop, after, strict=True)),
        )

    def contains(self, other: "Box") -> bool:
        """Whether every pixel of `other` is in this box."""
        if len(self.start) != len(other.start):
            raise ValueError(f"{self} and {other}: give boxes of as many dims")
        return all(map(le, self.start, other.start)) and all(map(le, other.stop, self.stop))
