"""What a watched run leaves for others to read: files not read yet, and what it noticed."""

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latticework.project.feeding import Feed

MOST_HELD = 50
"""Files that are named one by one."""
MOST_NOTES = 20
"""Notes that are kept, the last ones."""


@dataclass(frozen=True, slots=True)
class Following:
    """How an acquisition is followed at one moment."""

    going_on: bool
    """Whether more may come."""
    held: tuple[tuple[str, str], ...]
    """Files that are seen but not read yet, and why; the first of them."""
    n_held: int
    """How many there are in all."""
    notes: tuple[str, ...]
    """What was noticed lately, the latest last."""
    troubles: tuple[tuple[str, float], ...] = ()
    """What is wrong with what is watched, each with the moment since when, seconds since 1970."""

    @classmethod
    def of(cls, feed: "Feed") -> "Following":
        """What a feed has to say."""
        files = [one for one in feed.held if not one.announced]
        held = tuple((str(one.path), str(one.why)) for one in files[:MOST_HELD])
        troubles = tuple((one.text, one.since) for one in feed.troubles[:MOST_HELD])
        notes = tuple(feed.notes[-MOST_NOTES:])
        return cls(feed.going_on, held, len(files), notes, troubles)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def following_file(project: Path) -> Path:
    """Where a watched run leaves it."""
    return project / "following.json"


def write_following(project: Path, following: Following) -> None:
    """Leave it for others; where that cannot be, nobody is told."""
    target = following_file(project)
    partial = target.with_suffix(".partial")
    with contextlib.suppress(OSError):
        partial.write_text(json.dumps({"at": time.time(), **following.to_json()}), encoding="utf-8")
        partial.replace(target)


def read_following(project: Path) -> Following | None:
    """What the run that follows an acquisition has left; None if there is none.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_following(folder, Following(True, (("a.tif", "it grows"),), 1, ()))
    >>> read_following(folder).held
    (('a.tif', 'it grows'),)
    """
    try:
        found = json.loads(following_file(project).read_text(encoding="utf-8"))
        held = tuple((str(path), str(why)) for path, why in found["held"])
        notes = tuple(map(str, found["notes"]))
        troubles = tuple((str(text), float(at)) for text, at in found.get("troubles", ()))
        return Following(bool(found["going_on"]), held, int(found["n_held"]), notes, troubles)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_following(project: Path) -> None:
    """Nothing follows the acquisition any more."""
    with contextlib.suppress(OSError):
        following_file(project).unlink(missing_ok=True)
