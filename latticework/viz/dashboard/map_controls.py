"""What people choose on the map: which view, which stage, which plane, what axes say."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from bokeh.layouts import row
from bokeh.models import (
    Button,
    Div,
    InlineStyleSheet,
    RadioButtonGroup,
    Select,
    Slider,
    UIElement,
)

from latticework.lattice.lattice import Lattice
from latticework.viz.dashboard.look import asset, widget_style
from latticework.viz.dashboard.map_axes import MapAxes
from latticework.viz.folding import axis_name
from latticework.viz.html import escaped
from latticework.viz.positions import PLACES
from latticework.viz.words import plain

COMBINED, STAGE, ALL, PREVIEWS = "combined", "stage", "all", "previews"
VIEWS = {COMBINED: "combined", STAGE: "one stage", ALL: "all stages", PREVIEWS: "previews"}
"""Views by what they are called in addresses, and to people."""
STEPS = (("first", None), ("-10", -10), ("-1", -1), ("+1", 1), ("+10", 10), ("last", None))
"""Buttons that move the plane."""


def map_style() -> list[InlineStyleSheet]:
    """Styles of widgets of the map."""
    return [widget_style(), InlineStyleSheet(css=asset("map.css"))]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen."""

    view: str
    """One of `VIEWS`."""
    stage: str
    """Name of the stage, for the views that show one."""
    in_um: bool = False
    """Whether axes show micrometres."""
    solved: bool = False
    """Whether previews lie where the project has found them to be, not where they should be."""


class ViewControls:
    """Which view, of which stage.

    Parameters
    ----------
    choice
        What is chosen at first.
    stages
        Names of the stages.
    views
        Views that can be chosen.
    then
        Called with what is chosen whenever that changes.
    """

    def __init__(
        self,
        choice: Choice,
        stages: list[str],
        views: list[str],
        then: Callable[[Choice], None],
    ) -> None:
        self.choice, self._views, self._then = choice, views, then
        self._view = RadioButtonGroup(
            labels=[VIEWS[view] for view in views],
            active=views.index(choice.view),
            stylesheets=map_style(),
            margin=(0, 14, 0, 0),
        )
        self._stage = Select(
            value=choice.stage,
            options=[(name, plain(name, 60)) for name in stages],
            width=190,
            stylesheets=map_style(),
            margin=(0, 14, 0, 0),
        )
        self._units = RadioButtonGroup(
            labels=["labels", "µm"],
            active=int(choice.in_um),
            stylesheets=map_style(),
            margin=(0, 14, 0, 0),
        )
        self._places = RadioButtonGroup(
            labels=["nominal places", "solved"],
            active=int(choice.solved),
            stylesheets=map_style(),
            margin=(0, 14, 0, 0),
        )
        self._setting = False
        self._can_solve = PLACES in stages
        self._view.on_change("active", self._changed)
        self._places.on_change("active", self._changed)
        self._stage.on_change("value", self._changed)
        self._units.on_change("active", self._changed)
        self._show()

    @property
    def parts(self) -> list[UIElement]:
        """Its widgets."""
        return [self._view, self._stage, self._units, self._places]

    def offer(self, stages: list[str], choice: Choice) -> None:
        """Offer other stages, with another choice where the stage that was chosen has gone."""
        self._can_solve = PLACES in stages
        self._setting = True
        self.choice = choice
        self._stage.update(options=[(n, plain(n, 60)) for n in stages], value=choice.stage)
        self._setting = False
        self._show()

    def _changed(self, _name: str, _old: object, _new: object) -> None:
        if self._setting:
            return
        self.choice = replace(
            self.choice,
            view=self._views[self._view.active or 0],
            stage=str(self._stage.value),
            in_um=self._units.active == 1,
            solved=self._places.active == 1,
        )
        self._show()
        self._then(self.choice)

    def _show(self) -> None:
        self._stage.visible = self.choice.view in (STAGE, PREVIEWS)
        self._units.visible = self.choice.view != ALL
        self._places.visible = self.choice.view == PREVIEWS and self._can_solve


