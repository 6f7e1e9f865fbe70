"""The first page: how each stage stands, who works, what is wrong, and the pipeline as a graph."""

from bokeh.layouts import column
from bokeh.models import UIElement

from latticework.viz.dashboard.feed import Snapshot
from latticework.viz.dashboard.page import Page


class Overview(Page):
    """How each stage stands, who works, and what is wrong."""

    title = "Overview"

    def build(self, _snapshot: Snapshot) -> UIElement:
        """See `Page.build`."""
        self._stages = self.html()
        return column(self._stages, sizing_mode="stretch_width")

    def update(self, snapshot: Snapshot) -> None:
        """See `Page.update`."""
        self._stages.text = str([(s.name, s.by_state) for s in snapshot.stages])
