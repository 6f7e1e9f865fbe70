"""``latticework stitch``: from a folder of tiles to one volume, in one line."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from latticework.cli.frame import FAILED, INTERRUPTED, called
from latticework.cli.looking import show_lattice
from latticework.cli.options import (
    ByAxis,
    acquisition_options,
    open_acquisition,
    with_options,
)
from latticework.cli.words import selection, spoken
from latticework.cli.working import (
    POOLS,
    PROGRESS,
    SCHEDULER,
    WORKERS,
    Spoken,
    one_place,
    where,
)
from latticework.errors import LatticeError

if TYPE_CHECKING:
    from latticework.lattice import Lattice
    from latticework.stitch import Stitched
    from latticework.viz.progress import Kind

MOST_LISTED = 10
"""Failures that are named."""
CHOICE = click.Choice(["auto", "yes", "no"])
BLENDS = ("cosine", "content", "average", "maximum", "first", "none")

HOW: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--channel", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
        help="Number of the channel by which tiles are compared.",
    ),
    click.option(
        "--reach", type=ByAxis(), metavar="PX",
        help="How far tiles may lie from where they should, as in y=40,x=40; 3.5 % of their size, "
        "and 16 px at least, if not given.",
    ),
    click.option(
        "--links", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.csv",
        help="Links corrected by hand: the table beside the report, with another 'trusted' or "
        "other offsets.",
    ),
    click.option(
        "--anchors", type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE.csv",
        help="Tiles whose places are known: columns tile (id or name) and, along all axes, "
        "position_y_um, ...",
    ),
    click.option(
        "--light", metavar="auto|yes|no|FILE", default="auto", show_default=True,
        help="Take out uneven light; 'auto': if that makes neighbours more alike; or by a picture "
        "of an even specimen, a TIFF file.",
    ),
    click.option(
        "--dark", type=float, metavar="COUNTS",
        help="What the camera counts without light; estimated if not given.",
    ),
    click.option(
        "--gains", type=CHOICE, default="auto", show_default=True,
        help="Make tiles of different brightness alike; 'auto': if they are more alike then.",
    ),
    click.option(
        "--blend", type=click.Choice(BLENDS), default="cosine", show_default=True,
        help="How pixels of several tiles become one.",
    ),
    click.option(
        "--interpolation", type=click.Choice(["linear", "cubic"]), default="linear",
        show_default=True, help="Between pixels.",
    ),
    click.option(
        "--merge", metavar="AXIS",
        help="Axis whose tiles are views of the same, as 'sheet' of left and right light sheets.",
    ),
    click.option(
        "--volume-pixel-size", type=ByAxis(), metavar="UM",
        help="Pixel size of the volume, micrometres; that of the tiles if not given.",
    ),
    click.option(
        "--ome-zarr", "version", type=click.Choice(["0.5", "0.4"]), default="0.5",
        show_default=True, help="Version of OME-Zarr.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an image that is there already."),
    click.option("--report/--no-report", default=True, help="Write a page with pictures."),
)  # fmt: skip
"""How tiles are stitched."""
HOW_NAMES = (
    *("channel", "reach", "light", "dark", "gains", "blend", "interpolation", "merge"),
    *("volume_pixel_size", "version", "links", "anchors", "overwrite", "report"),
)


def how_options(command: Any) -> Any:
    """Give a command what says how tiles are stitched."""
    return with_options(command, HOW)


@click.command()
@click.argument("acquisition", metavar="FOLDER")
@click.argument("out", type=click.Path(path_type=Path), metavar="OUT.ome.zarr")
@acquisition_options
@click.option(
    "--only",
    multiple=True,
    metavar="AXIS=LABEL",
    help="Of several wells, rounds or the like only one, as in well=E07; may be given again.",
)
@click.option(
    "--project",
    type=click.Path(path_type=Path),
    metavar="PROJECT",
    help="Where every step is kept; 'OUT.lw' beside the image if not given.",
)
@how_options
@WORKERS
@SCHEDULER
@POOLS
@PROGRESS
def stitch(
    acquisition: str,
    out: Path,
    *,
    only: tuple[str, ...],
    project: Path | None,
    workers: int | None,
    scheduler: str | None,
    pools: Path | None,
    progress: "Kind",
    **given: Any,
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
      latticework stitch plate/ E07.ome.zarr --only well=E07
      latticework stitch acquisition/ brain.ome.zarr --pools site.yaml

    Exit codes: 0 the image is there, 1 something failed, 2 it could not run, 130 Ctrl-C.
    """
    from latticework.stitch import stitch as stitch_tiles
    from latticework.stitch.stitching import beside

    one_place(workers, scheduler, pools)
    refuse_other_kinds(out, acquisition)
    if out.name in ("", ".."):
        raise click.UsageError(f"{out} is a folder: give the image a name, as brain.ome.zarr")
    how = {name: given.pop(name) for name in HOW_NAMES}
    how["keep"] = positions_files(acquisition, given.get("positions"))
    tiles = chosen_of(open_acquisition(acquisition, given), only)
    how["merge"] = how["merge"] or ()
    how["pixel_size_um"] = how.pop("volume_pixel_size")
    show_lattice(tiles)
    folder = beside(out, ".lw") if project is None else project
    try:
        with where(workers, scheduler, pools) as place, selecting_words():
            done = stitch_tiles(
                tiles, out, project=folder, where=place, progress=Spoken(progress), **how
            )
    except KeyboardInterrupt:
        click.echo("Interrupted; what is finished is kept. The same command goes on from there.")
        sys.exit(INTERRUPTED)
    tell(done, folder)