class PlaneControls:
    """Which plane of a lattice: the dims that it spans, and its place along the others.

    Parameters
    ----------
    axes
        The plane at first.
    lattice
        Its lattice.
    then
        Called with the plane whenever it changes.
    """

    def __init__(self, axes: MapAxes, lattice: Lattice, then: Callable[[MapAxes], None]) -> None:
        self.axes, self.lattice, self._then = axes, lattice, then
        self._titles: dict[str, Div] = {}
        self._sliders: dict[str, Slider] = {}
        self._setting = False
        parts: list[UIElement] = []
        if axes.down is not None and axes.across is not None:
            self._down = self._dim_select("down", axes.down)
            self._across = self._dim_select("across", axes.across)
            parts += [self._down, self._across]
        for dim in axes.others:
            if axes.sizes[axes.dims.index(dim)] > 1:
                parts += self._mover(dim)
        self.root = row(*parts, sizing_mode="stretch_width", margin=0, styles={"flex-wrap": "wrap"})

    def _dim_select(self, name: str, value: str) -> Select:
        made = Select(
            value=value,
            options=[(dim, f"{axis_name(dim)} {name}") for dim in self.axes.dims],
            width=110,
            stylesheets=map_style(),
            margin=(0, 8, 8, 0),
        )
        made.on_change("value", self._turned)
        return made

    def _mover(self, dim: str) -> list[UIElement]:
        """Buttons and a slider along a dim."""
        last = self.axes.sizes[self.axes.dims.index(dim)] - 1
        title = Div(text=self._where(dim), width=118, margin=(5, 6, 0, 10), disable_math=True)
        title.stylesheets = map_style()
        slider = Slider(
            start=0,
            end=last,
            value=self.axes.place(dim),
            step=1,
            show_value=False,
            width=190,
            margin=(4, 14, 0, 10),
            stylesheets=map_style(),
        )
        slider.on_change("value", partial(self._slid, dim))
        self._titles[dim], self._sliders[dim] = title, slider
        buttons = []
        for number, (text, step) in enumerate(STEPS):
            button = Button(label=text, margin=(0, 3, 8, 0), stylesheets=map_style())
            name = axis_name(dim)
            button.tags = [dim]
            button.on_click(partial(self._stepped, dim, step, at_end=number > 0))
            button.name = f"{name} {text}"
            buttons.append(button)
        return [title, *buttons[:3], slider, *buttons[3:]]

    def _where(self, dim: str) -> str:
        place, n = self.axes.place(dim), self.axes.sizes[self.axes.dims.index(dim)]
        label = escaped(self.lattice.labels[dim][place], 24)
        name = escaped(axis_name(dim))
        return f"{name} <b>{label}</b> <span class='faint'>{place + 1} of {n:,}</span>"

    # ---------------------------------------------------------------- changes

    def grow(self, axes: MapAxes, lattice: Lattice) -> bool:
        """Go on with a lattice that has grown; False where other controls are needed."""
        movers = {dim for dim in axes.others if axes.sizes[axes.dims.index(dim)] > 1}
        same = axes.dims, axes.down, axes.across
        if same != (self.axes.dims, self.axes.down, self.axes.across) or movers != {*self._sliders}:
            return False
        self.axes, self.lattice = axes, lattice
        self._setting = True
        for dim, slider in self._sliders.items():
            slider.update(end=axes.sizes[axes.dims.index(dim)] - 1, value=axes.place(dim))
            self._titles[dim].text = self._where(dim)
        self._setting = False
        return True

    def _stepped(self, dim: str, step: int | None, *, at_end: bool) -> None:
        end = self.axes.sizes[self.axes.dims.index(dim)] - 1 if at_end else 0
        self.move(dim, end if step is None else self.axes.place(dim) + step)

    def _slid(self, dim: str, _name: str, _old: object, new: float) -> None:
        if not self._setting:
            self.move(dim, int(new))

    def move(self, dim: str, place: int) -> None:
        """Go to a place along a dim."""
        axes = self.axes.moved(dim, place)
        if axes == self.axes:
            return
        self.axes = axes
        self._titles[dim].text = self._where(dim)
        self._setting = True
        self._sliders[dim].value = axes.place(dim)
        self._setting = False
        self._then(axes)

    def _turned(self, _name: str, _old: object, _new: object) -> None:
        if self._setting:
            return
        down, across = str(self._down.value), str(self._across.value)
        if down == across:  # the other one gives way
            if down == self.axes.down:
                down = str(self.axes.across)
            else:
                across = str(self.axes.down)
        if (down, across) != (self.axes.down, self.axes.across):
            self._then(self.axes.turned(down, across))
