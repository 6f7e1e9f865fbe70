"""Which tiles take part and which go first: ``skip``, ``unskip``, ``region``, ``prioritise``.

Also ``parameters``, the project's own.
"""

import json
from pathlib import Path
from typing import Any

import click

from latticework.cli.looking import PROJECT
from latticework.cli.settings import parameter_lines, skipped_text
from latticework.cli.steering import go_on
from latticework.cli.words import assignments, planes
from latticework.cli.words import region as region_of
from latticework.cli.working import several

PLANES = click.argument("planes_of", nargs=-1, metavar="AXIS=LABELS...")


@click.command()
@PROJECT
@PLANES
def skip(project: Path, planes_of: tuple[str, ...]) -> None:
    """Skip planes.

    Their tiles take no part, and neighbours step over them.

    \b
    Examples:
      latticework skip brain.lw z=3,4
      latticework skip brain.lw z=12:18

    Exit codes: 0 done, 2 there is no such project or axis.
    """
    from latticework.lattice.building import known_dim
    from latticework.project import open_project

    if not planes_of:
        raise click.UsageError("say which planes, as in z=3,4")
    opened = open_project(project)
    wanted = planes(opened.lattice, planes_of)
    if empty := [axis for axis, labels in wanted.items() if not labels]:
        raise click.UsageError(
            f"there are no planes of {empty[0]} in this range yet: to skip them when they come, "
            f"name each, as in {empty[0]}=3,4"
        )
    opened.skip(**wanted)
    click.echo(f"Skipped: {skipped_text(open_project(project).settings)}. {go_on(opened, project)}")
    for axis, labels in wanted.items():
        known = set(opened.lattice.labels[known_dim(opened.lattice, axis)].tolist())
        if new := [str(label) for label in labels if label not in known]:
            click.echo(
                f"There is no plane {axis}={','.join(new)} yet: skipped when it comes.", err=True
            )


@click.command()
@PROJECT
@PLANES
@click.option("--all", "everything", is_flag=True, help="All planes that are skipped.")
def unskip(project: Path, planes_of: tuple[str, ...], everything: bool) -> None:
    """Skip planes no more.

    \b
    Examples:
      latticework unskip brain.lw z=3,4
      latticework unskip brain.lw --all

    Exit codes: 0 done, 2 there is no such project or axis.
    """
    from latticework.project import open_project

    if bool(planes_of) == everything:
        raise click.UsageError("say which planes, as in z=3,4, or --all")
    opened = open_project(project)
    known = opened.settings.skipped
    opened.unskip(**(dict.fromkeys(known) if everything else planes(opened.lattice, planes_of)))
    left = skipped_text(open_project(project).settings)
    click.echo(f"Skipped: {left or 'none'}. {go_on(opened, project)}")


@click.command()
@PROJECT
@click.argument("labels", nargs=-1, metavar="AXIS=LABELS...")
@click.option("--all", "everything", is_flag=True, help="All tiles again.")
def region(project: Path, labels: tuple[str, ...], everything: bool) -> None:
    """Let only some tiles take part.

    It is as if there were no others.

    \b
    Examples:
      latticework region brain.lw z=1:2
      latticework region brain.lw z=1:2 y=0:3 x=4,5
      latticework region brain.lw --all

    Exit codes: 0 done, 2 there is no such project or axis.
    """
    from latticework.project import open_project

    if bool(labels) == everything:
        raise click.UsageError("say which tiles take part, as in z=1:2 y=0:3, or --all")
    opened = open_project(project)
    n = opened.choose_region(**region_of(opened.lattice, labels))
    click.echo(f"{several(n)} of {len(opened.lattice):,} take part. {go_on(opened, project)}")
    if not n:
        click.echo("There are no such tiles yet: nothing runs until there are.", err=True)


@click.command()
@PROJECT
@click.argument("labels", nargs=-1, metavar="[AXIS=LABELS...]")
@click.option("--planes", "axis", metavar="AXIS", help="Plane by plane along this axis, as in z.")
@click.option(
    "--preview", type=click.IntRange(min=2), metavar="N",
    help="Every N-th tile before all others: a quick first look.",
)  # fmt: skip
@click.option("--acquisition", is_flag=True, help="As tiles were taken: the usual order again.")
def prioritise(
    project: Path,
    labels: tuple[str, ...],
    axis: str | None,
    preview: int | None,
    acquisition: bool,
) -> None:
    """Say which tiles go first.

    A region, a preview, or plane by plane. It replaces what was said before. Within a stage units
    go in this order; units of later stages always go before those of earlier ones.

    \b
    Examples:
      latticework prioritise brain.lw z=3 y=1:4
      latticework prioritise brain.lw --planes z --preview 10
      latticework prioritise brain.lw --acquisition

    Exit codes: 0 done, 2 there is no such project or axis.
    """
    from latticework.cli.settings import priority_text
    from latticework.project import open_project

    if not (labels or axis or preview or acquisition):
        raise click.UsageError(
            "say what goes first: labels as in z=3, --planes, --preview, or --acquisition"
        )
    if acquisition and axis:
        raise click.UsageError("--planes and --acquisition are two orders: give one of them")
    opened = open_project(project)
    opened.prioritise(
        order="planes" if axis else "acquisition",
        axis=axis,
        preview=preview,
        **region_of(opened.lattice, labels),
    )
    text = priority_text(open_project(project).settings.priority)
    click.echo(f"First: {text or 'as tiles were taken'}.")


@click.command()
@PROJECT
@click.argument("values", nargs=-1, metavar="[NAME=VALUE...]")
@click.option("--json", "as_json", is_flag=True, help="For programs: as JSON.")
def parameters(project: Path, values: tuple[str, ...], as_json: bool) -> None:
    """Show or set the project's parameters.

    Commands can use them. Values are numbers, true, false, texts, lists or mappings; 'null' removes
    one.

    \b
    Examples:
      latticework parameters brain.lw
      latticework parameters brain.lw sample=brain-7 gain=2.5 'size=[1, 3, 3]'
      latticework parameters brain.lw gain=null

    Exit codes: 0 done, 2 there is no such project, or a value is not understood.
    """
    from latticework.project import open_project

    opened = open_project(project)
    given = assignments(values)
    known: dict[str, Any] = dict(opened.settings.parameters)
    if given:
        known = opened.set_parameters(**given)
    if as_json:
        click.echo(json.dumps(known, indent=2))
        return
    for line in parameter_lines(known) or ["No parameters."]:
        click.echo(line)
