"""Progress in a terminal: a bar per stage."""

import atexit
import time
from collections.abc import Callable, Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from latticework.lattice.states import State
from latticework.viz.keeping_up import alarming
from latticework.viz.progress import ShownProgress, StageView
from latticework.viz.states import state_colours
from latticework.viz.words import percent, plain, rate, time_left

_LINES_AROUND = 3
_MIN_BAR, _MAX_BAR = 8, 40
_OWN_COLOURS = {State.COMPLETE: "#3fae93", State.CANCELLED: "grey58", State.RUNNING: "#e0aa00"}
_MARKS = {State.FAILED: "x", State.BLOCKED: ":", State.CANCELLED: ":"}
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

    def _tell(self, text: str) -> None:
        self._console.print(Text(text))

    def _end(self, summary: object | None) -> None:
        self.phase_line = ""
        self._abandon()
        if summary is not None:  # without one, the bars that remain say all there is
            for line in self._closing(summary):
                self._console.print(Text(line))

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
        below, phase = self._progress.gauge_lines, self._progress.phase_line
        room = max(3, console.size.height - _LINES_AROUND - len(below) - bool(phase))
        stages, hidden = _most_telling(list(self._progress.stages.values()), room)
        yield bars(
            stages, width=options.max_width, ascii_only=options.ascii_only, legacy=console.no_color
        )
        if hidden:
            done = sum(not stage.remaining for stage in hidden)
            yield Text(f"… and {len(hidden)} more stages, {done} of them done", style="dim")
        yield from gauge_texts(below)
        if phase:
            yield Text(phase, style="bold", overflow="ellipsis", no_wrap=True)


def gauge_texts(lines: Iterable[str]) -> list[Text]:
    """Lines of the keep-up gauge; bad news in the colour of what failed."""
    bad = _terminal_colour(State.FAILED)
    return [
        Text(line, style=bad if alarming(line) else "dim", overflow="ellipsis", no_wrap=True)
        for line in lines
    ]


def _most_telling(stages: list[StageView], room: int) -> tuple[list[StageView], list[StageView]]:
    """Stages that fit, in their order: those under way first, then those to come, then the done."""
    if len(stages) <= room:
        return stages, []

    def rank(stage: StageView) -> int:
        return 0 if stage.active else 1 if stage.failed else 2 if stage.remaining else 3

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
    >>> Console(width=60, color_system=None).print(bars([stage], width=55, legacy=True))
    clean ━━━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌ 20/40 50 % waiting
    """
    names = [Text(plain(stage.name, max(8, width // 4))) for stage in stages]
    columns = [
        [Text(f"{stage.complete:,}/{stage.total:,}") for stage in stages],
        [Text(percent(stage.complete, stage.total), style="bold") for stage in stages],
        [_rate(stage) for stage in stages],
        [_left(stage) for stage in stages],
        [_trouble(stage) for stage in stages],
    ]
    space = width - _widest(names) - 1 - sum(_widest(column) + 1 for column in columns)
    if space < _MIN_BAR:
        space += _widest(columns[2]) + 1
        columns[2] = []
    if space < _MIN_BAR:
        space += _widest(columns[4]) + 1
        columns[4] = [_trouble(stage, brief=True) for stage in stages]
        space -= _widest(columns[4]) + 1
    if space < _MIN_BAR:
        space += _widest(columns[3]) + 1
        columns[3] = []
    length = max(_MIN_BAR, min(_MAX_BAR, space))
    drawn = [bar(stage, length, ascii_only=ascii_only, plain_colours=legacy) for stage in stages]
    table = Table.grid(padding=(0, 1, 0, 0))
    kept = [names, drawn, *(column for column in columns if _widest(column))]
    for column in kept:
        left = column is names or column is columns[4]
        table.add_column(justify="left" if left else "right", no_wrap=True)
    for row in zip(*kept, strict=True):
        table.add_row(*row)
    return table


def _widest(texts: list[Text]) -> int:
    return max((text.cell_len for text in texts), default=0)


def _rate(stage: StageView) -> Text:
    known = stage.remaining and stage.rate
    return Text(rate(stage.rate) if known else "", style="dim")


def _left(stage: StageView) -> Text:
    if not stage.remaining:
        if stage.total and stage.failed == stage.total:
            return Text("failed", style=_terminal_colour(State.FAILED))
        return Text("done" if stage.complete == stage.total else "ended", style="dim")
    if stage.eta_s is None:
        return Text("under way" if stage.active else "waiting", style="dim")
    return Text(f"{time_left(stage.eta_s)} left")


def _trouble(stage: StageView, *, brief: bool = False) -> Text:
    """What went wrong: all of it, or only what failed."""
    texts = []
    for state in (State.FAILED,) if brief else (State.FAILED, State.BLOCKED, State.CANCELLED):
        if stage.count(state):
            style = _terminal_colour(state) + (" bold" if state is State.FAILED else "")
            texts.append(Text(f"{stage.count(state):,} {state.label}", style=style))
    return Text(" ").join(texts)


def bar(
    stage: StageView, width: int, *, ascii_only: bool = False, plain_colours: bool = False
) -> Text:
    """A bar of `width` characters, parted by state; what failed shows in at least one of them.

    Without colours, what failed is crosses and what cannot run is dots: a stage of which all
    tiles failed does not look like one that is complete.
    """
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
        mark = _MARKS.get(state, full) if ascii_only or plain_colours else full
        text.append(mark * cells, style=_terminal_colour(state))
        used += cells
    text.append(empty * (width - used), style="grey37")
    return text


def _terminal_colour(state: State) -> str:
    """Colours that show on dark and on light terminals."""
    return _OWN_COLOURS.get(state, state_colours[state].dark)
