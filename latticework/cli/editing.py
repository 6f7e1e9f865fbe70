"""Commands that change the pipeline: ``add``, ``change``, ``remove``, ``explain``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latticework.cli.looking import PROJECT
from latticework.cli.options import Names, command_words
from latticework.cli.steering import go_on
from latticework.cli.words import assignments, planes, region

if TYPE_CHECKING:
    from latticework.stages.reads import Reads

OPTIONS = ("overlap", "boundary", "trim", "retries", "timeout", "needs", "numpy", "preview")
"""Options of `Project.add` that are given as NAME=VALUE, like parameters."""
TYPED = ("after", "before", "children")
"""Arguments of the library that are options here."""
MISSING = ("wait", "run", "absent")
VALUES = click.argument("values", nargs=-1, metavar="[NAME=VALUE...]")
AFTER = click.option("--after", type=Names(), help="Stages that it reads, as in clean,lamp.")
READS = click.option(
    "--reads", multiple=True, metavar="[PARENT=]PATTERN",
    help="What it reads: same, all, nothing, plane:z, or neighbours as in +z or -x,+x.",
)  # fmt: skip
ABSENT = click.option(
    "--missing", type=click.Choice(MISSING), default="wait", show_default=True,
    help="With --reads: wait for what is missing, run without, or leave the tile out.",
)  # fmt: skip


def pattern(text: str, missing: str) -> "Reads":
    """A reading pattern as it is written.

    Examples
    --------
    >>> pattern("plane:z", "wait").pattern, pattern("+z,-x", "run").offsets
    ('plane', ('+z', '-x'))
    """
    from latticework.errors import StageError
    from latticework.stages import reads

    kinds = {"same": reads.same_tile, "all": reads.all_tiles}
    if text in kinds:
        return kinds[text](missing=missing)
    if text == "nothing":
        return reads.nothing()
    kind, colon, axis = text.partition(":")
    try:
        if kind == "plane" and colon:
            return reads.plane(axis, missing=missing)
        return reads.neighbours(*(one for one in text.split(",") if one), missing=missing)
    except StageError as error:
        raise click.UsageError(
            f"--reads {text}: write same, all, nothing, plane:z, or neighbours as in +z or -x,+x"
        ) from error


def patterns(given: tuple[str, ...], missing: str) -> "Reads | Mapping[str, Reads] | None":
    """Patterns for all parents, or by parent; None if none is given."""
    if not given:
        return None
    by_parent = [text.rpartition("=") for text in given]
    if len(given) == 1 and not by_parent[0][0]:
        return pattern(given[0], missing)
    if any(not parent for parent, _, _ in by_parent):
        raise click.UsageError("--reads: with several, each says of which parent: --reads lamp=all")
    return {parent: pattern(text, missing) for parent, _, text in by_parent}


def options_and_params(words: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of a stage, and parameters of its callable."""
    values = assignments(words)
    for name in ("after", "before", "reads"):
        if name in values:
            raise click.UsageError(f"{name}={values[name]}: did you mean --{name} {values[name]}?")
    options = {name: value for name, value in values.items() if name in OPTIONS}
    for name in ("trim", "numpy"):
        if not isinstance(options.get(name, False), bool):
            raise click.UsageError(f"{name}={options[name]}: write {name}=true or {name}=false")
    return options, {name: value for name, value in values.items() if name not in OPTIONS}


@click.command()
@PROJECT
@click.argument("code", metavar="CODE")
@VALUES
@click.option("--name", help="Name of the stage; the callable's if not given.")
@AFTER
@click.option("--before", type=Names(), help="Stages that read this one instead of what it reads.")
@READS
@ABSENT
def add(
    *,
    project: Path,
    code: str,
    values: tuple[str, ...],
    name: str | None,
    after: list[str] | None,
    before: list[str] | None,
    reads: tuple[str, ...],
    missing: str,
) -> None:
    """Add a stage, also to a project that runs.

    CODE is file.py:function or module:function. Values are numbers, true, false, texts, lists or
    mappings; overlap, boundary, trim, retries, timeout, needs, numpy and preview are options of
    the stage, all others parameters of the callable.

    \b
    Examples:
      latticework add brain.lw scipy.ndimage:median_filter 'size=[1, 3, 3]' overlap=1
      latticework add brain.lw mine.py:match --after clean --reads +z --missing run radius=5
      latticework add brain.lw mine.py:level --after clean,lamp --reads lamp=all
      latticework add brain.lw mine.py:sharpen --after clean --before spots

    Exit codes: 0 added, 2 the stage cannot work, or the code is not there.
    """
    from latticework.cli.pipelines import callable_at
    from latticework.project import open_project

    options, params = options_and_params(values)
    how = patterns(reads, missing)
    opened = open_project(project)
    with command_words(*TYPED):
        made = opened.add(
            callable_at(code),
            after=after,
            before=before or (),
            name=name,
            reads=how,
            params=params,
            **options,
        )
    parents = ", ".join(opened.pipeline[made.name].parents)
    readers = (
        f", and {', '.join(before)} {'read' if len(before) > 1 else 'reads'} it" if before else ""
    )
    click.echo(f"Stage {made.name} reads {parents}{readers}. {go_on(opened, project)}")


