"""The page of one unit of work: where it is, how every stage stands with it, and what happened."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bokeh.layouts import column, row
from bokeh.models import CustomJS, Div, Select, TextInput, UIElement

from latticework.errors import LatticeworkError
from latticework.lattice.states import State
from latticework.project.pipeline import SOURCE
from latticework.stages.lattices import TILES
from latticework.viz.dashboard import tile_html as html
from latticework.viz.dashboard.feed import Snapshot
from latticework.viz.dashboard.look import widget_style
from latticework.viz.dashboard.naming import Unit, find_unit
from latticework.viz.dashboard.page import Page, Visit, set_text
from latticework.viz.dashboard.parts import panel
from latticework.viz.dashboard.tile_facts import (
    AttemptTold,
    StageOfUnit,
    TileFacts,
    facts_of,
    neighbours_of,
    origin_of,
    stages_of,
)
from latticework.viz.dashboard.tile_pictures import Shown, picture_of, shown_stages
from latticework.viz.html import escaped
from latticework.viz.words import plain

if TYPE_CHECKING:
    from latticework.project.project import Project

AGAIN = 20
"""How often reasons are asked again while they speak of another state than the page does."""


class TilePage(Page):
    """One unit of work: its states and why, attempts, logs, pictures, neighbours, origin."""

    title = "Tile"

    def __init__(self, visit: Visit) -> None:
        super().__init__(visit)
        self.unit: Unit | None = None
        self.told: TileFacts | None = None
        self._asked: object = None
        self._searched = False
        self._chosen: str | None = None

    # ---------------------------------------------------------------- parts

    def form(self, _snapshot: Snapshot) -> object:
        """See `Page.form`."""
        return None

    def build(self, snapshot: Snapshot) -> UIElement:
        """See `Page.build`."""
        self._structure = snapshot.structure
        self.unit, self._asked, self._busy, self._searched = None, None, False, False
        self._seen: tuple[Any, ...] = ()
        self._last_attempt = self.visit.feed.recent.last
        self._drawn: tuple[Any, ...] = ()
        self._again = 0
        self._make_search(snapshot)
        self._note = self.html(visible=False)
        self._heading = self.html()
        self._states = self.html()
        self._around = self.html(sizing_mode="fixed", width=380)
        self._pictures = self.html()
        self._attempts = self.html()
        self._texts = self.html()
        self._origin = self.html()
        self._pick = Select(title="attempt", options=[], width=380, stylesheets=[widget_style()])
        self._pick.on_change("value", lambda _name, _old, new: self._choose(new))
        self._parts = column(
            self._heading,
            row(self._states, self._around, sizing_mode="stretch_width", spacing=14),
            self._pictures,
            self._attempts,
            self._pick,
            self._texts,
            self._origin,
            sizing_mode="stretch_width",
        )
        self._parts.visible = False
        return column(
            row(self._find, self._stage, self._go, sizing_mode="stretch_width", spacing=10),
            self._note,
            self._parts,
            sizing_mode="stretch_width",
        )

    def _make_search(self, snapshot: Snapshot) -> None:
        """A field to go to another unit, and the stage on whose lattice it is looked for."""
        style = [widget_style()]
        self._find = TextInput(
            title="go to (id, name, or labels as in z=3 y=1 x=2)", width=380, stylesheets=style
        )
        self._find.on_change("value", lambda _name, _old, new: self._look_for(new))
        names = [SOURCE, *(stage.name for stage in snapshot.stages)]
        asked = self.visit.arguments.get("stage")
        self._stage = Select(
            title="stage",
            options=_options(names),
            value=asked if asked in names else self._default_stage(snapshot),
            width=200,
            stylesheets=style,
        )
        self._stage.on_change("value", lambda _name, _old, _new: self._restage())
        self._go = Div(text="", visible=False)
        self._go.js_on_change(
            "text", CustomJS(code="if (cb_obj.text) window.location.search = cb_obj.text")
        )

    @staticmethod
    def _default_stage(snapshot: Snapshot) -> str:
        """The last stage on tiles; the source if there is none."""
        mine = [stage.name for stage in snapshot.stages if stage.key == "tiles"]
        return mine[-1] if mine else SOURCE

    # ---------------------------------------------------------------- going elsewhere

    def _look_for(self, text: str) -> None:
        snapshot = self.visit.feed.snapshot
        if not text.strip() or snapshot is None:
            return
        stage = None if self._stage.value == SOURCE else self._stage.value
        self.visit.ask(lambda _project: find_unit(snapshot, stage, text), self._go_to)

    def _go_to(self, found: Unit | LatticeworkError) -> None:
        if isinstance(found, LatticeworkError):
            self._searched = True
            self._say(str(found))
            return
        stage = {} if found.stage is None else {"stage": found.stage}
        link = self.visit.link("lattice-tile", **stage, tile=found.id)
        self._go.text = link.partition("?")[2].replace("&amp;", "&")

    def _restage(self) -> None:
        """Another stage was chosen: the same tile in that stage, if it is of the same lattice."""
        snapshot, unit = self.visit.feed.snapshot, self.unit
        if snapshot is None or unit is None:
            return
        stage = snapshot.stage(self._stage.value)
        key = "tiles" if stage is None else stage.key
        if key == unit.key:
            told = {} if stage is None else {"stage": stage.name}
            link = self.visit.link("lattice-tile", **told, tile=unit.id)
            self._go.text = link.partition("?")[2].replace("&amp;", "&")

    def _say(self, text: str) -> None:
        self._note.visible = bool(text)
        if text:
            set_text(
                self._note, f"<div class='panel'><p class='bad'>{escaped(text, 1000)}</p></div>"
            )

    # ---------------------------------------------------------------- which unit

    def update(self, snapshot: Snapshot) -> None:
        """See `Page.update`."""
        if snapshot.structure != self._structure:
            self._structure = snapshot.structure
            self._restructure(snapshot)
        if self.unit is not None:
            self._follow(snapshot, self.unit)
        if self.unit is not None:
            self._renew(snapshot, self.unit)
            return
        asked: object = snapshot.structure  # what was not there may be there now
        if not {"tile", "stage"} & set(self.visit.arguments):
            asked = tuple(stage.version for stage in snapshot.stages)
        if asked != self._asked:
            self._asked = asked
            self._resolve(snapshot)

    def _restructure(self, snapshot: Snapshot) -> None:
        """Stages or tiles have come, gone or changed: what a person typed and chose stays."""
        names = [SOURCE, *(stage.name for stage in snapshot.stages)]
        if _options(names) != self._stage.options:
            if self._stage.value not in names:
                self._stage.value = self._default_stage(snapshot)
            self._stage.options = _options(names)
        self._seen = ()

    def _follow(self, snapshot: Snapshot, unit: Unit) -> None:
        """The same unit on a lattice that has grown; none where it is there no more."""
        lattices = {TILES: snapshot.lattice, **{one.key: one.lattice for one in snapshot.stages}}
        lattice = lattices.get(unit.key)
        if lattice is unit.lattice:
            return
        if lattice is None or (lattice.dims and unit.id not in lattice.ids):
            self.unit, self._asked, self._parts.visible = None, None, False
            return
        self.unit = replace(unit, lattice=lattice)
        heading = html.heading(self.unit)
        if self._heading.text != heading:
            self._heading.text, self._drawn = heading, (unit.id,)  # it looks different

    def _resolve(self, snapshot: Snapshot) -> None:
        asked, stage = self.visit.arguments.get("tile"), self.visit.arguments.get("stage")
        if self._searched:
            return  # what a person looked for since is what is answered
        if asked is None and stage is None:
            set_text(self._note, html.which_tile(self.visit, snapshot))
            self._note.visible = True
            return
        text = "0" if asked is None else asked
        self.visit.ask(lambda _project: find_unit(snapshot, stage, text), self._resolved)

    def _resolved(self, found: Unit | LatticeworkError) -> None:
        if self.unit is not None or self._searched:
            return
        if isinstance(found, LatticeworkError):
            self._say(str(found))
            return
        self._say("")
        self.unit = found
        self._parts.visible = True
        set_text(self._heading, html.heading(found))
        snapshot = self.visit.feed.snapshot
        if snapshot is not None:
            self._renew(snapshot, found)

    # ---------------------------------------------------------------- what changes

    @property
    def stage(self) -> str:
        """The stage that is looked at."""
        return str(self._stage.value)

    def _renew(self, snapshot: Snapshot, unit: Unit) -> None:
        """Show other states at once; ask again for reasons and attempts only where they changed."""
        stages = stages_of(snapshot, unit)
        around = neighbours_of(snapshot, unit, self.stage)
        set_text(self._states, html.states_table(self.visit, stages, self.told))
        set_text(self._around, html.neighbours_map(self.visit, unit, around, self.stage))
        seen = tuple((one.stage, one.state) for one in stages)
        changed = seen != self._seen or self._has_new_attempts(unit)
        if self._busy or not (changed or self._is_behind(stages)):
            return
        self._again = 0 if changed else self._again + 1
        self._seen, self._busy = seen, True
        self.visit.ask(lambda project: facts_of(project, unit, stages), self._facts)

    def _has_new_attempts(self, unit: Unit) -> bool:
        """Whether any of the attempts that have come since we last asked is of this unit."""
        recent = self.visit.feed.recent
        rows, last = recent.rows, self._last_attempt
        self._last_attempt = recent.last
        new = rows[rows["id"] > last] if recent.last > last else rows[:0]
        return bool((new["unit"] == unit.id).any())

    def _is_behind(self, stages: list[StageOfUnit]) -> bool:
        """Whether reasons are of an earlier moment than states."""
        if self.told is None or self._again >= AGAIN:
            return False
        ours = (State.QUEUED, State.RUNNING)
        why = self.told.why
        return any(
            one.stage in why and why[one.stage][0] != one.state
            for one in stages
            if one.state not in ours
        )

    def _facts(self, told: TileFacts | LatticeworkError) -> None:
        self._busy = False
        snapshot, unit = self.visit.feed.snapshot, self.unit
        if isinstance(told, LatticeworkError):
            self._say(str(told))
            return
        if snapshot is None or unit is None:
            return
        self.told = told
        stages = stages_of(snapshot, unit)
        set_text(self._states, html.states_table(self.visit, stages, told))
        self._offer_attempts(told)
        drawn = tuple((one.stage, one.number) for one in told.attempts if one.outcome == "complete")
        if drawn != self._drawn or not self._pictures.text:
            self._drawn = drawn
            self._draw(unit, [one.stage for one in stages if one.same])

    # ---------------------------------------------------------------- attempts

    def _offer_attempts(self, told: TileFacts) -> None:
        keys = [one.key for one in told.attempts]
        if self._chosen not in keys:
            mine = [one for one in told.attempts if one.stage == self.stage]
            bad = [one for one in mine if one.error]
            first = next(iter([*bad[:1], *mine, *told.attempts]), None)
            self._chosen = None if first is None else first.key
        options = [(one.key, _called(one)) for one in told.attempts]
        if options != self._pick.options:
            self._pick.options = options
        self._pick.visible = bool(keys)
        if self._chosen is not None and self._pick.value != self._chosen:
            self._pick.value = self._chosen
        else:
            self._show_attempt()

    def _choose(self, key: str) -> None:
        self._chosen = key
        self._show_attempt()

    def _show_attempt(self) -> None:
        told = self.told
        if told is None:
            return
        set_text(self._attempts, html.attempts_table(told, self._chosen))
        one = next((one for one in told.attempts if one.key == self._chosen), None)
        self._texts.visible = one is not None
        if one is not None:
            self.visit.ask(lambda _project: html.attempt_texts(one), partial(self._texts_of, one))

    def _texts_of(self, one: AttemptTold, found: str | LatticeworkError) -> None:
        if one.key != self._chosen:
            return
        body = escaped(found, 400) if isinstance(found, LatticeworkError) else found
        set_text(self._texts, panel(_called(one, safe=True), body))

    # ---------------------------------------------------------------- pictures and origin

    def _draw(self, unit: Unit, stages: list[str]) -> None:
        """Pictures come one by one; a question for each, so that others need not wait long."""
        names = shown_stages(unit, stages)
        shown = [Shown(name, note="…") for name in names]
        if not self._pictures.text:
            set_text(self._pictures, html.pictures(shown))
        for k, name in enumerate(names):
            self.visit.ask(
                partial(picture_of, unit=unit, stage=name), partial(self._drawn_one, shown, k)
            )
        stage = self.stage if self.stage in names else names[-1] if names else SOURCE
        self.visit.ask(
            partial(_origin_if_any, unit=unit, stage=stage), partial(self._origin_of, stage)
        )

    def _drawn_one(self, shown: list[Shown], k: int, found: Shown | LatticeworkError) -> None:
        if isinstance(found, LatticeworkError):
            found = Shown(shown[k].stage, note=str(found))
        shown[k] = found
        if all(one.note != "…" for one in shown):
            set_text(self._pictures, html.pictures(shown))

    def _origin_of(self, stage: str, told: dict[str, Any] | LatticeworkError) -> None:
        if isinstance(told, LatticeworkError):
            body = f"<p class='faint'>{escaped(told, 400)}</p>"
            set_text(self._origin, panel("Where it comes from", body))
        else:
            set_text(self._origin, html.origin(self.visit, stage, told))


def _origin_if_any(project: "Project", *, unit: Unit, stage: str) -> dict[str, Any]:
    return origin_of(project, unit, stage)


def _options(names: list[str]) -> list[tuple[str, str]]:
    return [(name, plain(name, 60)) for name in names]


def _called(one: AttemptTold, *, safe: bool = False) -> str:
    text = f"{one.stage}, attempt {one.number}: {one.outcome}"
    return escaped(text, 120) if safe else plain(text, 120)
