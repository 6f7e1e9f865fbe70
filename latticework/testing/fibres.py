r"""Endless smooth fibres, known cell by cell.

Space is cut into cubes. Each face of a cube is crossed by a fibre or not, at a hashed point and
with a hashed slope; both are the same seen from either side. Inside a cube the crossings are joined
two by two with cubic curves::

    +-----+-----+      a curve leaves a cube where the next one enters:
    |  .--+-.   |      the network goes on for ever, and every cube
    |-'   |  \  |      can be drawn from its own number alone
    +-----+---|-+
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from latticework.testing.fields import Floats, Ints, hash_uniform

_SAMPLES_PER_PITCH = 1.6  # a curve is at most about this many cubes long


def _face_crossings(
    seed: int, stream: int, cubes: Ints, density: float
) -> tuple[npt.NDArray[np.bool_], Floats, Floats]:
    """Of each cube (n, 3): which of 6 faces are crossed, where (cube units), with what slope."""
    n = len(cubes)
    crossed = np.zeros((n, 6), dtype=bool)
    points = np.zeros((n, 6, 3))
    slopes = np.zeros((n, 6, 3))
    for axis in range(3):
        for side in (0, 1):
            face = 2 * axis + side
            corner = cubes.copy()
            corner[:, axis] += side
            place = (corner[:, 0], corner[:, 1], corner[:, 2])
            draw = [hash_uniform(seed, stream + 8 * axis + i, *place) for i in range(5)]
            crossed[:, face] = draw[0] < density
            points[:, face] = cubes
            points[:, face, axis] += side
            slopes[:, face, axis] = 1.0 - 2.0 * side
            for other, (where, tilt) in zip(
                [a for a in range(3) if a != axis], [(1, 2), (3, 4)], strict=True
            ):
                points[:, face, other] += 0.1 + 0.8 * draw[where]
                slopes[:, face, other] = (1.0 - 2.0 * side) * 1.6 * (draw[tilt] - 0.5)
    return crossed, points, slopes


def fibre_points(
    seed: int,
    stream: int,
    *,
    pitch: float,
    step: float,
    density: float,
    low: Sequence[float],
    high: Sequence[float],
) -> tuple[Floats, Floats]:
    """Points along all fibres that pass through a box, in a fixed order.

    Parameters
    ----------
    seed, stream
        What to hash with; streams ``stream .. stream + 31`` are used.
    pitch
        Edge of the cubes.
    step
        Largest distance between successive points.
    density
        Share of faces that are crossed, 0 to 1.
    low, high
        Corners of the box. Points of cubes that touch the box are returned, also those that lie
        outside.

    Returns
    -------
    points : float64 (n, 3), in the units of `pitch`. length : float64 (n,), length of curve that
    each point stands for times its fibre's brightness (0.4 to 1).

    Examples
    --------
    >>> points, length = fibre_points(
    ...     1, 0, pitch=40, step=1, density=0.5, low=(0, 0, 0), high=(80, 80, 80)
    ... )
    >>> points.shape[1], bool((length <= 1).all())
    (3, True)
    """
    axes = [
        np.arange(np.floor(lo / pitch), np.floor(hi / pitch) + 1).astype(np.int64)
        for lo, hi in zip(low, high, strict=True)
    ]
    cubes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    crossed, points, slopes = _face_crossings(seed, stream, cubes, density)
    place = (cubes[:, 0], cubes[:, 1], cubes[:, 2])
    rank = np.stack([hash_uniform(seed, stream + 24 + face % 8, *place) for face in range(6)], 1)
    order = np.argsort(np.where(crossed, rank, 2.0), axis=1, kind="stable")
    count = crossed.sum(axis=1)
    samples = max(8, int(np.ceil(_SAMPLES_PER_PITCH * pitch / step)))
    t = ((np.arange(samples) + 0.5) / samples)[None, :, None]
    found: list[Floats] = []
    for pair in range(3):
        here = np.flatnonzero(count >= 2 * pair + 2)
        a, b = order[here, 2 * pair], order[here, 2 * pair + 1]
        p, q = points[here, a][:, None], points[here, b][:, None]
        u, v = slopes[here, a][:, None], -slopes[here, b][:, None]
        curve = (
            (2 * t**3 - 3 * t**2 + 1) * p
            + (t**3 - 2 * t**2 + t) * u
            + (3 * t**2 - 2 * t**3) * q
            + (t**3 - t**2) * v
        )
        slope = (6 * t**2 - 6 * t) * (p - q) + (3 * t**2 - 4 * t + 1) * u + (3 * t**2 - 2 * t) * v
        piece = np.linalg.norm(slope, axis=-1, keepdims=True) * pitch / samples
        bright = 0.4 + 0.6 * rank[here, a][:, None, None]
        keyed = np.concatenate([curve * pitch, piece * bright], axis=-1)
        found.append(keyed.reshape(-1, 4))
    table = np.concatenate(found)
    return table[:, :3], table[:, 3]


def draw_points(
    points_px: Floats,
    weights: Floats,
    sigma_px: Sequence[float],
    origin_px: Sequence[float],
    shape: Sequence[int],
) -> npt.NDArray[np.float32]:
    """A box in which each point is a Gaussian of total `weight`, summed in the order of the points.

    Parameters
    ----------
    points_px, weights
        float64 (n, 3) positions in pixels and (n,) weights.
    sigma_px
        Width per axis.
    origin_px, shape
        The box.

    Examples
    --------
    >>> image = draw_points(
    ...     np.array([[2.0, 2, 2]]), np.ones(1), (0.6, 0.6, 0.6), (0, 0, 0), (5, 5, 5)
    ... )
    >>> float(image.sum().round(2))
    1.0
    """
    radius = [int(np.ceil(3.0 * s)) for s in sigma_px]
    whole = np.floor(np.asarray(origin_px, dtype=np.float64))
    centre = points_px - (origin_px - whole)  # not minus the origin: equal bits in every box
    nearest = np.floor(centre + 0.5).astype(np.int64)
    local = nearest - whole.astype(np.int64)
    inside = np.all((local >= -np.array(radius)) & (local < np.add(shape, radius)), axis=1)
    total = np.zeros(int(np.prod(shape)))
    chosen = np.flatnonzero(inside)
    chunk = max(1, 1_000_000 // int(np.prod([2 * r + 1 for r in radius])))
    for first in range(0, len(chosen), chunk):
        part = chosen[first : first + chunk]
        index = np.zeros((len(part), 1, 1, 1), dtype=np.int64)
        value = weights[part].reshape(-1, 1, 1, 1)
        for axis in range(3):
            span = np.arange(-radius[axis], radius[axis] + 1)
            away = (nearest[part, axis, None] - centre[part, axis, None] + span) / sigma_px[axis]
            bell = np.exp(-0.5 * away * away) / (np.sqrt(2 * np.pi) * sigma_px[axis])
            at = local[part, axis, None] + span
            bell[(at < 0) | (at >= shape[axis])] = 0.0
            at = np.clip(at, 0, shape[axis] - 1)
            column = (len(part), *(len(span) if a == axis else 1 for a in range(3)))
            index = index * shape[axis] + at.reshape(column)
            value = value * bell.reshape(column)
        np.add.at(total, index.ravel(), value.ravel())  # one after the other, unlike a sum of sums
    return total.astype(np.float32).reshape(tuple(shape))
