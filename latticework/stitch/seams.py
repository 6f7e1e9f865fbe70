"""Stages of a pipeline: how bright neighbours are where both show the same place.

Whether a correction is right is seen where two tiles show the same place: the flat-field that was
estimated from all tiles is used if it makes neighbours more alike, and so are the gains. Only
overlaps of trusted links count: of the others nobody knows that they show the same. Data without
such faults, or too few tiles to tell, are left as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from latticework.lattice.geometry import Box
from latticework.lattice.tile import Tile
from latticework.stages.collections import Tiles
from latticework.stitch.levelling import gains_of
from latticework.stitch.light import Even
from latticework.stitch.patches import (
    common_count,
)
from latticework.stitch.seam_measures import MEASURES, at_least_usual, less_sure, measures_of
from latticework.stitch.shared_views import as_it_is, common_boxes, shared_patches
from latticework.stitch.tiles import of_channel

if TYPE_CHECKING:
    import pandas as pd

LEAST_LIGHT = 0.9
"""A flat-field is used if neighbours differ by no more than this share of what they did."""
LEAST_GAIN = 0.9
"""The same for gains, beside what they leave of the differences between whole overlaps."""
LEAST_BRIGHT = 0.2
"""Overlaps count for gains from this share of the brightness of bright ones: in empty glass the
ratio of two small numbers says nothing."""
LEAST_SHOWN = 0.1
"""Lines count from this share of what overlaps show that show much: what varies in empty glass is
the lamp, not the specimen."""
MOST_BESIDE = 0.2
"""Lines pass the pivot by no more than this share of the brightest above it: a gain leaves it as it
is. In empty glass, neighbours show each the light of its own lamp, and lines lie anywhere."""
STEP = np.log(1.2)
"""Overlaps that differ by more than this show a step in the volume."""
SEAM = np.log(1.02)
"""Overlaps that differ by more than this show a seam, if one looks for it."""
LEAST_STEPS = 0.5
"""Gains are used, too, if they take out seams between some tiles, and leave at most this share of
all differences."""
LEAST_PAIRS = 4
"""Overlaps from which on anything is said of the light."""
TOLD, GUESSED = 0.01, 0.5
"""By which share of it the pivot may be wrong, as lines tell it, and as it is guessed."""
DIFFER = 0.1
"""What a wrong pivot does to ratios grows with them; it is no less than with ratios of this."""
MOST_SPREAD = 0.3
"""Where ratios of patches spread by more, as logarithms, these show noise and nothing else."""
WORST = 0.9
"""Share of the overlaps that are no worse than the bad ones of which is told."""
SOLUTIONS = 6
"""Times that gains are solved for; overlaps that the others contradict count less each time."""


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
        deviation of the logarithm of their ratios), ``patches`` (how many are bright), ``apart``
        (median size of that logarithm), ``uneven`` (by how much ratios change along an axis); of
        the line through all patches ``slope``, its relative ``error``, and ``cross`` (the count
        that is the same in both); ``low`` and ``top``, what is counted where it is dark, and where
        it is brightest; all also with even light, as ``even_bright``.
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
        own, beside = others.own, partial(others.read, key)
        readers = [of_channel(tile.dims, channel, read) for read in (own, beside)]
        plain, flat = shared_patches(readers, boxes, beyond, changed=(as_it_is, even))
        row: dict[str, Any] = {"first": tile.id, "second": other.id, "axis": key.removeprefix("+")}
        for kind, patches in (("", plain), ("even_", flat)):
            told = measures_of(patches, offset)
            row |= {f"{kind}{what}": value for what, value in told.items()}
        rows.append(row)
    names = ["first", "second", "axis"]
    names += [f"{kind}{what}" for kind in ("", "even_") for what in MEASURES]
    return pd.DataFrame(rows, columns=names)


def _shared(
    tile: Tile, other: Tile, known: "pd.DataFrame", axes: Sequence[str]
) -> tuple[Box, Box, np.ndarray] | None:
    """What two tiles both show, in whole pixels of each, and how much further the second is."""
    shapes = [[of.shape[of.dims.index(axis)] for axis in axes] for of in (tile, other)]
    at = [[known[f"position_{axis}_um"][of.id] for axis in axes] for of in (tile, other)]
    apart = np.subtract(at[1], at[0]) / [tile.pixel_size_um[axis] for axis in axes]
    offset = np.rint(apart).astype(int)
    boxes = common_boxes(np.zeros_like(offset), np.array(shapes[0]), offset, np.array(shapes[1]))
    if not boxes[0].size:
        return None
    return *boxes, np.asarray(apart - offset)


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

    Gains are solved for with the flat-field and without it, and it is used if less is left then:
    tiles that differ by gains alone may look as if it helped.

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
        of ratios); ``apart_pivot``, the same of whole overlaps above the pivot, without gains;
        ``remains`` and ``remains_worst``, by how much patches of one overlap still differ after all
        that was used, beyond chance (median and worst tenth of all pairs); ``steps``, how many
        overlaps still differ by a fifth.
    """
    import pandas as pd

    seams = _of_trusted(seams, links)
    ids, counts = places["id"].to_numpy(np.int64), float(dark["dark"][channel])
    plain, flat = (_levelled(ids, seams, kind, counts) for kind in ("", "even_"))
    seen = seams[(seams["patches"] > 0) & (seams["even_patches"] > 0)]
    apart, apart_even = (_typical(seen[name]) for name in ("apart", "even_apart"))
    level = gains == "yes" or (gains == "auto" and (plain.better or flat.better))
    without, having = (of.apart(seen, level=level) for of in (plain, flat))
    better = len(seen) >= LEAST_PAIRS and having < LEAST_LIGHT * without
    even = light == "yes" or (light == "auto" and better)
    found = flat if even else plain
    used = gains == "yes" or (gains == "auto" and found.better)
    remains = found.remains(seams, level=used)
    return pd.DataFrame(
        {
            "id": ids,
            "gain": np.exp(found.logs) if used else np.ones(len(ids)),
            "even": even,
            "pivot": found.pivot,
            "overlaps": len(seen),
            "apart": apart,
            "apart_even": apart_even,
            "apart_pivot": found.before,
            "apart_level": found.left if used else found.before,
            "remains": _typical(remains),
            "remains_worst": np.quantile(remains, WORST) if len(remains) else np.nan,
            "steps": found.steps(level=used),
        }
    )


