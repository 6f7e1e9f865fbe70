"""The stages of a stitching, as they are added to a project.

::

    source ─┬─ pairs ──── links ── places ─┐                      each tile, then all of them
            ├─ glimpses ─ dark ─── light ──┼─ seams ── levels     the same, of the light
            └──────────────────────────────┴─ settled ── volume ── image
                                                         each block, then all of them
"""

import hashlib
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import StoreError
from latticework.lattice.lattice import Lattice
from latticework.project.project import Project
from latticework.stages.params import restore
from latticework.stages.reads import all_tiles, intersecting
from latticework.stitch.block_units import (
    VolumePlan,
    damaged,
    finish_image,
    fuse_unit,
)
from latticework.stitch.comparing import (
    compare_tile,
    judge_links,
    next_tiles,
    place_tiles,
    with_places,
)
from latticework.stitch.images import MAKING_OF, check_replaceable, in_the_making, plan_of
from latticework.stitch.light import (
    TILES,
    Even,
    estimate_dark,
    estimate_light,
    given_light,
    glimpse,
)
from latticework.stitch.placement import Placement
from latticework.stitch.seams import level_tiles, measure_seams
from latticework.stitch.settings import Settings, across_of

if TYPE_CHECKING:
    import pandas as pd

MEASURING = (
    *("pairs", "links", "places", "glimpses", "dark", "light", "seams", "levels", "settled"),
)
"""Stages up to where it is known where all tiles lie."""
REACH_PX = 3
"""Pixels beyond a block that interpolation may ask for."""
MAKING = ("volume", "image")
"""Stages that make the volume."""


def kept_picture(project: Project, picture: np.ndarray) -> str:
    """A file of a picture, in the project, named after what it shows."""
    digest = hashlib.blake2b(picture.tobytes(), digest_size=8).hexdigest()
    file = project.path / "plans" / f"light-{digest}.npy"
    file.parent.mkdir(exist_ok=True)
    new = file.with_name(f".{file.stem}.{os.getpid()}.npy")
    np.save(new, picture)
    new.replace(file)  # also one that is there: a full disk may have cut it short
    return str(file)


def beyond_of(project: Project) -> dict[str, list[float]]:
    """How far beyond their nominal places the pairs of a project are looked for."""
    if "pairs" not in project.stages:
        return {}
    given = project.pipeline["pairs"].definition["params"].get("beyond", {})
    return dict(restore("beyond", given))


