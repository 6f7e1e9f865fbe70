"""``latticework demo``: a whole run on a simulated acquisition whose truth is known."""

import sys
import time
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, cast

import click

from latticework.cli.demo_folder import DEFAULT, DemoFolder, choose_folder
from latticework.cli.frame import FAILED, INTERRUPTED, called
from latticework.cli.options import Grid
from latticework.cli.working import WORKERS, where

if TYPE_CHECKING:
    from latticework.cli.pipelines import PipelineProject
    from latticework.testing import Truth
    from latticework.viz.progress import Kind


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--keep", is_flag=True, help="Go on with the demo that is in FOLDER.")
@WORKERS
@click.option(
    "--size", type=Grid(), default="4x5", show_default=True, help="Rows and columns of tiles."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Which brain."
)
@click.option(
    "--progress", type=click.Choice(["auto", "rich", "lines", "none"]), default="auto",
    show_default=True, help="Bars, plain lines or nothing.",
)  # fmt: skip
def demo(
    folder: Path | None,
    keep: bool,
    workers: int | None,
    size: dict[str, int],
    seed: int,
    progress: str,
) -> None:
    """Run a pipeline on a simulated acquisition.

    It needs no data and no server and takes some 20 seconds. It leaves an acquisition (OME-TIFF
    files), a project, its pipeline file and three pictures in FOLDER, './latticework-demo' if not
    given. What an earlier demo left there is replaced.

    \b
    Examples:
      latticework demo
      latticework demo /tmp/try --size 8x8 --workers 4
      latticework demo --keep

    Exit codes: 0 results agree with the truth, 1 they do not, 2 it could not run, 130 Ctrl-C.
    """
    if "z" in size:
        raise click.UsageError(
            "--size: the demo has one layer of tiles; give rows x columns, as in 4x5"
        )
    began = time.perf_counter()
    place = choose_folder(folder)
    if keep and not place.ours:
        raise click.UsageError(f"--keep: there is no demo in {place.path}")
    project, truth = prepare(place, keep=keep, size=size, seed=seed)
    complete = run_and_draw(place, project, truth, workers, progress)
    tell(place, project, truth, time.perf_counter() - began)
    if not complete:
        sys.exit(FAILED)


def shipped_pipeline() -> str:
    """Text of the demo's pipeline file."""
    return (files("latticework.cli") / "demo_pipeline.py").read_text(encoding="utf-8")


def prepare(
    place: DemoFolder, *, keep: bool, size: dict[str, int], seed: int
) -> "tuple[PipelineProject, Truth]":
    """The acquisition and the project, made or as they are there."""
    from latticework.cli.demo_truth import simulated
    from latticework.cli.pipelines import PipelineProject, apply, remember
    from latticework.io import open_tiles
    from latticework.project import create
    from latticework.testing import write_ome_tiff

    if keep:
        facts = place.facts()
        size, seed = facts["size"], facts["seed"]
    elif place.ours:
        place.clear(shipped_pipeline())
    tiles, truth = simulated(size, seed)
    if not (keep and place.project.is_dir()):
        place.begin({"made by": "latticework demo", "size": size, "seed": seed})
        z, y, x = tiles.tile_shape.values()
        click.echo(
            f"Simulating a piece of brain: {len(tiles)} overlapping tiles of {z} × {y} × {x} px"
        )
        write_ome_tiff(tiles, place.acquisition)
        place.pipeline.write_text(shipped_pipeline(), encoding="utf-8")
        create(place.project, open_tiles(place.acquisition))
    project = PipelineProject(place.project)
    click.echo(repr(project.lattice))
    done = apply(project, place.pipeline)
    remember(project, place.pipeline)
    click.echo(f"Pipeline of {place.pipeline.name}: {' → '.join(done.stages)}")
    return project, truth


def run_and_draw(
    place: DemoFolder,
    project: "PipelineProject",
    truth: "Truth",
    workers: int | None,
    progress: str,
) -> bool:
    """Run the project, draw the pictures, print the comparison; whether all is as it should be."""
    from latticework.cli.demo_pictures import Halfway, draw_overview, mosaics
    from latticework.cli.demo_truth import compare
    from latticework.viz import compare_png, make_progress, plot_status

    halfway = Halfway(project, make_progress(cast("Kind", progress)))
    with where(workers, None) as cluster:
        summary = project.run(cluster, progress=halfway)
    if summary.interrupted:
        click.echo(f"Interrupted. To go on: {called()} demo {shown(place.path)} --keep")
        sys.exit(INTERRUPTED)
    overview, status, mosaic = place.pictures
    plot_status(project.status, status, title="latticework demo")
    if not summary:
        return False
    before, after = mosaics(project, "clean")
    compare_png(before, after, mosaic, ("as acquired", "after the pipeline"))
    seen = project.status if halfway.status is None else halfway.status
    when = "in the end" if halfway.status is None else "half-way through the run"
    draw_overview(project.lattice, seen, (before, after), overview, when=when)
    comparison = compare(project, truth)
    click.secho("\nBeside the truth, which the simulator knows", bold=True)
    for line in comparison.lines():
        click.echo(f"  {line}")
    return comparison.good


def tell(place: DemoFolder, project: "PipelineProject", truth: "Truth", seconds: float) -> None:
    """Say where everything is, and what to type next."""
    del truth
    click.secho(f"\nEverything is in {place.path}", bold=True)
    rows = [
        (place.acquisition, f"the simulated acquisition, {len(project.lattice)} OME-TIFF files"),
        (place.project, "the project: results (Zarr, Parquet), state and history of every tile"),
        (place.pipeline, "its pipeline, to read and to change"),
        *zip(
            place.pictures,
            ("lattice, states and mosaic", "states in the end", "mosaic before and after"),
            strict=True,
        ),
    ]
    for path, what in rows:
        if path.exists():
            click.echo(f"  {path.name:<14} {what}")
    name = shown(place.project)
    click.secho("\nNext", bold=True)
    click.echo(f"  {called()} status {name}")
    click.echo(f"  {called()} why {name} spots y=1 x=2")
    click.echo(f"  {called()} export {name} spots {shown(place.path / 'spots.csv')}")
    click.echo(
        f"  {called()} info {shown(place.acquisition)} --map {shown(place.path / 'map.png')}"
    )
    click.echo(f"  change {shown(place.pipeline)}, then: {called()} run {name}")
    click.echo(f'  in Python: lw.open_project({str(place.project)!r})["clean"].data')
    click.echo(f"\nIt took {seconds:.0f} s.")


def shown(path: Path) -> str:
    """A path as one would type it here."""
    here = Path.cwd()
    return quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


__all__ = ["DEFAULT", "demo"]
