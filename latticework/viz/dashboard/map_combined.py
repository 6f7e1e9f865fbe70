"""All stages in one picture: for each tile the one stage that says most about it.

The rules are those of the tile map of MouseLight's pipeline: a stage that failed always wins; else
the lowest one that is queued or running, else the lowest that is not complete, else the deepest
that is complete. Its number is the stage's depth in the pipeline while it waits, half more while
it runs and one more once it is complete.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from latticework.lattice.states import ACTIVE, State
from latticework.viz.states import urgency

NOTHING = 0
"""Code of a place without a tile."""
OUTSIDE = 1
"""Code of a tile in which no stage takes part."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a cell of the combined picture says."""

    stage: int
    """Number of the stage, in the order of the pipeline; -1 where there is none."""
    state: State
    """The state of that stage."""
    value: float
    """How far the tile has come: see the module."""


def value_of(state: State, depth: int) -> float:
    """How far a tile has come whose stage at a depth is in a state.

    Examples
    --------
    >>> [value_of(s, 2) for s in (State.WAITING, State.QUEUED, State.RUNNING, State.COMPLETE)]
    [2.0, 2.0, 2.5, 3.0]
    >>> value_of(State.ABSENT, 2)
    0.5
    """
    if state == State.ABSENT:
        return 0.5
    return depth + {State.RUNNING: 0.5, State.COMPLETE: 1.0}.get(state, 0.0)


def depths(parents: Mapping[str, Sequence[str]]) -> list[int]:
    """Depth of each stage in the pipeline, parents first: 1 for those that read the source.

    Examples
    --------
    >>> depths({"clean": (), "spots": ("clean",), "pairs": ("clean", "spots")})
    [1, 2, 3]
    """
    known: dict[str, int] = {}
    for name, above in parents.items():
        known[name] = 1 + max((known.get(parent, 0) for parent in above), default=0)
    return list(known.values())


class Combination:
    """How the states of several stages become one code a tile.

    Codes are ordered: whatever says more has the higher one. So a combined picture is the maximum
    over the stages of what each state of each stage counts, three passes of a byte or two a tile.

    Parameters
    ----------
    depths
        Depth of each stage in the pipeline, in its order.

    Examples
    --------
    >>> two = Combination([1, 2])
    >>> codes = two.combine([np.array([[4, 4, 5, 3, 4]], "u1"), np.array([[4, 2, 1, 1, 0]], "u1")])
    >>> [(two.standings[c].stage, two.standings[c].state.label) for c in codes[0]]
    [(1, 'complete'), (1, 'queued'), (0, 'failed'), (0, 'running'), (0, 'complete')]
    >>> [two.standings[c].value for c in codes[0]]
    [3.0, 2.0, 1.0, 1.5, 2.0]
    """

    def __init__(self, depths: Sequence[int]) -> None:
        self.depths = tuple(depths)
        said = sorted(
            (
                (_precedence(state, depth), urgency.index(state), -number),
                Standing(number, state, value_of(state, depth)),
            )
            for number, depth in enumerate(self.depths)
            for state in State
            if state != State.ABSENT
        )
        nothing = Standing(-1, State.ABSENT, float("nan"))
        outside = Standing(-1, State.ABSENT, 0.5)
        self.standings: tuple[Standing, ...] = (nothing, outside, *(one for _, one in said))
        """What each code says."""
        self._counts = np.full((len(self.depths), len(State)), OUTSIDE, np.uint16)
        for code, one in enumerate(self.standings[2:], start=2):
            self._counts[one.stage, one.state] = code

    def combine(self, states: Sequence[np.ndarray], holes: np.ndarray | None = None) -> np.ndarray:
        """Code of every tile.

        Parameters
        ----------
        states
            States of each stage, of one shape.
        holes
            Where there is no tile.

        Returns
        -------
        ndarray
            uint16, numbers of `standings`.
        """
        best = self._counts[0][states[0]]
        for counts, more in zip(self._counts[1:], states[1:], strict=True):
            np.maximum(best, counts[more], out=best)
        if holes is not None:
            best[holes] = NOTHING
        return np.asarray(best)

    @cached_property
    def ranks(self) -> np.ndarray:
        """Rank of each code where tiles share a cell: what needs a person first is on top."""
        order = sorted(
            range(len(self.standings)),
            key=lambda code: (
                code > OUTSIDE,
                urgency.index(self.standings[code].state),
                code,
            ),
        )
        ranks = np.empty(len(order), np.uint16)
        ranks[order] = np.arange(len(order))
        return ranks


def _precedence(state: State, depth: int) -> tuple[int, int]:
    """What a state of a stage counts against those of other stages; the highest is shown."""
    if state == State.FAILED:
        return 3, -depth
    if state in ACTIVE:
        return 2, -depth
    return (0, depth) if state == State.COMPLETE else (1, -depth)
