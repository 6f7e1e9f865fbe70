"""Stages of a pipeline: uneven light and different brightness, measured where tiles overlap.

Whether a correction is right is seen where two tiles show the same place: the flat-field that was
estimated from all tiles is used if it makes neighbours more alike, and so are the gains. Data
without such faults, or too few tiles to tell, are left as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from latticework.lattice.geometry import Box
from latticework.lattice.tile import Tile
from latticework.stages.collections import Tiles
from latticework.stages.ready.flatfield import estimate_flatfield
from latticework.stages.ready.labelled import each_tile, labelled
from latticework.stitch.levelling import LEAST_PATCHES, gains_of, patch_means

if TYPE_CHECKING:
    import pandas as pd

LEAST_LIGHT = 0.9
"""A flat-field is used if neighbours differ by no more than this share of what they did."""
LEAST_GAIN = 0.9
"""The same for gains, beside what they leave of the differences between whole overlaps."""
LEAST_PAIRS = 4
"""Overlaps from which on anything is said of the light."""
SAMPLED = 64
"""Tiles from which the camera's offset is taken."""


@dataclass(frozen=True)
class Even:
    """What makes a tile's pixels even: ``(pixel - dark) / light + dark``."""

    light: np.ndarray | None = None
    """Share of light by pixel, ``y x`` or ``c y x``; None for even light."""
    dark: float = 0.0
    """What the camera counts without light."""

    def __call__(self, pixels: np.ndarray, box: Box) -> np.ndarray:
        """Pixels of a box of a tile, made even: float32; as they are under even light."""
        if self.light is None:
            return pixels
        light = self.light[tuple(box.slices[-2:])] if self.light.ndim == 2 else self._own(box)
        dark = np.float32(self.dark)
        even = np.asarray(pixels, np.float32) - dark
        even /= np.maximum(light, np.float32(1e-3))
        even += dark
        return even

    def _own(self, box: Box) -> np.ndarray:
        """Light of the box's channels, with an axis for z where there is one."""
        assert self.light is not None
        light = self.light[(box.slices[0], *box.slices[-2:])]
        return light[:, None] if box.ndim == 4 else light


def estimate_light(tiles: Any, dark: Mapping[str, float]) -> xr.DataArray:
    """The share of light that each pixel gets, ``y x`` or ``c y x``; a reduction over tiles.

    Parameters
    ----------
    tiles
        All of them.
    dark
        As `dark_of` gives it.
    """
    return estimate_flatfield(tiles, offset=dark["dark"])


