"""The map's figure: images, outlines and words, and what the browser tells of them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from bokeh.core.properties import Bool, Float, Int, List, String, value
from bokeh.events import ButtonClick, MouseLeave, MouseMove, Tap
from bokeh.model import DataModel
from bokeh.models import (
    Button,
    ColumnDataSource,
    CustomJS,
    FixedTicker,
    InlineStyleSheet,
    LinearColorMapper,
    PanTool,
    Range1d,
    UIElement,
    WheelZoomTool,
)
from bokeh.plotting import figure

from latticework.lattice.states import State
from latticework.viz.dashboard.figures import literal
from latticework.viz.dashboard.look import FONT, PALETTES, asset
from latticework.viz.dashboard.map_colours import Colours
from latticework.viz.dashboard.map_controls import map_style
from latticework.viz.dashboard.map_mosaic import GREYS, OUTLINE_PX, Mosaic, Wanted
from latticework.viz.dashboard.map_painting import Drawn, Painting, differences
from latticework.viz.dashboard.map_scene import Scene, Sight, grown_by
from latticework.viz.dashboard.map_ticks import Ticks, axis_title, ticks_of
from latticework.viz.states import Theme
from latticework.viz.words import plain

FOLLOW = "if (cb_obj.go) { window.location.href = cb_obj.go }"
"""Opens another page."""

TALL = """:host{height:calc(100vh - 164px)!important;flex-basis:auto!important;min-height:420px}"""
"""As high as the window, less what is above."""


USUAL_PX = (900.0, 560.0)
"""About how wide and high the picture is, as long as the browser has not said so."""


class MapEye(DataModel):  # type: ignore[misc]
    """What the browser tells of the map: what is in view, and where the pointer is."""

    sight = List(Float, default=[])
    pointer = List(Float, default=[])
    extent = List(Float, default=[1.0, 1.0])
    cell = List(Float, default=[1.0, 1.0])
    strip = Bool(default=False)
    shift = List(Float, default=[0.0, 0.0])
    grown = Int(default=0)
    go = String(default="")


class MapFigure:
    """One picture of panes; another one is made when its geometry changes.

    Parameters
    ----------
    scene
        What will be drawn in it.
    colours
        How codes look.
    theme
        Light or dark.
    """

    def __init__(self, scene: Scene, colours: Colours, theme: Theme) -> None:
        self.theme = theme
        self.scene = scene
        self._mosaic: Wanted | None = None
        self._labels: dict[str, tuple[str, Ticks]] = {}
        self._shown: tuple[tuple[Drawn, ...], tuple[Drawn, ...]] = ((), ())
        width, height = scene.extent
        pane = scene.panes[0] if scene.panes else None
        self.eye = MapEye(
            extent=[width, height],
            strip=scene.is_strip,
            cell=[
                min((pane.width for pane in scene.panes), default=1.0),
                min((pane.height for pane in scene.panes), default=1.0),
            ],
        )
        self.figure = self._empty_figure(single=len(scene.panes) == 1 and pane is not None)
        self._sources: dict[str, ColumnDataSource] = {}
        self._mapper = LinearColorMapper(
            palette=list(colours.palette), low=-0.5, high=len(colours.palette) - 0.5
        )
        self._add_glyphs()
        self._listen()
        self.buttons = self._buttons()
        """Buttons that zoom."""

    @property
    def root(self) -> UIElement:
        """What to put on the page."""
        return self.figure

    # ---------------------------------------------------------------- making

    def _empty_figure(self, *, single: bool) -> Any:
        # The browser moves about by itself: only what it says to `eye` comes back.
        width, height = self.scene.extent
        along: Any = "width" if self.scene.is_strip else "both"
        tools = [PanTool(dimensions=along), WheelZoomTool(dimensions=along)]
        made = figure(
            x_range=Range1d(0, width, syncable=False),
            y_range=Range1d(height, 0, syncable=False),
            tools=tools,
            active_scroll=tools[1],
            toolbar_location=None,
            sizing_mode="stretch_width",
            height=240 if self.scene.is_strip else 560,
            x_axis_location="above",
            output_backend="canvas",
            name="lattice-map",
        )
        made.grid.visible = False
        made.outline_line_color = None
        made.axis.visible = single
        made.axis.minor_tick_line_color = None
        made.axis.ticker = FixedTicker(ticks=[])  # until it is known what the cells are called
        made.styles = {"border-radius": "8px", "border": f"1px solid {PALETTES[self.theme].line}"}
        if not self.scene.is_strip:
            made.stylesheets = [InlineStyleSheet(css=TALL)]
        else:
            made.yaxis.visible = False
        return made

    def _add_glyphs(self) -> None:
        palette, fig = PALETTES[self.theme], self.figure
        for name in ("whole", "part"):
            source = self._source(name, "image", "x", "y", "dw", "dh")
            fig.image("image", "x", "y", "dw", "dh", source=source, color_mapper=self._mapper)
        mosaic = self._source("mosaic", "image", "x", "y", "dw", "dh")
        greys = LinearColorMapper(
            palette=[f"#{k:02x}{k:02x}{k:02x}" for k in range(GREYS)],
            low=-0.5,
            high=GREYS - 0.5,
            high_color="rgba(0, 0, 0, 0)",
        )
        fig.image("image", "x", "y", "dw", "dh", source=mosaic, color_mapper=greys)
        lines = self._source("lines", "x0", "y0", "x1", "y1")
        fig.segment("x0", "y0", "x1", "y1", source=lines, line_color=palette.panel)
        frames = self._source("frames", "left", "right", "top", "bottom")
        fig.quad(
            left="left",
            right="right",
            top="top",
            bottom="bottom",
            source=frames,
            fill_color=None,
            line_color=palette.line,
        )
        outlines = self._source("outlines", "left", "right", "top", "bottom", "colour", "wide")
        fig.quad(
            left="left",
            right="right",
            top="top",
            bottom="bottom",
            source=outlines,
            fill_color=None,
            line_color="colour",
            line_width="wide",
        )
        words = self._source("words", "x", "y", "text", "colour")
        fig.text(
            "x",
            "y",
            "text",
            source=words,
            text_color="colour",
            text_font=value(FONT),
            text_font_size="11px",
            text_align="center",
            text_baseline="middle",
        )
        titles = self._source("titles", "x", "y", "text")
        fig.text(
            "x",
            "y",
            "text",
            source=titles,
            text_color=palette.text,
            text_font=value(FONT),
            text_font_size="13px",
            text_font_style="bold",
            text_baseline="bottom",
            y_offset=-4,
        )
        pointed = self._source("pointed", "left", "right", "top", "bottom")
        for colour, width in ((palette.panel, 4), (palette.text, 2)):
            fig.quad(
                left="left",
                right="right",
                top="top",
                bottom="bottom",
                source=pointed,
                fill_color=None,
                line_color=colour,
                line_width=width,
            )

    def _source(self, name: str, *columns: str) -> ColumnDataSource:
        source = ColumnDataSource({column: [] for column in columns}, syncable=False)
        self._sources[name] = source
        return source

    def _listen(self) -> None:
        code = self._script("")
        for event in (MouseMove, MouseLeave):
            self.figure.js_on_event(event, code)
        for measure in ("inner_width", "inner_height"):
            self.figure.js_on_change(measure, code)
        moved = self._script("range")
        for span in (self.figure.x_range, self.figure.y_range):
            for end in ("start", "end"):
                span.js_on_change(end, moved)
        self.eye.js_on_change("go", CustomJS(code=FOLLOW))
        self.eye.js_on_change("grown", self._script("grown"))

    def _script(self, act: str) -> CustomJS:
        args = {"fig": self.figure, "eye": self.eye, "act": act}
        return CustomJS(args=args, code=asset("map.js"))

    def _buttons(self) -> list[Button]:
        """What the wheel does, for those without one."""
        buttons = []
        for act, text in (("in", "+"), ("out", "-"), ("fit", "whole")):
            button = Button(label=text, stylesheets=map_style(), margin=(0, 3, 0, 0))
            button.js_on_event(ButtonClick, self._script(act))
            buttons.append(button)
        return buttons

    def grow(self, scene: Scene) -> bool:
        """Go on with a scene of a lattice that has grown, at the tiles that one has gone to.

        Returns
        -------
        bool
            False where the picture's geometry is another one: make another figure.
        """
        shift = grown_by(self.scene, scene)
        if shift is None:
            return False
        self.scene = scene
        self.point_at(None)
        self.eye.update(extent=list(scene.extent), shift=list(shift), grown=self.eye.grown + 1)
        return True

    # ---------------------------------------------------------------- what people do

    def on_sight(self, then: Callable[[], None]) -> None:
        """Call a function when something else is in view."""
        self.eye.on_change("sight", lambda _name, _old, _new: then())

    def on_pointer(self, then: Callable[[tuple[float, float] | None], None]) -> None:
        """Call a function with where the pointer is now, or with None where it has left."""

        def moved(_name: str, _old: object, new: list[float]) -> None:
            then((new[0], new[1]) if len(new) == 2 else None)

        self.eye.on_change("pointer", moved)

    def on_tap(self, then: Callable[[float, float], None]) -> None:
        """Call a function with the point that was clicked or tapped."""
        self.figure.on_event(Tap, lambda event: then(float(event.x), float(event.y)))

    @property
    def sight(self) -> Sight | None:
        """What is in view, as far as the browser has said."""
        seen = list(self.eye.sight)
        if len(seen) != 6 or not np.isfinite(seen).all():
            return None
        x0, x1, y0, y1, width, height = seen
        if x0 == x1 or y0 == y1 or not (0 < width < 1e5 and 0 < height < 1e5):
            return None
        return Sight(min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1), width, height)

    def open(self, address: str) -> None:
        """Have the browser open a page of ours."""
        self.eye.go = ""
        self.eye.go = address

    # ---------------------------------------------------------------- drawing

    def put(self, painting: Painting, colours: Colours, *, in_um: bool) -> None:
        """Draw a painting; only what is other is sent."""
        palette = list(colours.palette)
        if self._mapper.palette != palette:
            self._mapper.update(palette=palette, high=len(palette) - 0.5)
        self._put_images("whole", self._shown[0], painting.whole)
        self._put_images("part", self._shown[1], painting.part)
        self._shown = painting.whole, painting.part
        words = painting.words
        self._put("words", {"x": words.x, "y": words.y, "text": words.text, "colour": words.colour})
        x0, y0, x1, y1 = painting.lines
        self._put("lines", {"x0": x0, "y0": y0, "x1": x1, "y1": y1})
        panes = painting.scene.panes
        frames = [(p.x, p.x + p.extent[0], p.y, p.y + p.extent[1]) for p in panes]
        self._put("frames", _columns(frames, ("left", "right", "top", "bottom")))
        if len(panes) > 1:
            self._put(
                "titles",
                {
                    "x": [pane.x for pane in panes],
                    "y": [pane.y for pane in panes],
                    "text": [plain(pane.title, 40) for pane in panes],
                },
            )
        if len(panes) == 1:
            width, height = painting.scene.extent
            all_of_it = Sight(0.0, width, 0.0, height, *USUAL_PX)
            self._label_axes(painting, self.sight or all_of_it, in_um=in_um)

    def put_mosaic(self, mosaic: Mosaic | None, painting: Painting, colours: Colours) -> None:
        """Draw a mosaic of previews, and the states of its tiles around them."""
        if mosaic is None:
            self._put("mosaic", _columns([], ("image", "x", "y", "dw", "dh")))
            self._put(
                "outlines", _columns([], ("left", "right", "top", "bottom", "colour", "wide"))
            )
            return
        if mosaic.wanted != self._mosaic:
            self._mosaic = mosaic.wanted if not mosaic.missing else None
            self._sources["mosaic"].data = {
                "image": [mosaic.image],
                "x": [mosaic.x],
                "y": [mosaic.y],
                "dw": [mosaic.width],
                "dh": [mosaic.height],
            }
        boxes, cells = mosaic.boxes, mosaic.cells
        sight, codes = self.sight, painting.codes[0]
        if sight is None or painting.scene.panes[0].width * sight.pixels_across < OUTLINE_PX:
            boxes, cells = boxes[:0], cells[:0]
        inside = (cells < codes.shape).all(axis=1)
        boxes, cells = boxes[inside], cells[inside]
        states = [int(codes[row, column]) for row, column in cells]
        inset = 0.0 if sight is None else 1.5 / sight.pixels_across
        self._put(
            "outlines",
            {
                "left": boxes[:, 0] + inset,
                "right": boxes[:, 1] - inset,
                "top": boxes[:, 2] + inset,
                "bottom": boxes[:, 3] - inset,
                "colour": [colours.of(state) for state in states],
                "wide": [1 if state == State.COMPLETE else 3 for state in states],
            },
        )

    def point_at(self, number: int | None, row: int = 0, column: int = 0) -> None:
        """Draw a frame around a cell of a pane, or around none."""
        frames = []
        if number is not None and number < len(self.scene.panes):
            pane = self.scene.panes[number]
            x, y = pane.x + column * pane.width, pane.y + row * pane.height
            frames = [(x, x + pane.width, y, y + pane.height)]
        self._put("pointed", _columns(frames, ("left", "right", "top", "bottom")))

    def _put_images(self, name: str, old: tuple[Drawn, ...], new: tuple[Drawn, ...]) -> None:
        source = self._sources[name]
        found = differences(old, new)
        if found is None:
            source.data = {
                "image": [one.image.copy() for one in new],
                "x": [one.x for one in new],
                "y": [one.y for one in new],
                "dw": [one.width for one in new],
                "dh": [one.height for one in new],
            }
            return
        patches: list[tuple[Any, Any]] = []
        for number, change in found:
            if change is None:
                patches.append((number, new[number].image.copy()))
            else:
                patches += [((number, one.rows, one.columns), one.values) for one in change]
        if patches:
            source.patch({"image": patches})

    def _put(self, name: str, data: dict[str, Any]) -> None:
        """Other data for a source, if they are other."""
        source = self._sources[name]
        same = all(
            len(source.data[key]) == len(values) and np.array_equal(source.data[key], values)
            for key, values in data.items()
        )
        if not same:
            source.data = data

    def _label_axes(self, painting: Painting, sight: Sight, *, in_um: bool) -> None:
        pane = painting.scene.panes[0]
        dims = pane.axes.across, pane.axes.down
        found = ticks_of(pane, sight, in_um=in_um)
        for axis, ticks, dim in zip(
            (self.figure.xaxis[0], self.figure.yaxis[0]), found, dims, strict=True
        ):
            title = axis_title(pane.lattice, dim, in_um=in_um)
            if self._labels.get(axis.id) == (title, ticks):
                continue
            if self._labels.get(axis.id, ("", {}))[0] != title:
                axis.axis_label = literal(title)
            if self._labels.get(axis.id, ("", {}))[1] != ticks:
                axis.major_label_overrides = {at: literal(text) for at, text in ticks.items()}
                axis.ticker = FixedTicker(ticks=list(ticks))
            self._labels[axis.id] = title, ticks


def _columns(rows: Sequence[tuple[float, ...]], names: tuple[str, ...]) -> dict[str, list[float]]:
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}


__all__ = ["MapEye", "MapFigure"]
