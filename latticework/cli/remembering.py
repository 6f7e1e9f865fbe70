"""Commands that tell of the past, or repeat it: attempts, logs, provenance, replays, copies."""

import json
import sys
import traceback
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from latticework.cli.frame import FAILED, called
from latticework.cli.looking import PROJECT
from latticework.cli.options import Names
from latticework.cli.words import TILE, TILES, chosen, one_unit, region
from latticework.cli.working import several
from latticework.errors import LatticeworkError, ProjectError

if TYPE_CHECKING:
    import pandas as pd

STAGE = click.argument("stage")
TILE_OF = click.argument("tile", nargs=-1, metavar=TILE)
HOST_WIDTH = 24
SINCE = "as in 10min, 2h, 2026-03-01 or '2026-03-01 14:00'"


@click.command()
@PROJECT
@click.argument("stage", required=False)
@click.argument("tiles", nargs=-1, metavar=TILES)
@click.option(
    "--outcome", type=Names(), help="As in complete, or failed for all that are failures."
)
@click.option("--worker", metavar="ADDRESS", help="Only those of this worker.")
@click.option("--host", help="Only those on this host.")
@click.option("--since", metavar="TIME", help=f"Ended since then: {SINCE}.")
@click.option("--until", metavar="TIME", help="Ended until then.")
@click.option(
    "--last", type=click.IntRange(min=1), default=20, show_default=True, metavar="N",
    help="The last so many.",
)  # fmt: skip
@click.option(
    "--slowest", type=click.IntRange(min=1), metavar="N",
    help="Instead: the N of all that took longest, slowest first.",
)  # fmt: skip
@click.option(
    "--csv", "csv", metavar="FILE", help="Write all of them, with all columns; '-' prints them."
)
@click.option(
    "--throughput", metavar="INTERVAL", help="Instead: what each stage completed, as in 1min."
)
def history(
    *,
    project: Path,
    stage: str | None,
    tiles: tuple[str, ...],
    outcome: list[str] | None,
    worker: str | None,
    host: str | None,
    since: str | None,
    until: str | None,
    last: int,
    slowest: int | None,
    csv: str | None,
    throughput: str | None,
) -> None:
    """List attempts, or throughput.

    When and where they ran, how long, at what cost, and with which error. Stages that were removed
    are called 'clean (removed)'.

    \b
    Examples:
      latticework history brain.lw
      latticework history brain.lw spots z=3 y=1:4 --outcome failed
      latticework history brain.lw --since 10min --csv attempts.csv
      latticework history brain.lw spots --outcome complete --slowest 10
      latticework history brain.lw --throughput 1min --since 1h

    Exit codes: 0 told, 2 there is no such project, stage, tile, outcome or time.
    """
    from latticework.project import open_project

    opened = open_project(project)
    if throughput is not None:
        table = opened.throughput(stage, every=throughput, since=since, until=until)
        show_table(table, csv, throughput_rows)
        return
    known = stage if stage in opened.pipeline.nodes else None
    id, labels = chosen(opened, tiles, known)
    table = opened.attempts(
        stage,
        id,
        worker=worker,
        host=host,
        outcome=outcome,
        since=since,
        until=until,
        limit=None if csv is not None or slowest is not None else last,
        **labels,
    )
    if slowest is not None:
        table = table.nlargest(slowest, "duration_s")
    show_table(table, csv, attempt_rows)


def show_table(table: "pd.DataFrame", csv: str | None, rows_of: Any) -> None:
    """Print a table for people, or write it as CSV for programs."""
    if csv == "-":
        click.echo(table.to_csv(index=False), nl=False)
    elif csv is not None:
        path = Path(csv).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
        click.echo(f"Wrote {len(table):,} rows to {path}")
    elif not len(table):
        click.echo("No attempts.")
    else:
        for line in aligned(rows_of(table)):
            click.echo(line)


