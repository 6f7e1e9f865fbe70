"""Stripes and shadows of a light sheet: found by what they have along their whole length.

A sheet that comes from the side throws shadows of whatever it meets, which run through the tile as
stripes. What belongs to a stripe is the same all along it; what belongs to the specimen differs
from place to place. So the tile is cut into pieces along the stripes::

      |  piece 0  |  piece 1  |  piece 2  |  piece 3  |
      |...........|...........|.....##....|...........|
      |===========|===========|===========|===========|   in all pieces: a stripe
      |...........|..##.......|...........|...........|   in one: specimen

and in each piece the brightness of each line is compared with that of lines 1, 2, 4, 8 ... further
on, by the median along it: an edge of the specimen crosses only some of a line.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import ndimage
from scipy.linalg import solveh_banded

from latticework.errors import StageError
from latticework.stages.ready.labelled import AnyTile, Pixels, labelled, like, to_dtype

Floats = npt.NDArray[np.float64]
KINDS = ("multiplicative", "additive")
PIECES = 16
"""Pieces along the stripes that are compared."""
LEAST_PIECE_PX = 12
"""Pixels of a piece along the stripes, at least."""
ALONG_PX = 5
"""Pixels along the stripes that are averaged first: noise, not stripes."""
DIM = 0.1
"""Share of the usual brightness below which nothing can be said of a multiplicative stripe."""
GATE = (5.0, 10.0)
"""Energy of a stripe, in units of what pieces disagree by: below nothing is taken, above all."""
MOSTLY = 0.5
"""Share of a tile from which on it is striped all over."""
NOISE = 1e-4
"""Least disagreement that is believed."""


def destripe(
    tile: AnyTile,
    *,
    along: str = "x",
    kind: str = "multiplicative",
    width_px: float = 16.0,
    offset: float = 0.0,
    angle_deg: float = 0.0,
    dtype: npt.DTypeLike | None = None,
) -> AnyTile:
    """The tile without the stripes that run through it.

    Regular stripes leave a tenth to a third of their strength; of single, weak or random ones
    much more stays, since a shadow is not told from a line of the specimen that is darker by a
    per cent or so.

    Whole planes are needed: a stripe is known by its whole length, so correct tiles without a halo,
    and take out uneven illumination first.

    Parameters
    ----------
    tile
        Some of c z y x; planes and channels are treated one by one.
    along
        The axis along which stripes run, ``"x"`` or ``"y"``.
    kind
        ``"multiplicative"`` for shadows, which take a share of the light, or ``"additive"``.
    width_px
        The widest stripes, in pixels across. What is wider belongs to the specimen.
    offset
        Counts of the camera in the dark; matters for multiplicative stripes only.
    angle_deg
        Angle of the stripes against the axis: positive where they go towards larger `across` (y, or
        x) along it. See `estimate_stripe_angle`.
    dtype
        Type of the result, the tile's own if not given; integers are rounded and clipped.

    Returns
    -------
    The tile with lines that had no stripe at their brightness. Saturated pixels of an integer tile
    stay as they are.

    Raises
    ------
    StageError
        If `along`, `kind`, `width_px` or `angle_deg` make no sense.

    Notes
    -----
    That a stripe is what lines have in common along their whole length is used by Münch et al.,
    "Stripe and ring artifact removal with combined wavelet-Fourier filtering", 2009. Medians of
    differences in place of a Fourier filter leave edges of the specimen without ringing, and what
    pieces of the tile disagree about stays as it is.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scene = rng.uniform(900, 1100, (96, 256))
    >>> tile = scene.copy()
    >>> tile[40:44] *= 0.6
    >>> clean = destripe(tile)
    >>> bool(abs(clean[40:44].mean() / scene[40:44].mean() - 1) < 0.02)
    True
    """
    _check(along, kind, width_px, angle_deg)
    pixels = labelled(tile)
    across = "y" if along == "x" else "x"
    turned = pixels.transpose(..., across, along)
    source = np.asarray(turned.data)
    result = np.empty(source.shape, pixels.dtype if dtype is None else np.dtype(dtype))
    for place in np.ndindex(*source.shape[:-2]):
        plane = source[place].astype(np.float32) - np.float32(offset)
        pattern = _pattern(plane, kind, width_px, angle_deg)
        clean = plane / np.exp(pattern) if kind == "multiplicative" else plane - pattern
        clean += np.float32(offset)
        if source.dtype.kind in "iu":  # how bright these are is not known
            clean = np.where(source[place] == np.iinfo(source.dtype).max, source[place], clean)
        result[place] = to_dtype(clean, result.dtype)
    return like(tile, np.asarray(turned.copy(data=result).transpose(*pixels.dims).data))


def estimate_stripes(
    tile: Pixels,
    *,
    along: str = "x",
    kind: str = "multiplicative",
    width_px: float = 16.0,
    offset: float = 0.0,
    angle_deg: float = 0.0,
) -> xr.DataArray:
    """The stripes that `destripe` takes out: factors (1 without a stripe), or counts (0 without).

    Parameters
    ----------
    tile, along, kind, width_px, offset, angle_deg
        As for `destripe`.

    Returns
    -------
    float32, of the tile's shape and with its labels.

    Examples
    --------
    >>> estimate_stripes(np.full((64, 200), 50.0), kind="additive").values.max()
    np.float32(0.0)
    """
    _check(along, kind, width_px, angle_deg)
    pixels = labelled(tile)
    turned = pixels.transpose(..., "y" if along == "x" else "x", along)
    found = np.empty(turned.shape, np.float32)
    for place in np.ndindex(*found.shape[:-2]):
        plane = np.asarray(turned.data[place]).astype(np.float32) - np.float32(offset)
        found[place] = _pattern(plane, kind, width_px, angle_deg)
    if kind == "multiplicative":
        found = np.exp(found)
    return turned.copy(data=found).transpose(*pixels.dims).rename("stripes")


def estimate_stripe_angle(
    tile: Pixels,
    *,
    along: str = "x",
    kind: str = "multiplicative",
    offset: float = 0.0,
    most_deg: float = 5.0,
) -> float:
    """The angle in degrees at which stripes run through a tile; 0 if there are none.

    The angle at which lines differ most from the ones beside them, over all planes, in steps of a
    pixel over the length of the tile.

    Parameters
    ----------
    tile, along, kind, offset
        As for `destripe`.
    most_deg
        The angle is looked for between minus and plus this.

    Examples
    --------
    >>> y, x = np.mgrid[:128, :256]
    >>> tile = np.where((y - 0.05 * x) % 16 < 4, 80.0, 100.0)
    >>> round(estimate_stripe_angle(tile), 1)
    2.9
    """
    _check(along, kind, 1.0, most_deg)
    pixels = labelled(tile).transpose(..., "y" if along == "x" else "x", along)
    h, n = pixels.shape[-2:]
    most = int(np.tan(np.radians(most_deg)) * n)
    drops = np.arange(-most, most + 1)
    energy = np.zeros(len(drops))
    source = np.asarray(pixels.data)
    for place in np.ndindex(*source.shape[:-2]):
        values = _values(source[place].astype(np.float32) - np.float32(offset), kind)[0]
        fine = values - ndimage.gaussian_filter1d(values, 4.0, axis=0)
        limit = 3 * 1.4826 * float(np.median(np.abs(fine)))
        spectrum = np.fft.rfft(np.clip(fine, -limit, limit), axis=0)
        turn = 2j * np.pi * np.fft.rfftfreq(h)[:, None] * (np.arange(n) / n - 0.5)
        for k, drop in enumerate(drops):
            energy[k] += (np.abs((spectrum * np.exp(turn * drop)).sum(axis=1)) ** 2).sum()
    usual = float(np.median(energy))
    spread = 1.4826 * float(np.median(np.abs(energy - usual)))
    best = int(np.argmax(energy))
    if not energy[best] > usual + 8 * spread:
        return 0.0
    return float(np.degrees(np.arctan(drops[best] / n)))


def _check(along: str, kind: str, width_px: float, angle_deg: float) -> None:
    if along not in {"x", "y"}:
        raise StageError(f"stripes run along x or y, but along={along!r}")
    if kind not in KINDS:
        raise StageError(f"kind must be one of {', '.join(KINDS)}, but is {kind!r}")
    if not width_px >= 1:
        raise StageError(f"width_px must be at least 1 pixel, but is {width_px}")
    if not abs(angle_deg) <= 30:
        raise StageError(f"stripes at {angle_deg} degrees: expected -30 to 30 (see along=)")


def _values(plane: npt.NDArray[np.float32], kind: str) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """What is compared, and where it tells something."""
    smooth = ndimage.uniform_filter1d(np.nan_to_num(plane), ALONG_PX, axis=1).astype(np.float64)
    if kind == "additive":
        return smooth, np.ones(smooth.shape, np.bool_)
    lit = float(np.percentile(smooth, 90))
    least = max(DIM * lit, 1e-6)
    return np.log(np.maximum(smooth, least)), smooth > least


def _pattern(
    plane: npt.NDArray[np.float32], kind: str, width_px: float, angle_deg: float
) -> npt.NDArray[np.float32]:
    """Stripes along the last axis of a plane: logarithms of factors, or counts."""
    h, n = plane.shape
    drop = np.tan(np.radians(angle_deg)) * (np.arange(n) - 0.5 * (n - 1))
    values, known = _values(plane, kind)
    if angle_deg:
        rows = np.arange(h)[:, None] + np.rint(drop).astype(int)
        known = np.take_along_axis(known, np.clip(rows, 0, h - 1), 0) & (rows >= 0) & (rows < h)
        values = np.take_along_axis(values, np.clip(rows, 0, h - 1), 0)
    count = min(PIECES, n // LEAST_PIECE_PX)
    if count < 4 or h < 8:  # too small for telling stripes from anything
        return np.zeros_like(plane)
    edges = np.linspace(0, n, count + 1).round().astype(int)
    profiles = np.stack(
        [_profile(values[:, a:b], known[:, a:b], width_px) for a, b in pairwise(edges.tolist())]
    )
    stripes = np.zeros(h)
    for _ in range(3):  # what is wider than stripes is seen better without them
        base = _base(np.median(profiles - stripes, axis=0), _doubt(profiles), width_px)
        stripes, dense = _levelled(_in_common(profiles - base, width_px), kind, width_px)
        if dense < MOSTLY:
            break
    if not angle_deg:
        return np.broadcast_to(stripes[:, None], plane.shape).astype(np.float32)
    at = np.arange(h)[:, None] - drop
    return np.asarray(np.interp(at, np.arange(h), stripes), dtype=np.float32)


def _profile(values: Floats, known: npt.NDArray[np.bool_], width_px: float) -> Floats:
    """Brightness of each line of a piece, from medians of differences over several distances."""
    h = len(values)
    lags = [1]
    while 2 * lags[-1] <= min(width_px, h // 2):
        lags.append(2 * lags[-1])
    matrix, right = np.zeros((lags[-1] + 1, h)), np.zeros(h)
    for lag in lags:
        differences = values[lag:] - values[:-lag]
        both = known[lag:] & known[:-lag]
        middle, count = _medians(differences, both)
        spread = 1.4826 * _medians(np.abs(differences - middle[:, None]), both)[0]
        weight = count / (ndimage.uniform_filter1d(spread**2, 5) + NOISE**2)
        matrix[0, lag:] += weight
        matrix[0, :-lag] += weight
        matrix[lag, :-lag] -= weight
        right[lag:] += weight * middle
        right[:-lag] -= weight * middle
    matrix[0] += 1e-6 * matrix[0].mean() + 1e-12
    found = solveh_banded(matrix, right, lower=True)
    return np.asarray(found - np.median(found))


def _medians(values: Floats, known: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Median of what is known of each row, and how much that is; 0 of rows without."""
    if known.all():
        return np.median(values, axis=1), np.full(len(values), float(values.shape[1]))
    ordered = np.sort(np.where(known, values, np.inf), axis=1)
    count = known.sum(axis=1)
    low = np.maximum(count - 1, 0) // 2
    high = count // 2
    high = np.where(count > 0, np.minimum(high, np.maximum(count - 1, 0)), 0)
    rows = np.arange(len(values))
    middle = np.where(count > 0, 0.5 * (ordered[rows, low] + ordered[rows, high]), 0.0)
    return middle, count.astype(np.float64)


