"""What users can ask of a project, while it runs and when it does not; each a small function.

A request has a name and arguments that JSON can hold (so that it can come from another process);
within one process they may also hold stages. Each function changes a project at its desk
(`latticework.project.desk`) and returns what it has to say.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import ProjectError
from latticework.io.growth_store import Growth
from latticework.lattice.offsets import lattice_dim
from latticework.lattice.states import State
from latticework.project.adding import node_from_request
from latticework.project.growing import grow_project, make_live
from latticework.project.patience import EVERY_STAGE, Patience
from latticework.project.removing import remove_stage
from latticework.project.selecting import chosen_units
from latticework.project.settings import ORDERS, Priority, check_region

if TYPE_CHECKING:
    from latticework.project.desk import Desk

Arguments = Mapping[str, Any]


def carry_out(desk: "Desk", command: str, arguments: Arguments) -> Any:
    """Carry out a request; durable when this returns.

    Raises
    ------
    ProjectError
        If there is no such request, or it cannot be done.
    """
    action = ACTIONS.get(command)
    if action is None:
        raise ProjectError(f"there is no request {command!r}; there are {', '.join(ACTIONS)}")
    answer = action(desk, arguments)
    desk.project.note_command(command, arguments, answer)
    desk.journal.commit()
    return answer


def _stages(desk: "Desk", arguments: Arguments) -> list[str]:
    """Names of the stages that are meant; none where the project is."""
    names = arguments.get("stages")
    if names is None:
        return []
    nodes = [desk.pipeline[name] for name in ([names] if isinstance(names, str) else names)]
    if any(node.is_source for node in nodes):
        raise ProjectError(
            "the source is no stage that could be paused: pause the stages that read it, or the "
            "project"
        )
    return [node.name for node in nodes]


def pause(desk: "Desk", arguments: Arguments) -> Any:
    """Send nothing more of some stages, or of the whole project."""
    names, settings = _stages(desk, arguments), desk.settings
    if arguments.get("stages") is None:
        desk.use(settings.replace(paused=True))
    else:
        paused = sorted({*settings.paused_stages, *names})
        why = {name: why for name, why in settings.gave_up.items() if name not in names}
        desk.use(settings.replace(paused_stages=tuple(paused), self_paused=why))
    desk.pauses_changed()
    return None


def resume(desk: "Desk", arguments: Arguments) -> Any:
    """Go on with some stages, or with the project: then stages paused by themselves stay so."""
    names, settings = _stages(desk, arguments), desk.settings
    if arguments.get("stages") is None:
        desk.use(settings.replace(paused=False))
    else:
        paused = tuple(name for name in settings.paused_stages if name not in names)
        desk.start_afresh(names)
        desk.use(desk.settings.replace(paused_stages=paused))
    desk.pauses_changed()
    return None


def _states(names: Sequence[Any]) -> list[State]:
    known = {state.label: state for state in State}
    wrong = [name for name in names if str(name).lower() not in known]
    if wrong:
        raise ProjectError(f"states={wrong[0]!r} is none of {', '.join(known)}")
    return [known[str(name).lower()] for name in names]


def retry(desk: "Desk", arguments: Arguments) -> int:
    """Let units run again; how many."""
    total = 0
    states = _states(arguments["states"])
    for node, units in chosen_units(desk.pipeline, arguments, states):
        desk.change_units(node, "retry", units)
        desk.start_afresh([node.name])
        total += len(units)
    return total


def make_again(desk: "Desk", arguments: Arguments) -> int:
    """Let units, given by stage, run again, as what they made is damaged; how many."""
    total = 0
    for name, ids in arguments["units"].items():
        meant = {"stages": name, "units": ids}
        for node, units in chosen_units(desk.pipeline, meant, [State.COMPLETE]):
            desk.make_again(node, units)
            total += len(units)
    return total


CAN_CANCEL = (State.WAITING, State.QUEUED, State.RUNNING, State.STALE, State.BLOCKED)


def cancel(desk: "Desk", arguments: Arguments) -> int:
    """Cancel units, also those that run; how many."""
    found = chosen_units(desk.pipeline, arguments, CAN_CANCEL)
    return sum(desk.cancel(node, units) for node, units in found)


def add(desk: "Desk", arguments: Arguments) -> str:
    """Add a stage, or change one."""
    node = node_from_request(desk.pipeline, arguments)
    if node is not None:
        desk.put_stage(node)
    return str(arguments["name"])


def remove(desk: "Desk", arguments: Arguments) -> Any:
    """Remove a stage."""
    return remove_stage(
        desk, str(arguments["stage"]), arguments.get("children"), outputs=arguments["outputs"]
    )


def skip(desk: "Desk", arguments: Arguments) -> Any:
    """Skip planes, beside those that are skipped already."""
    return _skip(desk, arguments["planes"], lambda old, new: sorted({*old, *new}))


def unskip(desk: "Desk", arguments: Arguments) -> Any:
    """Skip planes no more; all of an axis where none is named, and all where no axis is."""
    return _skip(
        desk,
        arguments["planes"] or dict.fromkeys(desk.settings.skipped, ()),
        lambda old, new: [label for label in old if new and label not in new],
    )


def _skip(
    desk: "Desk",
    planes: Mapping[str, Sequence[Any]],
    change: Callable[[Sequence[Any], Sequence[Any]], list[Any]],
) -> Any:
    skipped = dict(desk.settings.skipped)
    for axis, labels in planes.items():
        dim = lattice_dim(axis)
        if dim not in desk.pipeline.lattice.dims:
            raise ProjectError(
                f"there is no lattice axis {axis!r}; there are "
                f"{', '.join(desk.pipeline.lattice.dims)}"
            )
        check_region(desk.pipeline.lattice, {dim: {"among": labels}})
        skipped[dim] = tuple(change(skipped.get(dim, ()), list(labels)))
    desk.use(desk.settings.replace(skipped={dim: got for dim, got in skipped.items() if got}))
    return {dim: list(labels) for dim, labels in desk.settings.skipped.items()}


def region(desk: "Desk", arguments: Arguments) -> int:
    """Let only the tiles of a region take part; how many those are."""
    bounds = {
        dim: {kind: tuple(values) for kind, values in given.items()}
        for dim, given in (arguments.get("bounds") or {}).items()
    }
    desk.use(desk.settings.replace(region=bounds))
    scope = desk.pipeline.scope
    return len(desk.pipeline.lattice) if scope is None else int(np.count_nonzero(scope))


def prioritise(desk: "Desk", arguments: Arguments) -> Any:
    """Let other units go first."""
    priority = Priority(
        **{
            **asdict(Priority()),
            **{key: value for key, value in arguments.items() if value is not None},
        }
    )
    if priority.order not in ORDERS:
        raise ProjectError(f"order={priority.order!r} is none of {', '.join(ORDERS)}")
    if priority.order == "planes" and priority.axis not in desk.pipeline.lattice.dims:
        raise ProjectError(
            f"planes along {priority.axis!r}: the lattice has the axes "
            f"{', '.join(desk.pipeline.lattice.dims)}"
        )
    region = {
        dim: {kind: tuple(values) for kind, values in given.items()}
        for dim, given in priority.region.items()
    }
    desk.use(desk.settings.replace(priority=replace(priority, region=region)))
    return None


def parameters(desk: "Desk", arguments: Arguments) -> Any:
    """Set parameters of the project, which commands can use; None removes one."""
    known = {**desk.settings.parameters, **arguments["values"]}
    kept = {name: value for name, value in known.items() if value is not None}
    desk.use(desk.settings.replace(parameters=kept))
    return kept


def open_acquisition(desk: "Desk", arguments: Arguments) -> Any:
    """More tiles may come from now on, as far as `extents` says where that is known.

    Raises
    ------
    ProjectError
        While a run goes on that began without: its stores are not made for that.
    """
    if not desk.settings.live and getattr(desk, "flying", None) is not None:
        raise ProjectError(
            f"{desk.project.path} runs, and its tiles were all there when that began: end the run "
            "first (project.stop()), then let project.watch take in more"
        )
    make_live(desk)
    extents = {
        lattice_dim(axis): (int(first), int(last))
        for axis, (first, last) in (arguments.get("extents") or {}).items()
    }
    if extents:
        desk.use(desk.settings.replace(extents=extents))


def end_acquisition(desk: "Desk", _arguments: Arguments) -> Any:
    """No more tiles will come: what waits for some runs without."""
    feed = getattr(desk, "feed", None)
    if feed is not None and feed.going_on:
        feed.end()  # it looks once more, then says so itself
    else:
        desk.use(desk.settings.replace(ended=True))


def withdraw(desk: "Desk", arguments: Arguments) -> int:
    """Tiles leave the project; how many."""
    return _presence(desk, arguments, State.COMPLETE, State.ABSENT)


def reinstate(desk: "Desk", arguments: Arguments) -> int:
    """Withdrawn tiles come back; how many."""
    return _presence(desk, arguments, State.ABSENT, State.COMPLETE)


def _presence(desk: "Desk", arguments: Arguments, old: State, new: State) -> int:
    source = desk.pipeline["source"]
    assert source.presence is not None
    [(_, ids)] = chosen_units(desk.pipeline, {**arguments, "stages": "source"}, list(State))
    ids = ids[np.asarray(source.presence)[ids] == old]
    if len(ids):
        growth = Growth(presence=(ids, np.full(len(ids), new, dtype=np.uint8)))
        grow_project(desk, growth)
    return len(ids)


def patience(desk: "Desk", arguments: Arguments) -> Any:
    """How many units of some stages, or of every stage, may fail before it pauses itself."""
    kept = Patience(arguments["after"], arguments["share"]).to_json()
    names = _stages(desk, arguments)
    old = desk.settings.patience
    changed = dict.fromkeys(names, tuple(kept)) if names else {EVERY_STAGE: tuple(kept)}
    desk.use(desk.settings.replace(patience={**(old if names else {}), **changed}))
    return None


def previews(desk: "Desk", arguments: Arguments) -> Any:
    """How workers make previews from now on."""
    wanted = arguments["projection"]
    if wanted not in ("max", "mean", "none"):
        raise ProjectError(f"projection={wanted!r}: give 'max', 'mean' or 'none'")
    desk.use(desk.settings.replace(previews=wanted))
    desk.orders_changed()
    return None


def set_aside(desk: "Desk", arguments: Arguments) -> Any:
    """Give a host no more work; what had failed there is tried again."""
    host, old = str(arguments["host"]), desk.settings
    if not host.strip():
        raise ProjectError("host='' is no name of a host; project.nodes() lists those that worked")
    if host not in old.set_aside:
        aside = {**old.set_aside, host: (time.time(), str(arguments["why"]))}
        desk.use(old.replace(set_aside=aside))
        desk.hosts_changed(old)
    return None


def take_back(desk: "Desk", arguments: Arguments) -> Any:
    """Give a host work again."""
    host, old = str(arguments["host"]), desk.settings
    if host not in old.set_aside:
        named = ", ".join(map(repr, old.set_aside)) or "none"
        raise ProjectError(f"host {host!r} is not set aside; those that are: {named}")
    left = {name: kept for name, kept in old.set_aside.items() if name != host}
    desk.use(old.replace(set_aside=left))
    desk.hosts_changed(old)
    return None


def stop(desk: "Desk", _arguments: Arguments) -> Any:
    """End the run when what is out has come back."""
    ender = getattr(desk, "stop", None)
    if ender is None:
        raise ProjectError(f"nothing runs {desk.project.path} now: there is nothing to stop")
    ender()


def about(desk: "Desk", _arguments: Arguments) -> dict[str, Any]:
    """Who runs the project."""
    return {**desk.about(), "pid": os.getpid(), "at": time.time()}


ACTIONS: dict[str, Callable[["Desk", Arguments], Any]] = {
    "pause": pause,
    "resume": resume,
    "retry": retry,
    "make again": make_again,
    "cancel": cancel,
    "add": add,
    "remove": remove,
    "skip": skip,
    "unskip": unskip,
    "region": region,
    "prioritise": prioritise,
    "parameters": parameters,
    "open acquisition": open_acquisition,
    "end acquisition": end_acquisition,
    "withdraw": withdraw,
    "reinstate": reinstate,
    "patience": patience,
    "previews": previews,
    "set aside": set_aside,
    "take back": take_back,
    "stop": stop,
    "about": about,
}
"""Every request by its name."""
