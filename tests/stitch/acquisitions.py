"""Acquisitions with known truth, of many kinds: what tiles show, how the stage and camera err.

A kind is a function of a random generator; it gives an `Acquisition`. `KINDS` names them all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from latticework.lattice import Lattice


class Tiles:
    """Arrays in memory as a source."""

    def __init__(self, arrays):
        self.arrays = arrays

    def read(self, tile, box):
        return self.arrays[tile][box.slices]

    def fingerprints(self):
        return np.arange(len(self.arrays), dtype="u8")


def lattice_of(arrays, places, nominal):
    """A lattice over arrays at (row, column) `places`, nominally at pixels `nominal`."""
    dims = "zyx"[-arrays[0].ndim :]
    return Lattice(
        dims=("tile_y", "tile_x"),
        labels={
            dim: np.arange(1 + max(place[k] for place in places))
            for k, dim in enumerate(("tile_y", "tile_x"))
        },
        index=np.array(places),
        tile_dims=dims,
        tile_shape=arrays[0].shape,
        dtype=arrays[0].dtype,
        pixel_size_um=dict.fromkeys(dims, 1.0),
        position_um=np.asarray(nominal, float),
        source=Tiles(arrays),
    )


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Tiles, and where they truly are."""

    lattice: Lattice
    truth: np.ndarray
    """In pixels; shape (tiles, dims)."""
    blank: tuple[int, ...] = ()
    """Tiles that show nothing of the specimen."""


# ------------------------------------------------------------------ where tiles lie


@dataclass(frozen=True, slots=True)
class Stage:
    """A grid as it is said to be, and as it is."""

    grid: tuple[int, int]
    size: tuple[int, ...]
    overlap: float = 0.1
    """Share of a tile's side; nominal."""
    true_overlap: float | None = None
    """What it really is, if another."""
    jitter: tuple[float, ...] = (3.0, 3.0)
    """Largest error of the stage, along each dim."""
    angle: float = 0.0
    """Of the camera, in degrees."""
    backlash: tuple[float, float] = (0.0, 0.0)
    """By which odd rows are shifted."""
    whole: bool = False
    """Whether all lies on whole pixels."""
    leave_out: tuple[tuple[int, int], ...] = ()

    def places(self):
        return [at for at in np.ndindex(*self.grid) if at not in self.leave_out]

    def positions(self, rng):
        """Nominal and true positions, in pixels."""
        places = np.array(self.places(), float)
        plane = np.array(self.size[-2:], float)
        nominal = np.rint(plane * (1 - self.overlap)) * places
        over = self.overlap if self.true_overlap is None else self.true_overlap
        true = plane * (1 - over) * places
        angle = np.deg2rad(self.angle)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        true = true @ turn.T
        true[places[:, 0] % 2 == 1] += self.backlash
        if len(self.size) == 3:
            nominal, true = (np.insert(a, 0, 0.0, axis=1) for a in (nominal, true))
        true = true + rng.uniform(-1, 1, true.shape) * self.jitter
        return nominal, np.rint(true) if self.whole else true


def shown(scene, truth, size):
    """What tiles at `truth` show of a scene, as floats; and how the scene has to be placed."""
    low = np.floor(truth.min(axis=0)) - 8
    for at in truth:
        start = at - low
        first = np.floor(start).astype(int)
        box = tuple(slice(a - 6, a + n + 7) for a, n in zip(first, size, strict=True))
        piece = scene[box]
        assert piece.shape == tuple(n + 13 for n in size), (scene.shape, at, size)
        between = start - first
        if between.any():
            piece = ndimage.shift(piece, -between, order=5, mode="mirror")
        yield piece[tuple(slice(6, 6 + n) for n in size)]


def room(truth, size):
    """Shape of a scene that all tiles lie in."""
    return tuple(int(n) for n in np.ceil(np.ptp(truth, axis=0)).astype(int) + np.array(size) + 24)


def camera(
    views,
    rng,
    *,
    noise=6.0,
    offset=100.0,
    gains=None,
    shading=0.0,
    fixed=None,
    top=65535,
    dtype="u2",
    photons=0.0,
):
    """Counts of what a camera is shown, view by view, each with noise of its own."""
    arrays = []
    for k, view in enumerate(views):
        y, x = (np.linspace(-1, 1, n) for n in view.shape[-2:])
        lamp = 1 - shading * (y[:, None] ** 2 + x**2) / 2
        light = view * lamp * (1.0 if gains is None else gains[k])
        if photons:
            light = light + rng.normal(size=view.shape) * np.sqrt(np.maximum(light, 0) * photons)
        counts = light + offset + rng.normal(0, noise, view.shape)
        if fixed is not None:
            counts = counts * fixed[0] + fixed[1]
        if np.dtype(dtype).kind == "f":
            arrays.append(counts.astype(dtype))
        else:
            arrays.append(np.clip(np.rint(counts), 0, top).astype(dtype))
    return arrays