def _of_trusted(seams: "pd.DataFrame", links: "pd.DataFrame") -> "pd.DataFrame":
    """Overlaps of which a trusted link says that both tiles show the same."""
    trusted = links.loc[links["trusted"].astype(bool), ["first", "second"]]
    both = set(zip(trusted["first"].tolist(), trusted["second"].tolist(), strict=True))
    pairs = zip(seams["first"].tolist(), seams["second"].tolist(), strict=True)
    return seams[np.array([pair in both for pair in pairs], bool)]


@dataclass(frozen=True)
class _Levelled:
    """What gains make of overlaps, with the flat-field or without it."""

    kind: str
    """What the names of columns begin with."""
    pivot: float
    """The count that gains leave as it is."""
    index: np.ndarray
    """Rows of the overlaps that tell of gains."""
    ratios: np.ndarray
    """Logarithms of how much brighter the second is."""
    weights: np.ndarray
    """What these count: the inverse of their variances."""
    bright: np.ndarray
    """Ratios of the counts of bright overlaps; NaN of others, of which lines alone tell."""
    uneven: np.ndarray
    """By how much they change within each."""
    logs: np.ndarray
    """Logarithms of the gains of all tiles."""
    rest: np.ndarray
    """What gains leave of the ratios."""
    least: np.ndarray
    """The same, if all overlaps count as much as they are known."""
    flattered: float
    """By how much that looks better than it is: a gain for each tile explains some chance."""

    @property
    def before(self) -> float:
        """Median size of the ratios."""
        return _typical(np.abs(self.ratios))

    @property
    def left(self) -> float:
        """The same, of what gains leave."""
        return self.flattered * _typical(np.abs(self.rest))

    @property
    def better(self) -> bool:
        """Whether gains make neighbours clearly more alike."""
        least = self.flattered * self.least
        before, after = (_typical(np.hypot(of, self.uneven)) for of in (self.ratios, least))
        return bool(np.abs(self.logs).max(initial=0) > 0.01) and (
            after < LEAST_GAIN * before or _seams_go(self.ratios, least, self.weights)
        )

    def steps(self, *, level: bool) -> int:
        """How many bright overlaps still differ by a fifth, with gains or without."""
        levelled = self.rest - self.ratios if level else 0.0
        return int((np.abs(self.bright + levelled) > STEP).sum())

    def remains(self, seams: "pd.DataFrame", *, level: bool) -> np.ndarray:
        """By how much patches of each overlap still differ, beyond what chance explains."""
        whole = np.square(self.rest if level else self.ratios) - 1 / self.weights
        within = np.nan_to_num(seams.loc[self.index, f"{self.kind}uneven"].to_numpy("f8"))
        return np.asarray(np.hypot(np.sqrt(np.maximum(whole, 0.0)), within))

    def apart(self, seams: "pd.DataFrame", *, level: bool) -> float:
        """By how much patches of neighbours differ, with gains or without; as a median.

        Uneven light shows in how ratios spread within overlaps, too, not only in whole ones.
        """
        if not level:
            return _typical(seams[f"{self.kind}apart"])
        import pandas as pd

        rest = pd.Series(self.flattered * self.rest, self.index).reindex(seams.index)
        within = seams[f"{self.kind}spread"] / 1.4826
        return _typical(np.hypot(within, rest)[rest.notna()])


