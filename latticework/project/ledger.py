"""From the journal to states in memory, and back: snapshots and what came after them."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from latticework.errors import StageError
from latticework.io.journal import LOST, OUTCOMES, Journal
from latticework.lattice.states import State
from latticework.project.fingerprints import failure_stamps
from latticework.project.pipeline import Node, Pipeline, parents_first
from latticework.project.units import MOST_TRIES, Units
from latticework.stages.callables import Reference
from latticework.stages.failures import NO_CODE
from latticework.stages.outputs import Output
from latticework.stages.params import restore
from latticework.stages.reads import reads_from_json
from latticework.stages.stage import Stage

COMPLETE, CANCELLED = 1, 5
CHARGED = (2, 3, 4, 6, 7, 8)
"""Outcomes that count against a unit's retries."""
FOUND_DAMAGED = "damaged"
"""A change that says why units were told to run again: what they had made is damaged."""

Row = tuple[int, int, int, int, float | None, float | None, int | None, int | None]


def load_nodes(journal: Journal, pipeline: Pipeline, known: Mapping[str, Node]) -> None:
    """Add every stage of the journal to a pipeline, with the states of its units.

    Callables are taken from `known` nodes of the same definition; others are imported when they
    are to run (`recover`), so that looking at a project runs none of its code.
    """
    rows = journal.query(
        "select id, name, definition, fingerprint, output from stages "
        "where removed is null order by id"
    )
    kept = {name: (json.loads(definition), *rest) for _, name, definition, *rest in rows}
    ids = {row[1]: row[0] for row in rows}
    for name in parents_first({name: values["parents"] for name, (values, *_) in kept.items()}):
        values, fingerprint, output = kept[name]
        key = pipeline.key_of(name, values)
        lattice = pipeline.lattices[key]
        same = known.get(name)
        stage = None
        if same is not None and same.fingerprint == int(fingerprint, 16):
            stage = same.stage
        made = {} if output is None else json.loads(output)
        node = Node(
            id=ids[name],
            name=name,
            stage=stage,
            definition=values,
            fingerprint=int(fingerprint, 16),
            parents=tuple(values["parents"]),
            key=key,
            lattice=lattice,
            units=Units.waiting(len(lattice)),
            output=Output.from_json(made["output"]) if made else None,
            settled_for=int(made["fingerprint"], 16) if made else None,
            missing=None if stage is not None else known_missing(values),
        )
        pipeline.add(node)
        load_states(journal, node)


def recover(node: Node) -> None:
    """Have a node's stage at hand to run it: this imports the module in which it is defined.

    Looking at a project must not do that: its journal may be somebody else's. Where the stage
    cannot be had, `node.missing` says why.
    """
    if node.stage is not None:
        return
    try:
        node.stage, node.missing = recovered(node.name, node.definition), None
    except StageError as error:
        node.missing = str(error)


def recovered(
    name: str, definition: Mapping[str, Any], function: Callable[..., Any] | None = None
) -> Stage:
    """The stage of a stored definition.

    Parameters
    ----------
    name
        Its name.
    definition
        As it is stored.
    function
        Its callable, where that is at hand; imported if not given.

    Raises
    ------
    StageError
        If it cannot be had without adding it again, with the reason.
    """
    params = {key: restore(key, value) for key, value in definition["params"].items()}
    if function is None:
        function = Reference.from_json(definition["function"]).load()
    overlap = definition["overlap"]
    if isinstance(overlap, dict):
        overlap = {axis: tuple(v) if isinstance(v, list) else v for axis, v in overlap.items()}
    declared = definition["output"]
    return Stage(
        function,
        name,
        params=params,
        reads=reads_from_json(definition["reads"]),
        overlap=overlap,
        boundary=definition["boundary"],
        trim=definition["trim"],
        output=None if declared is None else Output.from_json(declared),
        retries=definition["retries"],
        timeout=definition.get("timeout"),
        numpy=definition["numpy"],
        needs=definition.get("needs"),
        preview=definition.get("preview"),
    )


def known_missing(definition: Mapping[str, Any]) -> str | None:
    """Why a stage will not be had from its stored definition, as far as one sees without trying."""
    try:
        Reference.from_json(definition["function"]).check()
        for key, value in definition["params"].items():
            restore(key, value)
    except StageError as error:
        return str(error)
    return None


