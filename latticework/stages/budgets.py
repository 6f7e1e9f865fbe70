"""How often a unit is tried again after a failure of each kind, and how long that waits.

::

    kind                the attempt ...
    exception           raised something, or its worker could not begin it
    memory              raised MemoryError
    unreadable_input    could not read a file that it needed
    timeout             took longer than the stage's ``timeout``
    exit_code           ran a command that ended with an exit code that is not among its ``ok``
    output_check        ran a command that did not make what it had declared

Attempts that ended for a reason outside of the unit (a worker that was lost, preempted or reached
its walltime, a run that was stopped) are no failures, and are made again without being counted.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, TypeGuard

import numpy as np

from latticework.errors import StageError
from latticework.stages.failures import (
    EXCEPTION,
    EXIT_CODE,
    INPUT,
    MEMORY,
    NO_CODE,
    OUTPUT_CHECK,
    TIMEOUT,
)

OUTCOME_OF = {
    "exception": EXCEPTION,
    "memory": MEMORY,
    "unreadable_input": INPUT,
    "timeout": TIMEOUT,
    "exit_code": EXIT_CODE,
    "output_check": OUTPUT_CHECK,
}
"""Outcomes of attempts that are charged, by the name of their kind."""
KINDS = tuple(OUTCOME_OF)
MOST_RETRIES = 100
"""Retries that a stage may have: what fails a hundred times will fail again."""
MOST_FAILURES = 255
"""Failures are counted in a byte."""
LONGEST_S = 30 * 86400.0
"""Longest wait before another attempt, in seconds."""
_PLACE = np.full(256, 255, dtype=np.uint8)
_PLACE[list(OUTCOME_OF.values())] = range(len(KINDS))
_LAST, _CODE = 6, 7
"""In the eight bytes of a unit: six counts, which kind was the last (from 1), the last code."""


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, slots=True)
class Again:
    """How often an attempt of one kind is made again, and how long that waits.

    The wait grows by `factor` with every failure of that kind, up to `most_wait_s`.

    Examples
    --------
    >>> busy_disk = Again(5, wait_s=10)
    >>> [busy_disk.wait_before(n) for n in (1, 2, 3)], Again(5, wait_s=400).wait_before(4)
    ([10.0, 20.0, 40.0], 600.0)

    Exit codes from 130 to 145 are most often those of programs that were ended from outside:

    >>> Again(3, wait_s=60, codes=range(130, 146)).is_worth(137)
    True
    """

    times: int = 1
    """Attempts made again."""
    wait_s: float = 0.0
    """Seconds before the first of them."""
    factor: float = 2.0
    """By how much the wait grows each time."""
    most_wait_s: float = 600.0
    """Seconds up to which the wait grows; it is `wait_s` in any case."""
    codes: tuple[int, ...] | None = None
    """Of commands: exit codes after which it is tried again (0 to 255; a signal s is 128 + s)."""

    def __post_init__(self) -> None:
        if not _whole(self.times) or not 0 <= self.times <= MOST_RETRIES:
            raise StageError(
                f"times={self.times!r} is no number of retries: give a whole one from 0 to "
                f"{MOST_RETRIES}"
            )
        for name in ("wait_s", "most_wait_s"):
            value = getattr(self, name)
            if not _number(value) or not 0 <= value <= LONGEST_S:
                raise StageError(
                    f"{name}={value!r}: give seconds, from 0 to {LONGEST_S:.0f} (30 days)"
                )
        if not _number(self.factor) or not 1 <= self.factor <= 100:
            raise StageError(f"factor={self.factor!r}: a wait grows by a factor from 1 to 100")
        if self.codes is not None:
            codes = tuple(self.codes) if isinstance(self.codes, Iterable) else (self.codes,)
            if not codes or not all(_whole(code) and 0 < code < 256 for code in codes):
                raise StageError(
                    f"codes={self.codes!r}: give exit codes from 1 to 255, as in range(130, 146)"
                )
            object.__setattr__(self, "codes", tuple(int(code) for code in codes))

    def wait_before(self, failures: int) -> float:
        """Seconds to wait after so many failures of this kind."""
        try:
            wait = self.wait_s * self.factor ** max(failures - 1, 0)
        except OverflowError:
            wait = self.most_wait_s
        return float(max(self.wait_s, min(wait, self.most_wait_s)))

    def is_worth(self, code: int) -> bool:
        """Whether a command that ended with this exit code is tried again."""
        return self.codes is None or code in self.codes


@dataclass(frozen=True, slots=True)
class Retries:
    """Budgets of a stage: for each kind of failure, how often it is tried again.

    Each kind has a budget of its own. A unit has failed for good when one of them is used up.

    Examples
    --------
    >>> retries = Retries.of({"timeout": 0, "unreadable_input": Again(5, wait_s=10)})
    >>> retries.timeout.times, retries.exception.times, retries.unreadable_input.wait_s
    (0, 1, 10)
    >>> Retries.of(2).in_all
    2
    >>> Retries.of(retries.to_json()) == retries
    True
    >>> Retries.of({"timout": 1})
    Traceback (most recent call last):
    ...
    latticework.errors.StageError: retries: 'timout' is no kind of failure; there are exception,
    memory, unreadable_input, timeout, exit_code, output_check, and in_all for their sum
    """

    exception: Again = Again()
    """After an exception."""
    memory: Again = Again()
    """After a MemoryError."""
    unreadable_input: Again = Again()
    """After a file that could not be read."""
    timeout: Again = Again()
    """After an attempt that took too long."""
    exit_code: Again = Again()
    """After a command's exit code."""
    output_check: Again = Again()
    """After a command that did not make what it had declared."""
    in_all: int | None = None
    """Attempts made again whatever the kind; None: as many as the kinds allow."""

    @classmethod
    def of(cls, given: "Retries | Mapping[str, Any] | int") -> Self:
        """Budgets from what a user gives.

        Parameters
        ----------
        given
            A number, which stands for all kinds together; or by kind a number, an `Again` or its
            fields as a mapping. Kinds that are not named have the usual one retry.

        Raises
        ------
        StageError
            If it is none of these.
        """
        if isinstance(given, cls):
            return given
        if _whole(given):
            return cls(**dict.fromkeys(KINDS, Again(int(given))), in_all=int(given))
        if not isinstance(given, Mapping):
            raise StageError(
                f"retries={given!r} is no number of retries: give a whole one from 0 to "
                f"{MOST_RETRIES}, or one for each kind, as in "
                '{"timeout": 0, "exception": latticework.Again(3, wait_s=10)}'
            )
        found: dict[str, Any] = {}
        for name, value in given.items():
            kind = str(name).replace(" ", "_")
            if kind == "in_all":
                if value is not None and not (_whole(value) and 0 <= value <= MOST_FAILURES - 1):
                    raise StageError(f"retries: in_all={value!r} is no number of retries")
                found[kind] = value
            elif kind in OUTCOME_OF:
                found[kind] = _again(kind, value)
            else:
                raise StageError(
                    f"retries: {name!r} is no kind of failure; there are {', '.join(KINDS)}, and "
                    "in_all for their sum"
                )
        return cls(**found)

    def to_json(self) -> dict[str, Any]:
        """As plain values, which `of` takes; only what differs from the usual."""
        found: dict[str, Any] = {}
        for kind in KINDS:
            again, usual = self.kind(kind), Again()
            if again == usual:
                continue
            values = {f.name: getattr(again, f.name) for f in fields(Again)}
            found[kind] = {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in values.items()
                if value != getattr(usual, name)
            }
        return found | ({} if self.in_all is None else {"in_all": self.in_all})

    def kind(self, name: str) -> Again:
        """The budget of a kind."""
        found: Again = getattr(self, name)
        return found

    @property
    def most(self) -> int:
        """Attempts beyond the first that a unit can be given."""
        total = sum(self.kind(name).times for name in KINDS)
        return total if self.in_all is None else min(total, self.in_all)

    @property
    def waits(self) -> bool:
        """Whether any kind waits before another attempt."""
        return any(self.kind(name).wait_s > 0 for name in KINDS)

    # ---------------------------------------------------------------- units

    def used_up(self, spent: np.ndarray) -> np.ndarray:
        """For each unit, whether it has failed for good; `spent` as `add_failures` makes it."""
        counts = _bytes(spent)
        times = np.array([self.kind(name).times for name in KINDS])
        failed = (counts[:, : len(KINDS)] > times).any(axis=1)
        if self.in_all is not None:
            failed |= counts[:, : len(KINDS)].sum(axis=1, dtype=np.int64) > self.in_all
        codes = self.exit_code.codes
        if codes is not None:
            exited = counts[:, KINDS.index("exit_code")] > 0
            failed |= exited & ~np.isin(counts[:, _CODE], codes)
        return np.asarray(failed)

    def waits_s(self, spent: np.ndarray) -> np.ndarray:
        """For each unit, seconds to wait after its last failure; 0 where it has none."""
        counts = _bytes(spent)
        waits = np.zeros(len(counts))
        for place, name in enumerate(KINDS):
            again = self.kind(name)
            if again.wait_s:
                last = np.flatnonzero(counts[:, _LAST] == place + 1)
                waits[last] = [again.wait_before(n) for n in counts[last, place].tolist()]
        return waits


