"""Lines scanned to and fro: how far the odd ones are shifted against the even, and back.

A resonant scanner draws every second line backwards. Where its phase is off, what should lie in
one column is a comb::

    line 0  ....###......      shift = 2: odd lines lie 2 pixels too far right
    line 1  ......###....
    line 2  ....###......
    line 3  ......###....
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import fft, interpolate, ndimage

from latticework.errors import StageError
from latticework.stages.ready.labelled import AnyTile, Pixels, each_tile, labelled, like, to_dtype

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
EDGES = ("wrap", "nearest")
COARSE_PX = 12.0
"""Width of what is light, or out of focus, along a line."""
CERTAIN = 5.5
"""Standard deviations of chance that a shift has to stand out by."""
CLIP = 8.0
"""Standard deviations beyond which a pixel counts no more."""
MEDIAN_PX = 5
"""Pixels along a line that say what the one in their middle should be."""
LEAST_POWER = 0.05
"""Power below which a frequency is not trusted, as a share of the mean."""
FINE = 20
"""Steps to a pixel."""
NEAR = 2
"""Pixels around the shift that stands out most in which the one is looked for where lines agree."""
REACH = 8
"""Pixels on either side over which lines are filtered before they are compared."""


def estimate_line_shift(
    tile: Pixels, *, max_shift_px: int = 9, subpixel: bool = False, along: str = "x"
) -> float:
    """How many pixels the odd lines of a tile lie to the right of where they should; 0 if unknown.

    Odd lines are correlated with the even lines above and below them, whose own slants cancel. The
    correlations of all planes and channels (and tiles) are added up; about where the sum is
    largest, if it stands out from chance, the shift is the one by which lines differ least. Of a
    pattern that repeats itself the smallest shift is taken: nothing in it tells one repeat from the
    next.

    Parameters
    ----------
    tile
        Some of c z y x; or tiles, with a first dim ``tile`` (as ``all_tiles`` gives them), for one
        shift of them all. Nothing but whole tiles, or an even number of lines cut off.
    max_shift_px
        The shift is looked for between minus and plus this.
    subpixel
        Whether to look between whole pixels too, to a twentieth.
    along
        The axis along which lines are scanned, ``"x"`` or ``"y"``.

    Returns
    -------
    float
        In pixels along the line; positive where odd lines lie towards larger `along`. Blank tiles,
        and those of nothing but noise, give 0.

    Raises
    ------
    StageError
        If lines are shorter than the shifts to try, or `along` is neither x nor y.

    Notes
    -----
    MouseLight's pipeline asks the same of one binarised projection. Frequencies are weighted as
    Hannan and Thomson (1973) do; that a correlation is judged by its spread between independent
    lines goes back to Bartlett (1935).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> tile = np.repeat(rng.uniform(100, 900, (32, 100)), 2, axis=0)
    >>> tile[1::2] = np.roll(tile[1::2], -3, axis=1)
    >>> estimate_line_shift(tile)
    -3.0
    """
    across = _across(along)
    most = int(max_shift_px)
    first = ("tile",) if isinstance(tile, xr.DataArray) and "tile" in tile.dims else ()
    stack = labelled(tile, first=first)
    if not first:
        stack = stack.expand_dims("tile")
    if most < 1 or stack.sizes[along] < 4 * most:
        raise StageError(
            f"lines of {stack.sizes[along]} pixels along {along} are too short for shifts of up to "
            f"{max_shift_px}: expected max_shift_px of at least 1, and lines of 4 times that"
        )
    spectra, apart = None, np.zeros(2 * most + 1)
    for _, one in each_tile(stack):
        lines = np.asarray(one.transpose(..., across, along).data)
        for plane in lines.reshape(-1, *lines.shape[-2:]):
            even = _evened(plane)
            found = _spectra(even, most)
            spectra = found if spectra is None else spectra + found
            apart += _apart(even, found, most)
    score = None if spectra is None else _score(spectra, stack.sizes[along], most)
    if score is None or score.max() < CERTAIN:
        return 0.0
    best = _best(score, most)
    first_near = max(best - NEAR, 0)
    best = first_near + int(np.argmin(apart[first_near : best + NEAR + 1]))
    return (_between(apart, best) if subpixel else float(best)) - most


def _best(score: Floats, most: int) -> int:
    """Index of the largest score; of the smallest shift, where a pattern repeats itself."""
    apart = np.pad(score, 1, constant_values=-np.inf)
    peaks = np.flatnonzero((score >= apart[:-2]) & (score >= apart[2:]))
    least = score.max() - min(3.0, 0.05 * score.max())
    as_good = peaks[score[peaks] >= least]
    return int(as_good[np.argmin(np.abs(as_good - most))])


def _across(along: str) -> str:
    if along not in {"x", "y"}:
        raise StageError(f"lines are scanned along x or y, but along={along!r}")
    return "y" if along == "x" else "x"


def _evened(plane: npt.NDArray[Any]) -> Singles:
    """Lines of a plane without light that is wide, in which nothing outweighs the rest."""
    lines = np.nan_to_num(plane.astype(np.float32))
    # Brightness counts by its square root: photon noise is the same everywhere then, and a few
    # bright cells do not outweigh the rest.
    lines = np.sqrt(lines - lines.min())
    # A hot pixel must not meet another in the next line, nor leave a wide trough around itself.
    middle = ndimage.median_filter(lines, size=(1, MEDIAN_PX), mode="nearest")
    lines = middle + _clipped(lines - middle)
    return _clipped(lines - ndimage.gaussian_filter1d(lines, COARSE_PX, axis=1))


def _odd_and_even(lines: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Odd lines, and even ones: those above them, and one more."""
    pairs = (len(lines) - 1) // 2
    return lines[1::2][:pairs], lines[0::2][: pairs + 1]


