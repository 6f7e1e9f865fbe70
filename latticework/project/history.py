"""Every attempt, as a table."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from latticework.io.journal import OUTCOMES
from latticework.project.pipeline import SOURCE

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.project import Project

COLUMNS = [
    "stage",
    "unit",
    "attempt",
    "outcome",
    "started",
    "ended",
    "duration_s",
    "cpu_s",
    "peak_memory_bytes",
    "bytes_read",
    "bytes_written",
    "worker",
    "host",
    "session",
    "error",
    "message",
    "traceback",
]

QUERY = """
select s.name, a.unit, a.attempt, a.outcome, a.started, a.ended, a.ended - a.started, a.cpu_s,
       a.peak_memory, a.bytes_read, a.bytes_written, w.address, w.host, a.session,
       e.type, e.message, e.traceback
from attempts a join stages s on s.id = a.stage
     left join workers w on w.id = a.worker left join errors e on e.id = a.error
"""


def attempts_table(
    project: "Project", stage: str | None, id: int | str | None, labels: Mapping[str, Any]
) -> "pd.DataFrame":
    """See `Project.attempts`.

    Columns: ``stage``, ``tile`` (name), the lattice labels, ``attempt``, ``outcome`` (in words),
    ``started`` and ``ended`` (UTC), ``duration_s``, ``cpu_s``, ``peak_memory_bytes``,
    ``bytes_read``, ``bytes_written``, ``worker``, ``host``, ``session``, ``error``, ``message``,
    ``traceback``.
    """
    import pandas as pd

    where, values = [], []
    if stage is not None:
        node = project.pipeline[stage]
        where, values = ["a.stage = ?"], [node.id]
        if id is not None or (labels and not node.reduction):
            where.append("a.unit = ?")
            values.append(project.unit_row(node, id, labels))
    elif id is not None or labels:
        tile = project.unit_row(project.pipeline[SOURCE], id, labels)
        reductions = [n.id for n in project.pipeline if n.reduction]
        marks = ",".join("?" * len(reductions))
        where, values = ["a.unit = ?", f"a.stage not in ({marks})"], [tile, *reductions]
    sql = QUERY + (f" where {' and '.join(where)}" if where else "") + " order by a.id"
    table = pd.DataFrame(project.query(sql, values), columns=COLUMNS)
    table["outcome"] = table["outcome"].map(OUTCOMES)
    for column in ("started", "ended"):
        table[column] = pd.to_datetime(table[column].astype("float64"), unit="s", utc=True)
    return with_labels(project, table)


def with_labels(project: "Project", table: "pd.DataFrame") -> "pd.DataFrame":
    """The table with names and labels of the tiles instead of unit ids."""
    lattice = project.lattice
    units = table.pop("unit").to_numpy(dtype="int64")
    whole = (
        table["stage"].isin([node.name for node in project.pipeline if node.reduction]).to_numpy()
    )
    rows = lattice.rows_of(
        [0 if w else u for u, w in zip(units.tolist(), whole.tolist(), strict=True)]
    )
    table.insert(
        1,
        "tile",
        ["(all tiles)" if w else n for n, w in zip(lattice.names[rows], whole, strict=True)],
    )
    for k, dim in enumerate(lattice.dims):
        labels = lattice.labels[dim][lattice.index[rows, k]].astype(object)
        labels[whole] = None
        table.insert(2 + k, dim, labels)
    return table