def add_failures(spent: np.ndarray, outcomes: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """One more failure of some units: what is kept of all that they had, uint64.

    Parameters
    ----------
    spent
        What was kept before: eight bytes for each unit, 0 for none.
    outcomes
        Outcomes of the attempts that failed.
    codes
        Exit codes, as in a report; those of programs that a signal ended are negative.

    Examples
    --------
    >>> none = np.zeros(1, "<u8")
    >>> once = add_failures(none, np.array([EXIT_CODE]), np.array([-9]))
    >>> Retries.of({"exit_code": Again(1, codes=(137,))}).used_up(once).tolist()
    [False]
    >>> Retries.of({"exit_code": Again(1, codes=(1,))}).used_up(once).tolist()
    [True]
    """
    counts = _bytes(spent).copy()
    place = _PLACE[outcomes]
    rows = np.arange(len(counts))
    counts[rows, place] = np.minimum(counts[rows, place].astype(int) + 1, MOST_FAILURES)
    counts[:, _LAST] = place + 1
    exited = np.flatnonzero((outcomes == EXIT_CODE) & (codes != NO_CODE))
    counts[exited, _CODE] = np.where(codes[exited] < 0, 128 - codes[exited], codes[exited]) & 0xFF
    return counts.reshape(-1).view("<u8")


def plain_failures(tries: np.ndarray) -> np.ndarray:
    """What is kept of units of which only the number of failures is known: exceptions, uint64.

    Examples
    --------
    >>> Retries.of(2).used_up(plain_failures(np.array([0, 2, 3]))).tolist()
    [False, False, True]
    """
    counts = np.zeros((len(tries), 8), dtype=np.uint8)
    counts[:, 0] = tries
    counts[:, _LAST] = np.asarray(tries) > 0
    return counts.reshape(-1).view("<u8")


def _bytes(spent: np.ndarray) -> np.ndarray:
    """The eight bytes of each unit, uint8 (n, 8)."""
    return np.ascontiguousarray(spent, dtype="<u8").view(np.uint8).reshape(-1, 8)


def _again(kind: str, value: Any) -> Again:
    """The budget of one kind, from what a user gives."""
    try:
        again = (
            value
            if isinstance(value, Again)
            else Again(**value)
            if isinstance(value, Mapping)
            else Again(value)
        )
    except (StageError, TypeError) as error:
        raise StageError(
            f"retries of kind {kind}: {error}; give a number, or latticework.Again(times, wait_s=)"
        ) from error
    if again.codes is not None and kind != "exit_code":
        raise StageError(f"retries of kind {kind}: only exit_code has codes")
    return again
