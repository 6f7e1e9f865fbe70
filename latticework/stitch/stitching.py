"""From tiles to a volume in one call, as stages of a project (`latticework.stitch.pipeline`).

The volume's blocks are known when the tiles' places are, so the project runs twice: up to
``settled``, and then the rest. Everything that is done is kept: the same call goes on after
Ctrl-C, a crash or a power cut.
"""

import fcntl
import hashlib
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from latticework.errors import ProjectError, ProjectExistsError, StoreError
from latticework.io.open_tiles import open_tiles
from latticework.io.pyramid import Version
from latticework.lattice.lattice import Lattice
from latticework.project.creating import create
from latticework.project.project import Project
from latticework.stages.lattices import lattice_key
from latticework.stitch.blending import Blend
from latticework.stitch.block_units import VolumePlan
from latticework.stitch.checking import check_lattice, check_light, check_name, of_another
from latticework.stitch.comparing import candidates_of, placed_by
from latticework.stitch.corrections import anchors_of, corrected_rows
from latticework.stitch.failing import changed_tiles, without_volume
from latticework.stitch.far_pairs import farther
from latticework.stitch.images import check_not_tiles, check_replaceable, plan_of
from latticework.stitch.pipeline import (
    MAKING,
    MEASURING,
    add_measuring,
    beyond_of,
    kept_picture,
    pixels_of,
    placement_in,
    planned,
    prepare,
    taken,
)
from latticework.stitch.reaching import Reach, reach_of
from latticework.stitch.report_files import check_report, is_current, is_older
from latticework.stitch.resampling import Interpolation
from latticework.stitch.settings import Choice, Settings, across_of, fusing_of, light_of
from latticework.stitch.stitched import Stitched
from latticework.stitch.tiles import overlapping
from latticework.viz.progress_phases import PhasedProgress

Stages = tuple[str, ...]
COMPARING: Stages = ("pairs",)
PHASES = (
    "1 of 3: comparing neighbours",
    "2 of 3: placing the tiles, measuring the light",
    "3 of 3: making the volume",
)
"""What the runs of a stitching are called."""

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.summary import RunSummary
    from latticework.stitch.account import Account
    from latticework.stitch.report_facts import Findings