def refuse_other_kinds(out: Path, acquisition: str) -> None:
    """Refuse what the library refuses by `check_name`, and say what to type instead."""
    from latticework.stitch.checking import TIFF, fitting_name

    image = fitting_name(out)
    if image is None:
        return
    words = " ".join(quote(str(word)) for word in (acquisition, image))
    then = ""
    if out.suffix.lower() in TIFF:
        project = image.with_name(f"{image.name.removesuffix('.ome.zarr')}.lw")
        made = " ".join(quote(str(word)) for word in (project, "volume", out))
        then = f", and then, for one TIFF file: {called()} export {made}"
    raise click.UsageError(
        f"{out} ends in {out.suffix}, but the image is a folder of OME-Zarr: {called()} stitch "
        f"{words}{then}"
    )


_ARGUMENT = re.compile(
    r"\b(pixel_size_um|light|channel|reach|merge|blend|interpolation|gains|dark)="
    r"('[^']*'|\{[^}]*\}|\([^)]*\)|[^\s:,]+)"
)


def _option(found: re.Match[str]) -> str:
    """An argument of the library as it is typed."""
    value = found[2].strip("()[]'").replace("{", "").replace("}", "").replace("'", "")
    name = "volume-pixel-size" if found[1] == "pixel_size_um" else found[1]
    return f"--{name} {value.replace(': ', '=').replace(', ', ',')}"


@contextmanager
def selecting_words() -> Iterator[None]:
    """Let messages speak of options where the library speaks of selections and views."""
    try:
        yield
    except LatticeError as error:
        text = re.sub(r"as in lattice\.sel\((\w+)=\.\.\.\)", r"as with --only \1=LABEL", str(error))
        text = re.sub(r'say merge="(\w+)"', r"say --merge \1", text)
        raise LatticeError(_ARGUMENT.sub(_option, text)) from error


def chosen_of(tiles: "Lattice", only: Sequence[str]) -> "Lattice":
    """Those of the tiles that carry some labels, such as ``well=E07`` or ``y=1:4``."""
    if not only:
        return tiles
    id, labels = selection(tiles, only)
    if id is not None or not labels:
        raise click.UsageError(
            f"--only {' '.join(only)}: write AXIS=LABEL; the axes are {', '.join(tiles.dims)}"
        )
    return tiles.sel(**labels)


def positions_files(acquisition: str, positions: str | None) -> list[Path]:
    """Files that positions may be read from: none of them is written to."""
    if positions is None:
        return []
    folder = Path(acquisition)
    return [Path(positions), folder / positions, folder.parent / positions]


def tell(done: "Stitched", folder: Path) -> None:
    """Say what came of it, in the words of the report, and end with the exit code."""
    from latticework.stitch.failing import tile_to_blame
    from latticework.stitch.report_files import tables_of

    name = quote(str(folder))
    for line in done.account.lines:
        click.echo(line)
    if not done:
        for failed in done.summary.failures[:MOST_LISTED]:
            click.echo(f"  {spoken(failed.line)}")
        click.echo(f"To see more: {called()} status {name}")
        click.echo("When the cause is gone, the same command goes on from there.")
        tile = tile_to_blame(done.project.lattice, done.summary.failures)
        if tile is not None:
            click.echo(
                f"To stitch around this tile: {called()} withdraw {name} {quote(tile)}, and the "
                "same again"
            )
        sys.exit(FAILED)
    click.echo(f"Volume: {done.image}")
    if done.report is not None:
        click.echo(f"Report: {done.report}")
        for table in tables_of(done.report):
            if table.suffixes[-2][1:].isdecimal():
                click.echo(f"Table:  {table} (the one of an earlier name is left as it is)")
    click.echo(f"Every step: {called()} status {name}")


__all__ = ["stitch"]
