"""The page that steers a project: only with its token, each action asked once and recorded."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bokeh.layouts import column, row
from bokeh.models import Column, Div, PasswordInput, UIElement

from latticework.errors import LatticeworkError, ProjectError
from latticework.viz.dashboard import control_actions as actions
from latticework.viz.dashboard.control_actions import Action, Told
from latticework.viz.dashboard.control_forms import Forms
from latticework.viz.dashboard.control_memory import TabMemory
from latticework.viz.dashboard.control_token import FILE, is_token
from latticework.viz.dashboard.feed import Snapshot
from latticework.viz.dashboard.look import widget_style
from latticework.viz.dashboard.page import Page, Visit, set_text
from latticework.viz.dashboard.parts import button, moment, panel, table
from latticework.viz.html import escaped
from latticework.viz.words import plain

if TYPE_CHECKING:
    from latticework.project.project import Project

WRONG_S = 1.0
"""Seconds after which a wrong token is answered: a token of 192 bits is not found by trying."""


class ControlPage(Page):
    """Pause and resume, retry and cancel, order, hosts; for whoever has the project's token."""

    title = "Control"

    def __init__(self, visit: Visit) -> None:
        super().__init__(visit)
        self._token = ""
        self._busy = False
        self._next = ""
        self._pending: Action | None = None
        self._proposed = False
        self._memory = TabMemory(visit, self._entered)

    # ---------------------------------------------------------------- parts

    def build(self, snapshot: Snapshot) -> UIElement:
        """See `Page.build`."""
        self._pending = None
        self._commands_of = -1
        self._make_lock()
        self._make_question()
        self._forms = Forms(self.visit, snapshot, self._ask)
        self._commands = self.html()
        self._body = column(self._forms.root, self._commands, sizing_mode="stretch_width", margin=0)
        self._show_lock()
        self._memory.ask()
        return column(self._lock, self._asking, self._body, sizing_mode="stretch_width", margin=0)

    def _panel(self, *parts: UIElement, sticky: bool = False) -> Column:
        colours = self.visit.palette
        styles = {
            "background": colours.panel,
            "border": f"1px solid {colours.accent if sticky else colours.line}",
            "border-radius": "8px",
            "padding": "14px 16px",
        }
        if sticky:
            styles |= {"position": "sticky", "top": "8px", "z-index": "10"}
        return column(*parts, sizing_mode="stretch_width", styles=styles, margin=(0, 0, 14, 0))

    def _make_lock(self) -> None:
        self._password = PasswordInput(
            title="token", width=380, stylesheets=[widget_style()], name="control-token"
        )
        self._password.on_change("value", lambda _name, _old, new: self._entered(new))
        self._memory.listen_to(self._password)
        self._wrong = self.html(margin=0)
        asked = asked_for(self.visit.arguments)
        told = f"<p>Asked for: <b>{escaped(asked, 200)}</b></p>" if asked else ""
        hint = (
            f"<h2>Locked</h2>{told}<p>Steering needs the project's token. To see it, type "
            f"<b>latticework dashboard {escaped(self.visit.shown.path.name, 80)} --token</b> in a "
            f"terminal where the project's folder is, or look into its file <b>{FILE}</b>, which "
            "only its owner can read.</p>"
        )
        go = button("Unlock", lambda: self._entered(self._password.value), kind="primary")
        self._lock = self._panel(
            self.html(hint, margin=0),
            row(self._password, column(Div(text="&nbsp;", height=11), go), margin=0),
            self._wrong,
        )
        self._lock.width = 720

    def _make_question(self) -> None:
        self._question = self.html(margin=0)
        self._yes = button("Yes", self._agreed, kind="primary", width=90)
        self._no = button("No", self._dropped, width=90)
        self._answers = row(self._yes, self._no, margin=0)
        self._asking = self._panel(self._question, self._answers, sticky=True)
        self._asking.visible = False

    @property
    def unlocked(self) -> bool:
        """Whether the right token was given in this tab; it is looked at again at every action."""
        return bool(self._token)

    # ---------------------------------------------------------------- the token

    def _entered(self, text: str) -> None:
        """Look at what was typed, or kept by the tab; after the one that is being looked at."""
        if not text or self.unlocked:
            return
        self._password.value = ""
        self._next = text.strip()
        if not self._busy:
            self._unlock()

    def _unlock(self) -> None:
        given, self._next = self._next, ""
        self._busy = True
        set_text(self._wrong, "<p class='faint'>Looking …</p>")
        self.visit.spawn(self._look_at(given))

    async def _look_at(self, given: str) -> None:
        """Look at a token in a thread; a wrong one is answered after a while, in this tab alone."""
        path = self.visit.shown.path
        trouble = ""
        try:
            good = await asyncio.to_thread(is_token, path, given)
        except (ProjectError, OSError) as error:
            good, trouble = False, str(error)
        if not good:
            await asyncio.sleep(WRONG_S)
        self.visit.show(partial(self._looked_at, given if good else "", trouble))

    def _looked_at(self, token: str, trouble: str) -> None:
        self._busy = False
        self._token = token
        if not trouble:
            self._memory.say(good=bool(token))
        if self._next and not token:
            self._unlock()
            return
        text = trouble or "That is not the token of this project."
        set_text(self._wrong, "" if token else f"<p class='bad'>{escaped(text, 400)}</p>")
        self._show_lock()
        snapshot = self.visit.feed.snapshot
        if token and snapshot is not None:
            self.update(snapshot)
            self._propose()

    def _show_lock(self) -> None:
        self._lock.visible = not self.unlocked
        self._body.visible = self.unlocked

    def _propose(self) -> None:
        """What the page's address asks for: asked about once, as if its button were clicked."""
        if not self._proposed:
            self._proposed = True
            self._forms.propose(self.visit.arguments)

    # ---------------------------------------------------------------- one action

    def _ask(self, make: "actions.Maker") -> None:
        """Count what an action would do, in another thread, and ask about it once."""
        if not self.unlocked or self._busy:
            return
        self._busy = True
        # it says how many units it will change
        self.visit.ask(partial(made_of, make=make), self._offered, fresh=True)

    def _offered(self, action: Action | LatticeworkError) -> None:
        self._busy = False
        if isinstance(action, LatticeworkError):
            self._say(str(action), good=False)
            return
        self._pending = action
        set_text(self._question, f"<h2 class='question'>{escaped(action.question, 400)}</h2>")
        self._answers.visible = self._asking.visible = True

    def _dropped(self) -> None:
        self._pending = None
        self._asking.visible = False

    def _agreed(self) -> None:
        action, self._pending = self._pending, None
        if action is None or self._busy:
            return
        self._busy = True
        self._answers.visible = False
        set_text(self._question, "<p class='faint'>Asking whoever runs the project …</p>")
        self.visit.change(partial(carried_out, action=action, token=self._token), self._done)

    def _done(self, found: str | LatticeworkError) -> None:
        self._busy = False
        self._commands_of = -1
        if isinstance(found, LockedError):
            self._token = ""
            self._memory.say(good=False)
            self._show_lock()
        self._say(str(found), good=not isinstance(found, LatticeworkError))

    def _say(self, text: str, *, good: bool) -> None:
        mark = "good" if good else "bad"
        said = text[:1].upper() + text[1:]
        set_text(self._question, f"<p class='{mark}'>{escaped(said, 1000)}</p>")
        self._answers.visible = False
        self._asking.visible = True

    # ---------------------------------------------------------------- what changes

    def update(self, snapshot: Snapshot) -> None:
        """See `Page.update`."""
        if not self.unlocked:
            return
        self._forms.update(snapshot)
        if self._commands_of != snapshot.number // 3:
            self._commands_of = snapshot.number // 3
            self.visit.ask(actions.last_commands, self._show_commands)

    def _show_commands(self, found: list[Told] | LatticeworkError) -> None:
        if isinstance(found, LatticeworkError):
            return
        rows = [
            [
                moment(one.at),
                escaped(one.command, 40),
                escaped(one.arguments, 160),
                f"<span class='one'>{escaped(one.answer, 120)}</span>",
            ]
            for one in found
        ]
        head = ["time (UTC)", "command", "~of what", "answer"]
        set_text(self._commands, panel("Last commands", table(head, rows), note="by anybody"))