# ------------------------------------------------------------------ what there is to see


def texture(shape, rng, *, blur=1.5, level=800, contrast=300):
    """Something everywhere."""
    fine = ndimage.gaussian_filter(rng.normal(size=shape).astype("f4"), blur)
    return np.clip(level + contrast * fine / fine.std(), 0, None)


def blobs(shape, rng, number, *, sigma=(3.0, 5.0), bright=(300, 1500), level=100.0, squash=1.0):
    """Nuclei: Gaussian balls of many sizes on an even ground; `squash` shortens them in z."""
    scene = np.full(shape, level, "f4")
    for _ in range(number):
        width = rng.uniform(*sigma) * np.ones(len(shape))
        if len(shape) == 3:
            width[0] *= squash
        place = rng.uniform(0, shape)
        box = tuple(
            slice(max(int(c - 4 * s), 0), min(int(c + 4 * s) + 2, n))
            for c, s, n in zip(place, width, shape, strict=True)
        )
        grids = np.ogrid[box]
        distance = sum(((g - c) / s) ** 2 for g, c, s in zip(grids, place, width, strict=True))
        scene[box] += rng.uniform(*bright) * np.exp(-distance / 2)
    return scene


def phase_contrast(shape, rng, per_megapixel=60, *, contrast=1.0):
    """Few thin cells, bright or dark, with halos, on an even ground."""
    scene = np.zeros(shape, "f4")
    for _ in range(int(per_megapixel * np.prod(shape) / 1e6)):
        y, x = rng.uniform(0, shape)
        angle, length = rng.uniform(0, np.pi), rng.uniform(12, 40)
        reach = int(length + 30)
        box = tuple(
            slice(max(int(c) - reach, 0), min(int(c) + reach, n))
            for c, n in zip((y, x), shape, strict=True)
        )
        grid_y, grid_x = np.ogrid[box]
        along = (grid_y - y) * np.sin(angle) + (grid_x - x) * np.cos(angle)
        across = (grid_y - y) * np.cos(angle) - (grid_x - x) * np.sin(angle)
        across = across + 0.01 * along**2 * rng.normal(0, 0.5)
        end = np.exp(-((along / length) ** 4))
        body = np.exp(-((across / rng.uniform(2, 4)) ** 2)) * end
        halo = np.exp(-((across / 9) ** 2)) * end
        sign = 1 if rng.random() < 0.6 else -1
        scene[box] += sign * rng.uniform(150, 600) * (body - 0.4 * halo)
    return 1500 + contrast * scene


# ------------------------------------------------------------------ kinds


def _plain(rng, stage, make, **how):
    """Tiles of a scene that `make` makes."""
    nominal, truth = stage.positions(rng)
    scene = make(room(truth, stage.size), rng)
    arrays = camera(shown(scene, truth, stage.size), rng, **how)
    return Acquisition(lattice_of(arrays, stage.places(), nominal), truth)


def sparse(rng, *, whole=False, backlash=(0.0, 6.0), per_megapixel=60, **more):
    stage = Stage((5, 5), (500, 500), 0.06, backlash=backlash, whole=whole, **more)
    return _plain(
        rng, stage, lambda shape, r: phase_contrast(shape, r, per_megapixel), shading=0.3, noise=15
    )


def sparse_8bit(rng):
    stage = Stage((5, 5), (500, 500), 0.06, backlash=(0.0, 6.0))
    return _plain(
        rng,
        stage,
        lambda shape, r: phase_contrast(shape, r, 80) / 15,
        shading=0.3,
        noise=1.0,
        offset=5,
        top=255,
        dtype="u1",
    )


def noise_in_3d(rng, *, where=(0, 4, 5), size=(24, 160, 160), whole=True):
    stage = Stage((3, 3), size, 0.15, jitter=(2, 4, 4), whole=whole)
    nominal, truth = stage.positions(rng)
    shape = room(truth, size)
    scene = blobs(shape, rng, int(np.prod(shape) / 900), squash=0.6)
    views = [
        np.full(size, 100.0) if k in where else view
        for k, view in enumerate(shown(scene, truth, size))
    ]
    arrays = camera(views, rng, noise=12, photons=2.0)
    return Acquisition(lattice_of(arrays, stage.places(), nominal), truth, tuple(where))


