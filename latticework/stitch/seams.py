"""Stages of a pipeline: how bright neighbours are where both show the same place.

Whether a correction is right is seen where two tiles show the same place: the flat-field that was
estimated from all tiles is used if it makes neighbours more alike, and so are the gains. Only
overlaps of trusted links count: of the others nobody knows that they show the same. Data without
such faults, or too few tiles to tell, are left as they are.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from latticework.lattice.geometry import Box
from latticework.lattice.tile import Tile
from latticework.stages.collections import Tiles
from latticework.stitch.levelling import aligned, common_boxes, gains_of
from latticework.stitch.light import Even
from latticework.stitch.patches import LEAST_PATCHES, LIT, common_count, lit_in_both, patch_means
from latticework.stitch.tiles import channel_box

if TYPE_CHECKING:
    import pandas as pd

LEAST_LIGHT = 0.9
"""A flat-field is used if neighbours differ by no more than this share of what they did."""
LEAST_GAIN = 0.9
"""The same for gains, beside what they leave of the differences between whole overlaps."""
LEAST_BRIGHT = 0.2
"""Overlaps count for gains from this share of the brightness of bright ones: in empty glass the
ratio of two small numbers says nothing."""
STEP = np.log(1.2)
"""Overlaps that differ by more than this show a step in the volume."""
SEAM = np.log(1.02)
"""Overlaps that differ by more than this show a seam, if one looks for it."""
LEAST_STEPS = 0.5
"""Gains are used, too, if they take out seams between some tiles, and leave at most this share of
all differences."""
HALF = 0.5
"""The camera's offset is taken to be no more than this share of what is bright."""
LEAST_PAIRS = 4
"""Overlaps from which on anything is said of the light."""
LEAST_SLOPE = 0.02
"""Lines whose slope is known to so much tell of gains."""
AGREED = 0.03
"""They pass through what is the same in all tiles if both medians agree with that to so much."""
DIM = 0.4
"""Overlaps are dim if light is less than this share of what their tiles count."""


def measure_seams(
    tile: Tile,
    others: Tiles,
    places: "pd.DataFrame",
    dark: Mapping[str, Sequence[float]],
    light: xr.DataArray | None = None,
    *,
    channel: int = 0,
) -> "pd.DataFrame":
    """How a tile and those after it differ where both show the same place; a stage.

    Parameters
    ----------
    tile, others
        As for `latticework.stitch.comparing.compare_tile`.
    places
        Where tiles lie, as `latticework.stitch.comparing.place_tiles` has it.
    dark, light
        As `latticework.stitch.light` has them; even light if not given.
    channel
        Number of the channel that is looked at.

    Returns
    -------
    pandas.DataFrame
        A row for each pair: ``first``, ``second``, ``axis``; of the patches that both show
        ``bright`` and ``other`` (median counts in the first and in the second), ``spread`` (robust
        deviation of the logarithm of their ratios), ``patches`` (how many), ``apart`` (median size
        of that logarithm); of the line through them ``slope``, its relative ``error``, and
        ``cross`` (the count that is the same in both); all also with even light, as
        ``even_bright``.
    """
    import pandas as pd

    axes = [dim for dim in tile.dims if dim != "c"]
    known = places.set_index("id")
    offset = float(dark["dark"][channel])
    even = Even(None if light is None else np.asarray(light.data, np.float32)[channel], (offset,))
    rows = []
    for key in others.present:
        other = others.tile(key)
        if other is None or not {tile.id, other.id} <= set(known.index):
            continue
        shared = _shared(tile, other, known, axes)
        if shared is None:
            continue
        *boxes, beyond = shared
        fraction = [beyond.get(dim, 0.0) for dim in tile.dims]
        whole = [channel_box(tile.dims, box, channel) for box in boxes]
        pixels = np.asarray(others.own(whole[0])), np.asarray(others.read(key, whole[1]))
        row: dict[str, Any] = {"first": tile.id, "second": other.id, "axis": key.removeprefix("+")}
        row |= _difference(aligned(*pixels, fraction), offset, "")
        first, second = (even(part, box) for part, box in zip(pixels, whole, strict=True))
        rows.append(row | _difference(aligned(first, second, fraction), offset, "even_"))
    names = ["first", "second", "axis"]
    names += [f"{kind}{what}" for kind in ("", "even_") for what in MEASURES]
    return pd.DataFrame(rows, columns=names)


MEASURES = ("bright", "other", "spread", "patches", "apart", "slope", "error", "cross")


def _shared(
    tile: Tile, other: Tile, known: "pd.DataFrame", axes: Sequence[str]
) -> tuple[Box, Box, dict[str, float]] | None:
    """What two tiles both show, in whole pixels of each, and how much further the second is."""
    shapes = [[of.shape[of.dims.index(axis)] for axis in axes] for of in (tile, other)]
    at = [[known[f"position_{axis}_um"][of.id] for axis in axes] for of in (tile, other)]
    apart = np.subtract(at[1], at[0]) / [tile.pixel_size_um[axis] for axis in axes]
    offset = np.rint(apart).astype(int)
    boxes = common_boxes(np.zeros_like(offset), np.array(shapes[0]), offset, np.array(shapes[1]))
    if not boxes[0].size:
        return None
    return *boxes, dict(zip(axes, (apart - offset).tolist(), strict=True))