def _levelled(ids: np.ndarray, seams: "pd.DataFrame", kind: str, dark: float) -> _Levelled:
    """Gains from all overlaps that tell of them, above the count that all tiles share.

    That is where the lines cross, and else the camera's offset, but no more than what is counted
    where overlaps are dark.
    """
    names = ("bright", "slope", "error", "cross", "low", "top")
    bright, slope, error, cross, lows, tops = (
        seams[f"{kind}{name}"].to_numpy("f8") for name in names
    )
    line = np.isfinite(slope)
    darkest = lows + MOST_BESIDE * (tops - lows)
    low = _typical(lows[line | np.isfinite(bright)])
    line &= ~(np.isfinite(cross) & (cross > darkest))  # nothing is darker than without light
    usual = _typical((lows + tops)[line] / 2)  # whatever is usual where most shows nothing
    pivot = common_count(np.log(slope[line]), error[line], cross[line], usual)
    unsure = TOLD
    if pivot is None:
        pivot, unsure = dark if np.isnan(low) else min(dark, low), GUESSED
    base = np.fmin(dark, lows)
    ratios, weights, counted = _ratios(ids, seams, kind, (pivot, unsure * abs(pivot)), base)
    told = weights > 0
    seams, ratios, weights, counted = seams[told], ratios[told], weights[told], counted[told]
    solved, uneven = _gains(ids, seams, ratios, weights), at_least_usual(_uneven(seams))
    return _Levelled(kind, pivot, seams.index.to_numpy(), ratios, weights, counted, uneven, *solved)


def _uneven(seams: "pd.DataFrame") -> np.ndarray:
    """By how much ratios change within overlaps; NaN where too little is seen.

    What the flat-field takes out is the same in all tiles, and no doubt of their gains.
    """
    plain, flat = (seams[f"{kind}uneven"].to_numpy("f8") for kind in ("", "even_"))
    return np.asarray(np.fmin(plain, flat))


