"""A brain-like object without end and without storage: any place of it can be computed alone.

Everything is a function of (seed, place): somata are ellipsoidal Gaussians in the cells of a hashed
grid, fibres are the endless curves of `fibres.py`, tissue is smooth random texture with layers,
pale fibre tracts and dark ventricles, and an outline of two hemispheres bounds it all. Beyond the
outline there is glass.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from latticework.testing.fibres import draw_points, fibre_points
from latticework.testing.fields import (
    Floats,
    Ints,
    hash_uniform,
    interpolate_nodes,
    smooth_step,
    value_noise,
)

_COARSE_UM = 8.0
_FINE_UM = 2.5
_REACH = 4.0  # cells are drawn out to this many standard deviations
_LARGEST_SIGMA_UM = 6.5
_GLASS = 0.01


@dataclass(frozen=True, slots=True)
class Cells:
    """Somata, one row each, in micrometres of the phantom."""

    centre_um: Floats
    """(n, 3) in z, y, x."""
    covariance_um2: Floats
    """(n, 3, 3) of the Gaussian."""
    brightness: Floats
    """(n,) of the centre, before blur; the tissue around is about 0.2."""

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.brightness)


@dataclass(frozen=True)
class Phantom:
    """A piece of brain, known everywhere.

    Parameters
    ----------
    seed
        Which one.
    centre_um, half_size_um
        Outline in z, y, x. Without it, tissue has no end.
    cell_pitch_um
        Pitch of the grid that holds at most one soma per cell.
    fibre_pitch_um, fibre_sigma_um
        Scale of the fibres' wandering, and their radius.

    Examples
    --------
    >>> brain = Phantom(seed=1, centre_um=(32, 200, 300), half_size_um=(100, 180, 280))
    >>> image = brain.render((20, 100, 100), (8, 64, 64))
    >>> image.shape, image.dtype.name
    ((8, 64, 64), 'float32')
    >>> part = brain.render((22, 110, 120), (2, 20, 30))
    >>> bool((part == image[2:4, 10:30, 20:50]).all())
    True
    """

    seed: int = 0
    centre_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    half_size_um: tuple[float, float, float] | None = None
    cell_pitch_um: float = 21.0
    fibre_pitch_um: float = 38.0
    fibre_sigma_um: float = 0.8

    def spec(self) -> dict[str, Any]:
        """What `from_spec` needs to build it again; plain JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The phantom of a spec.

        Examples
        --------
        >>> Phantom.from_spec(Phantom(seed=3).spec()) == Phantom(seed=3)
        True
        """
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in spec.items()
        }
        return cls(**values)

    # ------------------------------------------------------------------ anatomy

    def depth_um(self, z: npt.ArrayLike, y: npt.ArrayLike, x: npt.ArrayLike) -> Floats:
        """Roughly how far places (um, broadcast) lie below the surface; negative outside."""
        if self.half_size_um is None:
            return 60.0 + 120.0 * value_noise(self.seed, 1, 150.0, z, y, x)
        p = [
            (np.asarray(axis, dtype=np.float64) - centre) / half
            for axis, centre, half in zip((z, y, x), self.centre_um, self.half_size_um, strict=True)
        ]
        aside = np.abs(p[2]) - 0.42  # two hemispheres, with a fissure between them
        aside = np.where(aside < 0, 0.9 * aside, aside) / 0.58
        radius = np.sqrt(aside**2 + p[1] ** 2 + p[0] ** 2)
        inner = min(self.half_size_um[1:])
        rough = value_noise(self.seed, 2, 0.5 * inner, z, y, x) - 0.5
        rough = rough + 0.4 * (value_noise(self.seed, 3, 0.17 * inner, z, y, x) - 0.5)
        return np.asarray((1.0 - radius + 0.16 * rough) * inner)

    def _anatomy(self, z: Any, y: Any, x: Any) -> tuple[Floats, Floats, Floats]:
        """Tissue brightness, chance of a soma, and share of fibre tract, at places in um."""
        depth = self.depth_um(z, y, x)
        inside = smooth_step(depth / 7.0 + 0.5)
        if not inside.any():
            return inside, inside, inside
        large = value_noise(self.seed, 4, 170.0, z, y, x)
        small = value_noise(self.seed, 5, 34.0, z, y, x)
        tract = smooth_step((value_noise(self.seed, 6, 110.0, z, y, x) - 0.52) * 5.0)
        tract = tract * smooth_step((depth - 55.0) / 20.0)
        hollow = smooth_step((0.27 - large) * 14.0) * smooth_step((depth - 70.0) / 15.0)
        layers = 0.5 + 0.5 * np.sin(depth / 17.0)
        tissue = 0.13 + 0.08 * small + 0.05 * large + 0.09 * tract + 0.025 * layers
        tissue = tissue * (1.0 - 0.9 * hollow) * inside
        crowd = smooth_step(depth / 9.0 - 0.6) * (0.25 + 0.6 * layers) * (1.0 - 0.75 * tract)
        return tissue, crowd * (1.0 - hollow), tract * inside

    # ------------------------------------------------------------------ cells

    def cells(self, low_um: Sequence[float], high_um: Sequence[float]) -> Cells:
        """All somata whose centre lies in a box (low <= centre < high, um), in a fixed order.

        Examples
        --------
        >>> cells = Phantom(seed=1).cells((0, 0, 0), (60, 200, 200))
        >>> cells.centre_um.shape == (len(cells), 3), len(cells) > 20
        (True, True)
        """
        pitch = self.cell_pitch_um
        axes = [
            np.arange(np.floor(lo / pitch), np.floor(hi / pitch) + 1).astype(np.int64)
            for lo, hi in zip(low_um, high_um, strict=True)
        ]
        at = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        draw = functools.partial(self._draw, at)
        # A soma keeps to the middle of its grid cell, so that two never melt into one.
        centre = (at + 0.18 + 0.64 * np.stack([draw(10), draw(11), draw(12)], axis=1)) * pitch
        keep = np.all((centre >= np.asarray(low_um)) & (centre < np.asarray(high_um)), axis=1)
        at, centre = at[keep], centre[keep]
        if not len(at):
            return Cells(centre, np.zeros((0, 3, 3)), np.zeros(0))
        draw = functools.partial(self._draw, at)
        keep = draw(13) < self._anatomy(centre[:, 0], centre[:, 1], centre[:, 2])[1]
        at, centre = at[keep], centre[keep]
        draw = functools.partial(self._draw, at)
        sigma = 1.9 + 1.5 * draw(14) ** 2
        longer = 1.0 + 0.8 * draw(15)
        height, turn = 2.0 * draw(16) - 1.0, 2.0 * np.pi * draw(17)
        flat = np.sqrt(1.0 - height**2)
        along = np.stack([height, flat * np.sin(turn), flat * np.cos(turn)], axis=1)
        stretch = (longer**2 - 1.0)[:, None, None] * along[:, :, None] * along[:, None, :]
        covariance = (sigma**2)[:, None, None] * (np.eye(3) + stretch)
        return Cells(centre, covariance, 0.3 * 6.0 ** draw(18))

    def _draw(self, at: Ints, stream: int) -> Floats:
        return hash_uniform(self.seed, stream, at[:, 0], at[:, 1], at[:, 2])

    # ------------------------------------------------------------------ pictures

    def render(
        self,
        origin_px: Sequence[float],
        shape: Sequence[int],
        *,
        pixel_size_um: Sequence[float] = (1.0, 1.0, 1.0),
        psf_um: Sequence[float] = (1.0, 0.5, 0.5),
        cells: float = 1.0,
        fibres: float = 1.0,
        tissue: float = 1.0,
    ) -> npt.NDArray[np.float32]:
        """Brightness of a box, as a noise-free microscope with a perfect lamp would see it.

        Parameters
        ----------
        origin_px
            Position of the first pixel in z, y, x, in pixels from the phantom's zero; may be
            fractional.
        shape
            Pixels in z, y, x.
        pixel_size_um, psf_um
            Pixel pitch, and standard deviation of the blur of cells and fibres, in z, y, x.
        cells, fibres, tissue
            Brightness of each; the stain, so to say.

        Returns
        -------
        float32 array; glass is about 0.01, tissue 0.2, a bright soma 1 to 2. A pixel at a given
        place has the same bits whichever box it is computed in, as long as the fractions of the
        origins agree.
        """
        if 0 in shape:
            return np.zeros(tuple(shape), dtype=np.float32)
        origin = np.asarray(origin_px, dtype=np.float64)
        pixel = np.asarray(pixel_size_um, dtype=np.float64)
        image = self._tissue(origin, shape, pixel, tissue)
        if image is None:
            return np.full(tuple(shape), _GLASS, dtype=np.float32)
        if fibres:
            image += self._fibres(origin, shape, pixel, np.asarray(psf_um), fibres)
        if cells:
            self._add_cells(image, origin, pixel, np.asarray(psf_um), cells)
        return image

    def _tissue(
        self, origin: Floats, shape: Sequence[int], pixel: Floats, level: float
    ) -> npt.NDArray[np.float32] | None:
        """Smooth tissue plus glass; None when the box holds nothing but glass."""

        def coarse(at: list[Ints]) -> Floats:
            z, y, x = (k * _COARSE_UM for k in at)
            return self._anatomy(z[:, None, None], y[:, None], x)[0]

        def fine(at: list[Ints]) -> Floats:
            return 0.62 + 0.76 * hash_uniform(
                self.seed, 7, at[0][:, None, None], at[1][:, None], at[2]
            )

        image = interpolate_nodes(coarse, tuple(origin), shape, tuple(_COARSE_UM / pixel))
        if not image.any():
            return None
        image *= interpolate_nodes(fine, tuple(origin), shape, tuple(_FINE_UM / pixel))
        image *= np.float32(level)
        image += np.float32(_GLASS)
        return image

    def _fibres(
        self, origin: Floats, shape: Sequence[int], pixel: Floats, psf: Floats, level: float
    ) -> npt.NDArray[np.float32]:
        sigma = np.sqrt(self.fibre_sigma_um**2 + psf**2)
        margin = 4.0 * sigma + self.fibre_pitch_um * 0.5  # curves may leave their cube a little
        step = float(min(sigma.min(), pixel.min() * 1.2))
        low = origin * pixel - margin
        high = (origin + np.asarray(shape)) * pixel + margin
        points, length = fibre_points(
            self.seed, 32, pitch=self.fibre_pitch_um, step=step, density=0.62,
            low=tuple(low), high=tuple(high),
        )  # fmt: skip
        near = np.all((points > low) & (points < high), axis=1)
        points, length = points[near], length[near]
        tissue, _, tract = self._anatomy(points[:, 0], points[:, 1], points[:, 2])
        amount = length * (0.4 + 0.6 * tract) * smooth_step(tissue / 0.1)
        # A straight fibre of brightness 1 has a line density of 2 pi sigma^2 in its cross-section.
        amount *= 2.0 * np.pi * sigma[1] * sigma[2] / float(np.prod(pixel)) * level
        return draw_points(points / pixel, amount, tuple(sigma / pixel), tuple(origin), shape)

    def _add_cells(
        self,
        image: npt.NDArray[np.float32],
        origin: Floats,
        pixel: Floats,
        psf: Floats,
        level: float,
    ) -> None:
        margin = _REACH * np.sqrt(_LARGEST_SIGMA_UM**2 + psf**2) + pixel
        found = self.cells(
            tuple(origin * pixel - margin), tuple((origin + image.shape) * pixel + margin)
        )
        if not len(found):
            return
        blurred = found.covariance_um2 + np.diag(psf**2)
        peak = found.brightness * level
        peak = peak * np.sqrt(np.linalg.det(found.covariance_um2) / np.linalg.det(blurred))
        blurred = blurred / np.outer(pixel, pixel)
        inverse = np.linalg.inv(blurred)
        whole = np.floor(origin)
        centres = found.centre_um / pixel - (origin - whole)
        reach = np.ceil(_REACH * np.sqrt(np.diagonal(blurred, axis1=1, axis2=2))).astype(np.int64)
        corner = whole.astype(np.int64)
        for centre, form, bright, extent in zip(centres, inverse, peak, reach, strict=True):
            first = np.floor(centre).astype(np.int64) - extent
            start = np.maximum(first, corner)
            stop = np.minimum(first + 2 * extent + 2, corner + image.shape)
            if (start >= stop).any():
                continue
            z, y, x = (
                (np.arange(a, b) - c).astype(np.float32)
                for a, b, c in zip(start, stop, centre, strict=True)
            )
            g = form.astype(np.float32)
            plane = g[1, 1] * (y * y)[:, None] + g[2, 2] * (x * x) + 2 * g[1, 2] * np.outer(y, x)
            tilt = 2 * (g[0, 1] * y[:, None] + g[0, 2] * x)
            bell = plane + z[:, None, None] * tilt + (g[0, 0] * z * z)[:, None, None]
            bell *= np.float32(-0.5)
            np.exp(bell, out=bell)
            bell *= np.float32(bright)
            z0, y0, x0 = start - corner
            z1, y1, x1 = stop - corner
            image[z0:z1, y0:y1, x0:x1] += bell
