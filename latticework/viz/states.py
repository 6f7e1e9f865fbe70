"""Colours of the states, the same in every picture, page and terminal.

The nine colours were searched for, not picked: within OKLab the closest two are at least 0.13
apart (0.07 for absent against waiting, which are neighbours in meaning too) for normal
vision and for the three dichromacies, simulated as Machado et al. (2009) do; a test measures it.
Neutrals are states in which nothing happens; `complete` is a bluish green and `failed` an orange
red, which stay apart for people who see no difference between red and green.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from latticework.lattice.states import State

if TYPE_CHECKING:
    from matplotlib.colors import BoundaryNorm, ListedColormap

Theme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class StateColour:
    """How one state looks.

    Examples
    --------
    >>> from latticework.lattice.states import State
    >>> state_colours[State.COMPLETE].light
    '#33927e'
    """

    label: str
    """The state in small letters."""
    light: str
    """Hex colour on a light background."""
    dark: str
    """Hex colour on a dark background."""
    meaning: str
    """One sentence for a legend or a hover text."""

    def on(self, theme: Theme) -> str:
        """Hex colour on a `theme` background."""
        return self.dark if theme == "dark" else self.light


state_colours: Mapping[State, StateColour] = MappingProxyType(
    {
        State.ABSENT: StateColour("absent", "#eff0f2", "#23272b", "there is no such tile"),
        State.WAITING: StateColour(
            "waiting", "#d2d8de", "#3d4349", "waits for its inputs or its turn"
        ),
        State.QUEUED: StateColour("queued", "#7ab0e5", "#3176a2", "sent to the workers"),
        State.RUNNING: StateColour("running", "#f6ba00", "#feca00", "a worker computes it"),
        State.COMPLETE: StateColour("complete", "#33927e", "#54c7a9", "done and current"),
        State.FAILED: StateColour("failed", "#ef4800", "#f86f2f", "all its attempts failed"),
        State.CANCELLED: StateColour("cancelled", "#1f2b38", "#dbe6f2", "a user cancelled it"),
        State.BLOCKED: StateColour("blocked", "#9e44bd", "#cd78f1", "one of its inputs failed"),
        State.STALE: StateColour(
            "stale", "#58450c", "#915a26", "complete, but what made it has changed"
        ),
    }
)
"""Look of every state, by state."""

bar_order: tuple[State, ...] = (
    State.COMPLETE,
    State.RUNNING,
    State.QUEUED,
    State.STALE,
    State.FAILED,
    State.BLOCKED,
    State.CANCELLED,
    State.WAITING,
)
"""States from left to right in a stacked bar; what is absent is not drawn."""

urgency: tuple[State, ...] = (
    State.ABSENT,
    State.COMPLETE,
    State.WAITING,
    State.QUEUED,
    State.CANCELLED,
    State.STALE,
    State.BLOCKED,
    State.RUNNING,
    State.FAILED,
)
"""States by rising urgency: where several tiles share a pixel, the last of them is shown."""


def state_cmap(theme: Theme = "light") -> tuple["ListedColormap", "BoundaryNorm"]:
    """Matplotlib colour map and norm that show state numbers in the colours of the states.

    Examples
    --------
    >>> cmap, norm = state_cmap()
    >>> cmap.N, int(norm(5))
    (9, 5)
    """
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colours = [state_colours[state].on(theme) for state in State]
    edges = [number - 0.5 for number in range(len(colours) + 1)]
    return ListedColormap(colours, name=f"latticework-{theme}"), BoundaryNorm(edges, len(colours))


def counted(counts: Mapping[State, int]) -> Iterator[tuple[State, int]]:
    """States that occur in `counts`, in the order of a stacked bar.

    Examples
    --------
    >>> from latticework.lattice.states import State
    >>> [state.label for state, n in counted({State.FAILED: 2, State.COMPLETE: 5, State.STALE: 0})]
    ['complete', 'failed']
    """
    for state in bar_order:
        n = int(counts.get(state, 0))
        if n > 0:
            yield state, n


def counts_text(counts: Mapping[State, int]) -> str:
    """Counts as people read them.

    Examples
    --------
    >>> from latticework.lattice.states import State
    >>> counts_text({State.COMPLETE: 1354, State.FAILED: 7})
    '1,354 complete, 7 failed'
    """
    return ", ".join(f"{n:,} {state.label}" for state, n in counted(counts)) or "no tiles"
