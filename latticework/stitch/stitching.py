"""From tiles to a volume in one call, as stages of a project.

::

    source ─┬─ pairs ──── links ── places ─┐                      each tile, then all of them
            ├─ glimpses ─ dark ─── light ──┼─ seams ── levels     the same, of the light
            └──────────────────────────────┴─ settled ── volume ── image
                                                         each block, then all of them

The volume's blocks are known when the tiles' places are, so the project runs twice: up to
``settled``, and then the rest. Everything that is done is kept: the same call goes on after
Ctrl-C, a crash or a power cut.
"""

import hashlib
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from latticework.errors import ProjectError, StoreError
from latticework.io.open_tiles import open_tiles
from latticework.io.pyramid import Version
from latticework.lattice.lattice import Lattice
from latticework.project.creating import create
from latticework.project.project import Project
from latticework.stages.params import restore
from latticework.stages.reads import all_tiles, intersecting
from latticework.stitch.blending import BLENDS, Blend
from latticework.stitch.block_units import VolumePlan, finish_image, fuse_unit, plan_of
from latticework.stitch.comparing import (
    candidates_of,
    compare_tile,
    judge_links,
    next_tiles,
    place_tiles,
    with_places,
)
from latticework.stitch.corrections import anchors_of, corrected_rows
from latticework.stitch.far_pairs import farther
from latticework.stitch.fusing import check_pixels
from latticework.stitch.fusion_plan import FusionPlan
from latticework.stitch.light import (
    TILES,
    Even,
    estimate_dark,
    estimate_light,
    given_light,
    glimpse,
)
from latticework.stitch.placement import Placement
from latticework.stitch.resampling import Interpolation
from latticework.stitch.seams import level_tiles, measure_seams
from latticework.stitch.tiles import overlapping
from latticework.stitch.views import check_views

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.summary import RunSummary

Choice = Literal["auto", "yes", "no"]
MEASURING = (
    *("pairs", "links", "places", "glimpses", "dark", "light", "seams", "levels", "settled"),
)
"""Stages up to where it is known where all tiles lie."""
REACH_PX = 3
"""Pixels beyond a block that interpolation may ask for."""
MAKING = ("volume", "image")
"""Stages that make the volume."""


@dataclass(frozen=True)
class Settings:
    """How tiles are stitched; see `stitch`."""

    channel: int = 0
    reach: tuple[float, ...] | None = None
    light: Choice = "auto"
    gains: Choice = "auto"
    blend: Blend = "cosine"
    version: Version = "0.5"
    block: tuple[int, ...] | None = None
    fusing: Mapping[str, Any] = field(default_factory=dict)
    corrections: Sequence[Mapping[str, Any]] = ()
    anchors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    dark: float | None = None
    picture: str | None = None

    def __post_init__(self) -> None:
        choices = {"light": get_args(Choice), "gains": get_args(Choice)}
        choices |= {"blend": BLENDS, "version": get_args(Version)}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}={getattr(self, name)!r}: choose one of {', '.join(allowed)}"
                )


@dataclass(frozen=True)
class Stitched:
    """What `stitch` made."""

    project: Project
    """With every step: states, attempts, tables."""
    image: Path | None
    """The volume, an OME-Zarr image; None if it could not be made whole."""
    placement: Placement
    """Where the tiles lie, and which links say so."""
    levels: "pd.DataFrame"
    """Gains by tile, and whether the flat-field was used; see
    `latticework.stitch.seams.level_tiles`."""
    report: Path | None
    """A page with pictures of all that."""
    summary: "RunSummary"
    """Of the run that made the volume."""

    def __bool__(self) -> bool:
        return self.image is not None

    def __repr__(self) -> str:
        where = "no volume: see why with project.why()" if self.image is None else str(self.image)
        return f"<Stitched {where}\n  {self.placement!r}\n  project {self.project.path}>"


