"""What can be done to a project from its page: each an action that says what it would do.

An action is made of what was chosen on the page, counted by the project's own rules, asked about
once, and carried out by the project's public methods.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latticework.errors import LatticeworkError
from latticework.lattice.offsets import spatial_axis
from latticework.lattice.states import State
from latticework.project.selecting import chosen_units
from latticework.project.steering import CAN_CANCEL
from latticework.viz.dashboard.naming import read_labels, unit_of
from latticework.viz.folding import axis_name
from latticework.viz.words import plain, plural

if TYPE_CHECKING:
    from latticework.lattice.lattice import Lattice
    from latticework.project.project import Project

ALL = "(all stages)"
"""What stands for every stage."""
RETRIED: dict[str, tuple[str, ...]] = {
    "failed": ("failed",),
    "cancelled": ("cancelled",),
    "failed and cancelled": ("failed", "cancelled"),
    "complete": ("complete", "stale"),
}
"""What can be retried, and the states of those units."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something that is going to be done, if it is agreed to."""

    question: str
    """What is asked once, such as ``Retry 7 failed units of 'clean'?``."""
    do: Callable[["Project"], str]
    """Does it; what came of it, in a sentence."""
    project: str = ""
    """Key of the project that it was counted in; empty if it may be any."""


Maker = Callable[["Project"], Action]
"""Makes an action of a project as it is, in a thread where it may be asked."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which units are meant."""

    stage: str = ALL
    """Name of a stage, or `ALL`."""
    where: str = ""
    """A tile (id or name) or a region (labels); empty for all."""
    states: str = "failed"
    """Which of them are retried: a key of `RETRIED`."""

    @property
    def stages(self) -> str | None:
        """The stage, as the project's methods take it."""
        return None if self.stage in (ALL, "") else self.stage


def meant(project: "Project", selection: Selection) -> tuple[int | None, dict[str, Any]]:
    """The id, or the labels, that a selection names; neither for everything.

    Raises
    ------
    LatticeworkError
        If there is no such tile, stage or axis.
    """
    lattice = _lattice(project, selection)
    text = selection.where.strip()
    if not text:
        return None, {}
    if "=" in text:
        return None, {_axis(dim): got for dim, got in read_labels(lattice, text).items()}
    return unit_of(lattice, text), {}


def _axis(dim: str) -> str:
    return spatial_axis(dim) or dim


def _lattice(project: "Project", selection: Selection) -> "Lattice":
    stage = selection.stages
    return project.lattice if stage is None else project.pipeline[stage].lattice


def count(project: "Project", selection: Selection, states: tuple[State, ...]) -> int:
    """Units that are meant and in one of some states."""
    id, labels = meant(project, selection)
    asked = project._meant(selection.stages, id, labels)  # noqa: SLF001 - as `retry` does
    return sum(len(units) for _, units in chosen_units(project.pipeline, asked, states))


def _of(selection: Selection) -> str:
    stage = selection.stages
    text = "" if stage is None else f" of {plain(stage, 80)!r}"
    where = selection.where.strip()
    return text + (f" at {plain(where, 80)}" if where else "")


def retry(project: "Project", selection: Selection) -> Action:
    """Let units run again."""
    if selection.states not in RETRIED:
        raise LatticeworkError(
            f"{plain(selection.states, 60)!r} units cannot be retried; those that can: "
            f"{', '.join(RETRIED)}"
        )
    names = RETRIED[selection.states]
    states = tuple(state for state in State if state.label in names)
    n = count(project, selection, states)

    def do(there: "Project") -> str:
        id, labels = meant(there, selection)
        done = there.retry(selection.stages, id, states=list(names), **labels)
        return f"{plural(done, 'unit')}{_of(selection)} will run again"

    units = plural(n, f"{selection.states} unit")
    below = " What was made from what they made runs again, too." if "complete" in names else ""
    return Action(f"Retry {units}{_of(selection)}?{below}", do)


def cancel(project: "Project", selection: Selection) -> Action:
    """Cancel units that wait or run."""
    n = count(project, selection, CAN_CANCEL)

    def do(there: "Project") -> str:
        id, labels = meant(there, selection)
        done = there.cancel(selection.stages, id, **labels)
        return f"{plural(done, 'unit')}{_of(selection)} cancelled"

    doing = "that waits or runs" if n == 1 else "that wait or run"
    return Action(f"Cancel {plural(n, 'unit')}{_of(selection)} {doing}?", do)


def pause(stage: str | None) -> Action:
    """Send nothing more of a stage, or of the project."""
    what = "the project" if stage is None else f"stage {plain(stage, 80)!r}"

    def do(there: "Project") -> str:
        there.pause(*([] if stage is None else [stage]))
        return f"{what} is paused"

    return Action(f"Pause {what}? What runs is finished, nothing more is sent.", do)