def rotated(rng, angle, *, grid=(4, 4), side=512, make=texture, overlap=0.1, **how):
    stage = Stage(grid, (side, side), overlap, angle=angle)
    return _plain(rng, stage, make, **how)


def fraction_3d(rng, *, size=(24, 160, 160), squash=0.6, number=900, overlap=0.15, **how):
    stage = Stage((2, 3), size, overlap, jitter=(2, 4, 4))
    return _plain(
        rng,
        stage,
        lambda shape, r: blobs(shape, r, int(np.prod(shape) / number), squash=squash),
        **{"noise": 12, "photons": 2.0, **how},
    )


def binned_3d(rng, *, size=(20, 120, 120), fine=3):
    """Made on a finer grid and binned: edges as sharp as a camera shows them."""
    stage = Stage((2, 2), size, 0.2, jitter=(2, 4, 4))
    nominal, truth = stage.positions(rng)
    truth = np.round(truth * fine) / fine
    low = np.floor(truth.min(axis=0)) - 2
    shape = tuple(
        int(n) for n in fine * (np.ceil(np.ptp(truth, axis=0)).astype(int) + np.array(size) + 8)
    )
    scene = blobs(
        shape, rng, int(np.prod(shape) / fine**3 / 700), sigma=(1.5 * fine, 4 * fine), squash=0.6
    )
    views = []
    for at in truth:
        start = np.rint((at - low) * fine).astype(int)
        piece = scene[tuple(slice(a, a + fine * n) for a, n in zip(start, size, strict=True))]
        cells = piece.reshape([k for n in size for k in (n, fine)])
        views.append(cells.mean(axis=(1, 3, 5)))
    arrays = camera(views, rng, noise=10, photons=2.0)
    return Acquisition(lattice_of(arrays, stage.places(), nominal), truth)


def weave(shape, rng, period=11.0, spots=0):
    y, x = np.indices(shape, "f4")
    scene = 900 + 300 * np.sin(2 * np.pi * y / period) * np.sin(2 * np.pi * x / period)
    if spots:
        scene += blobs(shape, rng, spots, sigma=(2, 3), level=0)
    return scene


def beads(shape, _rng, period=13.0):
    y, x = np.indices(shape, "f4")
    near = [(g + period / 2) % period - period / 2 for g in (y, x)]
    return 200 + 1500 * np.exp(-(near[0] ** 2 + near[1] ** 2) / (2 * 1.8**2))


def periodic(rng, make, *, grid=(3, 4), jitter=(4.0, 4.0), **how):
    stage = Stage(grid, (256, 256), 0.12, jitter=jitter)
    return _plain(rng, stage, make, **how)


def fixed_pattern(rng, *, make=None, empty=False):
    """Hot pixels, dust and a vignette that stand still on the camera."""
    size = (400, 400)
    stage = Stage((4, 4), size, 0.1)
    gain = 1 + 0.03 * rng.normal(size=size)
    for _ in range(12):
        y, x = rng.uniform(0, 400, 2)
        grid_y, grid_x = np.ogrid[:400, :400]
        ring = np.hypot(grid_y - y, grid_x - x)
        gain *= 1 - 0.3 * np.exp(-((ring - rng.uniform(4, 12)) ** 2) / 8)
    hot = np.where(rng.random(size) < 0.001, rng.uniform(200, 3000, size), 0.0)
    make = make or (lambda shape, r: blobs(shape, r, int(np.prod(shape) / 6000), sigma=(2, 4)))
    nominal, truth = stage.positions(rng)
    scene = make(room(truth, size), rng)
    if empty:
        scene = np.full_like(scene, 800.0)
    arrays = camera(
        shown(scene, truth, size), rng, noise=8, shading=0.6, fixed=(gain, hot), photons=1.0
    )
    return Acquisition(lattice_of(arrays, stage.places(), nominal), truth)


def debris(rng):
    """Glaring specks that saturate the camera."""

    def make(shape, r):
        scene = texture(shape, r, contrast=100)
        return scene + blobs(shape, r, 60, sigma=(4, 12), bright=(60000, 300000), level=0)

    return _plain(rng, Stage((4, 4), (300, 300), 0.12), make, noise=8)


