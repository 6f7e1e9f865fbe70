"""Stripes and shadows of a light sheet: found by what they have along their whole length.

A sheet that comes from the side throws shadows of whatever it meets, which run through the tile as
stripes. What belongs to a stripe is the same all along it; what belongs to the specimen differs
from place to place. So blocks of a line are asked whether they agree::

      | block 0   | block 1   | block 2   | block 3   |
      |...........|...........|.....##....|...........|
      |===========|===========|===========|===========|   in all blocks: a stripe
      |...........|..##.......|...........|...........|   in one: specimen

Soft shadows are fitted first (`stripe_shadows`, `stripe_levels`), then the profile of the rest
across the stripes is found (`stripe_profile`), and what of it is certain (`stripe_evidence`). The
shadows are kept where lines then differ less. Where stripes are everywhere, how strong fine ones
are tells what is to be expected of wide ones (`stripe_spectrum`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import ndimage

from latticework.errors import StageError
from latticework.stages.ready.labelled import AnyTile, Pixels, labelled, like, to_dtype
from latticework.stages.ready.stripe_brightness import (
    Shown,
    bright_ones_lack,
    ground_of,
    shown_in,
)
from latticework.stages.ready.stripe_evidence import certain_part, flatter, regular_stripes
from latticework.stages.ready.stripe_ground import ground_part
from latticework.stages.ready.stripe_levels import better_of, fit_levels
from latticework.stages.ready.stripe_lines import (
    DIM,
    LEAST_LENGTH,
    Lines,
    drop_of,
    lines_of,
    no_ridges,
)
from latticework.stages.ready.stripe_profile import Fit, bands, errors, fit_profile, scales
from latticework.stages.ready.stripe_shadows import certain_shadows
from latticework.stages.ready.stripe_spectrum import everywhere, likely_part

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
FACTORS = "multiplicative"
KINDS = (FACTORS, "additive")
LEAST_LINES = 8
"""Lines below which nothing is told from anything."""
ALONG_PX = 5
"""Pixels along the stripes that are averaged for finding their angle."""
ROUNDS = (5, 3, 3)
"""Rounds of reweighting, each time with the stripes found so far taken out."""
SHADOW_ROUNDS = (5, 3)
"""The same for soft shadows, which are looked for first."""
LEVEL_ROUNDS = 4
"""Rounds of comparing lines with all lines."""
DENSE = 0.4
"""Share of `width_px` up to which stripes are looked for that are no single shadows."""
POOLED_PLANES = 4
"""Planes from which on what they have in common is looked for first."""


def destripe(
    tile: AnyTile,
    *,
    along: str | None = None,
    kind: str = "multiplicative",
    width_px: float = 40.0,
    offset: float = 0.0,
    angle_deg: float = 0.0,
    dtype: npt.DTypeLike | None = None,
) -> AnyTile:
    """The tile without the stripes that run through it.

    Regular stripes and single shadows are found by their form, nearly whole. Of random ones stays
    what lines of the specimen differ by anyway, in the mean over their length: some tenths of a per
    cent at a width of a few pixels, a per cent or two where stripes are wide and the specimen
    rough. Stripes that are weaker than that stay. Where bright cells clearly lack the stripes of
    the ground, these are counts that the camera adds to its lines: of every pixel as many are taken
    as of the ground.

    Whole planes are needed: a stripe is known by its whole length, so correct tiles without a halo,
    and take out uneven illumination first.

    Parameters
    ----------
    tile
        Some of c z y x. Channels are treated one by one; of 4 or more planes, what all have in
        common is taken out first, and then what is in each.
    along
        The axis along which stripes run, ``"x"`` or ``"y"``; if not given, the one with more of
        them.
    kind
        ``"multiplicative"`` for shadows, which take a share of the light, or ``"additive"``.
    width_px
        The widest single shadows, in pixels across at half their depth. Stripes that are everywhere
        are taken out at all wavelengths, others up to 0.4 of this width.
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
    "Stripe and ring artifact removal with combined wavelet-Fourier filtering", 2009. Robust means
    of differences in place of a Fourier filter leave edges of the specimen without ringing, and
    what blocks of the tile disagree about stays as it is.

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
    along = along or _direction(pixels, kind, width_px, offset, angle_deg)
    turned = pixels.transpose(..., "y" if along == "x" else "x", along)
    source = np.asarray(turned.data)
    profiles = _profiles(turned, kind, width_px, offset, angle_deg)
    lacking = _lacking(turned, profiles, offset, angle_deg) if kind == FACTORS else frozenset()
    result = np.empty(source.shape, pixels.dtype if dtype is None else np.dtype(dtype))
    for place in np.ndindex(*source.shape[:-2]):
        plane = source[place].astype(np.float32) - np.float32(offset)
        pattern = _pattern(profiles[place], plane.shape[1], angle_deg)
        if kind == FACTORS:
            added = _channel_of(turned, place) in lacking
            clean = plane + (ground_of(plane) if added else plane) * np.expm1(-pattern)
        else:
            clean = plane - pattern
        clean += np.float32(offset)
        if source.dtype.kind in "iu":  # how bright these are is not known
            clean = np.where(source[place] == np.iinfo(source.dtype).max, source[place], clean)
        result[place] = to_dtype(clean, result.dtype)
    return like(tile, np.asarray(turned.copy(data=result).transpose(*pixels.dims).data))