def stitch(
    tiles: Lattice | Path | str,
    out: Path | str,
    *,
    project: Path | str | None = None,
    where: Any = None,
    channel: int = 0,
    reach: Reach | None = None,
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
    keep: Sequence[Path | str] = (),
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
        How far tiles may lie from their nominal offsets, in pixels: one number, by axis as in
        ``{"y": 40, "x": 20}``, or one for each spatial dim in order; if not given, as
        `latticework.stitch.pairs.reach_px` has it.
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
        Whether a page with pictures is written beside the image, and two tables. Files that are
        none of an earlier report are not replaced by them, and a table that was edited since is
        left as it is: the new one is ``brain.links.2.csv``.
    keep
        Files that are not replaced in any case, as one that positions were read from; those of
        `links` and `anchors` are not.
    progress
        As for `latticework.Project.run`.

    Returns
    -------
    Stitched
        True if there is an image now.

    Raises
    ------
    StoreError
        If something else is at `out`, or where the report belongs; or if `out` is the name of
        another kind of file.
    ProjectExistsError
        If the project is of another acquisition.
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
    check_name(image)
    lattice = tiles if isinstance(tiles, Lattice) else open_tiles(tiles)
    choice, picture = light_of(light)
    dims = [dim for dim in lattice.tile_dims if dim != "c"]
    settings = Settings(
        *(channel, reach_of(reach, dims), choice, gains),
        *(blend, version, None if block is None else tuple(map(int, block))),
        fusing_of(pixel_size_um, interpolation, merge),
        anchors=anchors_of(lattice, anchors),
        dark=None if dark is None else float(dark),
    )
    check_lattice(lattice, settings)
    check_light(lattice, settings, picture)
    if links is not None:
        corrected_rows(links, None, dims)  # refuses what is no table of links
    asked = asked_of(lattice, settings, links, picture)
    folder = beside(image, ".lw") if project is None else Path(project).expanduser().resolve()
    other = of_another(folder, lattice)
    check_free(image, asked, tiles, lattice, overwrite=overwrite, other=other)
    if other:
        raise ProjectExistsError(other)
    page = beside(image, ".html") if report else None
    kept = [Path(of) for of in (*keep, links, anchors) if isinstance(of, str | Path)]
    if page is not None:
        check_report(page, image, kept)
    opened = create(folder, lattice, exist_ok=True)
    if picture is not None:
        settings = replace(settings, picture=kept_picture(opened, picture))
    add_measuring(opened, settings)
    opened.retry([name for name in (*MEASURING, *MAKING) if name in opened.stages])  # failed ones
    with Place(where) as place, writing(image), PhasedProgress(progress) as shown:
        _begin(shown, opened)
        look_farther(opened, settings, place, shown)
        if links is not None and set(opened.counts["pairs"]) <= {"complete", "absent"}:
            settings = replace(settings, corrections=_corrections(opened, settings, links))
        add_measuring(opened, settings)
        made = _run(opened, place, MEASURING, shown, PHASES[1])
        if set(opened.counts["settled"]) != {"complete"}:
            raise _unfinished(opened, made)
        complete = not any(opened.counts[name].get("failed") for name in measuring_in(opened))
        if complete:
            plan = planned(opened, settings, image, asked)
            if prepare(opened, plan, overwrite=overwrite):
                made = _make(opened, lattice, plan, place, shown) or made
                complete = plan_of(image) == plan.key
        found, account = _judged(opened, image)
        if not complete:
            account = without_volume(account, made, changed_tiles(lattice))
        if page is not None and complete and (made.attempts or not is_current(page, image)):
            from latticework.stitch.report import write_page

            shown.name_now("Writing the report")
            page = write_page(found, page, account=account, keep=kept)
        shown.untimed()  # the account says how long it took
    made_of = image if complete else None
    earlier = beside(image, ".html")
    if complete and page is None and is_older(earlier, image):
        warnings.warn(f"{earlier} is of an earlier image: no report was asked for", stacklevel=2)
    levels, page = opened["levels"].data, page if complete else None
    return Stitched(opened, made_of, found.placement, levels, page, made, account, channel)


def asked_of(lattice: Lattice, settings: Settings, links: Any, picture: np.ndarray | None) -> str:
    """A hash of what is asked for: the same tiles, settings and corrections have the same."""
    import pandas as pd

    digest = hashlib.blake2b(repr(settings).encode(), digest_size=8)
    digest.update(lattice_key(lattice).encode())
    digest.update(pixels_of(lattice).encode())
    if isinstance(links, pd.DataFrame):
        digest.update(links.to_csv(index=False).encode())
    elif links is not None:
        digest.update(Path(links).read_bytes())
    if picture is not None:
        digest.update(picture.tobytes())
    return digest.hexdigest()


def check_free(
    image: Path, asked: str, tiles: Any, lattice: Lattice, *, overwrite: bool, other: str = ""
) -> None:
    """Refuse, before any work, a place for the image that is not to be written to.

    What else is in the way (`other`) is said as well.

    Raises
    ------
    StoreError
        If another image is there that is not to be replaced, or a file where its folder would be.
    StageError
        If what is there is no image.
    LatticeError
        If the tiles are there.
    """
    given = [Path(tiles)] if isinstance(tiles, str | Path) else []
    check_not_tiles(image, lattice, *given)
    if not image.name:
        raise StoreError(f"{image} is no place for an image: give its name, as brain.ome.zarr")
    for folder in image.parents:
        if folder.is_file():
            raise StoreError(f"{image} cannot be made: {folder} is a file; choose another folder")
    if not image.exists() or plan_of(image, "asked") == asked:
        return
    if not overwrite:
        raise taken(image, other)
    check_replaceable(image)


@contextmanager
def writing(image: Path) -> Iterator[None]:
    """Have an image for oneself, on this machine.

    Raises
    ------
    StoreError
        If another process makes it now.
    """
    image.parent.mkdir(parents=True, exist_ok=True)
    file = image.with_name(f".{image.name}.lock")
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"{image} is being made by another process: wait for it, or choose another name"
            ) from error
        except OSError:  # a file system without locks: the project has its own
            yield
            return
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def measuring_in(project: Project) -> list[str]:
    """Those of the measuring stages that a project has."""
    return [name for name in MEASURING if name in project.stages]


