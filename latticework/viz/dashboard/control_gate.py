"""Who may steer: the project's token is asked for, and guessing is made slow."""

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from latticework.viz.dashboard.control_token import is_token

WRONG_S = 1.0
"""Seconds after which a wrong token is answered."""
MOST_WRONG = 10
"""Wrong tokens within `WITHIN_S` after which none is looked at any more."""
WITHIN_S = 60.0
"""Seconds over which wrong tokens are counted, and for which none is looked at then."""


class Gate:
    """Looks at tokens; one for a whole server, whoever asks.

    Parameters
    ----------
    clock
        Seconds, that only go forward.

    Examples
    --------
    >>> import tempfile
    >>> from latticework.viz.dashboard.control_token import control_token
    >>> folder, gate = Path(tempfile.mkdtemp()), Gate()
    >>> gate.opens(folder, control_token(folder)), gate.opens(folder, "guessed")
    (True, False)
    >>> [gate.opens(folder, "guessed") for _ in range(9)].count(True), gate.is_shut
    (0, True)
    >>> gate.opens(folder, control_token(folder))  # for a minute now
    False
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._wrong: deque[float] = deque(maxlen=MOST_WRONG)

    def opens(self, project: Path, given: str) -> bool:
        """Whether a token is the project's; no token is looked at while the gate is shut.

        Raises
        ------
        ProjectError
            If the project's own token cannot be read.
        """
        with self._mutex:
            if self._shut():
                return False
            if given and is_token(project, given):
                return True
            self._wrong.append(self._clock())
            return False

    @property
    def is_shut(self) -> bool:
        """Whether there were so many wrong tokens that none is looked at now."""
        with self._mutex:
            return self._shut()

    def _shut(self) -> bool:
        full = len(self._wrong) == MOST_WRONG
        first_to_last = self._wrong[-1] - self._wrong[0] if full else WITHIN_S
        return full and first_to_last < WITHIN_S and self._clock() - self._wrong[-1] < WITHIN_S

    @property
    def opens_again_s(self) -> float:
        """Seconds until tokens are looked at again; 0 if they are."""
        with self._mutex:
            if not self._shut():
                return 0.0
            return max(0.0, WITHIN_S - (self._clock() - self._wrong[-1]))


GATE = Gate()
"""The gate of this process's servers."""