def moving(rng, share=0.25):
    """Cells that swim: in a quarter of the tiles they are elsewhere."""
    stage = Stage((4, 4), (320, 320), 0.12)
    nominal, truth = stage.positions(rng)
    shape = room(truth, stage.size)
    scene = texture(shape, rng, contrast=60)
    views = []
    for view in shown(scene, truth, stage.size):
        swim = blobs(stage.size, rng, 30 if rng.random() < share else 0, sigma=(3, 6), level=0)
        views.append(view + swim)
    arrays = camera(views, rng, noise=10)
    return Acquisition(lattice_of(arrays, stage.places(), nominal), truth)


def slipped(rng, by=(35.0, -35.0)):
    """One tile lies elsewhere than all others would have it."""
    stage = Stage((4, 4), (400, 400), 0.2)
    nominal, truth = stage.positions(rng)
    truth[5] += by
    scene = texture(room(truth, stage.size), rng)
    arrays = camera(shown(scene, truth, stage.size), rng)
    return Acquisition(lattice_of(arrays, stage.places(), nominal), truth)


def gains(rng, *, offset=100.0, overlap=0.1):
    stage = Stage((4, 4), (256, 256), overlap)
    factors = rng.uniform(0.5, 2.0, 16)
    return _plain(rng, stage, texture, gains=factors, offset=offset)


def flat(rng):
    stage = Stage((3, 3), (200, 200), 0.1)
    return _plain(rng, stage, lambda shape, _: np.full(shape, 500.0), noise=20)


def half_empty(rng):
    """A section with glass around it."""

    def make(shape, r):
        y, x = (np.linspace(-1, 1, n) for n in shape)
        inside = y[:, None] ** 2 + x**2 < 0.55
        edge = ndimage.gaussian_filter(inside.astype("f4"), 3)
        return 50 + edge * texture(shape, r, level=400, contrast=120)

    return _plain(rng, Stage((6, 6), (300, 300), 0.1, angle=0.6), make, noise=12, shading=0.4)


def _blobs(share):
    return lambda shape, r: blobs(shape, r, int(np.prod(shape) / share), sigma=(2, 5))


