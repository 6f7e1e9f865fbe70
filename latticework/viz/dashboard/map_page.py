"""The lattice map: stages as heat maps by plane, alone, side by side or combined."""

import asyncio
import html
from dataclasses import replace
from typing import Any

from bokeh.layouts import column, row
from bokeh.models import UIElement

from latticework.errors import LatticeworkError
from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State
from latticework.project.pipeline import SOURCE
from latticework.stages.lattices import TILES
from latticework.viz.dashboard.feed import Snapshot, StageNow
from latticework.viz.dashboard.map_axes import MapAxes, asked_for
from latticework.viz.dashboard.map_colours import Colours, beneath_look, combined_look, state_look
from latticework.viz.dashboard.map_combined import Combination, depths
from latticework.viz.dashboard.map_controls import (
    ALL,
    COMBINED,
    PREVIEWS,
    STAGE,
    VIEWS,
    Choice,
    PlaneControls,
    ViewControls,
)
from latticework.viz.dashboard.map_figure import MapFigure
from latticework.viz.dashboard.map_hover import (
    Pointed,
    pointed_at,
    pointed_html,
)
from latticework.viz.dashboard.map_legend import legend_html
from latticework.viz.dashboard.map_painting import Painter, Painting
from latticework.viz.dashboard.map_previews import PreviewKeeper, best_pictured
from latticework.viz.dashboard.map_scene import Pane, Scene, one_pane, side_by_side
from latticework.viz.dashboard.map_troubles import troubles_html
from latticework.viz.dashboard.page import Page, Visit, set_text

REST_S = 0.25
"""Seconds that the pointer rests on a tile before it is asked why that is as it is."""
SIDE_PX = 300
"""Width of what is beside the picture."""


