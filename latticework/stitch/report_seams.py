"""Two tiles in two colours where they overlap, before and after: what does not match is coloured.

The first tile is magenta and the second green, so that what both show at the same place is grey.
A strip of the overlap is cut where it shows most, and laid so that the seam runs from left to
right, the first tile above::

    first tile, magenta  ▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔
    both: grey where they agree  ░░░░▒▒▒░░░░▓▓░░
    second tile, green   ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from latticework.lattice.geometry import Box
from latticework.stitch.report_facts import Findings
from latticework.stitch.tiles import NO_OVERLAP, read_tile

LONG_PX, MARGIN_PX = 256, 10
"""Longest side of a strip, and what is seen of each tile beside the overlap."""
MOST_SEAMS = 6
"""Seams that are shown."""
AROUND_PX = 16
"""Radius of what structure is compared with."""
SEARCHED_PX = 2048
"""Length of an overlap that is looked through for its best part."""
DIFFERENT_PX = 1.0
"""From which on the place at which a pair matched best is shown beside the others."""


class Strip(NamedTuple):
    """One picture of a seam."""

    title: str
    """Where the second tile lies."""
    picture: np.ndarray
    """uint8 (y, x, 3)."""


@dataclass(frozen=True, slots=True)
class Seam:
    """A link as it is seen."""

    kind: str
    """Why it is shown: ``"largest residual"``, ``"typical"`` ..."""
    link: int
    """Row of the table of links."""
    trusted: bool
    """Whether it is."""
    strips: tuple[Strip, ...]
    """Before and after; and at its own best match where that is elsewhere."""


def seams_of(found: Findings) -> list[Seam]:
    """The seams that tell most.

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import place, register
    >>> tiles, truth = lw.simulate({"y": 2, "x": 3}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> seams = seams_of(Findings("brain", tiles, place(tiles, register(tiles))))
    >>> [seam.kind for seam in seams]
    ['largest residual', 'median residual', 'smallest residual', 'moved most']
    >>> [strip.title for strip in seams[0].strips]
    ['nominal', 'stitched']
    """
    if found.nominal.source is None:
        return []
    seams = []
    for kind, link in chosen_links(found):
        try:
            strips = _strips(found, link)
        except Exception:  # a tile that cannot be read any more ends no report
            strips = ()
        if strips:
            seams.append(Seam(kind, link, bool(found.trusted[link]), strips))
    return seams


def chosen_links(found: Findings) -> list[tuple[str, int]]:
    """Rows of the links to look at, and why each."""
    links = found.links
    chosen: list[tuple[str, int]] = []

    def add(kind: str, rows: np.ndarray) -> None:
        taken = {row for _, row in chosen}
        row = next((int(row) for row in rows if int(row) not in taken), None)
        if row is not None:
            chosen.append((kind, row))

    correlation = np.nan_to_num(links["correlation"].to_numpy("f8"), nan=-1.0)
    good = np.flatnonzero(found.trusted)
    if len(good):
        looped, alone = (np.flatnonzero(found.trusted & of) for of in (found.looped, ~found.looped))
        by_residual = looped[np.argsort(-found.residuals[looped], kind="stable")]
        add("largest residual", by_residual)
        add("median residual", by_residual[len(by_residual) // 2 :])
        add("in no loop, least alike", alone[np.argsort(correlation[alone], kind="stable")])
        if not len(alone):
            add("smallest residual", by_residual[::-1])
        moved = np.sum(
            [(links[f"offset_{d}_px"] - links[f"nominal_{d}_px"]) ** 2 for d in found.dims], axis=0
        )
        add("moved most", good[np.argsort(-moved[good], kind="stable")])
    doubtful = np.flatnonzero(~found.trusted & (links["why"] != NO_OVERLAP).to_numpy())
    by_correlation = doubtful[np.argsort(-correlation[doubtful], kind="stable")]
    out = links["why"].to_numpy(str)[by_correlation] == "contradicts its loops"
    add("contradicts its loops", by_correlation[out])
    add("not trusted, most alike", by_correlation)
    add("not trusted, typical", by_correlation[len(by_correlation) // 2 :])
    return chosen[:MOST_SEAMS]


# -------------------------------------------------------------------- one link


def _strips(found: Findings, link: int) -> tuple[Strip, ...]:
    row = found.links.iloc[link]
    first, second = (int(r) for r in found.nominal.rows_of([row["first"], row["second"]]))
    places = found.places
    solved = places.positions[second] - places.positions[first]
    nominal, own = (
        np.array([row[f"{what}_{dim}_px"] for dim in places.dims], "f8")
        for what in ("nominal", "offset")
    )
    shapes = places.shapes[first], places.shapes[second]
    window = _window(found, first, solved, shapes, str(row["axis"]))
    if window is None:
        return ()
    shown = [("nominal", nominal), ("stitched", solved)]
    elsewhere = np.isfinite(own).all() and np.abs(own - solved).max() >= DIFFERENT_PX
    if not row["trusted"] and elsewhere:
        shown.append(("where this pair matches best", own))
    readers = [read_tile(found.nominal, of, found.channel) for of in (first, second)]
    base = _cut(readers[0], window, np.zeros(len(solved)), shapes[0])
    views = [_cut(readers[1], window, offset, shapes[1]) for _, offset in shown]
    lay = str(row["axis"]) == "x"
    return tuple(
        Strip(title, _coloured(base, view, turned=lay))
        for (title, _), view in zip(shown, views, strict=True)
    )


def _window(
    found: Findings, first: int, solved: np.ndarray, shapes: Sequence[np.ndarray], axis: str
) -> Box | None:
    """The part of the overlap to show, in pixels of the first tile; one pixel thick in z."""
    low = np.maximum(np.floor(solved), 0).astype(int)
    high = np.minimum(np.ceil(solved + shapes[1]), shapes[0]).astype(int)
    if (high <= low).any():
        return None
    start, stop = low.copy(), high.copy()
    for k, dim in enumerate(found.dims):
        if dim == "z":
            start[k] = (low[k] + high[k]) // 2
            stop[k] = start[k] + 1
        elif stop[k] - start[k] > SEARCHED_PX:
            start[k] += (stop[k] - start[k] - SEARCHED_PX) // 2
            stop[k] = start[k] + SEARCHED_PX
    read = read_tile(found.nominal, first, found.channel)
    pixels = np.asarray(read(Box(tuple(start.tolist()), tuple(stop.tolist()))), np.float32)
    busy = _busiest(pixels.reshape(pixels.shape[-2:]))
    for k, dim in enumerate(found.dims[-2:], start=len(solved) - 2):
        at = start[k] + busy[k - len(solved) + 2]
        if dim == axis:
            margin = min(MARGIN_PX, max(0, (LONG_PX - (high[k] - low[k])) // 2))
            start[k] = max(low[k] - margin, at - LONG_PX // 2)
            stop[k] = min(high[k] + margin, start[k] + LONG_PX)
        else:
            start[k] = max(low[k], min(at - LONG_PX // 2, high[k] - LONG_PX))
            stop[k] = min(high[k], start[k] + LONG_PX)
    return Box(tuple(start.tolist()), tuple(stop.tolist()))


def _busiest(pixels: np.ndarray) -> tuple[int, int]:
    """Where a strip of `LONG_PX` shows most, far from its brightest specks."""
    top = np.percentile(pixels, 99)
    fine = np.clip(pixels, None, top) - ndimage.uniform_filter(np.clip(pixels, None, top), 25)
    size = [min(LONG_PX, n) for n in pixels.shape]
    power = ndimage.uniform_filter(np.square(fine), size, mode="constant")
    y, x = np.unravel_index(int(np.argmax(power)), power.shape)
    return int(y), int(x)


def _cut(
    read: Callable[[Box], np.ndarray], window: Box, offset: np.ndarray, shape: Sequence[int]
) -> np.ndarray:
    """What a tile at `offset` shows in the window, float32 (y, x), NaN beyond it.

    Between pixels it is interpolated linearly in y and x; in z the nearest plane is taken.
    """
    whole = np.floor(offset).astype(int)
    part = offset - whole
    if len(offset) == 3:
        whole[0], part[0] = round(float(offset[0])), 0.0
    start = np.array(window.start) - whole - (part > 0)
    stop = np.array(window.stop) - whole
    near, far = np.maximum(start, 0), np.minimum(stop, shape)
    size = tuple((stop - start)[-2:].tolist())
    canvas = np.full(size, np.nan, np.float32)
    if (far > near).all():
        pixels = np.asarray(read(Box(tuple(near.tolist()), tuple(far.tolist()))), np.float32)
        at = tuple(
            slice(a, b) for a, b in zip((near - start)[-2:], (far - start)[-2:], strict=True)
        )
        canvas[at] = pixels.reshape(pixels.shape[-2:])
    for axis, share in enumerate(part[-2:].tolist()):
        if share > 0:
            n = canvas.shape[axis]
            before, after = canvas.take(range(n - 1), axis), canvas.take(range(1, n), axis)
            canvas = share * before + (1 - share) * after
    return canvas


def _coloured(first: np.ndarray, second: np.ndarray, *, turned: bool) -> np.ndarray:
    """The first in magenta, the second in green, each as bright as it is beside what is around."""
    channels = []
    for of in (first, second):
        scaled = np.clip(0.42 + 0.21 * _fine(of), 0.05, 1)
        channels.append(np.where(np.isfinite(of), scaled, 0.0))
    picture = np.stack([channels[0], channels[1], channels[0]], axis=-1)
    if turned:
        picture = picture.transpose(1, 0, 2)
    colours: np.ndarray = np.rint(255 * picture).astype(np.uint8)
    return colours


def _fine(pixels: np.ndarray) -> np.ndarray:
    """Pixels beside the mean around them, in deviations: uneven light does not hide structure."""
    there = np.isfinite(pixels)
    if not there.any():
        return np.zeros(pixels.shape, np.float32)
    filled = np.where(there, pixels, 0.0)
    share = ndimage.gaussian_filter(there.astype(np.float32), AROUND_PX)
    around = ndimage.gaussian_filter(filled, AROUND_PX) / np.maximum(share, 1e-6)
    fine = ndimage.gaussian_filter(filled, 0.7) - around
    power = ndimage.gaussian_filter(np.square(fine) * there, 2 * AROUND_PX)
    found: np.ndarray = fine / np.sqrt(power + 1e-9)
    return found


__all__ = ["Seam", "Strip", "chosen_links", "seams_of"]
