"""The state machine: what state each unit is in, given the facts; a pure function of them.

======================  =================================================================
fact                    where it is
======================  =================================================================
published, fingerprint  what is there, and what made it (`Units`)
mark                    failed for good, or cancelled by a user (`Units`)
inputs                  states of the units that it reads (`Pipeline` edges)
scope                   withdrawn tiles, skipped planes, regions (`Pipeline.scope`)
on its way              queued and running units keep their states until they come back
======================  =================================================================

Nothing else is kept, so nothing can get stuck: whoever changes a fact asks for the states of the
units that it touches to be settled again (`latticework.project.propagation`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latticework.lattice.dependencies import EveryUnit
from latticework.lattice.states import BROKEN, State
from latticework.project.fingerprints import Inputs, expected, failure_stamps
from latticework.stages.lattices import TILES

if TYPE_CHECKING:
    from latticework.project.pipeline import Edge, Node, Pipeline

BROKEN_TABLE = np.zeros(256, dtype=bool)
BROKEN_TABLE[[int(state) for state in BROKEN]] = True


@dataclass(slots=True)
class Standing:
    """How it stands with the inputs of some units; one boolean for each."""

    waits: np.ndarray
    """Something that it reads is not complete, or may still arrive."""
    blocked: np.ndarray
    """Something that it reads is failed, cancelled or blocked."""
    absent: np.ndarray
    """There is no such unit: it is out of scope, or nothing is there for it to read."""


def settle(pipeline: "Pipeline", node: "Node", units: np.ndarray) -> np.ndarray:
    """Set the states of some units to what follows from the facts.

    Returns
    -------
    numpy.ndarray
        For each unit, whether it may run now.
    """
    if node.is_source:
        return _settle_source(pipeline, node, units)
    own = node.units
    standing = standing_of(pipeline, node, units)
    ready = ~(standing.waits | standing.blocked | standing.absent)
    old, mark, published = own.state[units], own.mark[units], own.published[units] > 0
    new = np.where(published, np.uint8(State.STALE), np.uint8(State.WAITING))
    failed = (mark == State.FAILED) & ~standing.absent & (ready | standing.blocked)
    current = np.flatnonzero((ready & published) | failed)
    if len(current):
        _compare(pipeline, node, units, current, new, mark)
    new[standing.blocked & (new != State.COMPLETE)] = State.BLOCKED
    new = np.where(mark > 0, mark, new)
    new[standing.absent] = State.ABSENT
    active = (old == State.QUEUED) | (old == State.RUNNING)
    new[active] = old[active]
    own.put(units, new)
    result: np.ndarray = ready & ((new == State.WAITING) | (new == State.STALE))
    return result


def _compare(
    pipeline: "Pipeline",
    node: "Node",
    units: np.ndarray,
    current: np.ndarray,
    new: np.ndarray,
    mark: np.ndarray,
) -> None:
    """What is published is complete if it is what would be made now; failures may be forgiven."""
    some = units[current]
    now, then = fingerprints(pipeline, node, some), node.units.fingerprint[some]
    new[current[(now == then) & (node.units.published[some] > 0)]] = State.COMPLETE
    failed = mark[current] == State.FAILED
    if failed.any():  # it failed with other code, parameters or inputs than it would have now
        forgiven = current[failed & (failure_stamps(now) != then)]
        mark[forgiven] = 0


def _settle_source(pipeline: "Pipeline", node: "Node", units: np.ndarray) -> np.ndarray:
    """Tiles are complete, awaited or withdrawn as their source says; failed if unreadable."""
    assert node.presence is not None
    new = np.where(node.units.mark[units] > 0, node.units.mark[units], node.presence[units])
    new = np.where(node.presence[units] == State.COMPLETE, new, node.presence[units])
    if pipeline.over:  # what was announced and has not come will not come
        new[new == State.WAITING] = State.ABSENT
    new[out_of_scope(pipeline, units)] = State.ABSENT
    node.units.put(units, new)
    return np.zeros(len(units), dtype=bool)


def out_of_scope(pipeline: "Pipeline", units: np.ndarray) -> np.ndarray:
    """For each tile, whether it is in a skipped plane or outside of the region."""
    if pipeline.scope is None:
        return np.zeros(len(units), dtype=bool)
    return ~np.asarray(pipeline.scope[units])


def standing_of(
    pipeline: "Pipeline", node: "Node", units: np.ndarray, *, as_if_over: bool = False
) -> Standing:
    """How it stands with what some units read; `as_if_over`, if no more tiles came."""
    more = pipeline.open and not as_if_over
    n = len(units)
    standing = Standing(*(np.zeros(n, dtype=bool) for _ in range(3)))
    for edge in node.edges:
        if isinstance(edge.dependency, EveryUnit):
            _every_input(pipeline, edge, standing, more=more)
        elif edge.one_each:
            _one_input(pipeline, edge, units, standing)
        else:
            _some_inputs(pipeline, edge, units, standing, more=more)
    if node.key == TILES:
        standing.absent |= out_of_scope(pipeline, units)
    return standing


def _one_input(pipeline: "Pipeline", edge: "Edge", units: np.ndarray, standing: Standing) -> None:
    """Each unit reads exactly one."""
    _, read = edge.dependency.inputs(units)
    state = pipeline[edge.parent].units.state[read]
    standing.waits |= state != State.COMPLETE
    standing.blocked |= BROKEN_TABLE[state]
    standing.absent |= state == State.ABSENT


def _every_input(pipeline: "Pipeline", edge: "Edge", standing: Standing, *, more: bool) -> None:
    """Each unit reads all of the parent's: their tally is enough."""
    tally = pipeline[edge.parent].units.tally
    total = len(pipeline[edge.parent].units)
    complete, absent = int(tally[State.COMPLETE]), int(tally[State.ABSENT])
    broken = int(sum(tally[state] for state in BROKEN))
    if absent == total:
        standing.absent[:] = True  # nothing is there to read, and may never be
    elif edge.optional:
        standing.waits |= complete + broken + absent < total or not complete
        standing.blocked |= broken > 0 and complete + absent + broken == total and not complete
    else:
        standing.waits |= complete + absent < total or not complete
        standing.blocked |= broken > 0
        if more and edge.gathers:
            standing.waits |= total - absent < most_of(pipeline, edge)


