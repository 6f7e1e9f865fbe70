"""How much was done when: completions per interval of time, from the journal."""

from typing import TYPE_CHECKING, Any

from latticework.project.history import FAILURES, combined, time_terms, unit_terms
from latticework.project.moments import Moment, interval_s
from latticework.project.stage_history import KnownStages

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.project import Project

COLUMNS = [
    *("stage_id", "number", "completed", "failed", "bytes_read", "bytes_written"),
    *("mean_duration_s", "cpu_s"),
]
QUERY = f"""
select a.stage, cast(a.ended / ? as integer),
       sum(a.outcome = 1), sum(a.outcome in ({",".join(map(str, FAILURES))})),
       sum(iif(a.outcome = 1, a.bytes_read, 0)), sum(iif(a.outcome = 1, a.bytes_written, 0)),
       avg(iif(a.outcome = 1, a.ended - a.started, null)), sum(a.cpu_s)
from attempts a
"""  # noqa: S608 - numbers above


def throughput_table(
    project: "Project",
    stage: str | None = None,
    *,
    every: Any = "1min",
    since: Moment | None = None,
    until: Moment | None = None,
) -> "pd.DataFrame":
    """Completions per interval and stage; see `Project.throughput`.

    Columns: ``stage``, ``time`` (when the interval began, UTC), ``completed`` (units),
    ``per_minute``, ``failed`` (attempts), ``bytes_read``, ``bytes_written`` and
    ``mean_duration_s`` of the completed units, and ``cpu_s`` of all attempts. Intervals in which
    no attempt of a stage ended have no row.
    """
    import pandas as pd

    known = KnownStages(project)
    step = interval_s(every)
    terms = sorted(
        [*unit_terms(known, stage, None, {}), *time_terms(since, until)], key=lambda t: t.rank
    )
    where, values = combined(terms)
    where = f"{where} and a.ended is not null" if where else " where a.ended is not null"
    rows = project.query(f"{QUERY}{where} group by 1, 2 order by 2, 1", [step, *values])
    table = pd.DataFrame(rows, columns=COLUMNS)
    numbers = table.pop("number").astype("float64")
    names = {number: one.shown for number, one in known.by_id.items()}
    table.insert(0, "stage", table.pop("stage_id").map(names).astype(object))
    table.insert(1, "time", pd.to_datetime(numbers * step, unit="s", utc=True).dt.as_unit("us"))
    whole = ["completed", "failed", "bytes_read", "bytes_written"]
    table[whole] = table[whole].astype("float64").fillna(0).astype("int64")
    table[["mean_duration_s", "cpu_s"]] = table[["mean_duration_s", "cpu_s"]].astype("float64")
    table.insert(3, "per_minute", table["completed"] * (60 / step))
    return table
