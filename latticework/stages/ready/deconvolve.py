"""Blur of the microscope undone: Richardson-Lucy deconvolution, tile by tile with a halo."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import fft

from latticework.errors import StageError
from latticework.stages.ready.labelled import SPATIAL, AnyTile, Pixels, labelled, like, to_dtype

Floats = npt.NDArray[np.float32]

REACH = 4.0
"""Standard deviations at which a Gaussian ends."""
ENERGY = 0.998
"""Share of a given PSF that counts for its radius."""
MOST_COUNTS = 1e30
"""Counts from which on a pixel passes for infinite."""
LEAST_SEEN = 0.001
"""Share of a pixel's light that must fall on the tile for it to be estimated."""


def gaussian_psf(sigma_px: float | Sequence[float]) -> Floats:
    """A Gaussian PSF: of 2 dims for one number, else of as many as there are numbers (z, y, x).

    Parameters
    ----------
    sigma_px
        Standard deviations in pixels; 0 where nothing is blurred.

    Returns
    -------
    float32 with odd sides, sum 1.

    Raises
    ------
    StageError
        If one is negative, or not finite.

    Examples
    --------
    >>> gaussian_psf((2.0, 1.0)).shape
    (17, 9)
    """
    sigmas = [float(sigma_px)] * 2 if np.ndim(sigma_px) == 0 else [float(s) for s in sigma_px]  # type: ignore[arg-type, union-attr]
    if any(not 0 <= s < math.inf for s in sigmas):
        raise StageError(f"sigma_px must be finite and not negative, but is {sigma_px}")
    psf = np.ones([1] * len(sigmas))
    for k, sigma in enumerate(sigmas):
        reach = math.ceil(REACH * sigma)
        at = np.arange(-reach, reach + 1)
        line = np.exp(-0.5 * (at / sigma) ** 2) if sigma > 0 else np.ones(1)
        psf = psf * line.reshape([-1 if j == k else 1 for j in range(len(sigmas))])
    return np.asarray(psf / psf.sum(), dtype=np.float32)


def deconvolution_halo(
    psf: Pixels | None = None,
    *,
    sigma_px: float | Sequence[float] | None = None,
    iterations: int = 15,
) -> dict[str, int]:
    """Halo in pixels by axis, for ``overlap=``, with which `deconvolve` gives what the whole would.

    Each iteration carries what is at the rim further in, but ever less of it: after n iterations
    hardly more than ``1 + n ** 0.5 / 2`` times the radius that holds 99.8 % of the PSF. With this
    halo tiles differ from the whole by less than a thousandth of the brightest pixel (measured, for
    up to 50 iterations), and in the mean by ten times less.

    Parameters
    ----------
    psf, sigma_px, iterations
        As for `deconvolve`.

    Examples
    --------
    >>> deconvolution_halo(sigma_px=(0, 2, 2), iterations=9)
    {'z': 0, 'y': 15, 'x': 15}
    """
    kernel = _kernel(psf, sigma_px)
    factor = 1 + 0.5 * math.sqrt(max(iterations, 0))
    radii = [_radius(kernel, axis) for axis in range(kernel.ndim)]
    return {
        dim: math.ceil(factor * radius)
        for dim, radius in zip(SPATIAL[3 - kernel.ndim :], radii, strict=True)
    }


def _radius(kernel: Floats, axis: int) -> int:
    line = kernel.sum(axis=tuple(k for k in range(kernel.ndim) if k != axis))
    middle = len(line) // 2
    for radius in range(middle + 1):
        if line[max(middle - radius, 0) : middle + radius + 1].sum() >= ENERGY * line.sum():
            return radius
    return middle