def resume(stage: str | None) -> Action:
    """Go on with a stage, or with the project."""
    what = "the project" if stage is None else f"stage {plain(stage, 80)!r}"

    def do(there: "Project") -> str:
        there.resume(*([] if stage is None else [stage]))
        return f"{what} goes on"

    return Action(f"Resume {what}?", do)


def stop() -> Action:
    """End the run."""

    def do(there: "Project") -> str:
        there.stop()
        return "the run ends when what is out has come back"

    return Action("Stop the run? What is out is given time to come back; run again to go on.", do)


def prioritise(lattice: "Lattice", order: str, axis: str, preview: str, region: str) -> Action:
    """Let other units go first.

    Raises
    ------
    LatticeworkError
        If the number or the region cannot be read.
    """
    first = {_axis(dim): got for dim, got in read_labels(lattice, region).items()}
    every: int | None = None
    if preview.strip():
        if not preview.strip().isdigit() or int(preview) < 1:
            raise LatticeworkError(
                f"every {plain(preview, 40)!r} tiles: give a whole number, such as 10, or nothing"
            )
        every = int(preview)
    by_plane = order == "planes"
    share = "every tile" if every == 1 else f"one of every {every} tiles"
    words = [
        f"plane by plane along {plain(axis_name(axis), 40)}"
        if by_plane
        else "as they were acquired"
    ]
    if every:
        words.insert(0, share)
    if region.strip():
        words.insert(0, f"{plain(region, 80)}")

    def do(there: "Project") -> str:
        there.prioritise(order=order, axis=axis if by_plane else None, preview=every, **first)
        return f"the order is now: {', then '.join(words)}"

    return Action(f"Change the order to: {', then '.join(words)}?", do)


def set_aside(host: str) -> Action:
    """Give a host no more work."""
    name = plain(host, 80)

    def do(there: "Project") -> str:
        there.set_aside(host, "a user said so, on the dashboard")
        return f"host {name!r} is set aside"

    return Action(f"Set host {name!r} aside? It gets no more work.", do)


def take_back(host: str) -> Action:
    """Give a host work again."""
    name = plain(host, 80)

    def do(there: "Project") -> str:
        there.take_back(host)
        return f"host {name!r} gets work again"

    return Action(f"Take host {name!r} back? It gets work again.", do)


# -------------------------------------------------------------------- what was done


@dataclass(frozen=True, slots=True)
class Told:
    """A command that was carried out, by anybody."""

    at: float
    """When, in seconds since 1970."""
    command: str
    """What was asked."""
    arguments: str
    """With what, as text."""
    answer: str
    """What came of it, as text."""


def last_commands(project: "Project", most: int = 20) -> list[Told]:
    """The last commands that were carried out, the latest first."""
    rows = project.query(
        "select coalesce(done, at), command, substr(arguments, 1, 2000), "
        "substr(coalesce(answer, ''), 1, 400) "
        "from commands where command <> 'about' order by id desc limit ?",
        (most,),
    )
    return [_told(*row) for row in rows]


def _told(at: float, command: str, arguments: str, answer: str) -> Told:
    said = _short(arguments, empty=_EMPTY_TELLS.get(command, ()))
    return Told(at, str(command), said, _news(_answered(answer), said))


def _news(answer: str, said: str) -> str:
    """An answer, unless it only repeats a word of what was asked."""
    return "" if answer in said.split() and not answer.isdigit() else answer


def _answered(text: str) -> str:
    try:
        answer = json.loads(text)
    except ValueError:
        return plain(text, 120)
    return "" if answer is None else plain(_value(answer), 120)


_EMPTY_TELLS = {"patience": ("after",)}
"""Arguments that say something where they are empty, by command."""


def _short(text: str, *, empty: Collection[str] = ()) -> str:
    """Arguments in a few words: what was not given is left out, but for those in `empty`."""
    try:
        values = json.loads(text)
    except ValueError:
        return plain(text, 120)
    if not isinstance(values, Mapping):
        return plain(values, 120)
    return plain(
        ", ".join(
            f"{name}: {axis_name(got) if name == 'axis' else _value(got)}"
            for name, got in values.items()
            if (got not in (None, {}, []) or name in empty) and name != "definition"
        ),
        160,
    )


def _value(got: Any) -> str:
    """A value as a person would type it: ``z=2..4`` of a region, ``y=0,3`` of single labels."""
    match got:
        case None:
            return "none"
        case list():
            return " ".join(map(str, got))
        case {"within": [low, high]}:
            return f"{'' if low is None else low}..{'' if high is None else high}"
        case {"among": list(labels)}:
            return ",".join(map(str, labels))
        case Mapping():
            return " ".join(
                f"{name.removeprefix('tile_')}={_value(value)}" for name, value in got.items()
            )
    return str(got)