def _error(parts: Floats) -> Floats:
    """Standard error of the median of all pieces, from what they disagree by."""
    away = np.abs(parts - np.median(parts, axis=0))
    return np.asarray(1.2533 * 1.4826 * np.median(away, axis=0) / np.sqrt(len(parts)) + NOISE)


def _doubt(profiles: Floats) -> float:
    return float(np.median(_error(profiles)))


def _in_common(profiles: Floats, width_px: float) -> Floats:
    """What the profiles of all pieces have in common, scale by scale; 0 where lines have no stripe.

    At each scale the energy of the median profile is compared with what pieces disagree by. A
    stripe that is certain at one scale is expected to have about as much at the next coarser one.
    """
    rest = profiles
    total, scale = np.zeros(profiles.shape[1]), 1.0
    expected = np.zeros(profiles.shape[1])
    while True:
        last = scale > width_px / 2
        coarse = 0.0 * rest if last else _smooth(profiles, scale)
        parts = rest - coarse
        rest = coarse
        common = np.median(parts, axis=0)
        energy = _smooth(common**2, 2 * scale)
        error = _smooth(_error(parts) ** 2, 2 * scale)
        gate = np.clip((energy / error - GATE[0]) / (GATE[1] - GATE[0]), 0, 1)
        likely = np.minimum(expected, energy)
        gate = np.maximum(gate, likely / (likely + 4 * error))
        total += gate * common
        if last:
            return total
        expected = _smooth(np.maximum(0.5 * expected, gate * (energy - error).clip(0)), scale)
        scale *= 2