KINDS: dict[str, Callable[[np.random.Generator], Acquisition]] = {
    "sparse": sparse,
    "sparse whole": lambda r: sparse(r, whole=True),
    "sparse dense": lambda r: sparse(r, per_megapixel=200),
    "sparse rare": lambda r: sparse(r, per_megapixel=30),
    "sparse no backlash": lambda r: sparse(r, backlash=(0.0, 0.0), jitter=(5.0, 5.0)),
    "sparse 8 bit": sparse_8bit,
    "noise in 3-D": noise_in_3d,
    "noise in 3-D, others": lambda r: noise_in_3d(r, where=(1, 3, 8), whole=False),
    "noise in 3-D, centre": lambda r: noise_in_3d(r, where=(2, 4, 6), whole=False),
    **{
        f"rotated {angle}": (lambda r, angle=angle: rotated(r, angle))
        for angle in (0.3, 1.0, -2.0, 3.0)
    },
    "rotated 3, blobs": lambda r: rotated(r, 3.0, make=_blobs(4000), shading=0.4),
    "rotated 2, 5 %": lambda r: rotated(r, 2.0, overlap=0.06, make=_blobs(4000)),
    "rotated 3, large": lambda r: rotated(r, 3.0, grid=(2, 3), side=1024, make=_blobs(9000)),
    "rotated 1.5, phase": lambda r: rotated(
        r, 1.5, make=lambda s, q: phase_contrast(s, q, 150), shading=0.3, noise=12
    ),
    "fraction 3-D": fraction_3d,
    "fraction 3-D, noisy": lambda r: fraction_3d(r, noise=40, photons=10.0),
    "fraction 3-D, z step 5x": lambda r: fraction_3d(r, squash=0.2),
    "fraction 3-D, few": lambda r: fraction_3d(r, number=6000),
    "fraction 3-D, 8 %": lambda r: fraction_3d(r, overlap=0.08),
    "small 3-D": lambda r: fraction_3d(r, size=(14, 90, 90), number=1500),
    "binned 3-D": binned_3d,
    "weave": lambda r: periodic(r, weave),
    "weave with spots": lambda r: periodic(r, lambda s, q: weave(s, q, spots=120)),
    "weave, fine": lambda r: periodic(r, lambda s, q: weave(s, q, period=6.0)),
    "weave, wide": lambda r: periodic(r, lambda s, q: weave(s, q, period=21.0)),
    "beads": lambda r: periodic(r, beads),
    "beads, large grid": lambda r: periodic(r, beads, grid=(6, 6)),
    "beads, shaded": lambda r: periodic(r, beads, shading=0.5, gains=r.uniform(0.7, 1.4, 12)),
    "stripes": lambda r: periodic(
        r, lambda s, _: 900 + 300 * np.sin(2 * np.pi * np.indices(s, "f4")[1] / 12)
    ),
    "holes": lambda r: _plain(
        r, Stage((4, 4), (256, 256), 0.1, leave_out=((0, 1), (1, 1), (2, 3), (3, 2))), texture
    ),
    "1 x 6": lambda r: _plain(r, Stage((1, 6), (256, 256), 0.1), texture),
    "6 x 1": lambda r: _plain(r, Stage((6, 1), (256, 256), 0.1, angle=1.0), texture),
    "one tile": lambda r: _plain(r, Stage((1, 1), (64, 64), 0.1), texture),
    "gains": gains,
    "gains, offset 0": lambda r: gains(r, offset=0.0),
    "gains, offset 2000": lambda r: gains(r, offset=2000.0),
    **{
        f"overlap {over}": (
            lambda r, over=over: _plain(r, Stage((3, 3), (400, 400), over), texture)
        )
        for over in (0.02, 0.04, 0.3, 0.6)
    },
    "overlap 0.03, blobs": lambda r: _plain(r, Stage((4, 4), (400, 400), 0.03), _blobs(2000)),
    "overlap 0.6, blobs": lambda r: _plain(r, Stage((3, 3), (400, 400), 0.6), _blobs(8000)),
    "step 10 % is 15 %": lambda r: _plain(
        r, Stage((4, 4), (512, 512), 0.1, true_overlap=0.15), texture
    ),
    "step 10 % is 6 %": lambda r: _plain(
        r, Stage((4, 4), (512, 512), 0.1, true_overlap=0.06), _blobs(4000)
    ),
    "step 15 % is 10 %": lambda r: _plain(
        r, Stage((4, 4), (512, 512), 0.15, true_overlap=0.1), _blobs(4000)
    ),
    "fixed pattern": fixed_pattern,
    "fixed pattern, empty": lambda r: fixed_pattern(r, empty=True),
    "fixed pattern, faint": lambda r: fixed_pattern(
        r, make=lambda s, q: texture(s, q, level=600, contrast=25)
    ),
    "debris": debris,
    "moving": moving,
    "slipped 50": slipped,
    "slipped 12": lambda r: slipped(r, by=(8.0, -9.0)),
    "backlash": lambda r: _plain(
        r, Stage((5, 5), (256, 256), 0.12, backlash=(1.0, 9.0), jitter=(1, 1)), texture
    ),
    "backlash, blobs": lambda r: _plain(
        r, Stage((5, 5), (400, 400), 0.08, backlash=(0.5, 7.0), jitter=(1, 1)), _blobs(12000)
    ),
    "small": lambda r: _plain(r, Stage((6, 6), (64, 64), 0.2, jitter=(2, 2)), texture),
    "small, 10 %": lambda r: _plain(r, Stage((6, 6), (64, 64), 0.1, jitter=(2, 2)), _blobs(150)),
    "large": lambda r: _plain(r, Stage((1, 3), (2048, 2048), 0.05, jitter=(8, 8)), _blobs(20000)),
    "8 bit": lambda r: _plain(
        r,
        Stage((3, 3), (256, 256), 0.1),
        lambda s, q: _blobs(1500)(s, q) / 12,
        noise=1.5,
        offset=4,
        top=255,
        dtype="u1",
    ),
    "float": lambda r: _plain(
        r,
        Stage((3, 3), (256, 256), 0.1),
        lambda s, q: _blobs(1500)(s, q) / 3000,
        noise=0.01,
        offset=0.0,
        dtype="f4",
    ),
    "noise alone": flat,
    "half empty": half_empty,
    "large jitter": lambda r: _plain(
        r, Stage((4, 4), (400, 400), 0.2, jitter=(10.0, 10.0)), texture
    ),
    "very noisy": lambda r: _plain(
        r, Stage((4, 4), (300, 300), 0.12), lambda s, q: texture(s, q, contrast=40), noise=80
    ),
}
"""All kinds by name."""
