"""Previews of tiles, as workers make them: z seen through, averaged down, with their contrast."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.preview_files import Preview, PreviewWriter
from latticework.io.preview_layout import PERCENTILES, PreviewLayout, sampling
from latticework.stages.bench import SOURCE, ArrayInput, Bench

if TYPE_CHECKING:
    from latticework.stages.execute import Given, Made

ENOUGH = 8192
"""Pixels that tell percentiles: of more, one in four is looked at."""
SHARE = 0.005
"""Of a stage's time, what previews of the source may take; the others are made by who looks."""
FIRST_S = 0.01
"""Seconds that they may take in any batch."""
FOLDER = "previews"
"""Folder of a batch's previews in its staging folder: a file for each stage."""


def preview_of(pixels: np.ndarray, dims: Sequence[str], layout: PreviewLayout) -> Preview:
    """The preview of a tile.

    Parameters
    ----------
    pixels, dims
        Of the tile; smaller ones than the layout's leave the rest of their preview blank.
    layout
        Of the previews of its stage.

    Returns
    -------
    Preview
        With pixels of dims (c, y, x). What is not finite is left out of maxima and means. Means
        are those of at least four pixels of the tile along y and x, if there are as many.

    Examples
    --------
    >>> layout = PreviewLayout.of("uint16", ("z", "y", "x"), (3, 200, 400))
    >>> stack = np.zeros((3, 200, 400), "u2")
    >>> stack[1, :4, :8] = 800
    >>> preview = preview_of(stack, ("z", "y", "x"), layout)
    >>> preview.pixels.shape, int(preview.pixels[0, 0, 0]), preview.contrast.tolist()
    ((1, 50, 100), 800, [[0.0, 0.0]])
    """
    order = [dims.index("c")] if "c" in dims else []
    order += [axis for axis, dim in enumerate(dims) if dim not in ("c", "y", "x")]
    order += [dims.index("y"), dims.index("x")]
    array = pixels.transpose(order) if order != list(range(len(order))) else pixels
    array = array if "c" in dims else array[None]
    if array.dtype.kind == "b":
        array = array.view("u1")
    with np.errstate(all="ignore"):
        return _preview(array, layout)


def _preview(array: np.ndarray, layout: PreviewLayout) -> Preview:
    """The preview of an array (c, .., y, x)."""
    full = np.full(layout.shape, layout.blank, layout.dtype)
    small = np.full(layout.small_shape, layout.blank, layout.dtype)
    contrast = np.full((layout.channels, 2), np.nan)
    for channel in range(min(layout.channels, len(array))):
        seen = _seen(array[channel], layout)
        full[channel, : seen.shape[0], : seen.shape[1]] = seen
        contrast[channel] = _contrast(seen)
        reduced = _reduced(seen, (layout.small_factor, layout.small_factor), layout)
        small[channel, : reduced.shape[0], : reduced.shape[1]] = reduced
    return Preview(full, small, contrast)