def add_measuring(project: Project, settings: Settings) -> None:
    """Add the stages up to where it is known where all tiles lie, and how bright they are."""
    lattice, source, every = project.lattice, project.source, all_tiles(missing="run")
    across = across_of(settings)
    strips, beside = next_tiles(lattice, across), next_tiles(lattice)
    seen = {"channel": settings.channel}
    reach = None if settings.reach is None else list(settings.reach)
    look = {**seen, "reach": reach, "beyond": beyond_of(project)}
    pairs = project.add(compare_tile, name="pairs", reads=strips, params=look, numpy=True)
    held = {"anchors": dict(settings.anchors)}
    by_hand = {"corrections": list(settings.corrections), "across": across, **held}
    links = project.add(judge_links, name="links", after=pairs, reads=every, params=by_hand)
    places = project.add(place_tiles, name="places", after=[pairs, links], reads=every, params=held)
    sample = {"every": max(1, len(lattice) // TILES)}
    glimpses = project.add(glimpse, name="glimpses", reads=beside, params=sample, numpy=True)
    given = {"given": settings.dark}
    dark = project.add(estimate_dark, name="dark", after=glimpses, reads=every, params=given)
    parents = [source, places, dark]
    if settings.light != "no" and lattice.shapes is None:
        read: dict[str, Any] = {"name": "light", "after": [glimpses, dark], "reads": every}
        if settings.picture is None:
            parents.append(project.add(estimate_light, **read))
        else:
            picture = {"file": settings.picture}
            parents.append(project.add(given_light, params=picture, **read))
    seams = project.add(
        measure_seams,
        name="seams",
        after=parents,
        reads={"source": beside},
        params=seen,
        numpy=True,
    )
    levels = project.add(
        level_tiles,
        name="levels",
        after=[places, links, seams, dark],
        reads=every,
        params={**seen, "light": settings.light, "gains": settings.gains},
    )
    project.add(settle, name="settled", after=[places, levels], reads=every)


def settle(places: "pd.DataFrame", levels: "pd.DataFrame") -> dict[str, str]:
    """A hash of where the tiles lie and how bright they are; a reduction."""
    digest = hashlib.blake2b(digest_size=8)
    for table in (places, levels):
        digest.update(table.to_csv(index=False, float_format="%.6g").encode())
    return {"key": digest.hexdigest()}


def planned(project: Project, settings: Settings, image: Path, asked: str = "") -> VolumePlan:
    """The plan of the volume, from what was measured."""
    levels = project["levels"].data
    lattice = with_places(project.lattice, project["places"].data)
    gains = np.ones(len(lattice))
    gains[lattice.rows_of(levels["id"].to_numpy(np.int64))] = levels["gain"].to_numpy("f8")
    light, pivot = None, float(levels["pivot"].iloc[0])
    if bool(levels["even"].iloc[0]):
        light = np.asarray(project["light"].data, np.float32)
        light = light if "c" in lattice.tile_dims else light[0]
    even = Even(light, tuple(map(float, project["dark"].data["dark"])), pivot)
    return VolumePlan(
        *(lattice.replace(source=None), image, gains, even),
        *(settings.blend, settings.version, settings.block, settings.fusing),
        channel=settings.channel,
        pixels=pixels_of(project.lattice),
        asked=asked,
    )


def pixels_of(lattice: Lattice) -> str:
    """A hash of which files, of which state, the pixels of a lattice come from."""
    prints = None if lattice.source is None else lattice.source.fingerprints()
    return hashlib.blake2b(np.ascontiguousarray(prints).tobytes(), digest_size=8).hexdigest()


def prepare(project: Project, plan: VolumePlan, *, overwrite: bool) -> bool:
    """See to it that the blocks of a plan can be written, and that those that are gone are again.

    Returns
    -------
    bool
        Whether there is something to be done: not if the image is there already.

    Raises
    ------
    StoreError
        If there is something else where the image belongs.
    """
    image = plan.image
    if image.exists():
        if plan_of(image) == plan.key:
            return False
        if not overwrite:
            raise taken(image)
        check_replaceable(image)
    for other in in_the_making(image):
        if other != plan.part:
            shutil.rmtree(other, ignore_errors=True)  # of a plan that is none any more
    if not plan.pyramid.begun:
        shutil.rmtree(plan.part, ignore_errors=True)
        plan.pyramid.begin({"latticework": {MAKING_OF: plan.key}})
        if "volume" in project.stages:
            project.retry("volume", failed=False)
    add_making(project, plan)
    if project.counts["volume"].get("complete"):
        table = project["volume"].data
        for name, files in zip(table["tile"], table["files"], strict=True):
            if damaged(plan.part, files):
                project.retry("volume", str(name), failed=False)
    return True


def taken(image: Path, other: str = "") -> StoreError:
    """That there is another image already, and what else there is."""
    also = f". To replace it takes another project, too: {other}" if other else ""
    return StoreError(
        f"{image} exists, and is not what these tiles and options give: remove it, allow it to be "
        f"replaced (overwrite=True), or choose another name{also}"
    )


def add_making(project: Project, plan: VolumePlan) -> None:
    """Add the stages that make the volume."""
    settled = project["settled"].data["key"]
    path = str(plan.save(project.path / "plans" / settled))
    blocks = plan.blocks()
    volume = project.add(
        fuse_unit,
        name="volume",
        after=[project.source, "settled"],
        reads={"source": intersecting(blocks, missing="run")},
        overlap=_margin(project.lattice, plan.lattice, blocks),
        params={"plan": path},
        numpy=True,
    )
    project.add(finish_image, name="image", after=volume, reads=all_tiles(), params={"plan": path})


def _margin(nominal: Lattice, placed: Lattice, blocks: Lattice) -> dict[str, int]:
    """Pixels around a block within which, nominally, every tile lies that meets it."""
    moved = np.abs(placed.position_um - nominal.position_um).max(axis=0, initial=0.0)
    by_axis = dict(zip(placed.spatial_dims, moved.tolist(), strict=True))
    return {
        axis: REACH_PX
        + math.ceil((by_axis[axis] + placed.pixel_size_um[axis]) / blocks.pixel_size_um[axis])
        for axis in blocks.spatial_dims
    }


def placement_in(project: Project) -> Placement:
    """Where the tiles of a project lie, those among them that could not be read."""
    import pandas as pd

    places, lattice = project["places"].data, project.lattice
    placed = with_places(lattice, places)
    tiles = places.rename(columns={"id": "tile"})
    left = np.setdiff1d(lattice.ids, places["id"].to_numpy(np.int64))
    if len(left):
        rows = lattice.rows_of(left)
        about = {"tile": left, "name": lattice.names[rows], "links": 0, "placed_by": "neighbours"}
        moved = (placed.position_um - lattice.position_um)[rows]
        for k, axis in enumerate(lattice.spatial_dims):
            about[f"moved_{axis}_px"] = moved[:, k] / lattice.pixel_size_um[axis]
            about[f"position_{axis}_um"] = placed.position_um[rows, k]
        about["group"] = tiles["group"].max() + 1 + np.arange(len(left)) if len(tiles) else 0
        more = pd.DataFrame({name: about[name] for name in tiles.columns if name in about})
        tiles = pd.concat([tiles, more], ignore_index=True)
    return Placement(placed, tiles, project["links"].data)


__all__ = [
    "MAKING",
    "MEASURING",
    "add_making",
    "add_measuring",
    "beyond_of",
    "kept_picture",
    "pixels_of",
    "placement_in",
    "planned",
    "prepare",
    "taken",
]
