"""What is refused before any work: tiles that cannot be one volume, settings that do not fit."""

from pathlib import Path

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.lattice import Lattice
from latticework.stitch.fusing import check_pixels, pyramid_of
from latticework.stitch.fusion_plan import FusionPlan
from latticework.stitch.light import fitting_light
from latticework.stitch.settings import Settings
from latticework.stitch.views import check_views
from latticework.stitch.volumes import check_density


def check_lattice(lattice: Lattice, settings: Settings) -> None:
    """Refuse what cannot be one volume, and settings that do not fit it.

    Raises
    ------
    LatticeError
        If tiles cannot be one volume, or a setting is out of range.
    """
    check_pixels(lattice)
    plan = FusionPlan.of(lattice, **settings.fusing)
    check_views(lattice, settings.fusing["merge"], settings.blend)
    count = lattice.tile_shape.get("c", 1)
    if not 0 <= settings.channel < count:
        raise LatticeError(f"channel={settings.channel}: the tiles have channels 0 to {count - 1}")
    dims = [dim for dim in lattice.tile_dims if dim != "c"]
    reach = settings.reach
    if reach is not None and (len(reach) != len(dims) or not all(0 < r < 1e5 for r in reach)):
        raise LatticeError(f"reach={reach}: give pixels, above 0, along {', '.join(dims)}")
    sides = settings.block
    if sides is not None and (len(sides) != len(plan.dims) or min(sides) < 1):
        raise LatticeError(f"block={sides}: give pixels, above 0, along {', '.join(plan.dims)}")
    check_density(plan)
    pyramid_of(plan, Path("planned"), block=sides, version=settings.version)  # which it checks


def check_light(lattice: Lattice, settings: Settings, picture: np.ndarray | None) -> None:
    """Refuse to take out light where that cannot be done.

    Raises
    ------
    LatticeError
        If tiles are of several sizes.
    StageError
        If the picture of an even specimen does not fit the tiles.
    """
    if settings.light == "yes" and lattice.shapes is not None:
        shapes, counts = np.unique(lattice.shapes, axis=0, return_counts=True)
        other = shapes[counts.argmin()].tolist()
        row = int(np.flatnonzero((lattice.shapes == other).all(axis=1))[0])
        usual = " x ".join(map(str, shapes[counts.argmax()].tolist()))
        raise LatticeError(
            f"tile {lattice.names[row]} has {' x '.join(map(str, other))} pixels and others "
            f"{usual}: uneven light is taken out of tiles of one size only. Say light='no' "
            "(--light no), or correct them first with latticework.stages.ready.correct_flatfield"
        )
    if picture is not None:
        sizes = lattice.tile_shape
        fitting_light(picture, sizes.get("c", 1), (sizes["y"], sizes["x"]))


__all__ = ["check_lattice", "check_light"]
