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
from latticework.project.pipeline import SOURCE
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
    """Name of the stage, for the view that shows one."""
    pictured: str = ""
    """Of what previews are shown: a stage, or the acquisition (``"source"``)."""
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
    pictured
        Names of what there are previews of; without any that view is not offered.
    then
        Called with what is chosen whenever that changes.
    """

    def __init__(
        self,
        choice: Choice,
        stages: list[str],
        pictured: list[str],
        then: Callable[[Choice], None],
    ) -> None:
        self.choice, self._then = choice, then
        self._setting = False
        self._view = _buttons([], 0)
        self._stage = _select(choice.stage, 190)
        self._pictured = _select(choice.pictured, 190)
        self._units = _buttons(["labels", "µm"], int(choice.in_um))
        self._places = _buttons(["nominal places", "solved"], int(choice.solved))
        for widget in (self._view, self._units, self._places):
            widget.on_change("active", self._changed)
        for widget in (self._stage, self._pictured):
            widget.on_change("value", self._changed)
        self.offer(stages, pictured)

    @property
    def parts(self) -> list[UIElement]:
        """Its widgets."""
        return [self._view, self._stage, self._pictured, self._units, self._places]

    def offer(self, stages: list[str], pictured: list[str]) -> None:
        """Have these to choose from; what was chosen stays, if it is still there."""
        self._can_solve = PLACES in stages
        self._views = [view for view in VIEWS if pictured or view != PREVIEWS]
        choice = replace(
            self.choice,
            view=self.choice.view if self.choice.view in self._views else COMBINED,
            stage=self.choice.stage if self.choice.stage in stages else "".join(stages[:1]),
            pictured=self.choice.pictured
            if self.choice.pictured in pictured
            else "".join(pictured[-1:]),
        )
        self._setting = True
        labels = [VIEWS[view] for view in self._views]
        if self._view.labels != labels:
            self._view.labels = labels
        for select, names in ((self._stage, stages), (self._pictured, pictured)):
            options = [(name, _called(name)) for name in names]
            if select.options != options:
                select.options = options
        self._setting = False
        self._take(choice)

    def _changed(self, _name: str, _old: object, _new: object) -> None:
        if self._setting:
            return
        before = self.choice
        choice = replace(
            before,
            view=self._views[self._view.active or 0],
            stage=str(self._stage.value),
            pictured=str(self._pictured.value),
            in_um=self._units.active == 1,
            solved=self._places.active == 1,
        )
        if (before.view, choice.view) == (STAGE, PREVIEWS) and (
            choice.stage in (name for name, _ in self._pictured.options)
        ):
            choice = replace(choice, pictured=choice.stage)
        self._take(choice)
        self._then(choice)

    def _take(self, choice: Choice) -> None:
        """Have the widgets show a choice."""
        self.choice = choice
        self._setting = True
        self._view.active = self._views.index(choice.view)
        self._stage.value, self._pictured.value = choice.stage, choice.pictured
        self._setting = False
        self._stage.visible = choice.view == STAGE
        self._pictured.visible = choice.view == PREVIEWS
        self._units.visible = choice.view != ALL
        self._places.visible = choice.view == PREVIEWS and self._can_solve


def _called(name: str) -> str:
    return "acquisition" if name == SOURCE else plain(name, 60)


def _buttons(labels: list[str], active: int) -> RadioButtonGroup:
    return RadioButtonGroup(
        labels=labels, active=active, stylesheets=map_style(), margin=(0, 14, 0, 0)
    )


def _select(value: str, width: int) -> Select:
    return Select(value=value, width=width, stylesheets=map_style(), margin=(0, 14, 0, 0))


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
