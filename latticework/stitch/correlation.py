"""How well two images match at each shift, and where they match best.

Normalised cross-correlation of what overlaps at each shift, mean and spread taken over just those
pixels (J. P. Lewis, "Fast normalized cross-correlation", 1995; with masks D. Padfield, "Masked
object registration in the Fourier domain", 2012). Shifts are searched in a box, so transforms need
to be no larger than the images and that box; sums over what overlaps come from integral images,
which leaves three Fourier transforms where there are no masks.

A shift ``s`` says that pixel ``x`` of the second image shows what pixel ``x + s`` of the first
shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from scipy import fft, ndimage

FINE = 0.2
"""Step of the finest grid on which a peak is looked for, in pixels."""
NO_MATCH = -1.0
"""Value of shifts at which too little overlaps to tell."""


@dataclass(frozen=True, slots=True)
class Peak:
    """A shift at which two images match."""

    shift: tuple[float, ...]
    """In pixels, along each axis."""
    correlation: float
    """Normalised cross-correlation there, at most 1."""
    overlap: int
    """Pixels that overlap."""


class Correlation:
    """Normalised cross-correlation of two images over a box of shifts.

    Parameters
    ----------
    first, second
        Images of the same number of axes, of any shape; float.
    low, high
        Smallest and largest shift along each axis, integers, both included.
    least
        Pixels that have to overlap, at least.
    valid
        Boolean masks of the pixels that count, for either image; all if None.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> scene = rng.normal(size=(80, 90))
    >>> found = Correlation(scene[:60, :70], scene[7:67, 12:82], low=(0, 5), high=(15, 20))
    >>> peak = found.peaks(1)[0]
    >>> [round(s) for s in peak.shift], round(peak.correlation, 2), peak.overlap
    ([7, 12], 1.0, 3074)
    """

    def __init__(
        self,
        first: np.ndarray,
        second: np.ndarray,
        *,
        low: Sequence[int],
        high: Sequence[int],
        least: int = 2,
        valid: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    ) -> None:
        if first.ndim != second.ndim or not len(low) == len(high) == first.ndim:
            raise ValueError(
                f"images of shapes {first.shape} and {second.shape}, shifts from {tuple(low)} to "
                f"{tuple(high)}: give all of them as many axes"
            )
        self.low = tuple(int(n) for n in low)
        self.high = tuple(int(n) for n in high)
        if any(a > b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError(f"there are no shifts from {self.low} to {self.high}")
        self._size = [
            fft.next_fast_len(max(a - lo, b + hi, a, b), real=True)
            for a, b, lo, hi in zip(first.shape, second.shape, self.low, self.high, strict=True)
        ]
        self._shapes = first.shape, second.shape
        if any(mask is not None and not mask.all() for mask in valid):
            self._masked(first, second, valid)
        else:
            self._whole(first, second)
        self._least = max(int(least), 2)

    # ---------------------------------------------------------------- what is summed

    def _whole(self, first: np.ndarray, second: np.ndarray) -> None:
        """Sums where every pixel counts: those of rectangles, from integral images."""
        a = np.asarray(first - first.mean(dtype="f8"), "f4")
        b = np.asarray(second - second.mean(dtype="f8"), "f4")
        self._spectrum = self._transform(a) * np.conj(self._transform(b))
        shifts = [np.arange(lo, hi + 1) for lo, hi in zip(self.low, self.high, strict=True)]
        starts, ends = [], []
        for s, n, m in zip(shifts, *self._shapes, strict=True):
            start = np.clip(s, 0, n)
            starts.append(start)
            ends.append(np.maximum(np.clip(s + m, 0, n), start))
        count = _outer([end - start for start, end in zip(starts, ends, strict=True)])
        sum_a, square_a = (_rectangles(x, starts, ends) for x in (a, a * a))
        sides = list(zip(shifts, self._shapes[1], strict=True))
        starts = [np.clip(edge - s, 0, m) for edge, (s, m) in zip(starts, sides, strict=True)]
        ends = [np.clip(edge - s, 0, m) for edge, (s, m) in zip(ends, sides, strict=True)]
        sum_b, square_b = (_rectangles(x, starts, ends) for x in (b, b * b))
        self._finish(count, sum_a, sum_b, square_a, square_b)

    def _masked(
        self,
        first: np.ndarray,
        second: np.ndarray,
        valid: tuple[np.ndarray | None, np.ndarray | None],
    ) -> None:
        """Sums where some pixels do not count: correlations with the masks."""
        masks = [
            np.ones(image.shape, bool) if mask is None else np.asarray(mask, bool)
            for image, mask in zip((first, second), valid, strict=True)
        ]
        a, b = (
            np.where(mask, image - image[mask].mean(dtype="f8") if mask.any() else 0.0, 0.0)
            for image, mask in zip((first, second), masks, strict=True)
        )
        ones = [self._transform(mask.astype("f8")) for mask in masks]
        of_a, of_b = self._transform(a), np.conj(self._transform(b))
        self._spectrum = of_a * of_b
        mask_b = np.conj(ones[1])
        n = np.rint(self._map(ones[0] * mask_b))
        sum_a, sum_b = self._map(of_a * mask_b), self._map(ones[0] * of_b)
        square_a = self._map(self._transform(a * a) * mask_b)
        square_b = self._map(ones[0] * np.conj(self._transform(b * b)))
        self._finish(n, sum_a, sum_b, square_a, square_b)

    def _finish(self, n: np.ndarray, *sums: np.ndarray) -> None:
        sum_a, sum_b, square_a, square_b = sums
        count = np.maximum(n, 1)
        self.overlap = n.astype(np.int64)
        self._cross = sum_a * sum_b / count
        spread_a = np.maximum(square_a - sum_a**2 / count, 0)
        spread_b = np.maximum(square_b - sum_b**2 / count, 0)
        self._spread = np.sqrt(spread_a * spread_b)
        total = self._spread.max(initial=0.0)
        self._flat = self._spread <= max(1e-7 * total, np.finfo("f4").tiny)

    def _transform(self, image: np.ndarray) -> np.ndarray:
        return np.asarray(fft.rfftn(image, self._size))

    def _map(self, spectrum: np.ndarray) -> np.ndarray:
        """The shifts of the box, of a correlation."""
        whole = fft.irfftn(spectrum, self._size)
        for axis, (lo, hi) in enumerate(zip(self.low, self.high, strict=True)):
            whole = np.take(whole, np.arange(lo, hi + 1) % self._size[axis], axis=axis)
        return np.asarray(whole, "f8")

    # ---------------------------------------------------------------- what is found

    @cached_property
    def values(self) -> np.ndarray:
        """Correlation at each shift of the box; `NO_MATCH` where too little overlaps."""
        known = (self.overlap >= self._least) & ~self._flat
        top = self._map(self._spectrum) - self._cross
        values = np.divide(top, self._spread, out=np.full(top.shape, NO_MATCH), where=known)
        return np.asarray(np.clip(values, -1.0, 1.0))

    def peaks(self, n: int = 5, *, apart: int = 3) -> list[Peak]:
        """The best shifts, each the best within `apart` pixels, best first; the first to 0.01 px.

        Parameters
        ----------
        n
            How many, at most.
        apart
            Pixels, along each axis, within which only the best counts.
        """
        values = self.values
        size = [min(2 * apart + 1, 2 * k + 1) for k in values.shape]
        top = values == ndimage.maximum_filter(values, size, mode="constant", cval=NO_MATCH)
        where = np.flatnonzero(top & (values > NO_MATCH))
        best = where[np.argsort(-values.ravel()[where], kind="stable")[:n]]
        indices = [tuple(int(i) for i in np.unravel_index(k, values.shape)) for k in best]
        return [self._refined(i) if k == 0 else self._rough(i) for k, i in enumerate(indices)]

    def _rough(self, index: tuple[int, ...]) -> Peak:
        """A peak by a parabola along each axis."""
        shift = []
        for axis, (lo, i) in enumerate(zip(self.low, index, strict=True)):
            line = np.moveaxis(self.values, axis, -1)[index[:axis] + index[axis + 1 :]]
            shift.append(lo + i + _vertex(line, i))
        return Peak(tuple(shift), float(self.values[index]), int(self.overlap[index]))

    def _refined(self, index: tuple[int, ...]) -> Peak:
        """A peak between the pixels: the correlation is known everywhere, as it is band-limited."""
        values = self.values
        shift = [float(lo + i) for lo, i in zip(self.low, index, strict=True)]
        grids = [
            np.arange(max(-1.0, -i), min(1.0, n - 1 - i) + FINE / 2, FINE)
            for i, n in zip(index, values.shape, strict=True)
        ]
        fine = self._between([s + grid for s, grid in zip(shift, grids, strict=True)])
        best = np.unravel_index(int(np.argmax(fine)), fine.shape)
        found = []
        for axis, (grid, at) in enumerate(zip(grids, best, strict=True)):
            line = fine[tuple(slice(None) if k == axis else best[k] for k in range(fine.ndim))]
            found.append(float(shift[axis] + grid[at] + FINE * _vertex(line, int(at))))
        return Peak(tuple(found), float(min(fine[best], 1.0)), int(self.overlap[index]))

    def _between(self, shifts: Sequence[np.ndarray]) -> np.ndarray:
        """Correlation at shifts that need not be whole, on the grid of those along each axis."""
        sums = self._spectrum
        last = self._size[-1]
        weights = np.full(sums.shape[-1], 2.0)
        weights[0] = 1.0
        if last % 2 == 0:
            weights[-1] = 1.0
        sums = sums * weights
        for axis in reversed(range(sums.ndim)):
            n = self._size[axis]
            k = np.arange(sums.shape[axis]) if axis == sums.ndim - 1 else np.fft.fftfreq(n, 1 / n)
            waves = np.exp(2j * np.pi / n * np.outer(k, shifts[axis]))
            sums = np.moveaxis(np.tensordot(sums, waves, axes=(axis, 0)), -1, axis)
        top = sums.real / np.prod(self._size)
        places = np.meshgrid(
            *(s - lo for s, lo in zip(shifts, self.low, strict=True)), indexing="ij"
        )
        cross, spread = (
            ndimage.map_coordinates(of, places, order=1, mode="nearest")
            for of in (self._cross, self._spread)
        )
        known = spread > 0
        empty = np.full(top.shape, NO_MATCH)
        return np.asarray(np.divide(top - cross, spread, out=empty, where=known))


def _outer(factors: Sequence[np.ndarray]) -> np.ndarray:
    result = np.ones((), "f8")
    for factor in factors:
        result = np.multiply.outer(result, factor)
    return result


def _rectangles(
    image: np.ndarray, starts: Sequence[np.ndarray], ends: Sequence[np.ndarray]
) -> np.ndarray:
    """Sums over rectangles of an image, for each combination of a start and an end by axis."""
    table = np.pad(image.astype("f8"), [(1, 0)] * image.ndim)
    for axis in range(image.ndim):
        np.cumsum(table, axis=axis, out=table)
    total = np.zeros([len(start) for start in starts])
    for corner in product((0, 1), repeat=image.ndim):
        edges = [ends[k] if far else starts[k] for k, far in enumerate(corner)]
        total += (-1) ** (image.ndim - sum(corner)) * table[np.ix_(*edges)]
    return total


def _vertex(line: np.ndarray, at: int) -> float:
    """Where a parabola through a largest value and its neighbours is highest, from there."""
    if not 0 < at < len(line) - 1:
        return 0.0
    left, middle, right = line[at - 1 : at + 2]
    bend = left - 2 * middle + right
    return float(0.5 * (left - right) / bend) if bend < 0 else 0.0


__all__ = ["Correlation", "Peak"]