def _levelled(stripes: Floats, kind: str, width_px: float) -> tuple[Floats, float]:
    """Stripes, 0 at lines without (or in the mean, where nearly all have some), and that share."""
    stripes = stripes - np.median(stripes)
    size = np.abs(stripes)
    usual = np.sqrt(_smooth(stripes**2, 3 * width_px)) + 1e-9
    striped = _smooth((size > 0.25 * usual).astype(np.float64), 3 * width_px)
    dense = np.clip((striped - 0.4) / 0.2, 0, 1)
    if kind == "multiplicative":
        level = np.log(_smooth(np.exp(stripes), 1.5 * width_px))
    else:
        level = _smooth(stripes, 1.5 * width_px)
    return stripes - dense * level, float(dense.mean())


def _smooth(values: Floats, sigma: float) -> Floats:
    return np.asarray(ndimage.gaussian_filter1d(values, sigma, axis=-1, mode="nearest"))


def _base(profile: Floats, error: float, width_px: float) -> Floats:
    """What is wider than stripes; a step stays a step: edges of the specimen get no halo."""
    window = min(2 * int(3 * width_px) + 1, 2 * (len(profile) // 2) - 1)
    level = ndimage.median_filter(profile, window, mode="nearest")
    rest = profile - level
    base = np.zeros_like(rest)
    for _ in range(8):  # then the mean of the lines around that are without stripes
        scale = 1.5 * error + 1.4826 * np.median(np.abs(rest - base))
        weight = 1 / (1 + ((rest - base) / scale) ** 4) + 1e-3
        base = _smooth(weight * rest, width_px) / _smooth(weight, width_px)
    return np.asarray(level + base)