def _corrections(project: Project, settings: Settings, links: Any) -> list[dict[str, Any]]:
    """What a person has changed of the links that were measured."""
    table = project["pairs"].data
    measured = placed_by(table, across=across_of(settings)).links
    return corrected_rows(links, measured)


def _judged(project: Project, image: Path) -> "tuple[Findings, Account]":
    """What was found, and the same in words."""
    from latticework.stitch.account import account_of
    from latticework.stitch.report_facts import findings_in

    found = findings_in(project, beside(image, "").name)
    return found, account_of(found)


def beside(image: Path, ending: str) -> Path:
    """A path beside an image, with another ending.

    Examples
    --------
    >>> beside(Path("/data/brain.ome.zarr"), ".lw").name
    'brain.lw'
    """
    return image.with_name(image.name.removesuffix(".zarr").removesuffix(".ome") + ending)


def look_farther(
    project: Project, settings: Settings, place: "Place", progress: PhasedProgress
) -> bool:
    """Compare all pairs, and again around places beyond the reach where most lie there.

    Returns
    -------
    bool
        Whether they do: what is to be compared has changed.
    """
    _run(project, place, COMPARING, progress, PHASES[0])
    if settings.reach is not None or beyond_of(project):
        return False
    if set(project.counts["pairs"]) - {"complete", "absent", "blocked"}:
        return False  # some failed, or are left
    if set(project.counts["links"]) == {"complete"}:
        return False  # what was made of these very pairs: they were looked at before
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


def _begin(progress: PhasedProgress, project: Project) -> None:
    """Show how far it is, before the first run of several."""
    units = {name: project.pipeline[name].units for name in measuring_in(project)}
    progress.start({name: of.present for name, of in units.items()})
    for name, of in units.items():
        progress.update(name, of.count())


def _run(
    project: Project, place: Place, stages: Stages, progress: PhasedProgress, phase: str
) -> "RunSummary":
    progress.phase(phase)
    there = [name for name in stages if name in project.stages]
    summary = project.run(place.of(project, there), stages=there, progress=progress)
    if summary.interrupted:
        raise KeyboardInterrupt
    return summary


def _make(
    project: Project, lattice: Lattice, plan: VolumePlan, place: Place, progress: PhasedProgress
) -> "RunSummary | None":
    """Make the blocks, and the image of them; None if a tile was changed meanwhile."""
    changed = bool(changed_tiles(lattice))
    if not changed:
        made = _run(project, place, MAKING[:1], progress, PHASES[2])
        changed = bool(changed_tiles(lattice))
    if changed:
        shutil.rmtree(plan.part, ignore_errors=True)  # nobody knows which blocks show what
        return None
    if len(MAKING) > 1 and set(project.counts["volume"]) <= {"complete", "absent"}:
        blocks, made = made, _run(project, place, MAKING[1:], progress, "")
        counts, attempts = {**blocks.counts, **made.counts}, blocks.attempts + made.attempts
        made = replace(made, counts=counts, attempts=attempts)
        progress.finish(made)
    return made


def _unfinished(project: Project, summary: "RunSummary") -> ProjectError:
    return ProjectError(
        f"where the tiles lie could not be found: {summary}. See "
        f"latticework.open_project({str(project.path)!r}).why(...); what is done is kept"
    )


__all__ = ["Place", "Settings", "Stitched", "beside", "look_farther", "placement_in", "stitch"]
