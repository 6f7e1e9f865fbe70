"""Progress in a terminal: a bar per stage."""

import atexit
import time
from collections.abc import Callable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from latticework.lattice.states import State
from latticework.viz.progress import ShownProgress, StageView
from latticework.viz.states import state_colours
from latticework.viz.words import percent, plain, rate, time_left

_LINES_AROUND = 3
_SHARED = (State.COMPLETE, State.FAILED, State.BLOCKED, State.CANCELLED, State.STALE, State.RUNNING)


class RichProgress(ShownProgress):
    """Bars in a terminal, drawn a few times a second by a thread of their own.

    ``update`` only notes numbers. What others print appears above the bars. The terminal is put
    back by ``finish``, or at the latest when the interpreter ends.

    Parameters
    ----------
    file
        A terminal; standard output if not given.
    console
        A console of rich's to draw on instead.
    clock
        Seconds that never go back.
    """

    def __init__(
        self,
        *,
        file: IO[str] | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock=clock)
        self._console = Console(file=file, highlight=False) if console is None else console
        self._live: Live | None = None

    def _begin(self) -> None:
        self._live = Live(
            _Bars(self),
            console=self._console,
            refresh_per_second=5,
            vertical_overflow="crop",
        )
        self._live.start()
        atexit.register(self._abandon)

    def _end(self, summary: object | None) -> None:
        self._abandon()
        if summary is not None:
            self._console.print(Text(str(summary)))

    def _abandon(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            atexit.unregister(self._abandon)
            live.stop()


class _Bars:
    """The bars as they are when rich asks for them."""

    def __init__(self, progress: RichProgress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(3, console.size.height - _LINES_AROUND)
        stages, hidden = _most_telling(list(self._progress.stages.values()), room)
        yield bars(
            stages, width=options.max_width, ascii_only=options.ascii_only, legacy=console.no_color
        )
        if hidden:
            done = sum(not stage.remaining for stage in hidden)
            yield Text(f"… and {len(hidden)} more stages, {done} of them done", style="dim")


def _most_telling(
    stages: list[StageView], room: int
) -> tuple[list[StageView], list[StageView]]:
    """Stages that fit, in their order: those under way first, then those to come, then the done."""
    if len(stages) <= room:
        return stages, []

    def rank(stage: StageView) -> tuple[int, int]:
        under_way = stage.count(State.RUNNING) + stage.count(State.QUEUED) > 0
        return (0 if under_way else 1 if stage.failed else 2 if stage.remaining else 3), 0

    chosen = sorted(stages, key=rank)[: room - 1]
    return [s for s in stages if s in chosen], [s for s in stages if s not in chosen]


def bars(
    stages: list[StageView], *, width: int = 100, ascii_only: bool = False, legacy: bool = False
) -> Table:
    """A table of rich's with a bar per stage; narrow terminals lose what matters least.

    Examples
    --------
    >>> from rich.console import Console
    >>> from latticework.lattice.states import State
    >>> stage = StageView("clean", 40)
    >>> stage.see({State.COMPLETE: 20, State.WAITING: 20})
    >>> Console(width=60, color_system=None).print(bars([stage], width=50))
    clean ━━━━━╌╌╌╌╌ 20/40 50 % -
    """
    table = Table.grid(padding=(0, 1, 0, 0))
    name_width = min(max((len(s.name) for s in stages), default=0), max(8, width // 4))
    table.add_column(no_wrap=True, max_width=name_width, overflow="ellipsis")
    table.add_column(no_wrap=True)
    for _ in range(5):
        table.add_column(justify="right", no_wrap=True)
    bar_width = max(10, min(40, width - name_width - 62))
    for stage in stages:
        cells = [
            Text(plain(stage.name, 60)),
            bar(stage, bar_width, ascii_only=ascii_only, plain_colours=legacy),
            Text(f"{stage.complete:,}/{stage.total:,}"),
            Text(percent(stage.complete, stage.total), style="bold"),
        ]
        if width >= 72:
            cells.append(Text(rate(stage.rate) if stage.remaining else "", style="dim"))
        cells += [_left(stage), _trouble(stage)]
        table.add_row(*cells)
    return table


def _left(stage: StageView) -> Text:
    if not stage.remaining:
        return Text("done" if stage.complete == stage.total else "ended", style="dim")
    active = stage.count(State.RUNNING) + stage.count(State.QUEUED)
    if stage.eta_s is None:
        return Text("-" if active else "waiting", style="dim")
    return Text(f"{time_left(stage.eta_s)} left")


def _trouble(stage: StageView) -> Text:
    text = Text()
    for state in (State.FAILED, State.BLOCKED, State.CANCELLED):
        if stage.count(state):
            style = "bold " if state is State.FAILED else ""
            text.append(f"{stage.count(state):,} {state.label} ", style + state_colours[state].dark)
    return text


def bar(
    stage: StageView, width: int, *, ascii_only: bool = False, plain_colours: bool = False
) -> Text:
    """A bar of `width` characters, parted by state; what failed shows in at least one of them."""
    full, empty = ("#", ".") if ascii_only else ("━", "╌" if plain_colours else "━")
    text, used = Text(), 0
    total = max(1, stage.total)
    for state in _SHARED:
        n = stage.count(state)
        cells = round(n * width / total)
        if state is State.COMPLETE and n < total:
            cells = min(cells, n * width // total)
        elif n and state is State.FAILED:
            cells = max(1, cells)
        cells = min(cells, width - used)
        text.append(full * cells, style=_terminal_colour(state))
        used += cells
    text.append(empty * (width - used), style="grey37")
    return text


def _terminal_colour(state: State) -> str:
    return "green4" if state is State.COMPLETE else state_colours[state].dark