def _difference(pixels: Sequence[np.ndarray], dark: float, kind: str) -> dict[str, float]:
    a, b = (patch_means(of[0] if of.ndim == 4 else of) for of in pixels)
    none = dict.fromkeys([f"{kind}{what}" for what in MEASURES], np.nan) | {f"{kind}patches": 0}
    dark = min(dark, HALF * float(np.median(np.minimum(a, b))))
    lit = lit_in_both(a - dark, b - dark)
    if lit.sum() < LEAST_PATCHES:
        return none
    a, b = a[lit], b[lit]
    ratios = np.log((b - dark) / (a - dark))
    middle = float(np.median(ratios))
    spread = 1.4826 * float(np.median(np.abs(ratios - middle)))
    about = (float(np.median(a)), float(np.median(b)), spread, len(a))
    values = (*about, float(np.median(np.abs(ratios))), *_line(a, b))
    return {f"{kind}{what}": value for what, value in zip(MEASURES, values, strict=True)}


def _line(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Slope of the line through pairs of counts, its relative error, where it crosses ``b = a``.

    The major axis, since both have errors; what lies far from it is left out once.
    """
    for _ in range(2):
        middle = a.mean(), b.mean()
        (aa, ab), (_, bb) = np.cov(a, b)
        root = np.hypot(aa - bb, 2 * ab)
        slope = float((bb - aa + root) / (2 * ab)) if ab > 0 else np.nan
        rest = (b - middle[1] - slope * (a - middle[0])) / np.hypot(1.0, slope)
        scale = 1.4826 * np.median(np.abs(rest)) if np.isfinite(slope) else np.nan
        near = np.abs(rest) <= 3 * scale
        if not np.isfinite(scale) or near.sum() < LEAST_PATCHES:
            break
        a, b = a[near], b[near]
    along = max((aa + bb + root) / 2, 1e-12)
    error = float(np.sqrt(max((aa + bb - root) / 2, 0.0) / along / len(a)))
    cross = (middle[1] - slope * middle[0]) / (1 - slope) if slope != 1 else np.nan
    return slope, 2 * error, float(cross)


# -------------------------------------------------------------------- what follows


def level_tiles(
    places: "pd.DataFrame",
    links: "pd.DataFrame",
    seams: "pd.DataFrame",
    dark: Mapping[str, Sequence[float]],
    *,
    channel: int = 0,
    light: str = "auto",
    gains: str = "auto",
) -> "pd.DataFrame":
    """Whether the flat-field is used, and the gain of each tile; a reduction over `measure_seams`.

    Parameters
    ----------
    places
        As `latticework.stitch.comparing.place_tiles` gives them.
    links
        As `latticework.stitch.comparing.judge_links` gives them: overlaps of trusted ones count.
    seams
        The rows of all tiles.
    dark
        As `latticework.stitch.light.estimate_dark` gives it.
    channel
        Number of the channel that was looked at.
    light, gains
        ``"auto"``: if neighbours are more alike then; ``"yes"`` or ``"no"``: whatever they say.

    Returns
    -------
    pandas.DataFrame
        A row for each tile: ``id``, ``gain``, ``even`` (whether the flat-field is used), ``pivot``
        (the count that gains leave as it is: the camera's offset), and what was decided by:
        ``overlaps`` (how many were compared), ``apart`` as they are, ``apart_even`` with the
        flat-field, and ``apart_level`` with the gains too (medians over all pairs of the logarithm
        of ratios); ``steps``, how many overlaps still differ by a fifth.
    """
    import pandas as pd

    seams = _of_trusted(seams, links)
    seen = seams[(seams["patches"] > 0) & (seams["even_patches"] > 0)]
    apart, apart_even = (_typical(seen[name]) for name in ("apart", "even_apart"))
    better = len(seen) >= LEAST_PAIRS and apart_even < LEAST_LIGHT * apart
    even = light == "yes" or (light == "auto" and better)
    kind = "even_" if even else ""
    ids = places["id"].to_numpy(np.int64)
    lit = seams[seams[f"{kind}patches"] > 0]
    slope, error, cross = (lit[f"{kind}{name}"].to_numpy("f8") for name in MEASURES[-3:])
    pivot = common_count(np.log(slope), error, cross, _typical(lit[f"{kind}bright"]))
    if pivot is None:
        pivot = dark["dark"][channel]
        pivot = min(pivot, HALF * _typical(lit[f"{kind}bright"])) if len(lit) else pivot
    else:
        lit = _by_slope(lit, kind, pivot)
    lit, ratios = _ratios(ids, lit, kind, pivot)
    logs, rest, flattered = _gains(ids, lit, ratios, kind)
    before, left = _typical(np.abs(ratios)), flattered * _typical(np.abs(rest))
    enough = np.abs(logs).max(initial=0) > 0.01 and (
        left < LEAST_GAIN * before or _seams_go(ratios, flattered * rest)
    )
    used = gains == "yes" or (gains == "auto" and enough)
    return pd.DataFrame(
        {
            "id": ids,
            "gain": np.exp(logs) if used else np.ones(len(ids)),
            "even": even,
            "pivot": pivot,
            "overlaps": len(seen),
            "apart": apart,
            "apart_even": apart_even,
            "apart_level": left if used else before,
            "steps": int((np.abs(rest if used else ratios) > STEP).sum()),
        }
    )


def _of_trusted(seams: "pd.DataFrame", links: "pd.DataFrame") -> "pd.DataFrame":
    """Overlaps of which a trusted link says that both tiles show the same."""
    trusted = links.loc[links["trusted"].astype(bool), ["first", "second"]]
    both = set(zip(trusted["first"].tolist(), trusted["second"].tolist(), strict=True))
    pairs = zip(seams["first"].tolist(), seams["second"].tolist(), strict=True)
    return seams[np.array([pair in both for pair in pairs], bool)]


def _ratios(
    ids: np.ndarray, seams: "pd.DataFrame", kind: str, pivot: float
) -> tuple["pd.DataFrame", np.ndarray]:
    """The overlaps that are bright enough to tell of gains, and by how much their ends differ.

    How bright they are is what is left when gains are taken out: tiles of a fifth of the light are
    not taken for empty glass.
    """
    ends = seams[[f"{kind}bright", f"{kind}other"]].to_numpy("f8") - pivot
    lit = ends.min(axis=1, initial=np.inf) > 0
    seams, ends = seams[lit], ends[lit]
    ratios = np.log(ends[:, 1] / ends[:, 0])
    if not len(seams):
        return seams, ratios
    logs, _, _ = _gains(ids, seams, ratios, kind)
    first, second = _rows(ids, seams)
    even = ends * np.exp(np.stack([logs[first], logs[second]], axis=1))
    bright = [of.min(axis=1) for of in (ends, even)]
    told = np.any([of > LEAST_BRIGHT * np.quantile(of, 0.9) for of in bright], axis=0)
    return seams[told], ratios[told]


def _by_slope(seams: "pd.DataFrame", kind: str, pivot: float) -> "pd.DataFrame":
    """Dim overlaps with the brightness that their lines tell, where these pass through the pivot.

    In an overlap that is mostly empty the median is what the camera counts without light; the line
    through all patches tells the ratio of the gains all the same. Where there is light everywhere
    the medians are the surer ones.
    """
    names = ("bright", "other", "slope", "error", "patches", "spread")
    bright, other, slope, error, n, spread = (seams[f"{kind}{of}"].to_numpy("f8") for of in names)
    told = pivot + slope * (bright - pivot)
    sure = (error < LEAST_SLOPE) & (np.abs(told - other) < AGREED * np.abs(other))
    sure &= bright - pivot < DIM * np.abs(bright)
    light = np.maximum(bright - pivot, LIT * np.abs(_typical(bright)))
    return seams.assign(
        **{
            f"{kind}bright": np.where(sure, pivot + light, bright),
            f"{kind}other": np.where(sure, pivot + slope * light, other),
            f"{kind}spread": np.where(sure, error * np.sqrt(n), spread),
        }
    )


def _rows(ids: np.ndarray, seams: "pd.DataFrame") -> tuple[np.ndarray, np.ndarray]:
    """Rows of the two tiles of each overlap."""
    order = np.argsort(ids)
    first, second = (
        order[np.searchsorted(ids[order], seams[name])] for name in ("first", "second")
    )
    return first, second


def _seams_go(ratios: np.ndarray, rest: np.ndarray) -> bool:
    """Whether seams between a few groups of tiles, of which the median knows nothing, are gone."""
    seams = np.abs(ratios) > SEAM
    return bool(seams.any()) and float(np.abs(rest).mean()) < LEAST_STEPS * float(
        np.abs(ratios).mean()
    )


def _typical(values: Any) -> float:
    found = np.asarray(values, "f8")
    return float(np.median(found)) if len(found) else np.nan


def _gains(
    ids: np.ndarray, seams: "pd.DataFrame", ratios: np.ndarray, kind: str
) -> tuple[np.ndarray, np.ndarray, float]:
    """Logarithms of the gains, what they leave of the ratios, and by how much that flatters them.

    A gain for each tile could explain a part of the ratios even if these were chance.
    """
    rows = _rows(ids, seams)
    spread, n = (seams[f"{kind}{name}"].to_numpy("f8") for name in ("spread", "patches"))
    weights = 1 / (np.square(spread) / n + 1e-5)
    pairs = np.stack(rows, axis=1)
    logs = gains_of(len(ids), pairs, ratios, weights, seams["axis"].to_numpy())
    known = len(np.unique(np.concatenate(rows)))
    free = max(len(seams) - known + 1, 1)
    rest = ratios + logs[rows[1]] - logs[rows[0]]
    return logs, rest, float(np.sqrt(len(seams) / free))


__all__ = ["level_tiles", "measure_seams"]