def _spectra(lines: Singles, most: int) -> npt.NDArray[np.complex128]:
    """Of one plane: cross-spectrum of odd and even lines, their powers, even lines with even ones.

    Shape (4, frequencies); in units of the plane's own power, so that no plane outweighs another.
    """
    size = fft.next_fast_len(lines.shape[1] + 2 * most + 2, real=True)
    odd, even = _odd_and_even(fft.rfft(lines, size, axis=1))
    above, below = even[:-1], even[1:]
    middle = 0.5 * (above + below)
    found = np.stack(
        [
            (odd * middle.conj()).sum(axis=0),
            (np.abs(odd) ** 2).sum(axis=0),
            (np.abs(middle) ** 2).sum(axis=0),
            (above * below.conj()).sum(axis=0).real,
        ]
    )
    power = float(np.sqrt(found[1].real.mean() * found[2].real.mean()))
    return np.asarray(found * (len(odd) / power) if power > 0 else 0 * found)


def _apart(lines: Singles, spectra: npt.NDArray[np.complex128], most: int) -> Floats:
    """By how much odd lines of one plane differ from even ones, in squares, at each whole shift.

    But for what is the same at all shifts. The even lines' middle part is compared, which has its
    partner within the odd lines at all of them: a correlation of whole lines is largest where what
    is bright just comes in, and a line's end that was put in front of it has no partner.
    """
    rms, n = float(np.sqrt((lines**2).mean())), lines.shape[1]
    odd, even = _odd_and_even(lines / np.float32(rms or 1.0))
    if len(odd) < 2 or not spectra[1].real.max() > 0:
        return np.zeros(2 * most + 1)
    reach = min(REACH, (n - 2 * most) // 4)
    kernel = np.fft.fftshift(fft.irfft(np.sqrt(_weight(spectra)), 2 * (spectra.shape[1] - 1)))
    middle = len(kernel) // 2
    kernel = kernel[middle - reach : middle + reach + 1] * np.hanning(2 * reach + 3)[1:-1]
    odd, even = (
        ndimage.convolve1d(part, kernel, axis=1, mode="nearest").astype(np.float64)
        for part in (odd, even)
    )
    first, last = most + reach, n - most - reach
    inner = (even[:-1] + even[1:])[:, first:last]  # twice their mean
    # Of lines with the next ones, as noise has nothing in common there.
    own = np.cumsum((odd[:-1] * odd[1:]).sum(axis=0)) * len(odd) / (len(odd) - 1)
    shifts = range(-most, most + 1)
    shared = [float((odd[:, first + s : last + s] * inner).sum()) for s in shifts]
    return np.array([own[last + s - 1] - own[first + s - 1] for s in shifts]) - shared


def _between(apart: Floats, best: int) -> float:
    """Where between whole shifts, near the best of them, lines differ least."""
    places = np.arange(len(apart))
    fine = np.arange(max(best - 1, 0) * FINE, min(best + 1, len(apart) - 1) * FINE + 1) / FINE
    curve = interpolate.make_interp_spline(places, apart, k=min(5, len(apart) - 2))
    return float(fine[np.argmin(curve(fine))])


def _clipped(lines: Singles) -> Singles:
    """What deviates no more than noise does, and a little."""
    limit = CLIP * 1.4826 * float(np.median(np.abs(lines)))
    return np.clip(lines, -limit, limit) if limit > 0 else lines


def _weight(spectra: npt.NDArray[np.complex128]) -> Floats:
    """How much each frequency counts, for there being something in common in it.

    By what even lines have in common there (Hannan and Thomson, 1973; with the square root of the
    power, which a slanted sharp edge does not split in two): what is noise, or differs from line to
    line, does not blur the peak.
    """
    _, odd, even, common = spectra
    power = np.sqrt(odd.real * even.real)
    smooth = max(2.0, len(power) / 64)
    level = ndimage.gaussian_filter1d(power, smooth) + LEAST_POWER * power.mean()
    share = np.clip(ndimage.gaussian_filter1d(common.real, smooth) / level, 0.02, 0.9)
    return np.asarray(share / (1 - share**2) / np.sqrt(level))


def _score(spectra: npt.NDArray[np.complex128], n: int, most: int) -> Floats | None:
    """Correlation of odd and even lines at each whole shift, in standard deviations of chance."""
    cross, odd, even, _ = spectra
    power = np.sqrt(odd.real * even.real)
    if not power.max() > 0:
        return None
    weight = _weight(spectra)
    weight[1:] *= 2
    size = 2 * (len(cross) - 1)
    shifts = np.arange(-most, most + 1)
    turns = np.exp(2j * np.pi / size * np.outer(shifts, np.arange(len(cross))))
    correlation = (turns * (weight * cross)).real.sum(axis=1)
    lines = float(np.sqrt(odd.real.mean() * even.real.mean()))
    variance = 0.5 * size / n * float((weight**2 * power**2).sum()) / lines
    return np.asarray(correlation * n / (n - np.abs(shifts)) / np.sqrt(variance))


def fix_line_shift(
    tile: AnyTile,
    shift: float | None = None,
    *,
    interpolate: bool = False,
    edge: str = "wrap",
    along: str = "x",
    max_shift_px: int = 9,
) -> AnyTile:
    """The tile with its odd lines moved back by `shift` pixels.

    Parameters
    ----------
    tile
        Some of c z y x.
    shift
        As `estimate_line_shift` gives it, of this tile or of all; estimated from this tile if not
        given.
    interpolate
        Whether to undo fractions of a pixel as well (cubic spline along the line). If not, the
        shift is rounded, and pixels are only moved.
    edge
        What comes in at the end of a line. ``"wrap"``: what went out at the other end, so that
        nothing is lost and the opposite shift gives the tile back. ``"nearest"``: its last pixel.
    along, max_shift_px
        See `estimate_line_shift`.

    Returns
    -------
    Of the tile's dtype; integers are rounded and clipped.

    Raises
    ------
    StageError
        If a shift is longer than a line, or `edge` or `along` are none of theirs.

    Examples
    --------
    >>> fix_line_shift(np.array([[1, 2, 3, 4], [4, 1, 2, 3]]), 1)
    array([[1, 2, 3, 4],
           [1, 2, 3, 4]])
    """
    across = _across(along)
    if edge not in EDGES:
        raise StageError(f"edge must be one of {', '.join(EDGES)}, but is {edge!r}")
    pixels = labelled(tile)
    if shift is None:
        shift = estimate_line_shift(
            pixels, max_shift_px=max_shift_px, subpixel=interpolate, along=along
        )
    if not abs(shift) < pixels.sizes[along]:
        raise StageError(
            f"a shift of {shift} pixels is longer than the tile's lines of {pixels.sizes[along]}"
        )
    move = float(shift) if interpolate else float(round(shift))
    result = pixels.copy(deep=True)
    lines = np.moveaxis(
        np.asarray(result.data), [result.dims.index(across), result.dims.index(along)], [-2, -1]
    )
    lines[..., 1::2, :] = _moved(lines[..., 1::2, :], move, edge)
    return like(tile, np.asarray(result.data))


def _moved(lines: npt.NDArray[Any], move: float, edge: str) -> npt.NDArray[Any]:
    """Lines moved towards their begin by `move` pixels."""
    n = lines.shape[-1]
    if move == round(move):
        at = np.arange(n) + int(move)
        return lines[..., at % n if edge == "wrap" else np.clip(at, 0, n - 1)]
    steps = [0.0] * (lines.ndim - 1) + [-move]
    mode = "grid-wrap" if edge == "wrap" else "nearest"
    moved = np.empty(lines.shape, np.float32)
    for k in np.ndindex(*lines.shape[:-2]):  # plane by plane: small buffers
        moved[k] = ndimage.shift(lines[k].astype(np.float32), steps[-2:], order=3, mode=mode)
    return to_dtype(moved, lines.dtype)