def stitch(
    tiles: Lattice | Path | str,
    out: Path | str,
    *,
    project: Path | str | None = None,
    where: Any = None,
    channel: int = 0,
    reach: Sequence[float] | None = None,
    light: "Choice | Path | str | np.ndarray" = "auto",
    dark: float | None = None,
    gains: Choice = "auto",
    blend: Blend = "cosine",
    version: Version = "0.5",
    block: Sequence[int] | None = None,
    pixel_size_um: float | Mapping[str, float] | None = None,
    interpolation: Interpolation = "linear",
    merge: str | Sequence[str] = (),
    links: "pd.DataFrame | Path | str | None" = None,
    anchors: "Mapping[int | str, Any] | Path | str | None" = None,
    overwrite: bool = False,
    report: bool = True,
    progress: Any = "auto",
) -> Stitched:
    """Stitch an acquisition into one OME-Zarr image.

    Parameters
    ----------
    tiles
        What `latticework.open_tiles` gives, or a folder that it opens without more to say.
    out
        Folder of the image, such as ``brain.ome.zarr``.
    project
        Folder of the project in which every step is kept; ``brain.lw`` beside the image if not
        given. If it is there, it goes on.
    where
        Where it runs; as for `latticework.Project.run`.
    channel
        Number of the channel that is compared.
    reach
        How far tiles may lie from their nominal offsets, in pixels along their spatial dims; see
        `latticework.stitch.pairs.reach_px`.
    light
        Whether uneven light, estimated from all tiles, is taken out: ``"auto"`` if that makes
        neighbours more alike, ``"yes"`` or ``"no"``. Or a picture of an even specimen, without the
        camera's offset, by which it is: an array of ``y x`` or ``c y x``, or a TIFF file.
    dark
        What the camera counts without light; estimated if not given.
    gains
        The same of a gain for each tile.
    blend, version, block, pixel_size_um, interpolation, merge
        As for `latticework.stitch.fuse`.
    links
        Links that were corrected by hand: the table of an earlier ``placement``, or the CSV file
        beside its report, with another ``trusted`` or other offsets. What was not changed in it is
        found as ever.
    anchors
        Positions that are known, in micrometres along the lattice's spatial dims, by the tile's id
        or name; or a CSV file with the columns ``tile``, ``position_y_um`` and so on.
    overwrite
        Whether an image that is there already is replaced.
    report
        Whether a page with pictures is written beside the image.
    progress
        As for `latticework.Project.run`.

    Returns
    -------
    Stitched
        True if there is an image now.

    Raises
    ------
    StoreError
        If something else is at `out`.
    ProjectError
        If positions could not be found.
    LatticeError
        If the tiles cannot be one volume.

    Examples
    --------
    >>> import tempfile
    >>> import latticework as lw
    >>> from latticework.stitch import stitch
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> done = stitch(tiles, tempfile.mkdtemp() + "/brain.ome.zarr", progress="none")
    >>> bool(done), done.image.name, done.report.name
    (True, 'brain.ome.zarr', 'brain.html')
    """
    image = Path(out).expanduser().resolve()
    lattice = tiles if isinstance(tiles, Lattice) else open_tiles(tiles)
    choice, picture = _light(light)
    settings = Settings(
        *(channel, None if reach is None else tuple(map(float, reach)), choice, gains),
        *(blend, version, None if block is None else tuple(map(int, block))),
        _fusing(pixel_size_um, interpolation, merge),
        anchors=anchors_of(lattice, anchors),
        dark=None if dark is None else float(dark),
    )
    check_pixels(lattice)
    FusionPlan.of(lattice, **settings.fusing)  # refuses what cannot be one volume
    check_views(lattice, settings.fusing["merge"], blend)
    opened = _project(lattice, beside(image, ".lw") if project is None else Path(project))
    if picture is not None:
        settings = replace(settings, picture=_kept(opened, picture))
    if links is not None:
        settings = replace(settings, corrections=corrected_rows(links, _links_in(opened)))
    add_measuring(opened, settings)
    with Place(where) as place:
        if look_farther(opened, settings, place, progress):
            add_measuring(opened, settings)
        measured = _run(opened, place, MEASURING, progress)
        if set(opened.counts["settled"]) != {"complete"}:
            raise _unfinished(opened, measured)
        plan = planned(opened, settings, image)
        prepare(opened, plan, overwrite=overwrite)
        add_making(opened, plan)
        made = _run(opened, place, MAKING, progress)
    page, complete = None, set(opened.counts["image"]) == {"complete"}
    if complete and report:
        from latticework.stitch.report import write_report

        page = write_report(opened, beside(image, ".html"))
    return Stitched(
        *(
            opened,
            image if complete else None,
            placement_in(opened),
            opened["levels"].data,
            page,
            made,
        )
    )


def beside(image: Path, ending: str) -> Path:
    """A path beside an image, with another ending.

    Examples
    --------
    >>> beside(Path("/data/brain.ome.zarr"), ".lw").name
    'brain.lw'
    """
    return image.with_name(image.name.removesuffix(".zarr").removesuffix(".ome") + ending)


def _project(lattice: Lattice, path: Path) -> Project:
    return create(path, lattice, exist_ok=True)


def look_farther(project: Project, settings: Settings, place: "Place", progress: Any) -> bool:
    """Compare all pairs, and again around places beyond the reach where most lie there.

    Returns
    -------
    bool
        Whether they do: what is to be compared has changed.
    """
    if settings.reach is not None or _beyond(project):
        return False
    _run(project, place, ("pairs",), progress)
    if "complete" not in project.counts["pairs"]:
        return False
    lattice = project.lattice
    pairs = overlapping(lattice, across=_across(settings))
    found = candidates_of(project["pairs"].data, lattice, pairs)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        steps = farther(lattice, pairs, found, channel=settings.channel, pool=pool)
    if not steps:
        return False
    beyond = {axis: [round(float(px), 2) for px in step] for axis, step in steps.items()}
    project.change("pairs", beyond=beyond)
    return True