def attempt_rows(table: "pd.DataFrame") -> list[tuple[str, ...]]:
    """Head and rows of a table of attempts."""
    from pandas import isna

    from latticework.viz.words import plain, seconds, size

    rows: list[tuple[str, ...]] = []
    rows.append(("ended", "stage", "tile", "attempt", "outcome", "took", "memory", "host", "error"))
    for row in table.to_dict("records"):
        error = f"{row['error']}: {row['message']}" if isinstance(row["error"], str) else ""
        if not error and not isna(row["exit_code"]) and row["exit_code"]:
            error = f"exit code {row['exit_code']}"
        took, memory = row["duration_s"], row["peak_memory_bytes"]
        cells = [shown_time(row["ended"]), plain(row["stage"], 30), plain(row["tile"], 40)]
        cells += [str(row["attempt"]), str(row["outcome"])]
        cells += ["" if isna(took) else seconds(took), "" if isna(memory) else size(memory)]
        cells += [plain(row["host"], HOST_WIDTH) if isinstance(row["host"], str) else ""]
        rows.append((*cells, plain(error, 120)))
    return rows


def throughput_rows(table: "pd.DataFrame") -> list[tuple[str, ...]]:
    """Head and rows of a table of throughput."""
    from pandas import isna

    from latticework.viz.words import plain, seconds, size

    rows: list[tuple[str, ...]] = []
    rows.append(("time", "stage", "completed", "per minute", "failed", "written", "each took"))
    for row in table.to_dict("records"):
        mean = row["mean_duration_s"]
        cells = [shown_time(row["time"]), plain(row["stage"], 30), f"{row['completed']:,}"]
        cells += [f"{row['per_minute']:,.1f}", f"{row['failed']:,}", size(row["bytes_written"])]
        rows.append((*cells, "" if isna(mean) else seconds(mean)))
    return rows


