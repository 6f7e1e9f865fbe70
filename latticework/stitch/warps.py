"""How a tile is bent beyond its position: turned, scaled and sheared, and locally displaced.

::

    pixels of the tile        the volume
    +---+---+---+             +----+--+---+
    |   |   |   |   forward   |    |  |   |    A control point at each crossing says by how much
    +---+---+---+  -------->  +----+--+---+    the tile is displaced there; in between that
    |   |   |   |  <--------  |   |    |  |    is interpolated linearly along each axis.
    +---+---+---+   inverse   +---+----+--+
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from latticework.errors import LatticeError

ACCURACY_PX = 5e-4
"""How near `Warp.inverse` comes to what is asked, if nothing else is said."""
EASY_STEPS = 3
"""Steps that it takes before, which need no slopes."""
STEPS = 40
"""Steps of Newton's method that it takes at most; three or four are usual."""
HALVINGS = 12
"""How often a step that leads away is made half as long."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Warp:
    """How one tile is bent beyond its position.

    A pixel at ``p`` (in pixels of the tile, the first one at 0) lies in the volume at
    ``position + centre + matrix @ (p - centre) + displacement(p)`` where ``centre`` is
    ``(shape - 1) / 2``; all of it in pixels of the tile.

    Raises
    ------
    LatticeError
        If sizes do not fit each other, numbers are not finite, or the matrix has no inverse.

    Examples
    --------
    Turned by 90 degrees about its centre:

    >>> warp = Warp((5, 5), np.array([[0, -1], [1, 0]]))
    >>> warp.forward([[0, 0], [2, 2]]).tolist()
    [[4.0, 0.0], [2.0, 2.0]]
    >>> warp.inverse([[4, 0]]).tolist()
    [[0.0, 0.0]]

    Stretched along x, by 1 px at its far end:

    >>> bent = Warp((3, 11), grid_px=np.array([[[0, 0]], [[0, 1]]]))
    >>> bent
    Warp((3, 11), displaced by up to 1.00 px at 1 x 2 control points, ...)
    >>> bent.forward([[1, 0], [1, 5], [1, 10]]).tolist()
    [[1.0, 0.0], [1.0, 5.5], [1.0, 11.0]]
    >>> low, high = bent.bounds()
    >>> low.tolist(), high.tolist()
    ([-0.5, -0.5], [2.5, 11.5])
    """

    shape: tuple[int, ...]
    """Pixels of the tile."""
    matrix: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    """About the tile's centre; shape (dims, dims), float64. The identity if not given."""
    grid_px: np.ndarray | None = None
    """Displacements; shape (dims, *control points*), float32. Control points are spread evenly from
    the tile's first to its last pixel along each axis; beyond these the outermost ones count."""

    def __post_init__(self) -> None:
        shape, dims = tuple(int(n) for n in self.shape), len(self.shape)
        given = np.array(self.matrix, "f8")  # of its own, so that nobody changes it
        matrix = given if given.size else np.eye(dims)
        if not dims or min(shape) < 1:
            raise LatticeError(f"a warp of a tile of {shape} pixels: give at least one along each")
        if matrix.shape != (dims, dims) or not np.isfinite(matrix).all():
            raise LatticeError(
                f"a warp of {dims} dims needs a matrix of {dims} x {dims} finite numbers, not\n"
                f"{given}"
            )
        if abs(np.linalg.det(matrix)) < 1e-9:
            raise LatticeError(
                f"this matrix of a warp flattens the tile (it has no inverse):\n{matrix}"
            )
        matrix.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "matrix", matrix)
        if self.grid_px is None:
            return
        grid = np.array(self.grid_px, "f4")
        if (
            grid.ndim != dims + 1
            or len(grid) != dims
            or not grid.size
            or not np.isfinite(grid).all()
        ):
            raise LatticeError(
                f"displacements of shape {grid.shape}: give finite numbers of shape ({dims}, "
                f"then the number of control points along each of {dims} axes)"
            )
        grid.flags.writeable = False
        object.__setattr__(self, "grid_px", grid)

    # ---------------------------------------------------------------- what it is

    @property
    def dims(self) -> int:
        """Number of spatial dims."""
        return len(self.shape)

    @property
    def centre(self) -> np.ndarray:
        """Middle of the tile, in its pixels; shape (dims,)."""
        return (np.array(self.shape, "f8") - 1) / 2

    @property
    def is_identity(self) -> bool:
        """Whether the tile is not bent at all."""
        still = self.grid_px is None or not self.grid_px.any()
        return still and bool(np.array_equal(self.matrix, np.eye(self.dims)))

    @property
    def folds(self) -> bool:
        """Whether some place of the volume lies in the tile more than once."""
        return self.grid_px is not None and _folds(self)

    @property
    def fingerprint(self) -> str:
        """A hash of all its numbers, the same in every process."""
        digest = hashlib.blake2b(repr(self.shape).encode(), digest_size=8)
        digest.update(self.matrix.tobytes())
        if self.grid_px is not None:
            digest.update(repr(self.grid_px.shape).encode() + self.grid_px.tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        parts = [str(self.shape), *_matrix_in_words(self.matrix)]
        if self.is_identity:
            parts.append("not bent")
        if self.grid_px is not None:
            most = float(np.linalg.norm(self.grid_px, axis=0).max())
            points = " x ".join(map(str, self._counts))
            parts.append(f"displaced by up to {most:.2f} px at {points} control points")
        return f"Warp({', '.join(parts)}, {self.fingerprint})"

    # ---------------------------------------------------------------- there and back

    def displacement(self, points: np.ndarray | Sequence[Any]) -> np.ndarray:
        """By how much the control points displace pixels of the tile; (n, dims) to (n, dims)."""
        points = self._points(points)
        if self.grid_px is None:
            return np.zeros_like(points)
        from scipy.ndimage import map_coordinates

        scale = [
            (count - 1) / (n - 1) if n > 1 else 0.0
            for n, count in zip(self.shape, self._counts, strict=True)
        ]
        at = np.ascontiguousarray((points * scale).T)
        found = [map_coordinates(of, at, order=1, mode="nearest") for of in self.grid_px]
        return np.stack(found, axis=1).astype("f8")

    def forward(self, points: np.ndarray | Sequence[Any]) -> np.ndarray:
        """Where pixels of the tile lie, relative to its position.

        Parameters
        ----------
        points
            In pixels of the tile; shape (n, dims). They may be between pixels, and outside.
        """
        points = self._points(points)
        straight: np.ndarray = self.centre + (points - self.centre) @ self.matrix.T
        return straight if self.grid_px is None else straight + self.displacement(points)

    def slopes(self, points: np.ndarray | Sequence[Any]) -> np.ndarray:
        """How places change with pixels of the tile: derivatives of `forward`, (n, dims, axis)."""
        points = self._points(points)
        if self.grid_px is None:
            return np.broadcast_to(self.matrix, (len(points), self.dims, self.dims))
        first, share, slope = [], [], []
        for at, n, count in zip(points.T, self.shape, self._counts, strict=True):
            scale = (count - 1) / (n - 1) if n > 1 else 0.0
            place = np.clip(at * scale, 0, count - 1)
            cell = np.clip(np.floor(place), 0, max(count - 2, 0)).astype(np.intp)
            within = (at * scale >= 0) & (at * scale <= count - 1)
            first.append(cell)
            share.append(place - cell)
            slope.append(np.where(within, scale, 0.0))
        change = np.tile(self.matrix, (len(points), 1, 1))
        for corner in product((0, 1), repeat=self.dims):
            index = tuple(
                np.minimum(c + k, count - 1)
                for c, k, count in zip(first, corner, self._counts, strict=True)
            )
            there = self.grid_px[(slice(None), *index)].T.astype("f8")
            parts = [s if k else 1 - s for s, k in zip(share, corner, strict=True)]
            for axis, k in enumerate(corner):
                along = slope[axis] if k else -slope[axis]
                for other, part in enumerate(parts):
                    along = along if other == axis else along * part
                change[:, :, axis] += there * along[:, None]
        return change

    def inverse(
        self,
        points: np.ndarray | Sequence[Any],
        near: np.ndarray | None = None,
        *,
        accuracy_px: float = ACCURACY_PX,
    ) -> np.ndarray:
        """Which pixels of the tile lie at these places, by Newton's method.

        Parameters
        ----------
        points
            Places relative to the tile's position; shape (n, dims).
        near
            Where they are looked for first, in pixels of the tile; shape (n, dims).
        accuracy_px
            How near `forward` of what is found comes to what was asked.

        Returns
        -------
        np.ndarray
            Pixels of the tile, some between or outside of its own; shape (n, dims).

        Raises
        ------
        LatticeError
            If the warp folds the tile, so that there may be several.
        """
        wanted = self._points(points)
        back = np.linalg.inv(self.matrix)
        found: np.ndarray = self.centre + (wanted - self.centre) @ back.T
        if self.grid_px is None or not len(wanted):
            return found
        if near is not None:
            found = self._points(near).copy()
        if self.folds:
            raise LatticeError(
                f"a warp of a tile of {self.shape} pixels folds it: its displacements change by "
                "more than the distance of the control points; smooth them, or take fewer points"
            )
        missed = wanted - self.forward(found)
        for step in range(EASY_STEPS + STEPS):
            open_ = np.flatnonzero(_squares(missed) > accuracy_px**2)
            if not len(open_):
                return found
            take = self._easy_step if step < EASY_STEPS else self._step
            found[open_], missed[open_] = take(found[open_], wanted[open_], missed[open_])
        worst = int(_squares(missed).argmax())
        if _squares(missed)[worst] > (2 * accuracy_px) ** 2:
            raise LatticeError(
                f"a warp of a tile of {self.shape} pixels cannot be undone at "
                f"{wanted[worst].tolist()}: smooth its displacements"
            )
        return found

    def _easy_step(
        self, found: np.ndarray, wanted: np.ndarray, missed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Nearer to what is wanted as if the matrix were all of it, where that does help."""
        result = found + missed @ np.linalg.inv(self.matrix).T
        left = wanted - self.forward(result)
        worse = np.flatnonzero(_squares(left) >= _squares(missed))
        result[worse], left[worse] = found[worse], missed[worse]
        return result, left

    def _step(
        self, found: np.ndarray, wanted: np.ndarray, missed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Nearer to what is wanted: the whole way as the slopes tell, or so much as does help."""
        way = np.linalg.solve(self.slopes(found), missed[..., None])[..., 0]
        result, left = found + way, wanted - self.forward(found + way)
        before = _squares(missed)
        for halving in range(1, HALVINGS + 1):
            worse = np.flatnonzero(_squares(left) >= before)
            if not len(worse):
                break
            result[worse] = found[worse] + way[worse] * 0.5**halving
            left[worse] = wanted[worse] - self.forward(result[worse])
        return result, left

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The box in which the tile lies, relative to its position: low and high, each (dims,).

        From the outer edges of its first pixels, half a pixel before their middles, to those of
        its last.
        """
        ends = [np.array([-0.5, n - 0.5]) for n in self.shape]
        if self.grid_px is not None:
            ends = [
                np.unique(np.concatenate([e, _controls(n, count)]))
                for e, n, count in zip(ends, self.shape, self._counts, strict=True)
            ]
        points = np.stack([a.ravel() for a in np.meshgrid(*ends, indexing="ij")], axis=1)
        there = self.forward(points)  # between these points it is linear along each axis
        return there.min(axis=0), there.max(axis=0)

    # ---------------------------------------------------------------- as plain values

    def as_dict(self) -> dict[str, Any]:
        """The warp as lists and numbers, as for JSON.

        Examples
        --------
        >>> Warp((4, 4)).as_dict()
        {'shape': [4, 4], 'matrix': [[1.0, 0.0], [0.0, 1.0]], 'grid_px': None}
        """
        return {
            "shape": list(self.shape),
            "matrix": self.matrix.tolist(),
            "grid_px": None if self.grid_px is None else self.grid_px.tolist(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Warp":
        """The warp of what `as_dict` gave."""
        return cls(tuple(values["shape"]), np.array(values["matrix"]), values.get("grid_px"))

    # ---------------------------------------------------------------- inside

    @property
    def _counts(self) -> tuple[int, ...]:
        assert self.grid_px is not None
        return self.grid_px.shape[1:]

    def _points(self, points: np.ndarray | Sequence[Any]) -> np.ndarray:
        points = np.asarray(points, "f8")
        if points.ndim != 2 or points.shape[1] != self.dims:
            raise LatticeError(
                f"points of shape {points.shape} for a warp of {self.dims} dims: give (n, "
                f"{self.dims})"
            )
        return points


@lru_cache(maxsize=256)
def _folds(warp: Warp) -> bool:
    assert warp.grid_px is not None
    counts = warp.grid_px.shape[1:]
    inner = [_corners(n, count) for n, count in zip(warp.shape, counts, strict=True)]
    points = np.stack([a.ravel() for a in np.meshgrid(*inner, indexing="ij")], axis=1)
    signs = np.sign(np.linalg.det(warp.slopes(points)))
    return bool((signs != np.sign(np.linalg.det(warp.matrix))).any())


def _squares(missed: np.ndarray) -> np.ndarray:
    """Square of the length of each row."""
    return np.asarray(np.einsum("ij,ij->i", missed, missed))


def _controls(n: int, count: int) -> np.ndarray:
    """Where control points are along an axis, in pixels."""
    return np.linspace(0, n - 1, count) if count > 1 else np.zeros(1)


def _corners(n: int, count: int) -> np.ndarray:
    """Places on either side of each control point along an axis, and the middles in between."""
    at = _controls(n, count)
    if len(at) < 2 or n < 2:
        return at
    gap = at[1] - at[0]
    return np.concatenate([at[:-1] + share * gap for share in (1e-6, 0.5, 1 - 1e-6)])


def _matrix_in_words(matrix: np.ndarray) -> list[str]:
    """How a matrix turns and stretches; nothing of the identity.

    By its polar decomposition: a turn, and what is stretched along axes at right angles.
    """
    left, stretch, right = np.linalg.svd(matrix)
    turn, words = left @ right, []
    if np.linalg.det(turn) < 0:
        words.append("mirrored")
    else:
        cosine = (np.trace(turn) - max(len(matrix) - 2, 0)) / min(len(matrix), 2)
        degrees = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        if degrees > 1e-3:
            words.append(f"turned by {degrees:.3g} degrees")
    low, high = float(stretch.min()), float(stretch.max())
    if max(abs(low - 1), abs(high - 1)) > 1e-6:
        words.append(f"stretched {low:.4f} to {high:.4f} times")
    return words


__all__ = ["Warp"]