def _ratios(
    ids: np.ndarray,
    seams: "pd.DataFrame",
    kind: str,
    pivoted: tuple[float, float],
    base: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By how much the second of each two tiles is brighter, as a logarithm, and what that counts.

    And what counts alone tell where the overlap is bright; NaN where it is not.

    Told by what both count where they are bright, above the pivot, and by the slope of the line
    through all their patches, each as much as it is known. In an overlap that is mostly empty only
    the line tells, in one that is evenly bright only the counts. Where the ratio is not one number
    over the overlap, both are known no better than by how much it changes.
    """
    pivot, unsure = pivoted
    names = ("bright", "other", "slope", "error", "patches", "spread")
    bright, other, slope, error, n, spread = (seams[f"{kind}{of}"].to_numpy("f8") for of in names)
    ends = np.nan_to_num(np.stack([bright, other], axis=1) - pivot)
    above = np.nan_to_num(np.sqrt(np.abs((bright - base) * (other - base))))
    spread = spread * above / np.sqrt(np.maximum(ends.prod(axis=1), 1e-12))  # of light above it
    lit = (ends.min(axis=1, initial=np.inf) > 0) & (spread < MOST_SPREAD)
    ends, spread, n = np.where(lit[:, None], ends, 1.0), np.where(lit, spread, 1.0), np.fmax(n, 1)
    middle = np.log(ends[:, 1] / ends[:, 0])
    wrong = unsure * np.hypot(middle, DIFFER) / ends.min(axis=1)
    counts = np.where(lit, 1 / (spread**2 / n + wrong**2 + 1e-5), 0.0)
    counts[lit] *= _bright_enough(ids, seams[lit], ends[lit], counts[lit])
    known = _lines_of_gains(seams, kind, pivot)
    errors = np.hypot(np.where(known, error, 1.0), _turned(seams, kind, pivot))
    lines = np.where(known, errors**-2.0, 0.0)
    weights = counts + lines
    sums = counts * middle + lines * np.log(np.where(known, slope, 1.0))
    ratios = sums / np.where(weights > 0, weights, 1.0)
    return ratios, less_sure(weights, _uneven(seams)), np.where(counts > 0, middle, np.nan)


def _turned(seams: "pd.DataFrame", kind: str, pivot: float) -> np.ndarray:
    """What slopes are wrong by where light is uneven, more than counts are.

    A line is told by how patches differ, not by how bright they are: what makes some of them
    brighter turns it the more, the further all of them are from the pivot.
    """
    uneven, low, top = (seams[f"{kind}{of}"].to_numpy("f8") for of in ("uneven", "low", "top"))
    away = (low + top - 2 * pivot) / np.maximum(top - low, 1e-12)
    return np.asarray(at_least_usual(uneven) * np.sqrt(np.fmax(np.square(away) - 1, 0)))


def _lines_of_gains(seams: "pd.DataFrame", kind: str, pivot: float) -> np.ndarray:
    """Which overlaps have a line that may tell of gains: it shows enough, and passes the pivot."""
    slope, cross, low, top = (
        seams[f"{kind}{of}"].to_numpy("f8") for of in ("slope", "cross", "low", "top")
    )
    known = np.isfinite(slope)
    if known.any():
        known &= top - low >= LEAST_SHOWN * np.quantile((top - low)[known], 0.9)
    crossing = known & np.isfinite(cross)
    ratio = np.where(crossing, slope, 1.0)
    beside = np.abs(ratio - 1) / np.sqrt(ratio) * np.abs(np.where(crossing, cross, pivot) - pivot)
    return np.asarray(known & ~(beside > MOST_BESIDE * (top - pivot)))


def _bright_enough(
    ids: np.ndarray, seams: "pd.DataFrame", ends: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Which overlaps are bright enough for their counts to tell of gains.

    How bright they are is what is left when gains are taken out: tiles of a fifth of the light are
    not taken for empty glass.
    """
    if not len(ends):
        return np.zeros(0, bool)
    logs, *_ = _gains(ids, seams, np.log(ends[:, 1] / ends[:, 0]), weights)
    first, second = _rows(ids, seams)
    even = ends * np.exp(np.stack([logs[first], logs[second]], axis=1))
    bright = [of.min(axis=1) for of in (ends, even)]
    told = [of > LEAST_BRIGHT * np.quantile(of, 0.9) for of in bright]
    return np.asarray(np.any(told, axis=0))


def _rows(ids: np.ndarray, seams: "pd.DataFrame") -> tuple[np.ndarray, np.ndarray]:
    """Rows of the two tiles of each overlap."""
    order = np.argsort(ids)
    first, second = (
        order[np.searchsorted(ids[order], seams[name])] for name in ("first", "second")
    )
    return first, second


def _seams_go(ratios: np.ndarray, rest: np.ndarray, weights: np.ndarray) -> bool:
    """Whether seams between a few groups of tiles, of which the median knows nothing, are gone."""
    seams = np.abs(ratios) > SEAM
    return bool(seams.any()) and float((weights * np.abs(rest)).sum()) < LEAST_STEPS * float(
        (weights * np.abs(ratios)).sum()
    )


def _typical(values: Any) -> float:
    found = np.asarray(values, "f8")
    return float(np.median(found)) if len(found) else np.nan


def _gains(
    ids: np.ndarray, seams: "pd.DataFrame", ratios: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Logarithms of the gains, what they leave of the ratios, and by how much that flatters them.

    What is left is given twice: of the gains, and of those of the first solution, which leaves the
    least squares and shows whether gains explain more than chance. A gain for each tile could
    explain a part of the ratios even if these were chance. A single line that is wrong, through one
    cell at the edge, is contradicted by the others around a loop.
    """
    rows, axes = _rows(ids, seams), seams["axis"].to_numpy()
    pairs, agreed, left = np.stack(rows, axis=1), np.ones(len(ratios)), []
    for _ in range(SOLUTIONS):
        logs = gains_of(len(ids), pairs, ratios, weights * agreed, axes)
        rest = ratios + logs[rows[1]] - logs[rows[0]]
        left.append(rest)
        usual = SEAM + 3 * np.median(np.abs([*rest, 0.0]))
        agreed = 1 / (1 + np.square(rest / usual) / (1 + 9 / (weights * usual**2)))
    known = len(np.unique(np.concatenate(rows)))
    free = max(len(seams) - known + 1, 1)
    return logs, rest, left[0], float(np.sqrt(len(seams) / free))


__all__ = ["level_tiles", "measure_seams"]