def _kernel(psf: Pixels | None, sigma_px: float | Sequence[float] | None) -> Floats:
    if (psf is None) == (sigma_px is None):
        raise StageError("give either a psf, or the sigma_px of a Gaussian one")
    if sigma_px is not None:
        return gaussian_psf(sigma_px)
    kernel = np.asarray(psf.data if isinstance(psf, xr.DataArray) else psf, dtype=np.float64)
    if not 2 <= kernel.ndim <= 3 or not kernel.size:
        raise StageError(f"a psf has dims y x or z y x, but its shape is {kernel.shape}")
    bad = int((~np.isfinite(kernel)).sum())
    if bad:
        raise StageError(f"a psf must be finite, but {bad} of its {kernel.size} pixels are not")
    if kernel.min() < 0:
        raise StageError(
            f"a psf must be nowhere negative, but its least value is {kernel.min():g}: "
            "take off its background, and set what is then below 0 to 0"
        )
    if not kernel.max() > 0:
        raise StageError("a psf must have light somewhere, but all its pixels are 0")
    if any(n % 2 == 0 for n in kernel.shape):
        raise StageError(
            f"a psf has its centre in its middle pixel, so odd sides, but is {kernel.shape}"
        )
    kernel = kernel / kernel.max()  # so that no sum is too large
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def deconvolve(
    tile: AnyTile,
    *,
    psf: Pixels | None = None,
    sigma_px: float | Sequence[float] | None = None,
    sigma_um: Mapping[str, float] | None = None,
    iterations: int = 15,
    offset: float = 0.0,
    dtype: npt.DTypeLike = "float32",
) -> AnyTile:
    """The tile as it was before the microscope blurred it, as far as its noise lets that be known.

    Richardson-Lucy iterations, by FFT. What lies beyond the rim of the tile is estimated along with
    it, so that its edges are neither bright nor dark, and nothing comes in from the other side.

    Parameters
    ----------
    tile
        Some of c z y x; channels are treated one by one, and planes if the PSF has two dims. With
        the halo of `deconvolution_halo`, tiles fit together. Pixels that are not finite count as
        not seen.
    psf
        The image of a point, ``y x`` or ``z y x`` with odd sides, centre in the middle; its sum
        does not matter.
    sigma_px
        In place of a PSF: a Gaussian with these standard deviations in pixels (z) y x; one number
        for y and x.
    sigma_um
        The same in micrometres by axis, for tiles that know their ``pixel_size_um``.
    iterations
        More are sharper, and noisier.
    offset
        Counts of the camera in the dark, which are taken off first.
    dtype
        Type of the result.

    Returns
    -------
    Nowhere negative; the sum of an object well inside of the tile is kept. Pixels that were not
    finite are estimated from those around them, as far as the PSF reaches; in larger gaps they are
    NaN (0 if `dtype` is one of integers). Takes some 8 times the tile's size as float32 meanwhile.

    Raises
    ------
    StageError
        If none or several of psf, sigma_px and sigma_um are given, or do not fit the tile; if a PSF
        is not finite, negative somewhere or 0 everywhere; if the offset is not finite.

    Notes
    -----
    Richardson, "Bayesian-based iterative method of image restoration", 1972; Lucy, "An iterative
    technique for the rectification of observed distributions", 1974. Unknown surroundings: Bertero
    and Boccacci, "A simple method for the reduction of boundary effects in the Richardson-Lucy
    approach to image deconvolution", 2005.

    Examples
    --------
    >>> blurred = np.full((31, 31), 10.0)
    >>> blurred[11:20, 11:20] += 400 * gaussian_psf(1.0)
    >>> sharp = deconvolve(blurred, sigma_px=1.0, iterations=50)
    >>> bool(sharp[15, 15] > 2 * blurred.max()), round(float(sharp.sum() / blurred.sum()), 2)
    (True, 1.0)
    """
    pixels = labelled(tile)
    if sigma_um is not None:
        if psf is not None or sigma_px is not None:
            raise StageError("give one of psf, sigma_px and sigma_um")
        sigma_px = _in_pixels(pixels, sigma_um)
    kernel = _kernel(psf, sigma_px)
    if iterations < 1:
        raise StageError(f"iterations must be at least 1, but are {iterations}")
    if not math.isfinite(offset):
        raise StageError(f"the offset must be finite, but is {offset}")
    if kernel.ndim == 3 and "z" not in pixels.dims:
        raise StageError("a psf with z does not fit a tile without: give one of y and x")
    source = np.asarray(pixels.data)
    result = np.empty(source.shape, np.dtype(dtype))
    for place in np.ndindex(*source.shape[: source.ndim - kernel.ndim]):
        known = np.isfinite(source[place]) & (np.abs(source[place]) < MOST_COUNTS)
        counts = np.where(known, source[place], 0).astype(np.float32)
        seen = np.where(known, np.maximum(counts - np.float32(offset), 0), np.float32(0))
        found = _richardson_lucy(seen, known, kernel, iterations)
        if result.dtype.kind in "iu":
            found = np.nan_to_num(found)
        result[place] = to_dtype(found, result.dtype)
    return like(tile, result)


