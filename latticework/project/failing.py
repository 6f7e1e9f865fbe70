"""What has failed in a project, grouped by stage and message."""

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from latticework.lattice.states import State
from latticework.project.summary import FailedRow, FailedTile, group_failures
from latticework.project.units import MOST_TRIES, Units

if TYPE_CHECKING:
    from latticework.project.folder import ProjectFolder
    from latticework.project.pipeline import Node

GROUPED = 10_000
"""Failed units of a stage that are looked at, unless told otherwise."""


def failures_of(units: Units, unit: int) -> int:
    """Attempts that failed since a unit completed, or was changed: at least one."""
    tries = int(units.tries[unit])
    return 1 if tries == MOST_TRIES else max(1, tries)


def failed_rows(
    project: "ProjectFolder", node: "Node", *, most: int = GROUPED
) -> Iterator[FailedRow]:
    """The first failed units of a stage, each with its last error: one query for all of them."""
    failed = (node.units.state == State.FAILED).nonzero()[0][:most].tolist()
    if not failed:
        return
    found = project.query(  # with max(), SQLite takes the other columns from that same row
        "select a.unit, max(a.id), e.type, e.message "
        "from attempts a cross join errors e on e.id = a.error "
        "where a.stage = ? and a.unit in (select value from json_each(?)) group by a.unit",
        (node.id, json.dumps(failed)),
    )
    messages = {unit: f"{kind}: {message}" for unit, _, kind, message in found}
    for unit in failed:
        tile = node.lattice.tile(unit)
        address = tile.address if node.reduction else f"{tile.name} {tile.address}"
        message = messages.get(unit, "no error was recorded")
        yield node.name, address, message, failures_of(node.units, unit), unit


def count_failed(nodes: "Iterable[Node]") -> int:
    """Units of these stages that have failed."""
    return sum(int(node.units.tally[State.FAILED]) for node in nodes)


def failures_among(
    project: "ProjectFolder", nodes: "Iterable[Node]", *, most: int = GROUPED
) -> tuple[FailedTile, ...]:
    """What failed in these stages, by stage and message; of each stage the first `most` units."""
    return group_failures(row for node in nodes for row in failed_rows(project, node, most=most))