def _some_inputs(
    pipeline: "Pipeline", edge: "Edge", units: np.ndarray, standing: Standing, *, more: bool
) -> None:
    """Each unit reads any number of units."""
    n = len(units)
    which, read = edge.dependency.inputs(units)
    state = pipeline[edge.parent].units.state[read]
    gone, broken = state == State.ABSENT, BROKEN_TABLE[state]
    own = (read == units[which]) if edge.has_own else np.zeros(len(read), dtype=bool)
    left_out = gone | (broken & ~own) if edge.optional else gone
    standing.waits[which[(state != State.COMPLETE) & ~left_out]] = True
    standing.blocked[which[broken & ~left_out]] = True
    standing.absent[which[own & gone]] = True
    if edge.gathers:
        standing.absent |= np.bincount(which[~gone], minlength=n) == 0
        none_left = np.bincount(which[~left_out], minlength=n) == 0
        standing.blocked |= none_left & ~standing.absent
        if more and not edge.optional:
            standing.waits |= np.bincount(which[~gone], minlength=n) < most_of(pipeline, edge)
    elif edge.declared is not None and not edge.optional:
        if edge.reads.missing == "absent":
            standing.absent |= np.bincount(which[~gone], minlength=n) < edge.declared
        elif more:
            may_be = edge.declared - beyond(pipeline, edge, units).sum(axis=1)
            standing.waits |= np.bincount(which[~gone], minlength=n) < may_be


# -------------------------------------------------------------------- what may still come


def beyond(pipeline: "Pipeline", edge: "Edge", units: np.ndarray) -> np.ndarray:
    """For each unit and offset, whether it leads to where no tile will ever be, bool (n, k)."""
    lattice, offsets = edge.dependency.lattice, edge.dependency.offsets  # type: ignore[attr-defined]
    found = np.zeros((len(units), len(offsets)), dtype=bool)
    for dim, (first, last) in ends_of(pipeline).items():
        column = lattice.dims.index(dim)
        labels = lattice.labels[dim][lattice.index[units, column]]
        there = labels[:, None] + offsets[None, :, column]
        found |= (there < first) | (there > last)
    return found