def estimate_stripes(
    tile: Pixels,
    *,
    along: str | None = None,
    kind: str = "multiplicative",
    width_px: float = 40.0,
    offset: float = 0.0,
    angle_deg: float = 0.0,
) -> xr.DataArray:
    """The stripes that `destripe` takes out: factors (1 without a stripe), or counts (0 without).

    Factors are those of the ground, whether or not bright cells have them, too.

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
    along = along or _direction(pixels, kind, width_px, offset, angle_deg)
    turned = pixels.transpose(..., "y" if along == "x" else "x", along)
    profiles = _profiles(turned, kind, width_px, offset, angle_deg)
    found = np.empty(turned.shape, np.float32)
    for place in np.ndindex(*found.shape[:-2]):
        found[place] = _pattern(profiles[place], found.shape[-1], angle_deg)
    if kind == FACTORS:
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
    if not pixels.size:
        return 0.0
    most = int(np.tan(np.radians(most_deg)) * n)
    drops = np.arange(-most, most + 1)
    energy = np.zeros(len(drops))
    source = np.asarray(pixels.data)
    for place in np.ndindex(*source.shape[:-2]):
        values = _compared(source[place].astype(np.float32) - np.float32(offset), kind)
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


def _channel_of(turned: xr.DataArray, place: tuple[int, ...]) -> int:
    """Number of the channel of a plane."""
    return place[turned.dims.index("c")] if "c" in turned.dims else 0


def _lacking(
    turned: xr.DataArray, profiles: Floats, offset: float, angle_deg: float
) -> frozenset[int]:
    """Channels of whose stripes bright pixels show nothing: the camera adds them to its lines."""
    shown: dict[int, list[Shown]] = {}
    source = np.asarray(turned.data)
    for place in np.ndindex(*source.shape[:-2]):
        if profiles[place].any():
            pattern = _pattern(profiles[place], source.shape[-1], angle_deg)
            told = shown_in(_plane(source[place], offset), pattern)
            shown.setdefault(_channel_of(turned, place), []).append(told)
    return frozenset(channel for channel, of in shown.items() if bright_ones_lack(*of))


def _check(along: str | None, kind: str, width_px: float, angle_deg: float) -> None:
    if along not in {"x", "y", None}:
        raise StageError(f"stripes run along x or y, but along={along!r}")
    if kind not in KINDS:
        raise StageError(f"kind must be one of {', '.join(KINDS)}, but is {kind!r}")
    if not width_px >= 1:
        raise StageError(f"width_px must be at least 1 pixel, but is {width_px}")
    if not abs(angle_deg) <= 30:
        raise StageError(f"stripes at {angle_deg} degrees: expected -30 to 30 (see along=)")


def _compared(plane: Singles, kind: str) -> Floats:
    """What is compared to find an angle."""
    mean = ndimage.uniform_filter1d(np.nan_to_num(plane), ALONG_PX, axis=1).astype(np.float64)
    if kind == "additive":
        return np.asarray(mean)
    return np.asarray(np.log(np.maximum(mean, max(DIM * float(np.percentile(mean, 90)), 1e-6))))


def _profiles(
    turned: xr.DataArray, kind: str, width_px: float, offset: float, angle_deg: float
) -> Floats:
    """Stripes across each plane, of the last axis but one: logarithms of factors, or counts."""
    source = np.asarray(turned.data)
    dims = list(turned.dims[:-2])
    found = np.zeros(source.shape[:-1])
    lines, length = source.shape[-2:]
    if lines < LEAST_LINES or length < LEAST_LENGTH:
        return found
    depth = source.shape[dims.index("z")] if "z" in dims else 1
    places = list(np.ndindex(*source.shape[:-2]))
    if "z" in dims:
        places.sort(key=lambda place: [n for d, n in zip(dims, place, strict=True) if d != "z"])
    for first in range(0, len(places), depth):
        stack = places[first : first + depth]
        planes = [
            lines_of(_plane(source[place], offset), angle_deg, width_px, factors=kind == FACTORS)
            for place in stack
        ]
        for place, profile in zip(stack, _stack(planes, width_px), strict=True):
            found[place] = profile
    return found


def _plane(source: npt.NDArray[Any], offset: float) -> Singles:
    """Counts of a plane above the offset, saturated ones as NaN."""
    plane = source.astype(np.float32) - np.float32(offset)
    if source.dtype.kind in "iu":
        plane[source == np.iinfo(source.dtype).max] = np.nan
    return plane


def _stack(planes: list[Lines], width_px: float) -> list[Floats]:
    """Profiles of planes that belong together, with soft shadows where that lets lines differ less.

    Logarithms of factors, or counts.
    """
    waves = [_waves(plane, DENSE * width_px) for plane in planes]
    planes = [plane.less(wave, width_px) for plane, wave in zip(planes, waves, strict=True)]
    profiles = _lines(planes, _none(planes), DENSE * width_px)
    shadows = _shadows(planes, width_px)
    if any(shadow.any() for shadow in shadows):
        others = _lines(planes, shadows, DENSE * width_px)
        for k, plane in enumerate(planes):
            if flatter(plane.without(others[k]), plane.without(profiles[k])):
                profiles[k] = others[k]
    profiles = _everywhere(planes, profiles, shadows, width_px)
    profiles = [
        no_ridges(profile) if plane.factors and plane.ground.any() else profile
        for plane, profile in zip(planes, profiles, strict=True)
    ]
    profiles = [
        wave + profile + ground_part(plane, profile, width_px)
        for wave, plane, profile in zip(waves, planes, profiles, strict=True)
    ]
    if planes[0].factors:
        return profiles
    return [profile * plane.level for profile, plane in zip(profiles, planes, strict=True)]


def _waves(plane: Lines, width_px: float) -> Floats:
    """Regular stripes of a plane in which the specimen has edges: these would blur them."""
    none = np.zeros(plane.mean.shape[1])
    if not plane.ground.any():
        return none
    as_seen = replace(plane, ground=np.zeros_like(plane.ground))
    fit = fit_profile(*as_seen.compared(none), ROUNDS[0])
    return regular_stripes(fit.profile, [fit.parts], width_px, shadows=True)


def _none(planes: list[Lines]) -> list[Floats]:
    return [np.zeros(plane.mean.shape[1]) for plane in planes]


def _lines(planes: list[Lines], shadows: list[Floats], width_px: float) -> list[Floats]:
    """Profiles of planes that belong together, in units of their levels, given soft shadows."""
    factors = planes[0].factors
    profiles = shadows
    for rounds in ROUNDS[: None if factors else 1]:
        fits = []
        for plane, profile, shadow in zip(planes, profiles, shadows, strict=True):
            fit = _fit(plane, profile, rounds)
            fits.append(replace(fit, profile=fit.profile - shadow))
        certain = _certain(fits, width_px, certain_part, factors=factors)
        profiles = [shadow + part for shadow, part in zip(shadows, certain, strict=True)]
    return profiles


def _shadows(planes: list[Lines], width_px: float) -> list[Floats]:
    """Soft shadows of planes that belong together, in units of their levels."""
    factors = planes[0].factors
    found = _none(planes)
    for rounds in SHADOW_ROUNDS[: None if factors else 1]:
        fits = [
            _far_fit(plane, shadow, rounds, width_px)
            for plane, shadow in zip(planes, found, strict=True)
        ]
        found = _certain(fits, width_px, certain_shadows, factors=factors)
        if not any(shadow.any() for shadow in found):
            break
    return found


def _everywhere(
    planes: list[Lines], profiles: list[Floats], shadows: list[Floats], width_px: float
) -> list[Floats]:
    """Profiles of planes that belong together, as they are most likely where all is striped."""
    factors = planes[0].factors
    dense = [everywhere(p, width_px, s) for p, s in zip(profiles, shadows, strict=True)]
    if not any(dense):
        return profiles
    fits = [
        _far_fit(plane, profile, ROUNDS[-1], width_px)
        for plane, profile in zip(planes, profiles, strict=True)
    ]
    if len(fits) >= POOLED_PLANES and all(dense):
        whole, every = _together(fits)
        shadow = np.mean(shadows, axis=0)
        shared = likely_part(whole, width_px, shadows=shadow, factors=factors, planes=every)
        if shared.any():
            rest = [replace(fit, profile=fit.profile - shared) for fit in fits]
            return [shared + certain_part(fit, DENSE * width_px, factors=factors) for fit in rest]
    found = list(profiles)
    for k in np.flatnonzero(dense):
        likely = likely_part(fits[k], width_px, shadows=shadows[k], factors=factors)
        if likely.any():
            found[k] = likely
    return found


def _together(fits: list[Fit]) -> tuple[Fit, list[Floats]]:
    """What planes have in common, and the profile of each."""
    every = [fit.profile for fit in fits]
    blocks = np.mean([fit.parts for fit in fits], axis=0)
    contrast = float(np.mean([fit.contrast for fit in fits]))
    seen = np.mean([fit.seen for fit in fits], axis=0)
    return Fit(np.mean(every, axis=0), blocks, contrast, seen), every


def _certain(
    fits: list[Fit], width_px: float, part: Callable[..., Floats], *, factors: bool
) -> list[Floats]:
    """The certain part of each plane's profile, after that of what all planes have in common."""
    shared = np.zeros_like(fits[0].profile)
    if len(fits) >= POOLED_PLANES:
        whole, every = _together(fits)
        shared = part(whole, width_px, factors=factors, planes=every)
    rest = [replace(fit, profile=fit.profile - shared) for fit in fits]
    return [shared + part(fit, width_px, factors=factors) for fit in rest]