def _seen(array: np.ndarray, layout: PreviewLayout) -> np.ndarray:
    """A channel (.., y, x) as a picture of the preview's size and type."""
    if layout.projection == "labels":
        y, x = (_nearest(n, layout.factor) for n in array.shape[-2:])
        array = array[..., y[:, None], x]
        while array.ndim > 2:
            array = np.maximum.reduce(array, axis=0)
        return array.astype(layout.dtype)
    step = sampling(layout.factor)
    array = array[..., ::step, :]
    while array.ndim > 2:
        array = _mean(array) if layout.projection == "mean" else np.fmax.reduce(array, axis=0)
    return _reduced(array, (layout.factor // step, layout.factor), layout, step)


def _mean(array: np.ndarray) -> np.ndarray:
    """Mean along the first axis of what is finite, as float32."""
    found: np.ndarray = np.add.reduce(array, axis=0, dtype="f4") / np.float32(len(array))
    if array.dtype.kind != "f" or np.isfinite(found).all():
        return found
    there = np.isfinite(array)
    total = np.add.reduce(np.where(there, array, 0), axis=0, dtype="f4")
    return _divided(total, np.add.reduce(there, axis=0, dtype="f4"))


def _reduced(
    picture: np.ndarray, factors: tuple[int, int], layout: PreviewLayout, step: int = 1
) -> np.ndarray:
    """Means of blocks of a picture (y, x), in the preview's type; of labels, their middles.

    Of the columns, one in so many is looked at (`step`).
    """
    if layout.projection == "labels":
        y, x = (_nearest(n, factor) for n, factor in zip(picture.shape, factors, strict=True))
        middles: np.ndarray = picture[y[:, None], x].astype(layout.dtype, copy=False)
        return middles
    if factors == (1, 1):
        found = picture
    else:
        found = _sums(picture, factors, step)
        if picture.dtype.kind != "f" or np.isfinite(found).all():
            rows, columns = picture.shape
            found *= _shares(rows, columns, factors, step)
        else:
            there = np.isfinite(picture)
            found = _divided(
                _sums(np.where(there, picture, 0), factors, step),
                _sums(there.view("u1"), factors, step),
            )
    if np.dtype(layout.dtype).kind in "iu" and found.dtype.kind == "f":
        found = np.rint(found)
    return found.astype(layout.dtype, copy=False)


@lru_cache(maxsize=16)
def _shares(rows: int, columns: int, factors: tuple[int, int], step: int) -> np.ndarray:
    """For each block, the share that one of its pixels has in the mean."""
    down, across = (
        np.minimum(factor, n - np.arange(0, n, factor))
        for n, factor in zip((rows, columns), factors, strict=True)
    )
    found: np.ndarray = (1 / np.multiply.outer(down, -(-across // step))).astype("f4")
    return found


def _sums(picture: np.ndarray, factors: tuple[int, int], step: int) -> np.ndarray:
    """Sums of blocks, float32; the last ones may be smaller.

    Rows first, which are contiguous; then columns, as views that are far apart but few.
    """
    rows, columns = picture.shape
    factor, across = factors
    whole = rows // factor
    shape = (whole, factor, columns)
    tall = np.empty((-(-rows // factor), columns), "f4")
    np.add.reduce(picture[: whole * factor].reshape(shape), axis=1, dtype="f4", out=tall[:whole])
    if whole < len(tall):
        np.add.reduce(picture[whole * factor :], axis=0, dtype="f4", out=tall[whole])
    found = tall[:, ::across].copy()
    for k in range(step, min(across, columns), step):
        part = tall[:, k::across]
        found[:, : part.shape[1]] += part
    return found


def _divided(total: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means from sums; NaN where there is nothing."""
    means = np.full(total.shape, np.nan, "f4")
    np.divide(total, counts, out=means, where=counts > 0)
    return means


def _nearest(n: int, factor: int) -> np.ndarray:
    """Middle pixels of groups of `factor`."""
    found: np.ndarray = np.minimum(np.arange(0, n, factor) + factor // 2, n - 1)
    return found


def _contrast(picture: np.ndarray) -> tuple[float, float]:
    """Percentiles of a picture's pixels, of those that are finite."""
    picture = picture[::2, ::2] if picture.size > ENOUGH else picture
    values = picture[np.isfinite(picture)] if picture.dtype.kind == "f" else picture
    if not values.size:
        return np.nan, np.nan
    ordered = np.sort(values, axis=None)
    low, high = (round(percent / 100 * (len(ordered) - 1)) for percent in PERCENTILES)
    return float(ordered[low]), float(ordered[high])


# -------------------------------------------------------------------- of a batch


@dataclass(slots=True)
class SourceSeen:
    """A stage that reads whole tiles of the source: their previews cost it no reading."""

    input: ArrayInput
    """The source."""
    argument: int
    """Which argument of the call it is."""
    _stamps: np.ndarray | None = None

    @classmethod
    def by(cls, bench: Bench) -> "SourceSeen | None":
        """What a stage sees of the source; None if it sees none, or is not asked for previews."""
        if bench.order.source_preview is None:
            return None
        argument = 0
        for source, pattern in zip(bench.inputs, bench.patterns, strict=True):
            pixels = isinstance(source, ArrayInput) and source.spec.parent == SOURCE
            if pixels and pattern == "same tile":
                return cls(source, argument)  # type: ignore[arg-type]
            argument += 2 if pattern == "neighbours" else 1
        return None

    def of(self, given: "Given") -> np.ndarray:
        """The tile among the arguments of a call, without a halo."""
        array = np.asarray(given.arguments[self.argument])
        if self.input.geometry is None:
            return array
        if given.haloed is None or given.haloed[0] is not self.input:
            raise StoreError("the halo of another parent is known only")
        return array[given.haloed[1].inner.slices]

    def stamp(self, unit: int) -> int:
        """Tells whether a tile of the source was replaced."""
        if self._stamps is None:
            self._stamps = source_stamps(self.input.reader, len(self.input.lattice))
        return int(self._stamps[unit])


def source_stamps(source: Any, n: int) -> np.ndarray:
    """Stamps of the previews of a source's tiles, uint64, none of them 0."""
    prints = source.fingerprints()
    stamps = np.ones(n, "u8") if prints is None else np.asarray(prints, "u8")
    found: np.ndarray = np.maximum(stamps, np.uint64(1))
    return found


class BatchPreviews:
    """The previews of a batch, written to its staging folder as its units are made.

    Nothing that goes wrong here is of concern to the units: a preview that is missing is made when
    somebody asks for it.

    Parameters
    ----------
    bench
        What is opened for the stage.
    staging
        The batch's staging folder.
    """

    def __init__(self, bench: Bench, staging: Path) -> None:
        self._bench, self._folder = bench, staging / FOLDER
        self._own: PreviewWriter | None = None
        self._sources: PreviewWriter | None = None
        self._wanted = bench.order.preview
        self._source = SourceSeen.by(bench)
        self._left_s = FIRST_S

    def made(self, unit: int, attempt: int, made: "Made", pixels: np.ndarray) -> None:
        """A unit has made these pixels."""
        output = made.output
        if self._wanted is None or output.dims is None or output.shape is None:
            return
        try:
            if self._own is None:
                layout = PreviewLayout.of(output.dtype, output.dims, output.shape, self._wanted)
                self._own = PreviewWriter(self._folder / self._bench.order.stage, layout)
            preview = preview_of(pixels, output.dims, self._own.layout)
            self._own.add(unit, attempt, preview)
        except Exception:  # tiles that are no pictures, a full disk, no memory
            self._wanted = None

    def read(self, unit: int, given: "Given") -> None:
        """A unit has read this; a whole tile of the source, perhaps."""
        self._left_s += SHARE * self._bench.overlap.unit_s
        if self._source is None or self._left_s < 0:
            return
        began = time.perf_counter()
        try:
            lattice = self._source.input.lattice
            pixels = self._source.of(given)
            if self._sources is None:
                layout = PreviewLayout.of(
                    lattice.dtype,
                    lattice.tile_dims,
                    tuple(lattice.tile_shape.values()),
                    str(self._bench.order.source_preview),
                )
                self._sources = PreviewWriter(self._folder / SOURCE, layout)
            preview = preview_of(pixels, lattice.tile_dims, self._sources.layout)
            self._sources.add(unit, self._source.stamp(unit), preview)
        except Exception:
            self._source = None
        self._left_s -= time.perf_counter() - began

    def close(self) -> None:
        """Close the files."""
        for writer in (self._own, self._sources):
            if writer is not None:
                writer.close()

    @property
    def folder(self) -> str:
        """Where the files are; empty if there are none."""
        some = self._own is not None or self._sources is not None
        return str(self._folder) if some else ""


def layout_or_none(
    dtype: Any, dims: Sequence[str], shape: Sequence[int], projection: str
) -> PreviewLayout | None:
    """The layout of previews of some tiles; None where these are no pictures."""
    with contextlib.suppress(StoreError):
        return PreviewLayout.of(dtype, dims, shape, projection)
    return None


__all__ = ["BatchPreviews", "preview_of"]
