"""The parts of the page of one unit, as HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latticework.lattice.states import State
from latticework.project.pipeline import SOURCE
from latticework.project.steering import CAN_CANCEL
from latticework.stages.lattices import of_several_tiles
from latticework.viz.dashboard.feed import Snapshot
from latticework.viz.dashboard.naming import Unit
from latticework.viz.dashboard.page import Visit
from latticework.viz.dashboard.parts import (
    end_of_file,
    facts,
    moment,
    panel,
    short_name,
    state_mark,
    table,
    text_block,
    unit_link,
)
from latticework.viz.dashboard.tile_facts import (
    AttemptTold,
    Neighbour,
    StageOfUnit,
    TileFacts,
    shown_state,
)
from latticework.viz.dashboard.tile_pictures import Shown
from latticework.viz.folding import axis_name
from latticework.viz.html import escaped
from latticework.viz.words import length, plural, seconds, shortened, size

CAN_RETRY = (State.FAILED, State.CANCELLED, State.COMPLETE, State.STALE)
"""States of units that can be made again."""
MOST_NAMED = 8
"""Failed units of a stage that are named where no tile was asked for."""
NEIGHBOUR, ALONG = 14, 18
"""Letters of names of neighbours that are shown: around it, and along other axes."""
_ARROWS = {-1: "\N{MINUS SIGN}", 1: "+"}


def link_to(visit: Visit, unit: Unit, other: int, stage: str | None = None) -> str:
    """The address of the page of another unit on the same lattice."""
    wanted = stage or unit.stage
    told = {} if wanted is None else {"stage": wanted}
    return visit.link("lattice-tile", **told, tile=other)


def heading(unit: Unit) -> str:
    """Name and labels of a unit; position and pixels, where it has any of its own."""
    tile = unit.tile
    pairs = [(axis_name(dim), escaped(label, 40)) for dim, label in tile.labels.items()]
    has_pixels = not of_several_tiles(unit.key)
    if tile.position_um and has_pixels:
        where = ", ".join(length(um) for um in tile.position_um.values())
        axes = " ".join(axis_name(axis) for axis in tile.position_um)
        pairs.append((f"position {axes}", where))
    if tile.shape and has_pixels:
        pixels = " × ".join(f"{n:,}" for n in tile.shape)
        pairs.append((f"pixels {' '.join(tile.dims)}, {tile.dtype}", pixels))
    pairs.append(("id", f"{tile.id:,}"))
    problem = f"<p class='bad'>{escaped(tile.problem, 400)}</p>" if tile.problem is not None else ""
    name = escaped(tile.name, 120) if unit.lattice.dims else "all tiles"
    return f"<div class='panel'><h2 class='name'>{name}</h2>{facts(pairs)}{problem}</div>"


def which_tile(visit: Visit, snapshot: Snapshot) -> str:
    """What to say where no tile was asked for: some that one may want to see."""
    lines = ["<p>Give the tile above, or click one on the map.</p>"]
    for stage in snapshot.stages:
        if not stage.count(State.FAILED) or not stage.lattice.dims:
            continue
        where = np.argwhere(stage.states == State.FAILED)[:MOST_NAMED]
        ids = [int(stage.lattice.id_grid[tuple(one)]) for one in where]
        links = ", ".join(unit_link(visit, snapshot, stage.name, unit) for unit in ids)
        more = stage.count(State.FAILED) - len(ids)
        lines.append(f"<p>failed: {links}{f' and {more:,} more' if more > 0 else ''}</p>")
    return panel("Which tile?", "".join(lines))


def states_table(visit: Visit, stages: Sequence[StageOfUnit], told: TileFacts | None) -> str:
    """Its state in every stage, why, and what can be done about it."""
    why = {} if told is None else told.why
    rows = []
    if SOURCE in why:
        rows.append(["source", "", escaped(why[SOURCE][1], 400), ""])
    for one in stages:
        name = escaped(one.stage, 60)
        if not one.same:
            there = visit.link("lattice-tile", stage=one.stage, tile=one.unit)
            name = f"<a href='{there}' title='the plane or whole that it is part of'>{name}</a>"
        known, reason = why.get(one.stage, (None, "…"))
        state = shown_state(one.state, known)
        rows.append([name, state_mark(state), escaped(reason, 400), _deeds(visit, one, state)])
    return panel("In every stage", table(["stage", "state", "~why", ""], rows, empty="no stages"))


def _deeds(visit: Visit, one: StageOfUnit, state: State) -> str:
    links = []
    for deed, states in (("retry", CAN_RETRY), ("cancel", CAN_CANCEL)):
        if state in states:
            where = visit.link("lattice-control", do=deed, stage=one.stage, tile=one.unit)
            links.append(f"<a href='{where}'>{deed}…</a>")
    return f"<span class='nowrap'>{' '.join(links)}</span>"


def neighbours_map(visit: Visit, unit: Unit, around: Sequence[Neighbour], stage: str) -> str:
    """The units around it as a small map of links, coloured by state."""
    dims = unit.lattice.dims
    if not dims:
        return panel("Neighbours", "<p class='faint'>it is made once, of everything</p>")
    last = min(2, len(dims))
    found = {one.offset: one for one in around}
    before = (0,) * (len(dims) - last)
    rows = []
    for steps in ((-1,), (0,), (1,)) if last == 2 else ((),):
        line = [found.get((*before, *steps, x)) for x in (-1, 0, 1)]
        cells = "".join(_neighbour(visit, unit, one, stage) for one in line)
        rows.append(f"<tr>{cells}</tr>")
    axes = " × ".join(axis_name(dim) for dim in dims[-last:])
    grid = f"<table class='around'>{''.join(rows)}</table>"
    along = "".join(
        f"<p>{axis_name(dim)}: {_along(visit, unit, found, column, stage)}</p>"
        for column, dim in enumerate(dims[:-last])
    )
    note = axes if stage == SOURCE else f"{axes}, states of {escaped(stage, 40)}"
    return panel("Neighbours", grid + along, note=note)


def _neighbour(visit: Visit, unit: Unit, one: Neighbour | None, stage: str) -> str:
    if one is None:
        return f"<td class='here'>{short_name(unit.tile.name, NEIGHBOUR - 2)}</td>"
    if one.id < 0:
        return "<td class='none'>–</td>"
    where = link_to(visit, unit, one.id, None if stage == SOURCE else stage)
    name = unit.lattice.tile(one.id).name
    return (
        f"<td style='border-left:5px solid var(--{one.state.label})' "
        f"title='{escaped(name)}: {one.state.label}'>"
        f"<a href='{where}'>{escaped(shortened(name, NEIGHBOUR), NEIGHBOUR)}</a></td>"
    )


def _along(
    visit: Visit,
    unit: Unit,
    found: Mapping[tuple[int, ...], Neighbour],
    column: int,
    stage: str,
) -> str:
    parts = []
    for step, sign in _ARROWS.items():
        offset = tuple(step if k == column else 0 for k in range(len(unit.lattice.dims)))
        one = found.get(offset)
        if one is None or one.id < 0:
            parts.append(f"<span class='faint'>{sign} none</span>")
            continue
        where = link_to(visit, unit, one.id, None if stage == SOURCE else stage)
        whole = unit.lattice.tile(one.id).name
        name = escaped(shortened(whole, ALONG), ALONG)
        key = f"<i class='key' style='background:var(--{one.state.label})'></i>"
        about = f"{escaped(whole)}: {one.state.label}"
        parts.append(f"{sign} {key}<a href='{where}' title='{about}'>{name}</a>")
    return " &nbsp; ".join(parts)


def pictures(shown: Sequence[Shown]) -> str:
    """What every stage has made of it, side by side."""
    cards = []
    for one in shown:
        name = escaped(one.stage, 40)
        inside = (
            f"<img src='{one.picture}' alt='what {name} has made of it'>"
            if one.picture
            else f"<div class='instead'>{escaped(one.note, 200)}</div>"
        )
        note = f"<figcaption><b>{name}</b><br>{escaped(one.note, 120) if one.picture else ''}"
        cards.append(f"<figure>{inside}{note}</figcaption></figure>")
    return panel("As each stage has made it", f"<div class='cards'>{''.join(cards)}</div>")


def attempts_table(told: TileFacts, chosen: str | None) -> str:
    """Every attempt at it."""
    rows = []
    for one in told.attempts:
        good = one.outcome == "complete"
        outcome = f"<span class='{'good' if good else 'bad'}'>{escaped(one.outcome, 40)}</span>"
        if one.exit_code not in (None, 0):
            outcome += f" {one.exit_code}"
        where = escaped(one.host, 40)
        if one.worker:
            address = escaped(one.worker, 100)
            where = f"<span title='{address}'>{where or address}</span>"
        mark = " <span class='badge'>below</span>" if one.key == chosen else ""
        rows.append(
            [
                f"<span class='nowrap'>{escaped(one.stage, 60)}{mark}</span>",
                str(one.number),
                outcome,
                moment(one.started),
                "" if one.duration_s is None else seconds(one.duration_s),
                "" if one.cpu_s is None else seconds(one.cpu_s),
                "" if one.memory is None else size(one.memory),
                "" if one.read is None else size(one.read),
                "" if one.written is None else size(one.written),
                where,
                f"<span class='one'>{escaped(one.error, 200)}</span>",
            ]
        )
    head = ["stage", ">attempt", "outcome", "began (UTC)", ">took", ">cpu", ">memory"]
    head += [">read", ">wrote", "host", "~error"]
    more = told.total - len(told.attempts)
    note = plural(len(told.attempts), "attempt") + (" (the last ones)" if more else "")
    body = table(head, rows, empty="there was none yet")
    return panel("Attempts", body, note=note if rows else "")


def attempt_texts(one: AttemptTold) -> str:
    """Traceback and logs of an attempt; reads the ends of its log files."""
    parts = []
    if one.error:
        parts.append(f"<p class='bad'>{escaped(one.error, 1000)}</p>")
    if one.traceback:
        parts.append(f"<h3>Traceback</h3>{text_block(one.traceback)}")
    logs = list(one.logs)
    if logs:
        logs.append(("log", logs[0][1].with_suffix(".log")))
    for name, file in logs:
        text = end_of_file(file) if file.is_file() else ""
        if text.strip():
            parts.append(f"<h3>{name.capitalize()}</h3>{text_block(text)}")
    if not parts:
        parts.append("<p class='faint'>It printed nothing, and nothing went wrong.</p>")
    return "".join(parts)


def origin(visit: Visit, stage: str, told: Mapping[str, Any]) -> str:
    """Where what a stage has made of it comes from."""
    if stage == SOURCE:
        file = told.get("file")
        body = f"<p>{escaped(file, 300)}</p>" if file else "<p class='faint'>acquired</p>"
        return panel("Where it comes from", body)
    if not told:
        text = f"{escaped(stage, 60)} has made nothing of it yet"
        return panel("Where it comes from", f"<p class='faint'>{text}</p>")
    definition, made, session = told["definition"], told["made"], told["session"]
    function = definition.get("function", {})
    rows = [["made by", f"attempt {made['attempt']} of {escaped(stage, 60)}"]]
    code = f"{function.get('module', '')}.{function.get('qualname', '')}".strip(".")
    rows.append(["code", escaped(code or function.get("command", "a command"), 160)])
    params = definition.get("params") or {}
    told_params = ", ".join(f"{name}={value!r}" for name, value in params.items())
    rows.append(["parameters", escaped(told_params or "none", 300)])
    rows += [
        [f"reads of {escaped(parent, 60)}", _inputs(visit, parent, keys)]
        for parent, keys in told["inputs"].items()
    ]
    versions = session.get("versions") or {}
    some = ", ".join(
        f"{name} {versions[name]}"
        for name in ("latticework", "python", "numpy", "dask")
        if name in versions
    )
    rows.append(["versions", escaped(some, 200)])
    if not told["current"]:
        rows.append(["", "<span class='bad'>what made it has changed since</span>"])
    return panel(f"Where {escaped(stage, 60)} has it from", table(["", "~"], rows))


def _inputs(visit: Visit, parent: str, keys: Any) -> str:
    """What was read of a parent: links to the units, or a summary."""
    if not isinstance(keys, list):
        return escaped(keys.get("summary", keys) if isinstance(keys, Mapping) else keys, 160)
    links = []
    for key in keys:
        unit, _, attempt = str(key).partition("/")[2].partition("#")
        if unit.isdigit():
            told = {} if parent == SOURCE else {"stage": parent}
            where = visit.link("lattice-tile", **told, tile=unit)
            beside = f" (attempt {escaped(attempt, 10)})" if attempt not in ("", "1") else ""
            links.append(f"<a href='{where}'>{escaped(key, 60)}</a>{beside}")
        else:
            links.append(escaped(key, 60))
    return ", ".join(links)