def load_states(journal: Journal, node: Node) -> None:
    """States of a node's units: its snapshot, then every attempt and change since."""
    found = journal.query("select attempt, change, states from snapshots where stage=?", (node.id,))
    attempt, change = 0, 0
    if found:
        attempt, change, states = found[0]
        node.units = Units.from_bytes(states)
        node.units.grow(len(node.lattice))
    replay(journal, node, attempt, change)
    node.units.judge(node.budgets)  # which may have been others when the snapshot was made


def replay(journal: Journal, node: Node, attempt: int, change: int) -> None:
    """Apply attempts and changes with greater ids than these, in their order."""
    rows = journal.query(
        "select id, unit, attempt, outcome, started, ended, fingerprint, exit_code from attempts "
        "where id > ? and stage = ? order by id",
        (attempt, node.id),
    )
    changes = journal.query(
        "select after, what, units from changes where id > ? and stage = ? order by id",
        (change, node.id),
    )
    position = 0
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    for after, what, units in changes:
        stop = int(np.searchsorted(ids, after, side="right"))
        apply_attempts(node, [row[1:] for row in rows[position:stop]])
        apply_change(node, what, np.frombuffer(units, dtype="<i8"))
        position = max(position, stop)
    apply_attempts(node, [row[1:] for row in rows[position:]])


def apply_attempts(node: Node, rows: Iterable[Row]) -> None:
    """Attempts that ended: (unit, attempt, outcome, started, ended, fingerprint, exit code)."""
    units = node.units
    failed: dict[int, tuple[int, int, int]] = {}
    for unit, attempt, outcome, started, ended, fingerprint, code in rows:  # type: ignore[misc]
        if unit in failed:  # what came before counts first
            _charge(node, failed)
        units.attempts[unit] = max(units.attempts[unit], attempt)
        if ended is not None and started is not None:
            units.duration_s[unit], units.ended[unit] = ended - started, ended
        if outcome == COMPLETE:
            units.forgive(unit)
            units.published[unit] = attempt
            units.fingerprint[unit] = fingerprint & 0xFFFFFFFFFFFFFFFF
        elif outcome in CHARGED:
            failed[unit] = fingerprint, outcome, NO_CODE if code is None else code
        elif outcome == CANCELLED:
            units.mark[unit] = State.CANCELLED
        elif outcome == LOST:
            units.fingerprint[unit] = 0  # whether what it had made was replaced is not known
    _charge(node, failed)


def _charge(node: Node, failed: dict[int, tuple[int, int, int]]) -> None:
    """Charge units that failed, all at once: fingerprint, outcome and exit code of each."""
    if failed:
        units = np.fromiter(failed, dtype=np.int64)
        fingerprints, outcomes, codes = np.array(list(failed.values()), dtype=np.int64).T
        stamps = failure_stamps(np.ascontiguousarray(fingerprints).view("u8"))
        node.units.charge(units, stamps, node.budgets, outcomes, codes)
        failed.clear()


def apply_change(node: Node, what: str, ids: np.ndarray) -> None:
    """A change that is no attempt.

    ``retry``, ``fail``, ``cancel`` or ``drop`` (outputs were removed); others only tell.
    Behind ``fail`` stands the stamp of what failed (`failed_for_good`).
    """
    units = node.units
    if what == "retry":
        units.forgive(ids)
        units.fingerprint[ids] = 0
    elif what.startswith("fail"):
        units.tries[ids], units.mark[ids] = MOST_TRIES, State.FAILED
        _, _, stamp = what.partition(" ")
        if stamp:
            units.fingerprint[ids] = int(stamp, 16)
    elif what == "cancel":
        units.mark[ids] = State.CANCELLED
    elif what == "drop":
        units.published[ids] = 0


def failed_for_good(fingerprint: int) -> str:
    """The change of a unit that fails for good without having been charged: see `apply_change`.

    Parameters
    ----------
    fingerprint
        Of the attempt that was one too many.
    """
    return f"fail {int(failure_stamps(np.array([fingerprint], dtype=np.uint64))[0]):x}"


def save_snapshot(journal: Journal, node: Node) -> None:
    """Keep the states of a node's units as they are now."""
    attempt = journal.query("select coalesce(max(id), 0) from attempts")[0][0]
    change = journal.query("select coalesce(max(id), 0) from changes")[0][0]
    journal.write(
        "insert or replace into snapshots (stage, attempt, change, states) values (?, ?, ?, ?)",
        (node.id, attempt, change, node.units.to_bytes()),
    )


__all__ = ["OUTCOMES", "load_nodes", "recover", "replay", "save_snapshot"]
