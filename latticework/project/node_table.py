"""The hosts of a project as a table: attempts and failures on each, ever."""

from typing import TYPE_CHECKING

from latticework.io.journal import KILLED, OUTCOMES
from latticework.project.ledger import CHARGED

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.folder import ProjectFolder

FAILED = (*CHARGED, KILLED)
"""Outcomes that count as failures of a host."""
NOT_A_HOST = "no worker"
"""As which attempts are recorded that no worker could begin."""


def nodes_table(project: "ProjectFolder") -> "pd.DataFrame":
    """See `latticework.project.Project.nodes`."""
    import pandas as pd

    rows = project.query(
        "select w.host, a.outcome, count(*) from attempts a join workers w on w.id = a.worker "
        "where w.address <> ? group by 1, 2",
        (NOT_A_HOST,),
    )
    aside = project.settings.set_aside
    hosts = sorted({host for host, *_ in rows} | set(aside))
    numbers = {(host, outcome): n for host, outcome, n in rows}
    kinds = [outcome for outcome in FAILED if any(o == outcome for _, o in numbers)]
    by_kind = {
        OUTCOMES[outcome]: [numbers.get((host, outcome), 0) for host in hosts] for outcome in kinds
    }
    since = [aside[host][0] if host in aside else None for host in hosts]
    table = pd.DataFrame(
        {
            "attempts": [sum(n for (h, _), n in numbers.items() if h == host) for host in hosts],
            "failed": [sum(column[k] for column in by_kind.values()) for k in range(len(hosts))],
            **by_kind,
            "set_aside": pd.to_datetime(pd.Series(since, dtype="float64"), unit="s", utc=True),
            "why": [aside[host][1] if host in aside else "" for host in hosts],
        }
    )
    table.index = pd.Index(hosts, name="host", dtype=object)
    return table
