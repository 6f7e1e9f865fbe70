"""A tile in the volume: which pixels of the volume it can tell, their values, and their weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from latticework.lattice.geometry import Box
from latticework.stitch.resampling import WHOLE_PX, Along, Interpolation, along, apply, needed
from latticework.stitch.warps import Warp

LEAST = 1e-3
"""Weight of the outermost pixel of a tile, along an axis; the deepest have 1."""
HALF = 0.5 - 1e-6
"""A pixel is known if so much of what it is made of is not masked."""
LOGISTIC = 20.0
"""Steepness of the change from one light sheet to the other: from -10 to 10 over the width."""


class Sample(NamedTuple):
    """What a tile tells of a box of the volume."""

    values: np.ndarray
    """Of its pixels, floats; 0 where it knows none."""
    weight: np.ndarray
    """Of each; 0 where it knows none. Perhaps to be broadcast."""
    whole: bool
    """Whether it knows all of them."""


class Lean(NamedTuple):
    """A weight that goes from 1 to 0 along an axis, as a logistic function does."""

    axis: int
    """Along which."""
    middle: float
    """Pixel of the volume at which it is 1/2."""
    width: float
    """Pixels over which nearly all of the change is; negative where it goes from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One tile in the volume.

    Examples
    --------
    >>> tile = np.arange(12.0, dtype="f4").reshape(2, 6)
    >>> piece = Piece((0.0, 3.5), (2, 6), lambda box: tile[box.slices], (1, 2))
    >>> piece.covers()
    Box(start=(0, 3), stop=(2, 9))
    >>> piece.pixels(Box((0, 4), (1, 7))).tolist()
    [[0.5, 1.5, 2.5]]
    """

    position: tuple[float, ...]
    """Of its first pixel, in pixels of the volume."""
    shape: tuple[int, ...]
    """Pixels along each axis."""
    read: Callable[[Box], np.ndarray]
    """Gives the pixels of a box of it."""
    ramp: tuple[float, ...]
    """Its pixels from its edge, along each axis, over which its weight grows to the full."""
    gain: float = 1.0
    """Its pixels are multiplied by this."""
    offset: float = 0.0
    """This is added to them then."""
    step: tuple[float, ...] | None = None
    """Size of the volume's pixels along each axis, in its own; 1 if not given."""
    interpolation: Interpolation = "linear"
    """Between its pixels."""
    warp: Warp | None = None
    """How it is bent beyond its position."""
    mask: Callable[[Box], np.ndarray] | None = None
    """Gives for a box of it which pixels are not to be used."""
    lean: Lean | None = None
    """A weight along an axis of the volume, as for light sheets."""

    @property
    def steps(self) -> tuple[float, ...]:
        """Size of the volume's pixels along each axis, in its own."""
        return self.step or (1.0,) * len(self.shape)

    @property
    def exact(self) -> bool:
        """Whether its pixels are the volume's as they are."""
        return (
            (self.gain, self.offset) == (1.0, 0.0)
            and self.warp is None
            and self.mask is None
            and all(abs(step - 1) < 1e-9 for step in self.steps)
            and all(abs(p - round(p)) < WHOLE_PX for p in self.position)
        )

    def covers(self) -> Box:
        """Pixels of the volume that it may tell: those that lie in its own, or between them."""
        if self.warp is None:
            low, high = np.full(len(self.shape), -0.5), np.array(self.shape) - 0.5
        else:
            low, high = self.warp.bounds()
        sides = list(zip(self.position, low.tolist(), high.tolist(), self.steps, strict=True))
        start = [_ceil(p + a / step) for p, a, _, step in sides]
        stop = [_ceil(p + b / step) for p, _, b, step in sides]
        return Box(tuple(start), tuple(map(max, start, stop)))

    def pixels(self, box: Box, kind: str = "f4") -> np.ndarray:
        """Pixels of the volume in a box that it covers, floats; 0 where it knows none."""
        return self.sample(box, kind, "average").values

    def sample(self, box: Box, kind: str, blend: str) -> Sample:
        """What it tells of a box that it covers: values and weights.

        Parameters
        ----------
        box
            In pixels of the volume.
        kind
            Type of the values; an integer type only if `exact`.
        blend
            Which weights; see `latticework.stitch.blending.BLENDS`.
        """
        if self.warp is not None:
            from latticework.stitch.bending import sample_bent

            return sample_bent(self, box, kind, blend)
        values, known = self._values(box, kind)
        weight = self.weight(box, blend, kind)
        return levelled(self, values, weight, known)

    def _values(self, box: Box, kind: str) -> tuple[np.ndarray, np.ndarray | None]:
        ways = self._ways(box, self.interpolation)
        values, usable = self.read_usable(needed(ways), kind)
        if usable is None:
            return apply(values, ways), None
        if values.dtype.kind in "iu":  # copied as they are
            return values, usable
        if self.interpolation == "linear":
            return shared(values, usable, lambda array: apply(array, ways))
        smooth = apply(values, ways)
        beside = apply((~usable).astype(values.dtype), [way.absolute() for way in ways]) > 0
        ways = self._ways(box, "linear")  # beside masked pixels: weights below 0 would not do
        values, usable = self.read_usable(needed(ways), kind)
        if usable is None:
            return np.where(beside, apply(values, ways), smooth), None
        straight, known = shared(values, usable, lambda array: apply(array, ways))
        return np.where(beside, straight, smooth), known

    def _ways(self, box: Box, interpolation: Interpolation) -> list[Along]:
        sides = zip(box.start, box.stop, self.position, self.shape, self.steps, strict=True)
        return [along(*side, interpolation) for side in sides]

    def read_usable(self, box: Box, kind: str) -> tuple[np.ndarray, np.ndarray | None]:
        """A box of its own pixels, and which may be used; None if all."""
        pixels = np.asarray(self.read(box))
        usable = None if self.mask is None else ~np.asarray(self.mask(box), bool)
        if pixels.dtype.kind == "f" and np.isnan(pixels.max()):
            there = ~np.isnan(pixels)
            usable = there if usable is None else usable & there
        if usable is None or usable.all():
            return as_type(pixels, kind), None
        return as_type(np.where(usable, pixels, pixels.dtype.type(0)), kind), usable

    def weight(self, box: Box, blend: str, kind: str = "f4") -> np.ndarray:
        """Its weight in a box, if it is not masked; of a shape that broadcasts to the box's."""
        product: np.ndarray = np.ones((1,) * box.ndim, weight_kind(kind))
        for factor in self.weights(box, blend, kind):
            product = product * factor
        return product

    def weights(self, box: Box, blend: str, kind: str = "f4") -> list[np.ndarray]:
        """The same as one factor for each axis, to be multiplied with each other."""
        factors = []
        for axis, step in enumerate(self.steps):
            at = np.arange(box.start[axis], box.stop[axis], dtype="f8")
            inside = (at - self.position[axis]) * step
            factor = edge_weight(inside, self.shape[axis], self.ramp[axis], blend)
            if self.lean is not None and self.lean.axis == axis and blend in LEANING:
                factor = factor * leaning(at, self.lean)
            shape = [1] * box.ndim
            shape[axis] = -1
            factors.append(factor.astype(weight_kind(kind)).reshape(shape))
        return factors


