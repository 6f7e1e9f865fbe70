"""Pairs that lie further from their nominal places than is looked: a turned camera, a wrong step.

Along an axis along which hardly a pair is where the others are, some pairs from all over the
lattice are looked at within several times the usual reach, volumes as their means along z. If these
agree on a step, all pairs along that axis are looked at again around it.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np

from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import lattice_dim
from latticework.stitch.pairs import Candidate, correlations_of, match, reach_px
from latticework.stitch.stage_model import (
    EVIDENT,
    LEAST_VOTES,
    StepModel,
    fit_steps,
    stands_out,
)
from latticework.stitch.tiles import Pairs, read_tile

Reader = Callable[[Box], np.ndarray]
Found = Sequence[Sequence[Candidate] | None]

WIDER = 4.0
"""How much further is looked."""
FEW = 0.3
"""Share of pairs along an axis below which that is done."""
SAMPLE = 12
"""With so many of them at first."""
MOST = 0.5
"""Share of those that have to agree."""
ALONE = 0.8
"""Correlation from which one or two pairs, which nothing else agrees with, are believed."""
AGREE_PX = 14.0
"""How far these may lie from each other."""
PLANES = 64
"""Planes of a volume that are averaged, at most."""


def farther(
    lattice: Lattice,
    pairs: Pairs,
    found: Found,
    *,
    channel: int = 0,
    dark: float | None = None,
    pool: Executor,
) -> dict[str, np.ndarray]:
    """By axis, how far all pairs lie from where they should, where that is beyond the reach.

    Parameters
    ----------
    lattice, pairs
        Whose pairs they are, and which.
    found
        Candidates of each pair, from within the reach; None where they do not overlap.
    channel, dark
        As for `latticework.stitch.register`.
    pool
        That looks at several pairs at a time.

    Returns
    -------
    dict
        In pixels along the tiles' spatial dims; axes along which nothing is amiss are not in it.
    """
    steps = {}
    for axis, rows in lost_axes(lattice, pairs, found).items():
        some = list(rows[:: max(len(rows) // SAMPLE, 1)])[: 2 * SAMPLE]

        def look(k: int, partner: int) -> list[Candidate]:
            return _look_afar(lattice, pairs, (k, partner), channel, dark)

        step = _agreed(list(pool.map(look, some, some)), pairs.nominal[some])
        if step is None:
            continue
        strangers = list(pool.map(look, some, [*some[1:], some[0]]))
        if not _is_of_the_camera(strangers, pairs.nominal[some] + step):
            steps[axis] = step
    return steps


def lost_axes(lattice: Lattice, pairs: Pairs, found: Found) -> Mapping[str, list[int]]:
    """Pairs along axes along which most show something, but few what the others show."""
    models, reach = _models(lattice, pairs, found), _reach(pairs)
    lost = {}
    for axis in dict.fromkeys(pairs.axes):
        rows = [k for k, of in enumerate(found) if pairs.axes[k] == axis and of]
        good = sum(_is_found(found[k] or (), models[k], pairs.nominal[k], reach[k]) for k in rows)
        if rows and good < max(FEW * len(rows), 1):
            lost[axis] = rows
    return lost


def _reach(pairs: Pairs) -> np.ndarray:
    """The usual reach of each pair, (pairs, dims): one for each shape of a first tile."""
    shapes, which = np.unique(pairs.sizes[pairs.rows[:, 0]], axis=0, return_inverse=True)
    usual = [reach_px(shape, pairs.dims) for shape in shapes.tolist()]
    return np.reshape(usual, shapes.shape)[which.ravel()]


def _is_found(
    of: Sequence[Candidate], model: StepModel, nominal: np.ndarray, reach: np.ndarray
) -> bool:
    """Whether a pair lies where the others do, and within the usual reach across the plane.

    Single ones are found beyond that, too: they say that the others are to be looked for there.
    """
    if not of or not model.votes or not model.admits(of[0].offset_px):
        return False
    beyond = np.abs(np.subtract(of[0].offset_px, nominal)) > reach
    return stands_out(of) and not beyond[-2:].any()


def _models(lattice: Lattice, pairs: Pairs, found: Found) -> list[StepModel]:
    n = len(pairs.dims)
    offsets = [np.reshape([c.offset_px for c in of or ()], (-1, n)) for of in found]
    correlations = [correlations_of(of or ()) for of in found]
    parities = parities_of(lattice, pairs.rows)
    return fit_steps(pairs.kinds, parities, offsets, correlations, pairs.nominal)


def parities_of(lattice: Lattice, pairs: np.ndarray) -> list[int]:
    """For each pair whether its row is an odd one: one driven back, perhaps."""
    dim = lattice_dim("y")
    if dim not in lattice.dims:
        return [0] * len(pairs)
    column = lattice.dims.index(dim)
    return (lattice.index[pairs[:, 0], column] % 2).tolist()  # type: ignore[no-any-return]


def _look_afar(
    lattice: Lattice, pairs: Pairs, which: tuple[int, int], channel: int, dark: float | None
) -> list[Candidate]:
    """Where the second tile of a pair may lie, within a wider reach across the plane.

    Or the second tile of another pair, which is no neighbour of the first.
    """
    k, partner = which
    first, second = int(pairs.rows[k, 0]), int(pairs.rows[partner, 1])
    one, other = pairs.shapes(k)[0], pairs.shapes(partner)[1]
    flat = pairs.dims[-2:]
    nominal = tuple(pairs.nominal[k])
    seen = match(
        _flattened(read_tile(lattice, first, channel), one),
        _flattened(read_tile(lattice, second, channel), other),
        (one[-2:], other[-2:]),
        nominal[-2:],
        flat,
        reach=[WIDER * r for r in reach_px(one[-2:], flat)],
        dark=dark,
    )
    return [replace(of, offset_px=nominal[:-2] + of.offset_px) for of in seen]


def _flattened(read: Reader, shape: Sequence[int]) -> Reader:
    """A reader of planes: volumes are averaged along z, from some of their planes."""
    if len(shape) == 2:
        return read
    chosen = np.unique(np.linspace(0, shape[0] - 1, PLANES).round().astype(int)).tolist()

    def flat(box: Box) -> np.ndarray:
        total = np.zeros(box.shape, "f8")
        for plane in chosen:
            total += read(Box((plane, *box.start), (plane + 1, *box.stop)))[0]
        return total / len(chosen)

    return flat


def _is_of_the_camera(strangers: Sequence[Sequence[Candidate]], at: np.ndarray) -> bool:
    """Whether tiles that are no neighbours match there too: dust and hot pixels do."""
    alike = [
        bool(of) and bool((np.abs(of[0].offset_px - where) <= AGREE_PX).all()) and stands_out(of)
        for of, where in zip(strangers, at, strict=True)
    ]
    return len(alike) > 1 and sum(alike) >= MOST * len(alike)


def _agreed(found: Sequence[Sequence[Candidate]], nominal: np.ndarray) -> np.ndarray | None:
    """How far pairs lie from where they should, if most agree on that."""
    least = EVIDENT if len(found) >= LEAST_VOTES else ALONE
    plain = [
        np.subtract(of[0].offset_px, at)
        for of, at in zip(found, nominal, strict=True)
        if of and stands_out(of, at_least=least)
    ]
    if not plain:
        return None
    middle = np.median(plain, axis=0)
    near = (np.abs(plain - middle) <= AGREE_PX).all(axis=1)
    if near.sum() < max(min(LEAST_VOTES, len(found)), MOST * len(found)):
        return None
    return np.asarray(np.median(np.array(plain)[near], axis=0))


__all__ = ["farther", "lost_axes", "parities_of"]