def shown_time(moment: Any) -> str:
    """A time, as clocks here show it."""
    import pandas as pd

    if pd.isna(moment):
        return ""
    return str(moment.tz_convert(None).to_pydatetime().isoformat(" ", "seconds")) + "Z"


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines with straight columns; columns that are empty are left out.

    Examples
    --------
    >>> aligned([("stage", "error", "took"), ("clean", "", "2 s"), ("match", "", "11 s")])
    ['stage  took', 'clean  2 s', 'match  11 s']
    """
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]


@click.command()
@PROJECT
@STAGE
@TILE_OF
@click.option("--attempt", type=click.IntRange(min=1), help="Which; the last if not given.")
@click.option("--path", "paths", is_flag=True, help="Print where the logs are, and nothing else.")
def log(project: Path, stage: str, tile: tuple[str, ...], attempt: int | None, paths: bool) -> None:
    """Print what an attempt wrote, and its error.

    \b
    Examples:
      latticework log brain.lw segment z=3 y=1 x=2
      latticework log brain.lw segment 17 --attempt 1
      latticework log brain.lw segment 17 --path

    Exit codes: 0 printed, 1 it wrote nothing, 2 there is no such project, stage, tile or attempt.
    """
    import pandas as pd

    from latticework.project import open_project

    opened = open_project(project)
    unit, _ = one_unit(opened, stage, tile)
    table = opened.attempts(stage, None if opened.pipeline[stage].reduction else unit)
    if attempt is not None:
        table = table[table.attempt == attempt]
    if not len(table):
        which = "" if attempt is None else f" {attempt}"
        raise ProjectError(f"stage {stage!r} has made no attempt{which} there")
    row = table.iloc[-1]
    logs = {name: row[name] for name in ("stdout", "stderr") if isinstance(row[name], str)}
    if paths:
        for path in logs.values():
            click.echo(path)
        if not logs:
            sys.exit(FAILED)
        return
    code = f", exit code {row.exit_code}" if not pd.isna(row.exit_code) else ""
    click.secho(f"Attempt {row.attempt}: {row.outcome}{code}, {shown_time(row.ended)}", bold=True)
    error = row.traceback if isinstance(row.traceback, str) else ""
    for name, path in logs.items():
        text = Path(path).read_text(encoding="utf-8", errors="replace")
        if text:
            click.secho(f"{name}:", bold=True)
            click.echo(text, nl=not text.endswith("\n"))
    if error:
        click.secho("error:", bold=True)
        click.echo(error.rstrip())
    if not logs and not error:
        click.echo("It wrote nothing.")
        sys.exit(FAILED)


@click.command()
@PROJECT
@STAGE
@TILE_OF
@click.option("--depth", type=click.IntRange(min=1), help="Stages to go back; all if not given.")
@click.option("--full", is_flag=True, help="List every unit that was read, however many.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file.")
def provenance(
    project: Path,
    stage: str,
    tile: tuple[str, ...],
    depth: int | None,
    full: bool,
    out: Path | None,
) -> None:
    """Tell where a result comes from, as JSON.

    Back to the source: code, parameters, inputs, versions, and when and where each of them was
    made.

    \b
    Examples:
      latticework provenance brain.lw spots z=3 y=1 x=2
      latticework provenance brain.lw spots 17 --out spots-17.json

    Exit codes: 0 told, 2 there is no such project, stage or tile, or nothing was made yet.
    """
    from latticework.project import open_project
    from latticework.project.provenance import save_provenance

    opened = open_project(project)
    unit, _ = one_unit(opened, stage, tile)
    found = opened.provenance(stage, unit, depth=depth, full=full)
    if out is None:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        click.echo(f"Wrote {save_provenance(found, out.expanduser())}")


@click.command()
@PROJECT
@STAGE
@TILE_OF
@click.option("--pdb", "debug", is_flag=True, help="Open the debugger where it fails.")
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path),
    help="Where a command leaves its files; a temporary folder if not given.",
)  # fmt: skip
def replay(
    project: Path, stage: str, tile: tuple[str, ...], debug: bool, folder: Path | None
) -> None:
    """Run one tile here, to look into it.

    The inputs are those of a run. Nothing is recorded or published: it is for looking into what
    fails.

    \b
    Examples:
      latticework replay brain.lw spots z=3 y=1 x=2
      latticework replay brain.lw spots 17 --pdb

    Exit codes: 0 it returned, 1 it failed, 2 it cannot run: what it reads is not complete.
    """
    from latticework.project import open_project

    opened = open_project(project)
    unit, _ = one_unit(opened, stage, tile)
    try:
        made = opened.replay(stage, unit, folder=folder)
    except LatticeworkError:
        raise
    except Exception:
        traceback.print_exc()
        if debug:
            import pdb  # noqa: T100 - asked for

            pdb.post_mortem()
        sys.exit(FAILED)
    click.echo(repr(made))


@click.command()
@PROJECT
@click.argument("new", type=click.Path(path_type=Path))
@click.argument("labels", nargs=-1, metavar="[AXIS=LABELS...]")
@click.option("--stages", type=Names(), help="Only these stages, as in clean,spots.")
@click.option("--name", help="Name of the project; the folder's if not given.")
def copy(
    project: Path, new: Path, labels: tuple[str, ...], stages: list[str] | None, name: str | None
) -> None:
    """Make a trial project of some tiles.

    It has the same stages. It reads the same pixels where they are, and has made nothing yet.

    \b
    Examples:
      latticework copy brain.lw trial.lw z=3:4
      latticework copy brain.lw trial.lw z=3 y=0:2 --stages clean,spots

    Exit codes: 0 made, 2 there is no such project, tile or stage, or the folder is taken.
    """
    from latticework.project import open_project

    opened = open_project(project)
    chosen_region = region(opened.lattice, labels) or None
    made = opened.copy(new.expanduser(), region=chosen_region, stages=stages, name=name)
    click.echo(f"Project: {made.path}, {several(len(made.lattice))}, stages {', '.join(made)}")
    click.echo(f"Next: {called()} run {quote(str(new))}")
