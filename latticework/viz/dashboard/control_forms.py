"""The forms of the page that steers a project: what can be chosen, and the buttons."""

from collections.abc import Callable, Mapping
from functools import partial

from bokeh.layouts import column, row
from bokeh.models import Button, Column, Div, Select, TextInput, UIElement

from latticework.errors import LatticeworkError
from latticework.lattice.states import State
from latticework.viz.dashboard import control_actions as actions
from latticework.viz.dashboard.control_actions import ALL, RETRIED, Maker, Selection
from latticework.viz.dashboard.feed import Snapshot, StageNow
from latticework.viz.dashboard.look import widget_style
from latticework.viz.dashboard.overview import run_state
from latticework.viz.dashboard.page import Visit, set_text
from latticework.viz.dashboard.parts import badge, button, state_bar
from latticework.viz.folding import axis_name
from latticework.viz.html import escaped
from latticework.viz.states import counts_text
from latticework.viz.words import plain

HOSTS_EVERY = 10
"""Snapshots between two looks at which hosts there are."""
_HOSTS = (
    "select distinct host from workers where host <> '' and address <> 'no worker' "
    "order by id desc limit 500"
)


class Forms:
    """What can be chosen on the page.

    Parameters
    ----------
    visit
        The tab.
    snapshot
        The project when the page is made.
    ask
        What to do with an action that was chosen: ask about it.
    """

    def __init__(self, visit: Visit, snapshot: Snapshot, ask: Callable[[Maker], None]) -> None:
        self.visit, self._ask = visit, ask
        self._stages: dict[str, tuple[Div, Button]] = {}
        self._hosts: tuple[str, ...] = ()
        self._looked_for_hosts = -1
        narrow = column(
            self._order(snapshot), self._of_hosts(), width=420, sizing_mode="fixed", margin=0
        )
        wide = column(
            self._project(),
            self._of_stages(snapshot),
            self._units(snapshot),
            sizing_mode="stretch_width",
            margin=0,
        )
        self.root = row(wide, narrow, sizing_mode="stretch_width", spacing=14, margin=0)

    def _panel(self, title: str, *parts: UIElement) -> Column:
        colours = self.visit.palette
        styles = {
            "background": colours.panel,
            "border": f"1px solid {colours.line}",
            "border-radius": "8px",
            "padding": "14px 16px 10px",
        }
        head = _div(f"<h2 class='close'>{escaped(title)}</h2>")
        return column(
            head, *parts, sizing_mode="stretch_width", styles=styles, margin=(0, 0, 14, 0)
        )

    # ---------------------------------------------------------------- project and stages

    def _project(self) -> UIElement:
        self._about = _div("")
        self._pause = button("Pause the project", self._toggle_project, kind="primary")
        self._paused = False
        stop = button("Stop the run", lambda: self._ask(lambda _p: actions.stop()))
        self._stop = stop
        return self._panel("Project", self._about, row(self._pause, stop, margin=0))

    def _toggle_project(self) -> None:
        make = actions.resume if self._paused else actions.pause
        self._ask(lambda _project: make(None))

    def _of_stages(self, snapshot: Snapshot) -> UIElement:
        lines = []
        for stage in snapshot.stages:
            text = _div("")
            switch = button("Pause", partial(self._toggle_stage, stage.name), width=90)
            self._stages[stage.name] = text, switch
            lines.append(row(text, switch, sizing_mode="stretch_width", margin=0))
        return self._panel("Stages", *lines)

    def _toggle_stage(self, name: str) -> None:
        snapshot = self.visit.feed.snapshot
        held = snapshot is not None and name in snapshot.settings.paused_stages
        make = actions.resume if held else actions.pause
        self._ask(lambda _project: make(name))

    # ---------------------------------------------------------------- units

    def _units(self, snapshot: Snapshot) -> UIElement:
        names = [ALL, *(stage.name for stage in snapshot.stages)]
        self._stage = _select("stage", names, width=190)
        self._which = _select("retry those that are", list(RETRIED), width=190)
        axes = " ".join(f"{axis_name(dim)}=0..2" for dim in snapshot.lattice.dims[:1])
        self._where = TextInput(
            title=f"tile or region (id, name, {axes}); all if empty"[:80],
            width=300,
            stylesheets=[widget_style()],
        )
        retry = button("Retry", self._retry, kind="primary")
        cancel = button("Cancel", self._cancel, kind="danger")
        every = button("Retry all failed", self._retry_all)
        return self._panel(
            "Units",
            row(self._stage, self._which, self._where, margin=0),
            row(retry, cancel, every, margin=0),
        )

    @property
    def selection(self) -> Selection:
        """What is chosen."""
        return Selection(self._stage.value, self._where.value, self._which.value)

    def _retry(self) -> None:
        chosen = self.selection
        self._ask(lambda project: actions.retry(project, chosen))

    def _cancel(self) -> None:
        chosen = self.selection
        self._ask(lambda project: actions.cancel(project, chosen))

    def _retry_all(self) -> None:
        self._ask(lambda project: actions.retry(project, Selection()))

    def propose(self, asked: Mapping[str, str]) -> None:
        """Fill in what an address asks for, and ask about it."""
        stages = [value for value, _ in self._stage.options]
        if asked.get("stage") in stages:
            self._stage.value = asked["stage"]
        elif "stage" in asked:
            return  # it is of a stage that is not there any more: not of all of them
        if asked.get("states") in RETRIED:
            self._which.value = asked["states"]
        self._where.value = asked.get("tile", "") or asked.get("where", "")
        if asked.get("do") == "retry":
            if "states" not in asked:
                self._which.value = self._likely()
            self._retry()
        elif asked.get("do") == "cancel":
            self._cancel()

    def _likely(self) -> str:
        """In which state the one tile that is to be retried is."""
        snapshot, where = self.visit.feed.snapshot, self._where.value
        stage = None if snapshot is None else snapshot.stage(self._stage.value)
        if stage is None or not where.isdigit() or not stage.lattice.dims:
            return "failed"
        try:
            index = stage.lattice.tile(int(where)).index
        except LatticeworkError:
            return "failed"
        label = State(int(stage.states[index])).label
        return next((key for key, states in RETRIED.items() if label in states), "failed")

    # ---------------------------------------------------------------- order and hosts

    def _order(self, snapshot: Snapshot) -> UIElement:
        dims = list(snapshot.lattice.dims)
        style = [widget_style()]
        orders = [("acquisition", "as acquired"), ("planes", "plane by plane")]
        self._by = Select(title="order", options=orders, value="acquisition", width=150)
        self._by.stylesheets = style
        self._axis = _select("planes along", dims or ["-"], width=110, shown=axis_name)
        self._every = TextInput(title="first, one of every … tiles", width=170, stylesheets=style)
        self._first = TextInput(
            title="first of all, the region", placeholder="z=2..4", width=170, stylesheets=style
        )
        self._order_now = _div("")
        go = button("Change the order", self._prioritise)
        return self._panel(
            "What goes first",
            self._order_now,
            row(self._by, self._axis, margin=0),
            row(self._every, self._first, margin=0),
            go,
        )

    def _prioritise(self) -> None:
        lattice = self.visit.feed.snapshot
        order, axis = self._by.value, self._axis.value
        every, region = self._every.value, self._first.value
        if lattice is not None:
            tiles = lattice.lattice
            self._ask(lambda _p: actions.prioritise(tiles, order, axis, every, region))

    def _of_hosts(self) -> UIElement:
        self._host = _select("host", ["-"], width=180)
        self._aside = _div("<p class='faint'>none is set aside</p>")
        away = button("Set aside", lambda: self._ask_host(actions.set_aside))
        back = button("Take back", lambda: self._ask_host(actions.take_back))
        buttons = row(column(_div("&nbsp;", height=12), row(away, back, margin=0)), margin=0)
        return self._panel("Hosts", self._aside, row(self._host, buttons, margin=0))

    def _ask_host(self, make: Callable[[str], actions.Action]) -> None:
        host = self._host.value
        if host and host != "-":
            self._ask(lambda _project: make(host))

    # ---------------------------------------------------------------- what changes

    def update(self, snapshot: Snapshot) -> None:
        """Show how things are now."""
        settings = snapshot.settings
        self._paused = settings.paused
        label = "Resume the project" if settings.paused else "Pause the project"
        if self._pause.label != label:
            self._pause.label = label
        self._stop.disabled = not snapshot.running
        state = run_state(snapshot)
        mark = "bad" if settings.paused else "good" if snapshot.running else ""
        trouble = f"<p class='bad'>{escaped(snapshot.outage, 300)}</p>" if snapshot.outage else ""
        set_text(self._about, f"<p>{badge(state, mark)}</p>{trouble}")
        for stage in snapshot.stages:
            if stage.name in self._stages:
                self._show_stage(snapshot, stage)
        self._show_order(snapshot)
        self._show_hosts(snapshot)

    def _show_stage(self, snapshot: Snapshot, stage: StageNow) -> None:
        text, switch = self._stages[stage.name]
        held = stage.name in snapshot.settings.paused_stages
        why = snapshot.settings.gave_up.get(stage.name, "")
        mark = f" {badge('paused', 'bad')}" if held else ""
        reason = f"<p class='bad'>paused itself: {escaped(why, 300)}</p>" if why else ""
        counts = escaped(counts_text(stage.by_state), 200)
        set_text(
            text,
            f"<div class='row'><b>{escaped(stage.name, 60)}</b>{mark}"
            f"<span class='faint'>{counts}</span></div>{state_bar(stage.by_state)}{reason}",
        )
        label = "Resume" if held else "Pause"
        if switch.label != label:
            switch.label = label

    def _show_order(self, snapshot: Snapshot) -> None:
        now = snapshot.settings.priority
        words = "plane by plane" if now.order == "planes" else "as acquired"
        if now.order == "planes" and now.axis:
            words += f" along {axis_name(now.axis)}"
        if now.preview:
            words = f"one of every {now.preview} tiles, then {words}"
        if now.region:
            words = f"a region, then {words}"
        set_text(self._order_now, f"<p class='faint'>now: {escaped(words, 200)}</p>")

    def _show_hosts(self, snapshot: Snapshot) -> None:
        aside = snapshot.settings.set_aside
        if self._looked_for_hosts < 0 or snapshot.number >= self._looked_for_hosts + HOSTS_EVERY:
            self._looked_for_hosts = snapshot.number
            self.visit.ask(
                lambda project: [str(found[0]) for found in project.query(_HOSTS)],
                lambda found: self._offer_hosts(list(aside), found),
            )
        told = [
            f"<p><b>{escaped(host, 60)}</b>: {escaped(why, 200)}</p>"
            for host, (_, why) in aside.items()
        ]
        set_text(self._aside, "".join(told) or "<p class='faint'>none is set aside</p>")

    def _offer_hosts(self, aside: list[str], found: list[str] | LatticeworkError) -> None:
        names = [] if isinstance(found, LatticeworkError) else found
        hosts = tuple(dict.fromkeys([*aside, *names])) or ("-",)
        if hosts != self._hosts:
            self._hosts = hosts
            self._host.options = [(host, plain(host, 60)) for host in hosts]
            if self._host.value not in hosts:
                self._host.value = hosts[0]


def _div(text: str, **options: object) -> Div:
    return Div(
        text=text,
        stylesheets=[widget_style()],
        sizing_mode="stretch_width",
        margin=(0, 0, 6, 0),
        disable_math=True,  # two dollars in a message are no formula
        **options,
    )


def _select(
    title: str, names: list[str], *, width: int, shown: Callable[[str], str] = plain
) -> Select:
    return Select(
        title=title,
        options=[(name, shown(name)) for name in names],
        value=names[0],
        width=width,
        stylesheets=[widget_style()],
    )