def waiting_for_end(pipeline: "Pipeline", node: "Node") -> np.ndarray:
    """Units that wait for nothing but the end of the acquisition."""
    if not pipeline.open:
        return np.zeros(0, dtype=np.int64)
    state = node.units.state
    units = np.flatnonzero((state == State.WAITING) | (state == State.STALE))
    held = standing_of(pipeline, node, units)
    units = units[held.waits & ~held.blocked & ~held.absent]
    free = standing_of(pipeline, node, units, as_if_over=True)
    waiting: np.ndarray = units[~(free.waits | free.blocked | free.absent)]
    return waiting


def held_until_end(pipeline: "Pipeline") -> dict[str, np.ndarray]:
    """Units that nobody can do before more tiles come, or the acquisition ends, by stage.

    Those that wait for it themselves, those that read tiles which are announced and not there, and
    all that wait for these.
    """
    source = pipeline["source"]
    held = {source.name: np.flatnonzero(source.units.state == State.WAITING)}
    for node in pipeline:
        parts = [waiting_for_end(pipeline, node)]
        for edge in node.edges:
            if len(above := held.get(edge.parent, parts[0][:0])):
                parts.append(edge.dependency.readers(above))
        units = np.unique(np.concatenate(parts))
        state = node.units.state[units]
        units = units[(state == State.WAITING) | (state == State.STALE)]
        if len(units):
            held[node.name] = units
    del held[source.name]
    return held


def ends_of(pipeline: "Pipeline") -> dict[str, tuple[int, int]]:
    """First and last label along dims that the acquisition will have, without skipped ends."""
    ends = {}
    for dim, (first, last) in pipeline.extents.items():
        if dim not in pipeline.lattice.dims or pipeline.lattice.labels[dim].dtype.kind not in "iu":
            continue
        skipped = set(pipeline.skipped.get(dim, ()))
        low, high = first, last
        while low < high and low in skipped:
            low += 1
        while high > low and high in skipped:
            high -= 1
        ends[dim] = (low, high)
    return ends


def most_of(pipeline: "Pipeline", edge: "Edge") -> float:
    """Tiles that a unit which gathers them will have in the end; infinite if nobody knows."""
    axis = edge.reads.axis if edge.reads.pattern == "plane" else None
    ends = ends_of(pipeline)
    known = set(ends) == set(pipeline.lattice.dims) and pipeline[edge.parent].key == TILES
    if not known or edge.reads.pattern == "intersecting" or pipeline.scope is not None:
        return float("inf")
    return float(np.prod([high - low + 1 for dim, (low, high) in ends.items() if dim != axis]))


# -------------------------------------------------------------------- what is read


def inputs_read(
    pipeline: "Pipeline", edge: "Edge", units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (position in `units`, unit of the parent) that are read: no holes, nothing left out."""
    which, read = edge.dependency.inputs(units)
    out = left_out(pipeline, edge, units, which, read)
    return (which, read) if out is None else (which[~out], read[~out])


def left_out(
    pipeline: "Pipeline", edge: "Edge", units: np.ndarray, which: np.ndarray, read: np.ndarray
) -> np.ndarray | None:
    """For each pair, whether it is a hole for the unit; None if there are none."""
    tally = pipeline[edge.parent].units.tally
    some_broken = edge.optional and any(tally[state] for state in BROKEN)
    if not tally[State.ABSENT] and not some_broken:
        return None
    state = pipeline[edge.parent].units.state[read]
    out: np.ndarray = state == State.ABSENT
    if some_broken:
        own = (read == units[which]) if edge.has_own else np.zeros(len(read), dtype=bool)
        out |= BROKEN_TABLE[state] & ~own
    return out


def fingerprints(pipeline: "Pipeline", node: "Node", units: np.ndarray) -> np.ndarray:
    """Fingerprints that units of a node would get now, uint64."""
    inputs = []
    for edge in node.edges:
        parent = pipeline[edge.parent]
        if isinstance(edge.dependency, EveryUnit):
            _, read = inputs_read(pipeline, edge, units[:1])
            inputs.append(Inputs(None, read, parent.stamps_of(read)))
        else:
            which, read = inputs_read(pipeline, edge, units)
            inputs.append(Inputs(which, read, parent.stamps_of(read), edge.one_each))
    return expected(node.fingerprint ^ node.salt, len(units), inputs)