LEANING = ("cosine", "none")
"""Blends in which light sheets have weights."""


def weight_kind(kind: str) -> str:
    """Type of the weights of values of a type."""
    return "f8" if np.dtype(kind) == np.float64 else "f4"


def edge_weight(at: np.ndarray, n: int, ramp: float, blend: str) -> np.ndarray:
    """Weight along an axis of a tile by the distance to its edge.

    Parameters
    ----------
    at
        Places, in pixels of the tile.
    n
        Pixels of the tile along the axis.
    ramp
        Pixels over which the weight grows.
    blend
        How: ``"cosine"`` (and ``"content"``) as a cosine, ``"average"`` not at all, else linearly.
    """
    if blend == "average":
        return np.ones_like(at)
    share = np.clip(np.minimum(at + 1, n - at) / max(ramp, 1.0), LEAST, 1.0)
    if blend in ("cosine", "content"):
        share = np.square(np.sin(0.5 * np.pi * share))
    return np.asarray(share)


def leaning(at: np.ndarray, lean: Lean) -> np.ndarray:
    """Weights of a light sheet at pixels along its axis: logistic, never quite 0."""
    share = np.clip((at - lean.middle) / lean.width, -1.0, 1.0)
    return np.asarray(1 / (1 + np.exp(LOGISTIC * share)))


def shared(
    values: np.ndarray, usable: np.ndarray, make: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels made of those that may be used only, and where that is at least half of what it takes.

    Parameters
    ----------
    values
        Of a tile, 0 where they may not be used.
    usable
        Which may.
    make
        Makes pixels of the volume of them, as sums with weights that are not negative.
    """
    whole, part = make(values), make(usable.astype(values.dtype))
    known = part >= HALF
    np.divide(whole, part, out=whole, where=known)
    whole[~known] = 0
    return whole, known


def levelled(
    piece: Piece, values: np.ndarray, weight: np.ndarray, known: np.ndarray | None
) -> Sample:
    """Values with gain and offset, 0 where nothing is known, as is their weight."""
    if piece.gain != 1.0:
        values *= values.dtype.type(piece.gain)
    if piece.offset != 0.0:
        values += values.dtype.type(piece.offset)
    if known is None:
        return Sample(values, weight, whole=True)
    values[~known] = 0
    return Sample(values, np.where(known, weight, weight.dtype.type(0)), whole=False)


def as_type(values: np.ndarray, dtype: np.dtype | str) -> np.ndarray:
    """Values as another type: integers rounded and clipped, never wrapped.

    Examples
    --------
    >>> as_type(np.array([-1.0, 2.5, 254.6, 300.0]), "u1").tolist()
    [0, 2, 255, 255]
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in "iu":
        return values.astype(dtype)  # of its own: it may be changed
    if values.dtype == dtype:
        return values
    limits = np.iinfo(dtype)
    if values.dtype.kind == "f":
        values = np.rint(values)
        top = float(limits.max)
        if top > limits.max:  # the largest integers are no floats
            top = float(np.nextafter(top, 0))
        values = np.clip(values, float(limits.min), top)
    else:
        own = np.iinfo(values.dtype)
        values = np.clip(values, max(limits.min, own.min), min(limits.max, own.max))
    return values.astype(dtype)


def _ceil(value: float) -> int:
    return round(value) if abs(value - round(value)) < WHOLE_PX else int(np.ceil(value))


__all__ = ["Lean", "Piece", "Sample", "as_type", "edge_weight", "leaning", "levelled", "shared"]