class LatticeMap(Page):
    """Stages as heat maps by plane."""

    title = "Map"

    def __init__(self, visit: Visit) -> None:
        super().__init__(visit)
        self._painter = Painter()
        self._previews = PreviewKeeper(visit, self._new_previews)
        self._states = state_look(visit.theme)
        self._beneath = beneath_look(visit.theme)
        self._axes: dict[str, MapAxes] = {}
        self._lattices: dict[str, Lattice] = {}
        self._structure = -1
        self._choice: Choice | None = None
        self._figure: MapFigure | None = None
        self._controls: PlaneControls | None = None
        self._combination: tuple[tuple[int, ...], Combination, Colours] | None = None
        self._snapshot: Snapshot | None = None
        self._painted: Painting | None = None
        self._pointed: Pointed | None = None
        self._reasons: dict[tuple[str, int, State], str] = {}
        self._busy = self._again = False
        self._done: object = None

    # ---------------------------------------------------------------- building

    def form(self, _snapshot: Snapshot) -> object:
        """See `Page.form`."""
        return None

    def build(self, snapshot: Snapshot) -> UIElement:
        """See `Page.build`."""
        self._snapshot, self._structure = snapshot, snapshot.structure
        self._forget_axes(snapshot)
        self._figure, self._controls, self._pointed = None, None, None
        first = self._first_choice(snapshot) if self._choice is None else self._choice
        self._views = ViewControls(first, *_offered(snapshot), self._chosen)
        self._choice = self._views.choice
        self._top = row(*self._views.parts, margin=(0, 0, 8, 0))
        self._planes = column(sizing_mode="stretch_width", margin=0)
        self._holder = column(sizing_mode="stretch_width", margin=0)
        options: dict[str, Any] = {
            "sizing_mode": "fixed",
            "width": SIDE_PX,
            "disable_math": True,
        }
        self._under = self.html(_panel(pointed_html(None, self._states, "", "")), **options)
        self._legend, self._list = self.html(**options), self.html(**options)
        side = column(self._under, self._legend, self._list, width=SIDE_PX, margin=(0, 0, 0, 14))
        body = row(self._holder, side, sizing_mode="stretch_width", margin=0)
        return column(self._top, self._planes, body, sizing_mode="stretch_width", margin=0)

    def _first_choice(self, snapshot: Snapshot) -> Choice:
        """What the address asks for, or what there is most to see of."""
        asked = self.visit.arguments
        names, pictured = _offered(snapshot)
        stage = asked.get("stage", "")
        usual = COMBINED if names else PREVIEWS
        view = asked.get("view", STAGE if stage in names else usual)
        return Choice(
            view if view in VIEWS else usual,
            stage,
            stage if stage in pictured else best_pictured(snapshot),
        )

    def _forget_axes(self, snapshot: Snapshot) -> None:
        """Planes of lattices that have grown or changed stand at the same labels."""
        for stage in (*snapshot.pictured, *snapshot.stages):
            self._usual_axes(stage.key, stage)

    def _usual_axes(self, key: str, stage: StageNow) -> MapAxes:
        known = self._axes.get(key)
        lattice = stage.lattice
        if known is None or known.dims != lattice.dims:
            known = asked_for(MapAxes.of(lattice), lattice, self.visit.arguments)
        elif (old := self._lattices[key]) is not lattice:
            known = known.regrown(old, lattice)
        self._axes[key], self._lattices[key] = known, lattice
        return known

    # ---------------------------------------------------------------- scenes

    def scene(self, snapshot: Snapshot) -> tuple[Scene, Colours]:
        """What is to be drawn now, and how it looks."""
        choice = self._choice
        stages = tuple(stage for stage in snapshot.stages if stage.states.size)
        assert choice is not None
        if choice.view == PREVIEWS:
            return self._of_previews(snapshot, choice.pictured)
        if not stages:
            return Scene(()), self._states
        if choice.view == ALL:
            tiles = self._axes.get(TILES)
            panes = []
            for stage in stages:
                axes = self._axes[stage.key]
                if tiles is not None and stage.key != TILES:
                    axes = tiles.alike(axes)
                panes.append(Pane(stage.name, axes, stage.lattice, (stage,)))
            return side_by_side(tuple(panes)), self._states
        mine = tuple(stage for stage in stages if stage.key == TILES)
        if choice.view == COMBINED and mine:
            return self._combined(stages, mine)
        stage = next((stage for stage in stages if stage.name == choice.stage), stages[0])
        pane = Pane(stage.name, self._axes[stage.key], stage.lattice, (stage,))
        return one_pane(pane), self._states

    def _of_previews(self, snapshot: Snapshot, name: str) -> tuple[Scene, Colours]:
        """Pictures of the tiles, over their states."""
        stage = next((one for one in snapshot.pictured if one.name == name), None)
        if stage is None:
            return Scene(()), self._states
        title = "Acquisition" if stage.name == SOURCE else stage.name
        pane = Pane(title, self._axes[stage.key], stage.lattice, (stage,))
        return replace(one_pane(pane), pictures=True), self._beneath

    def _combined(
        self, stages: tuple[StageNow, ...], mine: tuple[StageNow, ...]
    ) -> tuple[Scene, Colours]:
        """All stages on tiles in one pane."""
        deep = depths({stage.name: stage.parents for stage in stages})
        found = tuple(n for stage, n in zip(stages, deep, strict=True) if stage.key == TILES)
        if self._combination is None or self._combination[0] != found:
            made = Combination(found)
            self._combination = found, made, combined_look(made, self.visit.theme)
        _, combination, colours = self._combination
        pane = Pane("Furthest stage of each tile", self._axes[TILES], mine[0].lattice, mine)
        return one_pane(pane, combination), colours

    # ---------------------------------------------------------------- painting

    def update(self, snapshot: Snapshot) -> None:
        """See `Page.update`."""
        self._snapshot = snapshot
        if snapshot.structure != self._structure:
            self._structure = snapshot.structure
            self._restructure(snapshot)
        self._views.offer(*_offered(snapshot))
        self._choice = self._views.choice
        self._refresh()

    def _restructure(self, snapshot: Snapshot) -> None:
        """Stages or tiles have come, gone or changed: what is chosen and in view stays."""
        self._forget_axes(snapshot)
        self._reasons = {}
        self._point(None)

    def _refresh(self) -> None:
        """Have what is to be drawn painted in a thread, unless it is drawn already."""
        snapshot = self._snapshot
        if snapshot is None:
            return
        scene, colours = self.scene(snapshot)
        if self._figure is None:
            self._new_figure(scene, colours)
        elif self._figure.scene.form == scene.form:
            self._figure.scene = scene
        elif not self._figure.grow(scene):
            self._new_figure(scene, colours)
        self._show_controls(scene)
        if self._busy:
            self._again = True
            return
        assert self._figure is not None
        sight = self._figure.sight
        wanted = scene.version, scene.combination, sight, self._choice, self._figure
        if wanted == self._done:
            return
        self._busy = True
        self.visit.spawn(self._paint(scene, colours, self._figure, wanted))

    async def _paint(
        self, scene: Scene, colours: Colours, figure: MapFigure, wanted: object
    ) -> None:
        try:
            painting = await asyncio.to_thread(self._painter.paint, scene, figure.sight, colours)
            listed = await asyncio.to_thread(self._listed, painting)
        except BaseException:
            self._busy = False
            raise
        self.visit.show(lambda: self._put(figure, painting, listed, colours, wanted))

    def _put(
        self, figure: MapFigure, painting: Painting, listed: str, colours: Colours, wanted: object
    ) -> None:
        self._busy = False
        if figure is self._figure and self._choice is not None:
            figure.put(painting, colours, in_um=self._choice.in_um)
            self._painted, self._done = painting, wanted
            self._put_previews(figure, painting)
            title = " ".join(pane.title for pane in painting.scene.panes[:1])
            title = title if len(painting.scene.panes) == 1 else "All stages"
            looks = self._states if colours is self._beneath else colours
            note = self._note() if painting.scene.pictures else ""
            set_text(self._legend, _panel(legend_html(painting, looks, title=title, note=note)))
            set_text(self._list, listed)
            if self._pointed is not None:
                found = self._pointed
                self._point(pointed_at(painting, found.pane, found.row, found.column))
        if self._again:
            self._again = False
            self._refresh()

    def _put_previews(self, figure: MapFigure, painting: Painting) -> None:
        """Draw the mosaic of previews that there is, and look for a better one."""
        mosaic = None
        if painting.scene.pictures and self._choice is not None:
            pane = painting.scene.panes[0]
            self._previews.look(pane, figure.sight, solved=self._choice.solved)
            mosaic = self._previews.mosaic
            if mosaic is not None and mosaic.wanted.stage != pane.stages[0].name:
                mosaic = None
        figure.put_mosaic(mosaic, painting, self._states)

    def _note(self) -> str:
        mosaic = self._previews.mosaic
        return "looking for previews …" if mosaic is None else mosaic.note

    def _new_previews(self) -> None:
        """There is another mosaic, or it is time to ask for one."""
        self._done = None
        self._refresh()

    def _new_figure(self, scene: Scene, colours: Colours) -> None:
        """Another figure, with the controls of its plane."""
        self._figure = figure = MapFigure(scene, colours, self.visit.theme)
        self._pointed = None
        figure.on_sight(self._refresh)
        figure.on_pointer(self._moved)
        figure.on_tap(self._tapped)
        self._holder.children = [figure.root]
        self._top.children = [*self._views.parts, *figure.buttons]

    def _show_controls(self, scene: Scene) -> None:
        """The controls of the plane that is shown."""
        if not scene.panes:
            self._controls = None
            self._planes.children = []
            return
        pane = scene.panes[0]
        if self._choice is not None and self._choice.view == ALL and self._snapshot is not None:
            on_tiles = (pane for pane in scene.panes if pane.stages[0].key == TILES)
            pane = next(on_tiles, pane)
        same = self._controls is not None and (
            self._controls.axes == pane.axes and self._controls.lattice is pane.lattice
        )
        grown = (
            not same
            and self._controls is not None
            and self._controls.lattice.dims == pane.lattice.dims
            and self._controls.grow(pane.axes, pane.lattice)
        )
        if not same and not grown:
            self._controls = PlaneControls(pane.axes, pane.lattice, self._turned)
            self._planes.children = [self._controls.root]

    # ---------------------------------------------------------------- choices

    def _chosen(self, choice: Choice) -> None:
        self._choice = choice
        self._refresh()

    def _turned(self, axes: MapAxes) -> None:
        """Another plane of the lattice that the controls are of."""
        snapshot = self._snapshot
        if snapshot is None or self._controls is None:
            return
        for stage in (*snapshot.stages, *snapshot.pictured):
            if stage.lattice is self._controls.lattice:
                self._axes[stage.key] = axes
        self._refresh()

    # ---------------------------------------------------------------- the pointer

    def _moved(self, at: tuple[float, float] | None) -> None:
        painting = self._painted
        where = None
        if painting is not None and at is not None:
            where = painting.scene.at(*at)
        if painting is None or where is None:
            self._point(None)
            return
        if self._pointed is None or where != (
            self._pointed.pane,
            self._pointed.row,
            self._pointed.column,
        ):
            self._point(pointed_at(painting, *where))

    def _point(self, found: Pointed | None) -> None:
        """Say what is under the pointer, and ask why once it has rested there."""
        if found == self._pointed or self._figure is None:
            return
        self._pointed = found
        if found is None:
            self._figure.point_at(None)
        else:
            self._figure.point_at(found.pane, found.row, found.column)
        self._say()
        if found is not None and found.shown is not None and found.shown not in self._reasons:
            self.visit.spawn(self._wonder(found))

    def _say(self) -> None:
        found, reason, link = self._pointed, "", ""
        if found is not None and found.shown is not None:
            reason = self._reasons.get(found.shown, "…")
            link = self._link(found)
        set_text(self._under, _panel(pointed_html(found, self._states, reason, link)))

    def _link(self, found: Pointed) -> str:
        shown = found.shown
        if shown is None:
            return ""
        return self.visit.link("lattice-tile", stage=shown[0], tile=shown[1])

    async def _wonder(self, found: Pointed) -> None:
        await asyncio.sleep(REST_S)
        shown = found.shown
        if self._pointed != found or shown is None:
            return
        stage, unit, _ = shown
        try:
            reason = str(await self.visit.questions.ask(lambda project: project.why(stage, unit)))
        except LatticeworkError as error:
            reason = str(error)
        self._reasons = {**dict(list(self._reasons.items())[-99:]), shown: reason}
        self.visit.show(self._say)

    def _tapped(self, x: float, y: float) -> None:
        painting, figure = self._painted, self._figure
        if painting is None or figure is None:
            return
        where = painting.scene.at(x, y)
        link = "" if where is None else self._link(pointed_at(painting, *where))
        if link:
            figure.open(html.unescape(link))

    def _listed(self, painting: Painting) -> str:
        """What is not well, beside the picture."""
        found = troubles_html(painting, self._states, self._link, self._plane_link)
        return _panel(found) if found else ""

    def _plane_link(self, dim: str, label: str) -> str:
        choice = self._choice
        if choice is None:
            return ""
        stage = choice.pictured if choice.view == PREVIEWS else choice.stage
        told = {"view": choice.view, "stage": stage}
        axes = None if self._controls is None else self._controls.axes
        lattice = None if self._controls is None else self._controls.lattice
        if axes is not None and lattice is not None:
            told |= {other: str(lattice.labels[other][axes.place(other)]) for other in axes.others}
        return self.visit.link("lattice-map", **{**told, dim: label})


def _offered(snapshot: Snapshot) -> tuple[list[str], list[str]]:
    """Names of the stages, and of what there are previews of."""
    return [one.name for one in snapshot.stages], [one.name for one in snapshot.pictured]


def _panel(content: str) -> str:
    return f"<div class='panel' style='width:{SIDE_PX}px;box-sizing:border-box'>{content}</div>"
