"""``latticework stitch``: from a folder of tiles to one volume, in one line."""

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from latticework.cli.frame import FAILED, INTERRUPTED, called
from latticework.cli.looking import show_lattice
from latticework.cli.options import acquisition_options, open_acquisition
from latticework.cli.working import (
    POOLS,
    PROGRESS,
    SCHEDULER,
    WORKERS,
    Spoken,
    one_place,
    several,
    where,
)

if TYPE_CHECKING:
    from latticework.io.pyramid import Version
    from latticework.stitch import Stitched
    from latticework.stitch.blending import Blend
    from latticework.stitch.stitching import Choice
    from latticework.viz.progress import Kind

MOST_LISTED = 10
"""Tiles that could not be read that are named."""
CHOICE = click.Choice(["auto", "yes", "no"])


@click.command()
@click.argument("acquisition", metavar="FOLDER")
@click.argument("out", type=click.Path(path_type=Path), metavar="OUT.ome.zarr")
@acquisition_options
@click.option(
    "--project",
    type=click.Path(path_type=Path),
    metavar="PROJECT",
    help="Where every step is kept; 'OUT.lw' beside the image if not given.",
)
@click.option(
    "--channel",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Number of the channel by which tiles are compared.",
)
@click.option(
    "--light",
    type=CHOICE,
    default="auto",
    show_default=True,
    help="Take out uneven light; 'auto': if that makes neighbours more alike.",
)
@click.option(
    "--gains",
    type=CHOICE,
    default="auto",
    show_default=True,
    help="Make tiles of different brightness alike; 'auto': if they are more alike then.",
)
@click.option(
    "--blend",
    type=click.Choice(["cosine", "average", "maximum", "first", "none"]),
    default="cosine",
    show_default=True,
    help="How pixels of several tiles become one.",
)
@click.option(
    "--ome-zarr",
    "version",
    type=click.Choice(["0.5", "0.4"]),
    default="0.5",
    show_default=True,
    help="Version of OME-Zarr.",
)
@click.option("--overwrite", is_flag=True, help="Replace an image that is there already.")
@click.option("--report/--no-report", default=True, help="Write a page with pictures.")
@WORKERS
@SCHEDULER
@POOLS
@PROGRESS
def stitch(
    acquisition: str,
    out: Path,
    *,
    project: Path | None,
    channel: int,
    light: "Choice",
    gains: "Choice",
    blend: "Blend",
    version: "Version",
    overwrite: bool,
    report: bool,
    workers: int | None,
    scheduler: str | None,
    pools: Path | None,
    progress: "Kind",
    **opening: Any,
) -> None:
    """Stitch the tiles of a folder into one multi-resolution OME-Zarr image.

    Neighbours are compared where they overlap, all tiles are placed at once, uneven light is taken
    out, and the volume is fused block by block. A page with pictures, OUT.html, shows how well that
    went. No setting is needed where the files say where tiles are; else say it as for 'info'.

    Ctrl-C is safe, and so is a crash: the same command goes on from there.

    \b
    Examples:
      latticework stitch acquisition/ brain.ome.zarr
      latticework stitch tiles/ brain.ome.zarr --grid 7x9 --snake --overlap 10%
      latticework stitch acquisition/ brain.ome.zarr --pools site.yaml

    Exit codes: 0 the image is there, 1 something failed, 2 it could not run, 130 Ctrl-C.
    """  # fmt: skip
    from latticework.stitch import stitch as stitch_tiles
    from latticework.stitch.stitching import beside

    one_place(workers, scheduler, pools)
    tiles = open_acquisition(acquisition, opening)
    show_lattice(tiles)
    folder = beside(out, ".lw") if project is None else project
    try:
        with where(workers, scheduler, pools) as place:
            done = stitch_tiles(
                *(tiles, out),
                project=folder,
                where=place,
                channel=channel,
                light=light,
                gains=gains,
                blend=blend,
                version=version,
                overwrite=overwrite,
                report=report,
                progress=Spoken(progress),
            )
    except KeyboardInterrupt:
        click.echo("Interrupted; what is finished is kept. The same command goes on from there.")
        sys.exit(INTERRUPTED)
    tell(done, folder)


def tell(done: "Stitched", folder: Path) -> None:
    """Say what came of it, and end with the exit code."""
    placement, name = done.placement, quote(str(folder))
    for line in lines_of(done):
        click.echo(line)
    if not done:
        click.echo(f"To see why: {called()} status {name}")
        click.echo("When the cause is gone, the same command goes on from there.")
        sys.exit(FAILED)
    lattice = done.project.lattice
    for id, problem in list(lattice.problems.items())[:MOST_LISTED]:
        click.echo(f"Left out: {lattice.tile(id).name}: {problem}")
    alone = int((placement.tiles.placed_by != "links").sum())
    if alone:
        click.echo(
            f"{several(alone)} placed by the model of the stage, since no overlap tells better"
        )
    click.echo(f"Volume: {done.image}")
    if done.report is not None:
        click.echo(f"Report: {done.report}")
    click.echo(f"Every step: {called()} status {name}")


def lines_of(done: "Stitched") -> list[str]:
    """What was found of places and light."""
    placement, levels = done.placement, done.levels
    even = bool(len(levels)) and bool(levels["even"].iloc[0])
    levelled = bool(len(levels)) and bool((levels["gain"] != 1).any())
    light = "taken out" if even else "left as it is"
    gains = "levelled" if levelled else "left as they are"
    return [repr(placement).strip("<>"), f"Uneven light: {light}; gains: {gains}"]


__all__ = ["stitch"]
