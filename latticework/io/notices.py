"""What a watcher has to say: files that wait and why, and troubles, each said once."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_NAMED = 3
"""Names that a message about many spells out."""


@dataclass(frozen=True, slots=True)
class Held:
    """A file that was seen but is not part of the lattice yet."""

    path: Path
    """The file, or the folder of a Zarr image."""
    why: str
    """What it waits for."""
    announced: bool = False
    """Whether there is no file yet: a list just says that it will come."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong with what is watched, for as long as that is so."""

    text: str
    """What is wrong."""
    since: float
    """When it was noticed first, seconds since 1970."""


class Notices:
    """Troubles that are told when they begin and when they end, not at every look between.

    Examples
    --------
    >>> notices = Notices()
    >>> for look in range(3):
    ...     _ = notices.begins("folder", "the folder is gone")
    >>> notices.taken()
    ('the folder is gone',)
    >>> notices.ends("folder", "the folder is back"), notices.taken()
    (True, ('the folder is back',))
    >>> notices.ends("folder", "the folder is back"), notices.taken()
    (False, ())

    Parameters
    ----------
    clock
        Seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._going: dict[str, str] = {}
        self._lasting: dict[str, Trouble] = {}
        self._said: list[str] = []

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Those that have begun, are lasting, and have not ended."""
        return tuple(self._lasting.values())

    def begins(self, key: str, text: str, *, lasting: bool = False) -> bool:
        """Say that a trouble is there; whether this is news.

        Parameters
        ----------
        key
            By which it is known, for `ends`.
        text
            What is wrong.
        lasting
            Whether it is worth a word for as long as it goes on, not just when it begins.
        """
        if key in self._going:
            return False
        self._going[key] = text
        self._said.append(text)
        if lasting:
            self._lasting[key] = Trouble(text, self._clock())
        return True

    def ends(self, key: str, text: str | None = None) -> bool:
        """Say that a trouble is over, if it was there; without a text, silently."""
        self._lasting.pop(key, None)
        if self._going.pop(key, None) is None:
            return False
        if text is not None:
            self._said.append(text)
        return True

    def end_others(self, prefix: str, there: Collection[str], text: Callable[[str], str]) -> None:
        """Say of troubles with this prefix that they are over, but for those that are `there`."""
        for key in [key for key in self._going if key.startswith(prefix)]:
            if (rest := key[len(prefix) :]) not in there:
                self.ends(key, text(rest))

    def taken(self) -> tuple[str, ...]:
        """What is new since this was last asked."""
        said, self._said = tuple(self._said), []
        return said


def some(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are.

    Examples
    --------
    >>> some(["a", "b"]), some(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    more = len(names) - MOST_NAMED
    text = ", ".join(names[:MOST_NAMED])
    return f"{text} and {more:,} more" if more > 0 else text


def suspicious(leaving: int, there: int) -> bool:
    """Whether so many tiles that leave at once are rather a mistake.

    That is over ten and over a fifth of those that are there, or all of several.

    Examples
    --------
    >>> suspicious(3, 4), suspicious(4, 4), suspicious(11, 40), suspicious(11, 400)
    (False, True, True, False)
    """
    return leaving > max(10, 0.2 * there) or leaving == there > 1
