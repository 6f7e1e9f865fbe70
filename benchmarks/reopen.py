"""(c) How long it takes, and how much memory, to open a finished project again."""

import shutil
import tempfile
from pathlib import Path

from benchmarks.cases import Report, Settings, at_most, problems, ratio_rows
from benchmarks.measure import Contestant, MeasurementError, contest, measure
from benchmarks.table import number

SECONDS = 1.0
MEGABYTES = 300.0


def report(settings: Settings) -> Report:
    """Seconds to `open_project` and the first status; memory of the process that did it."""
    tiles = settings.tiles or (5_000 if settings.toy else 1_000_000)
    name = f"reopening {tiles:,} finished units"
    folder = Path(tempfile.mkdtemp(prefix="finished_", dir=settings.scratch))
    arguments: dict[str, object] = {"project": str(folder / "finished.lw"), "tiles": tiles}
    settings.say(f"{name}: running them first")
    try:
        maker = Contestant("latticework", "benchmarks.ours:finish", arguments)
        made = measure(maker, settings.scratch, timeout_s=3600)
        settings.say(f"  ran in {made.seconds:.1f} s ({number(tiles / made.seconds)} tiles/s)")
        opener = Contestant("latticework", "benchmarks.ours:reopen", arguments)
        (ours,) = contest([opener], settings.scratch, repeats=settings.repeats, say=settings.say)
    except MeasurementError as error:
        return Report([], NOTES, [str(error)])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds, megabytes = ours.median("seconds"), ours.median("peak_rss_bytes") / 1e6
    rate, coordinator = tiles / made.seconds, made.figures.get("peak_rss_bytes", float("nan")) / 1e6
    rows = [
        *ratio_rows(
            f"{name}: open_project + status",
            "s",
            [("latticework", seconds)],
            aims=[(f"< {SECONDS:.0f} s", at_most(seconds, SECONDS))],
        ),
        *ratio_rows(
            f"{name}: peak memory of the process",
            "MB",
            [("latticework", megabytes)],
            aims=[(f"< {MEGABYTES:.0f} MB", at_most(megabytes, MEGABYTES))],
        ),
        *ratio_rows(f"running those {tiles:,} units", "tiles/s", [("latticework", rate)]),
        *ratio_rows(
            f"running those {tiles:,}: peak memory, coordinator + scheduler",
            "MB",
            [("latticework", coordinator)],
        ),
    ]
    return Report(rows, NOTES, problems([ours]))


NOTES = (
    (
        "reopening: a fresh process, `import latticework` done, then `open_project` and the first "
        "`project.status`; memory is that process's peak since its start, imports included. The "
        "project is made by the real system: that many no-op units run on a local cluster."
    ),
)
