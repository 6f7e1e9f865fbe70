"""From tiles to a volume in one call, as stages of a project (`latticework.stitch.pipeline`).

The volume's blocks are known when the tiles' places are, so the project runs twice: up to
``settled``, and then the rest. Everything that is done is kept: the same call goes on after
Ctrl-C, a crash or a power cut.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from latticework.errors import ProjectError
from latticework.io.open_tiles import open_tiles
from latticework.io.pyramid import Version
from latticework.lattice.lattice import Lattice
from latticework.project.creating import create
from latticework.project.project import Project
from latticework.stitch.blending import Blend
from latticework.stitch.comparing import candidates_of
from latticework.stitch.corrections import anchors_of, corrected_rows
from latticework.stitch.far_pairs import farther
from latticework.stitch.fusing import check_pixels
from latticework.stitch.fusion_plan import FusionPlan
from latticework.stitch.pipeline import (
    MAKING,
    MEASURING,
    add_making,
    add_measuring,
    beyond_of,
    kept_picture,
    placement_in,
    planned,
    prepare,
)
from latticework.stitch.placement import Placement
from latticework.stitch.resampling import Interpolation
from latticework.stitch.settings import Choice, Settings, across_of, fusing_of, light_of
from latticework.stitch.tiles import overlapping
from latticework.stitch.views import check_views

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.summary import RunSummary


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
    choice, picture = light_of(light)
    settings = Settings(
        *(channel, None if reach is None else tuple(map(float, reach)), choice, gains),
        *(blend, version, None if block is None else tuple(map(int, block))),
        fusing_of(pixel_size_um, interpolation, merge),
        anchors=anchors_of(lattice, anchors),
        dark=None if dark is None else float(dark),
    )
    check_pixels(lattice)
    FusionPlan.of(lattice, **settings.fusing)  # refuses what cannot be one volume
    check_views(lattice, settings.fusing["merge"], blend)
    opened = _project(lattice, beside(image, ".lw") if project is None else Path(project))
    if picture is not None:
        settings = replace(settings, picture=kept_picture(opened, picture))
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
    if settings.reach is not None or beyond_of(project):
        return False
    _run(project, place, ("pairs",), progress)
    if "complete" not in project.counts["pairs"]:
        return False
    lattice = project.lattice
    pairs = overlapping(lattice, across=across_of(settings))
    found = candidates_of(project["pairs"].data, lattice, pairs)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        steps = farther(lattice, pairs, found, channel=settings.channel, pool=pool)
    if not steps:
        return False
    beyond = {axis: [round(float(px), 2) for px in step] for axis, step in steps.items()}
    project.change("pairs", beyond=beyond)
    return True


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


__all__ = ["Place", "Settings", "Stitched", "beside", "look_farther", "placement_in", "stitch"]