def camera_dark(tiles: Any) -> float:
    """What the camera counts without light, at most: the level below which hardly a pixel lies.

    The median over tiles of their lowest thousandth, or the lowest of them where they are few.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> tiles = 100 + rng.poisson(5, (8, 64, 64))
    >>> 98 <= camera_dark(tiles) <= 105
    True
    """
    stack = labelled(tiles, first=("tile",))
    n = stack.sizes["tile"]
    chosen = np.unique(np.linspace(0, n - 1, min(n, SAMPLED)).round().astype(int))
    lowest = []
    for _, tile in each_tile(stack, chosen, most_planes=8):
        values = np.asarray(tile.data)
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values.ravel()
        if values.size and values.max() > values.min():
            lowest.append(float(np.percentile(values[:: max(1, values.size // 200_000)], 0.1)))
    return float(np.percentile(lowest, 5)) if lowest else 0.0


def dark_of(tiles: Any) -> dict[str, float]:
    """`camera_dark` as a record."""
    return {"dark": camera_dark(tiles)}


# -------------------------------------------------------------------- seams


def measure_seams(
    tile: Tile,
    others: Tiles,
    places: "pd.DataFrame",
    dark: Mapping[str, float],
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
        As `dark_of` and `estimate_light` give them; even light if not given.
    channel
        Number of the channel that is looked at.

    Returns
    -------
    pandas.DataFrame
        A row for each pair: ``first``, ``second``, ``axis``; ``ratio`` and ``spread`` (median of
        the logarithm of second by first over patches, and its robust deviation), ``patches`` (how
        many), ``apart`` (median of its size); and the same with even light, ``even_ratio`` ...
    """
    import pandas as pd

    axes = [dim for dim in tile.dims if dim != "c"]
    known = places.set_index("id")
    field = None if light is None else np.asarray(light.data, np.float32)
    even = Even(field, dark["dark"])
    rows = []
    for key in others.present:
        other = others.tile(key)
        if other is None or not {tile.id, other.id} <= set(known.index):
            continue
        boxes = _shared(tile, other, known, axes)
        if boxes is None:
            continue
        whole = [_with_channel(box, tile, channel) for box in boxes]
        pixels = np.asarray(others.own(whole[0])), np.asarray(others.read(key, whole[1]))
        row: dict[str, Any] = {"first": tile.id, "second": other.id, "axis": key.removeprefix("+")}
        row |= _difference(pixels, dark["dark"], "")
        made_even = [even(part, box) for part, box in zip(pixels, whole, strict=True)]
        rows.append(row | _difference(made_even, dark["dark"], "even_"))
    names = ["first", "second", "axis"]
    names += [f"{kind}{what}" for kind in ("", "even_") for what in MEASURES]
    return pd.DataFrame(rows, columns=names)


MEASURES = ("ratio", "spread", "patches", "apart")


def _shared(
    tile: Tile, other: Tile, known: "pd.DataFrame", axes: Sequence[str]
) -> tuple[Box, Box] | None:
    """What two tiles both show, in whole pixels of each."""
    sizes = [dict(zip(of.dims, of.shape, strict=True)) for of in (tile, other)]
    start, stop, shift = [], [], []
    for axis in axes:
        a, b = (float(known[f"position_{axis}_um"][of.id]) for of in (tile, other))
        offset = round((b - a) / tile.pixel_size_um[axis])
        start.append(max(offset, 0))
        stop.append(min(sizes[0][axis], offset + sizes[1][axis]))
        shift.append(-offset)
    if any(b - a < 1 for a, b in zip(start, stop, strict=True)):
        return None
    box = Box(tuple(start), tuple(stop))
    return box, box.shift(shift)


def _with_channel(box: Box, tile: Tile, channel: int) -> Box:
    if "c" not in tile.dims:
        return box
    return Box((channel, *box.start), (channel + 1, *box.stop))


def _difference(pixels: Sequence[np.ndarray], dark: float, kind: str) -> dict[str, float]:
    a, b = (patch_means(of[0] if of.ndim == 4 else of) - dark for of in pixels)
    none = dict.fromkeys([f"{kind}{what}" for what in MEASURES], np.nan) | {f"{kind}patches": 0}
    lit = np.minimum(a, b) > 0
    if lit.any():
        lit &= np.minimum(a, b) > 0.25 * np.median(np.maximum(a, b)[lit])
    if lit.sum() < LEAST_PATCHES:
        return none
    ratios = np.log(b[lit] / a[lit])
    middle = float(np.median(ratios))
    spread = 1.4826 * float(np.median(np.abs(ratios - middle)))
    values = (middle, spread, int(lit.sum()), float(np.median(np.abs(ratios))))
    return {f"{kind}{what}": value for what, value in zip(MEASURES, values, strict=True)}


# -------------------------------------------------------------------- what follows


def level_tiles(
    places: "pd.DataFrame", seams: "pd.DataFrame", *, light: str = "auto", gains: str = "auto"
) -> "pd.DataFrame":
    """Whether the flat-field is used, and the gain of each tile; a reduction over `measure_seams`.

    Parameters
    ----------
    places
        As `latticework.stitch.comparing.place_tiles` gives them.
    seams
        The rows of all tiles.
    light, gains
        ``"auto"``: if neighbours are more alike then; ``"yes"`` or ``"no"``: whatever they say.

    Returns
    -------
    pandas.DataFrame
        A row for each tile: ``id``, ``gain``, ``even`` (whether the flat-field is used), and what
        that was decided by: ``apart`` as they are, ``apart_even`` with the flat-field, and
        ``apart_level`` with the gains too (medians over all pairs of the logarithm of ratios).
    """
    import pandas as pd

    seen = seams[(seams["patches"] > 0) & (seams["even_patches"] > 0)]
    apart, apart_even = (_typical(seen[name]) for name in ("apart", "even_apart"))
    better = len(seen) >= LEAST_PAIRS and apart_even < LEAST_LIGHT * apart
    even = light == "yes" or (light == "auto" and better)
    kind = "even_" if even else ""
    ids = places["id"].to_numpy(np.int64)
    logs, left = _gains(ids, seams[seams[f"{kind}patches"] > 0], kind)
    before = _typical(np.abs(seen[f"{kind}ratio"]))
    enough = len(seen) >= 1 and left < LEAST_GAIN * before and np.abs(logs).max(initial=0) > 0.01
    used = gains == "yes" or (gains == "auto" and enough)
    return pd.DataFrame(
        {
            "id": ids,
            "gain": np.exp(logs) if used else np.ones(len(ids)),
            "even": even,
            "apart": apart,
            "apart_even": apart_even,
            "apart_level": left if used else before,
        }
    )


def _typical(values: Any) -> float:
    found = np.asarray(values, "f8")
    return float(np.median(found)) if len(found) else np.nan


def _gains(ids: np.ndarray, seams: "pd.DataFrame", kind: str) -> tuple[np.ndarray, float]:
    """Logarithms of the gains, and the typical difference between overlaps that they leave."""
    order = np.argsort(ids)
    rows = [order[np.searchsorted(ids[order], seams[name])] for name in ("first", "second")]
    ratios, spread, n = (
        seams[f"{kind}{name}"].to_numpy("f8") for name in ("ratio", "spread", "patches")
    )
    weights = 1 / (np.square(spread) / n + 1e-5)
    logs = gains_of(len(ids), rows[0], rows[1], ratios, weights, seams["axis"].to_numpy())
    return logs, _typical(np.abs(ratios + logs[rows[1]] - logs[rows[0]]))


__all__ = ["Even", "camera_dark", "dark_of", "estimate_light", "level_tiles", "measure_seams"]