@click.command()
@PROJECT
@click.argument("stage")
@VALUES
@AFTER
@READS
@ABSENT
@click.option("--code", metavar="CODE", help="Other code: file.py:function or module:function.")
def change(
    project: Path,
    stage: str,
    values: tuple[str, ...],
    after: list[str] | None,
    reads: tuple[str, ...],
    missing: str,
    code: str | None,
) -> None:
    """Change a stage, also while it runs.

    Its parameters, parents, options or code. What it had made is stale, and so is what was made
    from that; nothing else runs again. See before what would: 'latticework explain', with the same
    words.

    A change stays when the project is run again, until its pipeline file says something else of
    the stage, or is given again with --pipeline.

    \b
    Examples:
      latticework change brain.lw clean size=5
      latticework change brain.lw spots sigma_px=2.5 'overlap={"y": 4, "x": 4}'
      latticework change brain.lw spots --after sharp

    Exit codes: 0 changed, 2 there is no such stage, or it cannot work so.
    """
    from latticework.project import open_project

    given, wanted = changes(values, after, reads, missing, code)
    if not wanted and not given:
        raise click.UsageError("say what to change: name=value, --after, --reads or --code")
    opened = open_project(project)
    with command_words(*TYPED):
        opened.change(stage, *given, **wanted)
    click.echo(f"Changed: {stage}. {go_on(opened, project)}")


def changes(
    values: tuple[str, ...],
    after: list[str] | None,
    reads: tuple[str, ...],
    missing: str,
    code: str | None,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of `Project.change`, from what was typed."""
    from latticework.cli.pipelines import callable_at

    options, params = options_and_params(values)
    wanted = dict(options)
    if params:
        wanted["params"] = params
    if after:
        wanted["after"] = after
    if reads:
        wanted["reads"] = patterns(reads, missing)
    return (() if code is None else (callable_at(code),)), wanted


@click.command()
@PROJECT
@click.argument("stage")
@click.option(
    "--children", type=click.Choice(["reparent", "remove"]),
    help="Stages that read it: let them read its parents instead, or remove them too.",
)  # fmt: skip
@click.option("--delete-outputs", is_flag=True, help="Delete what it made; else that is put aside.")
def remove(project: Path, stage: str, children: str | None, delete_outputs: bool) -> None:
    """Remove a stage; its attempts stay in the history.

    \b
    Examples:
      latticework remove brain.lw spots
      latticework remove brain.lw clean --children reparent
      latticework remove brain.lw clean --children remove --delete-outputs

    Exit codes: 0 removed, 2 there is no such stage, or others read it and --children is missing.
    """
    from latticework.project import open_project

    opened = open_project(project)
    with command_words(*TYPED):
        gone = opened.remove(stage, children=children, outputs=delete_outputs)
    click.echo(f"Removed: {', '.join(gone)}")
    for name, kept in gone.items():
        if kept is not None:
            click.echo(f"  what {name} made is kept in {kept}")


@click.command()
@PROJECT
@click.argument("stage", required=False)
@VALUES
@AFTER
@READS
@ABSENT
@click.option("--code", metavar="CODE", help="Other code: file.py:function or module:function.")
@click.option("--remove", "gone", is_flag=True, help="If the stage were removed.")
@click.option(
    "--children", type=click.Choice(["reparent", "remove"]), help="With --remove: as for 'remove'."
)
@click.option(
    "--skip", "skipped", multiple=True, metavar="AXIS=LABELS", help="If planes were skipped."
)
@click.option(
    "--unskip",
    "unskipped",
    multiple=True,
    metavar="AXIS=LABELS",
    help="If they were skipped no more.",
)
@click.option(
    "--region",
    "inside",
    multiple=True,
    metavar="AXIS=LABELS",
    help="If only these tiles took part.",
)
def explain(
    *,
    project: Path,
    stage: str | None,
    values: tuple[str, ...],
    after: list[str] | None,
    reads: tuple[str, ...],
    missing: str,
    code: str | None,
    gone: bool,
    children: str | None,
    skipped: tuple[str, ...],
    unskipped: tuple[str, ...],
    inside: tuple[str, ...],
) -> None:
    """Tell what a change would run again.

    Nothing is changed. Without a change: what the next run does, also because code or files have
    changed.

    \b
    Examples:
      latticework explain brain.lw
      latticework explain brain.lw clean size=5
      latticework explain brain.lw clean --remove --children reparent
      latticework explain brain.lw --skip z=3,4
      latticework explain brain.lw --region z=1:2 --region y=0:3

    Exit codes: 0 told, 2 there is no such stage or axis, or it cannot work so.
    """
    from latticework.project import open_project

    given, wanted = changes(values, after, reads, missing, code)
    of_tiles = {"skip": skipped, "unskip": unskipped, "region": inside}
    if stage is not None and any(of_tiles.values()):
        raise click.UsageError("--skip, --unskip and --region are of the project: name no stage")
    if stage is None and (wanted or given or gone):
        raise click.UsageError("name the stage that would be changed or removed")
    if gone and (wanted or given):
        raise click.UsageError("--remove: a stage that goes needs no other changes")
    opened = open_project(project)
    with command_words(*TYPED):
        if gone:
            wanted = {"remove": True, "children": children}
        elif stage is None:
            lattice = opened.lattice
            read = {"skip": planes, "unskip": planes, "region": region}
            wanted = {what: read[what](lattice, words) for what, words in of_tiles.items() if words}
        found = opened.explain_changes(*((stage, *given) if stage else ()), **wanted)
    click.echo(repr(found))