def _light(given: Any) -> tuple[Any, np.ndarray | None]:
    """How light is taken out, and the picture by which, if there is one."""
    if isinstance(given, str) and given in get_args(Choice):
        return given, None
    if isinstance(given, str | Path):
        import tifffile

        if not Path(given).is_file():
            raise ValueError(
                f"light={str(given)!r}: choose one of {', '.join(get_args(Choice))}, or give the "
                "TIFF file of a picture of an even specimen"
            )
        return "yes", np.asarray(tifffile.imread(given), "f4")
    return "yes", np.asarray(given, "f4")


def _kept(project: Project, picture: np.ndarray) -> str:
    """A file of a picture, in the project, named after what it shows."""
    digest = hashlib.blake2b(picture.tobytes(), digest_size=8).hexdigest()
    file = project.path / "plans" / f"light-{digest}.npy"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        np.save(file, picture)
    return str(file)


def _across(settings: Settings) -> str | None:
    """The lattice dim whose labels are views of the same, if there are such."""
    merged = list(settings.fusing.get("merge", ()))
    return merged[0] if merged else None


def _beyond(project: Project) -> dict[str, list[float]]:
    """How far beyond their nominal places the pairs of a project are looked for."""
    if "pairs" not in project.stages:
        return {}
    given = project.pipeline["pairs"].definition["params"].get("beyond", {})
    return dict(restore("beyond", given))


def _links_in(project: Project) -> "pd.DataFrame | None":
    """The links that a project has found, if it has."""
    done = project.counts.get("links") == {"complete": 1}
    return project["links"].data if done else None


class Place:
    """Where several runs take place: a cluster on this machine is started once, when needed.

    Parameters
    ----------
    where
        As for `latticework.Project.run`.
    """

    def __init__(self, where: Any) -> None:
        self._where = where
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self._open.close()

    def of(self, project: Project, stages: Sequence[str]) -> Any:
        """Where some stages of a project are to run; None if there is nothing to do."""
        done = {"complete", "absent"}
        if self._where is None and not all(
            set(project.counts.get(name, {"waiting": 1})) <= done for name in stages
        ):
            from distributed import Client, get_client

            from latticework.project.clusters import local_cluster

            try:
                self._where = get_client()  # the current one, as for a run
            except ValueError:
                cluster = self._open.enter_context(local_cluster())
                self._where = self._open.enter_context(Client(cluster, set_as_default=False))
        return self._where


def _run(project: Project, place: Place, stages: Sequence[str], progress: Any) -> "RunSummary":
    there = [name for name in stages if name in project.stages]
    summary = project.run(place.of(project, there), stages=there, progress=progress)
    if summary.interrupted:
        raise KeyboardInterrupt
    return summary


def _unfinished(project: Project, summary: "RunSummary") -> ProjectError:
    return ProjectError(
        f"where the tiles lie could not be found: {summary}. See "
        f"latticework.open_project({str(project.path)!r}).why(...); what is done is kept"
    )


# -------------------------------------------------------------------- the stages


def add_measuring(project: Project, settings: Settings) -> None:
    """Add the stages up to where it is known where all tiles lie, and how bright they are."""
    lattice, source, every = project.lattice, project.source, all_tiles(missing="run")
    across = _across(settings)
    strips, beside = next_tiles(lattice, across), next_tiles(lattice)
    seen = {"channel": settings.channel}
    reach = None if settings.reach is None else list(settings.reach)
    look = {**seen, "reach": reach, "beyond": _beyond(project)}
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
        after=[places, seams, dark],
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


def planned(project: Project, settings: Settings, image: Path) -> VolumePlan:
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
    )


def prepare(project: Project, plan: VolumePlan, *, overwrite: bool) -> None:
    """See to it that the blocks of a plan can be written, and that those that are gone are again.

    Raises
    ------
    StoreError
        If there is something else where the image belongs.
    """
    image = plan.image
    if image.exists():
        if plan_of(image) == plan.key:
            return
        if not overwrite:
            raise StoreError(
                f"{image} exists, and is not what these tiles and options give: remove it, allow "
                "it to be replaced (overwrite=True), or choose another name"
            )
    for other in image.parent.glob(f"{image.name}.*.part"):
        if other != plan.part:
            shutil.rmtree(other, ignore_errors=True)  # of a plan that is none any more
    if not plan.part.exists():
        plan.pyramid.begin()
        if "volume" in project.stages and project["volume"].path is not None:
            project.retry("volume", failed=False)


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


def _fusing(pixel_size_um: Any, interpolation: str, merge: str | Sequence[str]) -> dict[str, Any]:
    size = dict(pixel_size_um) if isinstance(pixel_size_um, Mapping) else pixel_size_um
    merged = [merge] if isinstance(merge, str) else list(merge)
    return {"pixel_size_um": size, "interpolation": interpolation, "merge": merged}


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


__all__: Sequence[str] = ("Settings", "Stitched", "placement_in", "stitch")