def _in_pixels(pixels: xr.DataArray, sigma_um: Mapping[str, float]) -> list[float]:
    axes = [axis for axis in SPATIAL if axis in sigma_um]
    sizes: Any = pixels.attrs.get("pixel_size_um")
    if axes[-2:] != ["y", "x"] or len(axes) != len(sigma_um):
        raise StageError(f"sigma_um gives y and x, and perhaps z, but is {dict(sigma_um)}")
    if not isinstance(sizes, Mapping) or any(axis not in sizes for axis in axes):
        raise StageError("this tile does not know its pixel_size_um: give sigma_px instead")
    return [float(sigma_um[axis]) / float(sizes[axis]) for axis in axes]


def _richardson_lucy(
    seen: Floats, known: npt.NDArray[np.bool_], kernel: Floats, iterations: int
) -> Floats:
    """Object behind what was seen, on a grid that reaches beyond it by the radius of the PSF.

    Pixels that are not `known` are treated as those beyond the rim; NaN where nothing tells of one.
    """
    radii = [_radius(kernel, axis) for axis in range(kernel.ndim)]
    wide = [n + 2 * r for n, r in zip(seen.shape, radii, strict=True)]
    # Room for the kernel, so that nothing wraps around.
    size = [
        fft.next_fast_len(n + k // 2, real=True) for n, k in zip(wide, kernel.shape, strict=True)
    ]
    inner = tuple(slice(r, r + n) for r, n in zip(radii, seen.shape, strict=True))
    grid = tuple(slice(0, n) for n in wide)
    padded = np.zeros(size, np.float32)
    padded[tuple(slice(0, k) for k in kernel.shape)] = kernel
    padded = np.roll(padded, [-(k // 2) for k in kernel.shape], axis=tuple(range(kernel.ndim)))
    transfer = fft.rfftn(padded)

    def blur(image: Floats, by: npt.NDArray[np.complex64]) -> Floats:
        return np.asarray(fft.irfftn(fft.rfftn(image, size) * by, size)[grid], dtype=np.float32)

    back = transfer.conj()
    lit = np.zeros(wide, np.float32)
    lit[inner] = known
    share = blur(lit, back)  # of the light of each place that falls on the tile
    trusted = share > LEAST_SEEN
    share = np.where(trusted, share, np.float32(np.inf))
    mean = max(float(seen.sum(dtype=np.float64)) / max(int(known.sum()), 1), 1e-6)
    least = np.float32(1e-6 * mean)
    guess = np.where(trusted, np.float32(mean), np.float32(0))
    ratio = np.zeros(wide, np.float32)
    for _ in range(iterations):
        ratio[inner] = seen / np.maximum(blur(guess, transfer)[inner], least)
        guess *= np.maximum(blur(ratio, back), 0) / share
    return np.where(trusted[inner] | known, guess[inner], np.float32(np.nan))
