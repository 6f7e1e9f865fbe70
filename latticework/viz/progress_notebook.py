"""Progress in a notebook: a picture that is replaced in place and stays when the run is over."""

import contextvars
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from latticework.lattice.states import State
from latticework.viz.html import escaped, linked
from latticework.viz.progress import ShownProgress
from latticework.viz.stage_bars import StageBar, bars_html
from latticework.viz.summary import failure_table, summary_text
from latticework.viz.words import plain, seconds

if TYPE_CHECKING:
    from latticework.viz.summary import Failure

_LINES = 4
"""Lines of news that are shown, the last ones."""
_FAILURES = 3


class NotebookProgress(ShownProgress):
    """Bars in a notebook's output, at most `per_second` pictures a second.

    With rate and time left of every stage, the address of the project's pages, what failed, and
    the latest news. The last picture is plain HTML in the saved notebook: no widget, no state in a
    kernel; with a text for programs that show no HTML.

    Parameters
    ----------
    display
        ``IPython.display.display``, or what stands for it in a test.
    per_second
        Pictures a second at most.
    clock
        Seconds that never go back.
    """

    last_drawn: ClassVar[tuple[int, int | None] | None] = None
    """The summary whose bars were drawn last, and the number of the cell in which that was."""

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
        self._cell: int | None = None
        self._link = ""
        self._news: deque[str] = deque(maxlen=_LINES)
        self._failures: Sequence[Failure] = ()
        self._n_failed = 0

    def _open(self, link: str) -> None:
        self._link = link
        self._changed()

    def _blame(self, failures: "Sequence[Failure]", n: int) -> None:
        self._failures, self._n_failed = failures, n
        self._changed()

    def _begin(self) -> None:
        show: Any = self._display
        if show is None:
            import IPython.display

            show = IPython.display.display
        self._cell = _cell_number()
        self._handle = show(self._picture(running=True), display_id=True)
        self._drawn = self._clock()

    def _changed(self) -> None:
        now = self._clock()
        if self._handle is not None and now - self._drawn >= self._every_s:
            self._drawn = now
            self._update(self._picture(running=True))

    def _tell(self, text: str) -> None:
        self._news.append(f"{time.strftime('%H:%M:%S')} {text}")
        self._changed()

    def _end(self, summary: object | None) -> None:
        lines: list[str] | None = None
        if isinstance(summary, str) or getattr(summary, "closing", None) is not None:
            lines = self._closing(summary)
        self._update(self._picture(running=False, closing=lines))
        drawn = self._cell is not None and summary is not None
        NotebookProgress.last_drawn = (id(summary), self._cell) if drawn else None

    def _update(self, picture: "_Picture") -> None:
        """Replace the picture, in the cell that started the run.

        From a thread it is sent a second time as if from the cell that is at work: programs that
        run notebooks cell by cell (nbclient) take no notice of a cell that has ended.
        """
        self._handle.update(picture)
        if threading.current_thread() is not threading.main_thread():
            contextvars.Context().run(self._handle.update, picture)

    def _picture(self, *, running: bool, closing: list[str] | None = None) -> "_Picture":
        stages = [
            StageBar(
                stage.name,
                stage.counts or {},
                total=stage.total,
                rate=stage.rate if running else None,
                eta_s=stage.eta_s if running and stage.remaining else None,
            )
            for stage in self.stages.values()
        ]
        verb = "running for" if running else "ended after"
        foot = f"{verb} {seconds(self.elapsed_s)}"
        if running:
            foot += f", at {time.strftime('%H:%M:%S')}"
        now = [self.phase_line] if self.phase_line else []
        lines = [*([*now, *self.gauge_lines] if running else []), *(closing or [foot])]
        said = [escaped(line, 400) for line in lines]
        if running and self._link:
            said.append(f"dashboard: {linked(self._link)}")
        said += [escaped(line, 300) for line in self._news]
        # The summary, which is the value of the cell, tells them; not that of a run in a thread.
        told_below = not running and threading.current_thread() is threading.main_thread()
        failures = () if told_below else self._failures[:_FAILURES]
        table = failure_table(failures, self._n_failed) if failures else ""
        html = bars_html(stages, foot="<br>".join(said), after=table)
        counts = {
            stage.name: stage.counts or {State.WAITING: stage.total}
            for stage in self.stages.values()
        }
        text = summary_text(counts, title=plain(lines[-1] if not closing else closing[0]))
        return _Picture(html, text)


class _Picture:
    """HTML with a text for programs that show none."""

    def __init__(self, html: str, text: str) -> None:
        self._html, self._text = html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def stands_above(summary: object) -> bool:
    """Whether the bars of this summary have just been drawn in the cell that shows it now."""
    return NotebookProgress.last_drawn == (id(summary), _cell_number())


def _cell_number() -> int | None:
    """Number of the notebook's cell that is at work, where there is a notebook."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return None if shell is None else int(getattr(shell, "execution_count", 0))