def asked_for(arguments: Mapping[str, str]) -> str:
    """What an address asks to have done, in words; empty if nothing.

    Examples
    --------
    >>> asked_for({"do": "retry", "stage": "clean", "tile": "12"})
    "retry tile 12 of 'clean'"
    >>> asked_for({"do": "retry", "states": "failed"}), asked_for({"stage": "clean"})
    ('retry all failed units', '')
    """
    deed = arguments.get("do", "")
    if deed not in ("retry", "cancel"):
        return ""
    where = arguments.get("tile", "") or arguments.get("where", "")
    states = arguments.get("states", "")
    what = f"tile {plain(where, 60)}" if where else " ".join(filter(None, ["all", states, "units"]))
    stage = arguments.get("stage", "")
    return f"{deed} {plain(what, 100)}" + (f" of {plain(stage, 60)!r}" if stage else "")


class LockedError(ProjectError):
    """The token is not the project's, or not any more."""


def made_of(project: "Project", *, make: "actions.Maker") -> Action:
    """An action on this very project: another one may take its place before it is agreed to."""
    return replace(make(project), project=project.key)


def carried_out(project: "Project", *, action: Action, token: str) -> str:
    """Carry out an action, if the token is the project's at this moment.

    Raises
    ------
    LockedError
        If it is not.
    ProjectError
        If another project than the one that was asked about is there now.
    """
    if not token or not is_token(project.path, token):
        raise LockedError("the token is not the project's any more: nothing was done")
    if action.project not in ("", project.key):
        raise ProjectError("another project has taken the place of this one: nothing was done")
    return action.do(project)
