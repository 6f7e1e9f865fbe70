"""What is refused before any work: tiles that cannot be one volume, settings that do not fit."""

from pathlib import Path

import numpy as np

from latticework.errors import LatticeError, StoreError
from latticework.lattice.lattice import Lattice
from latticework.project.creating import differences
from latticework.project.project import Project
from latticework.stages.paths import project_file
from latticework.stitch.fusing import check_pixels, pyramid_of
from latticework.stitch.fusion_plan import FusionPlan
from latticework.stitch.light import fitting_light
from latticework.stitch.settings import Settings
from latticework.stitch.views import check_views
from latticework.stitch.volumes import check_density

TIFF = (".tif", ".tiff", ".btf")
OTHER_KINDS = (*TIFF, ".png", ".jpg", ".jpeg", ".h5", ".hdf5", ".ims", ".n5", ".nrrd")
"""Endings of files that are no OME-Zarr image."""


def fitting_name(image: Path) -> Path | None:
    """The name of the image that is made, where this one promises another kind of file."""
    if image.suffix.lower() not in OTHER_KINDS:
        return None
    return image.with_name(f"{image.name.removesuffix(image.suffix).removesuffix('.ome')}.ome.zarr")


def check_name(image: Path) -> None:
    """Refuse names that promise another kind of file than the folder that is made.

    Raises
    ------
    StoreError
        That says what to name it.
    """
    fitting = fitting_name(image)
    if fitting is None:
        return
    then = ""
    if image.suffix.lower() in TIFF:
        then = "; of that, latticework.io.to_ome_tiff makes one TIFF file"
    raise StoreError(
        f"{image} ends in {image.suffix}, but the image is a folder of OME-Zarr: name it "
        f"{fitting.name}{then}"
    )


def of_another(path: Path, lattice: Lattice) -> str:
    """That there is a project of another acquisition, and what to do; empty if there is none."""
    if not project_file(path).exists():
        return ""
    tiles = lattice.replace(ids=None) if lattice.shuffled else lattice  # as a project has them
    different = differences(Project(path).lattice, tiles)
    if not different:
        return ""
    return (
        f"the project at {path} is of another acquisition than the one given: it has "
        f'{"; ".join(different)}. Give another one (project="OTHER.lw"), or remove that one'
    )


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


__all__ = ["check_lattice", "check_light", "check_name", "of_another"]