def _fit(plane: Lines, profile: Floats, rounds: int) -> Fit:
    """The profile of a plane, given what was found before."""
    found = fit_profile(*plane.compared(profile), rounds)
    return replace(found, profile=found.profile + profile)


def _far_fit(plane: Lines, profile: Floats, rounds: int, width_px: float) -> Fit:
    """The same, of lines that were compared with all lines as well."""
    near = _fit(plane, profile, rounds)
    found = near.profile
    far = near
    for _ in range(2 if plane.factors else 1):  # then logarithms are nearly right
        far = fit_levels(*plane.compared(found), LEVEL_ROUNDS, near.contrast)
        found = found + far.profile
    return better_of(near, replace(far, profile=found), width_px)


def _pattern(profile: Floats, length: int, angle_deg: float) -> Singles:
    """A profile along the whole length of its stripes."""
    lines = np.arange(len(profile))
    if not angle_deg:
        return np.broadcast_to(profile[:, None], (len(profile), length)).astype(np.float32)
    at = lines[:, None] - drop_of(length, angle_deg)
    return np.asarray(np.interp(at, lines, profile), dtype=np.float32)


def _direction(
    pixels: xr.DataArray, kind: str, width_px: float, offset: float, angle_deg: float
) -> str:
    """The axis along which there is more that is certainly striped, in the middle plane; or x."""
    middle = {d: n // 2 for d, n in pixels.sizes.items() if d == "z"}
    sums = {"x": 0.0, "y": 0.0}
    for along in sums:
        across = "y" if along == "x" else "x"
        turned = pixels.isel(middle).transpose(..., across, along)
        if turned.shape[-2] < LEAST_LINES or turned.shape[-1] < LEAST_LENGTH:
            continue
        for source in np.asarray(turned.data).reshape(-1, *turned.shape[-2:]):
            plane = _plane(source, offset)
            lines = lines_of(plane, angle_deg, width_px, factors=kind == FACTORS)
            shadow = _shadows([lines], width_px)[0]
            fit = _fit(lines, shadow, ROUNDS[0])
            sigmas = scales(len(fit.profile), DENSE * width_px)
            rest = replace(fit, profile=fit.profile - shadow)
            part = certain_part(rest, DENSE * width_px, factors=lines.factors)
            certain = bands(shadow + part, sigmas)
            for band, doubt in zip(certain, errors(fit.parts, sigmas), strict=True):
                sums[along] += float((band**2).mean() / (doubt.mean() + 1e-10))
    return "y" if sums["y"] > sums["x"] else "x"
