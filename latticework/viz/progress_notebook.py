"""Progress in a notebook: a picture that is replaced in place and stays when the run is over."""

import time
from collections.abc import Callable
from typing import Any

from latticework.viz.html import escaped
from latticework.viz.progress import ShownProgress
from latticework.viz.stage_bars import StageBar, bars_html
from latticework.viz.words import seconds


class NotebookProgress(ShownProgress):
    """Bars in a notebook's output, at most `per_second` pictures a second.

    The last picture is plain HTML in the saved notebook: no widget, no state in a kernel.

    Parameters
    ----------
    display
        ``IPython.display.display``, or what stands for it in a test.
    per_second
        Pictures a second at most.
    clock
        Seconds that never go back.
    """

    def __init__(
        self,
        *,
        display: Callable[..., Any] | None = None,
        per_second: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock=clock)
        self._display = display
        self._every_s = 1 / per_second
        self._handle: Any = None
        self._drawn = 0.0

    def _begin(self) -> None:
        show: Any = self._display
        if show is None:
            import IPython.display

            show = IPython.display.display
        self._handle = show(_Picture(self._html("running")), display_id=True)
        self._drawn = self._clock()

    def _changed(self) -> None:
        now = self._clock()
        if now - self._drawn >= self._every_s:
            self._drawn = now
            self._handle.update(_Picture(self._html("running")))

    def _end(self, summary: object | None) -> None:
        # A summary that can show itself is the value of the cell: here it would stand twice.
        if isinstance(summary, str) or getattr(summary, "closing", None) is not None:
            self._handle.update(_Picture(self._html("ended", closing=self._closing(summary))))
        else:
            self._handle.update(_Picture(self._html("ended")))

    def _html(self, verb: str, closing: list[str] | None = None) -> str:
        stages = [
            StageBar(
                stage.name,
                stage.counts or {},
                total=stage.total,
                rate=stage.rate if verb == "running" else None,
                eta_s=stage.eta_s if verb == "running" and stage.remaining else None,
            )
            for stage in self.stages.values()
        ]
        foot = [f"{verb} {'for' if verb == 'running' else 'after'} {seconds(self.elapsed_s)}"]
        now = [self.phase_line] if self.phase_line else []
        lines = [*([*now, *self.gauge_lines] if verb == "running" else []), *(closing or foot)]
        return bars_html(stages, foot="<br>".join(escaped(line, 400) for line in lines))


class _Picture:
    """HTML with a text for pages that show none."""

    def __init__(self, html: str) -> None:
        self._html = html

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return "<progress of a run>"
