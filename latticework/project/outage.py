"""The time for which a run cannot write: the disk is full, or the folder is closed to it.

Nobody is charged for that. The project pauses by itself, says why, looks again every few seconds
and goes on when there is room. What comes back meanwhile is kept::

    a worker cannot stage  ──>  nothing more is sent; the loop goes on        `begin`
    publishing, journal    ──>  the loop stands still: the very step          `bear`
                                is tried again until it succeeds

How it goes is configured as Dask is, ``dask.config.set({"latticework.disk.margin": "2 GB"})`` or
``DASK_LATTICEWORK__DISK__MARGIN``:

============================  ===========  ====================================================
``latticework.disk.margin``   ``1 GiB``    room that is wanted beyond what was free when it
                                           paused; at most a twentieth of the file system
``latticework.disk.every``    ``5 s``      how often to look
============================  ===========  ====================================================
"""

import contextlib
import getpass
import json
import logging
import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask.utils import format_bytes, parse_bytes, parse_timedelta

from latticework.errors import StoreError
from latticework.io.trouble import (
    Trouble,
    free_bytes,
    mount_point,
    takes_files,
    total_bytes,
    trouble_of,
)
from latticework.stages.paths import outage_file

MARGIN = "1 GiB"
"""Room that is wanted beyond what was free, by default."""
EVERY = "5 s"
"""Time between looks, by default."""
SHARE = 20
"""The margin is at most this part of the file system, so that small ones can be used at all."""
PROBE_BYTES = 2**20
"""Bytes that are written to see whether one can; more where the margin is smaller than that."""
SLOWEST = 12
"""Times of `EVERY` between looks at most, where each look seems to help and then does not."""
ROOMY = 4
"""Times the margin that are free where a full disk is another one, or a quota."""
LATE = 2
"""Times that a unit may find a disk full that has room by now, before that pauses the project."""
STRIKES = 20
"""Times that a unit may find a disk full that has room, before it counts as failed."""
PLACE_BYTES = 4096
"""Bytes of the file that tells others: it has them before the disk is full."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a run that cannot write waits, and for how much room.

    Examples
    --------
    >>> Limits.configured().every_s
    5.0
    """

    margin_bytes: int
    """Room that is wanted beyond what was free."""
    every_s: float
    """Seconds between looks."""

    @classmethod
    def configured(cls) -> "Limits":
        """As Dask's configuration says."""
        import dask

        margin = dask.config.get("latticework.disk.margin", MARGIN)
        every = dask.config.get("latticework.disk.every", EVERY)
        return cls(int(parse_bytes(margin)), float(parse_timedelta(every, default="s")))


class Outage:
    """Whether a run can write to its project; one for each session.

    Parameters
    ----------
    project
        The project's folder.
    staging
        Where it is tried whether one can write.
    ends
        Whether the run was told to stop: then nobody waits.
    limits
        How long to wait, and for how much.
    clock, sleep
        Time, in seconds.
    free
        Free bytes where a file is.

    Examples
    --------
    >>> import tempfile
    >>> folder, room = Path(tempfile.mkdtemp()), [5]
    >>> outage = Outage(folder, folder, lambda: False, Limits(100, 1.0), free=lambda _: room[0])
    >>> outage.begin(Trouble(True, "No space left on device", str(folder), 5))
    True
    >>> outage.look_now(), outage.on
    (None, True)
    >>> room[0] = 10**9
    >>> outage.look_now(), outage.on
    (None, False)
    """

    def __init__(
        self,
        project: Path,
        staging: Path,
        ends: Callable[[], bool],
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        free: Callable[[Path | str], int | None] = free_bytes,
    ) -> None:
        self._project, self._staging, self._ends = project, staging, ends
        self._limits = limits or Limits.configured()
        self._clock, self._sleep, self._free = clock, sleep, free
        self.before = left_by_last_run(project)
        """Since when, and why, an earlier run could not write when it ended, if it was so."""
        self._told = _Told(outage_file(project))
        self._trouble: Trouble | None = None
        self._by = ""
        self._needed: int | None = None
        self._next = 0.0
        self._slow = 1
        self._strikes: defaultdict[tuple[int, int], int] = defaultdict(int)
        self._late: defaultdict[tuple[int, int], int] = defaultdict(int)
        self.gave_up = False
        """Whether the run was told to stop while something could not be written."""
        self.say: Callable[[str], None] | None = None
        """Where people are told; a warning in the log if nowhere."""
        self.happened: Callable[[str, Mapping[str, int]], None] = lambda _text, _counts: None
        """Told when it begins, why, and when it ends, with no text; and bytes free and needed."""

    @property
    def on(self) -> bool:
        """Whether nothing can be written now."""
        return self._trouble is not None

    @property
    def text(self) -> str:
        """Why nothing can be written, and what is waited for; empty if all is well."""
        return "" if self._trouble is None else self._words(self._trouble)

    # ---------------------------------------------------------------- it begins and ends

    def begin(self, trouble: Trouble, by: str = "") -> bool:
        """Something could not be written, `by` whom; False if that was known."""
        if self.on:
            return False
        self._by = by
        free, margin = self._free_at(trouble), self._margin()
        ours = trouble.full and self._is_ours(trouble)
        self._trouble = trouble
        self._needed = None
        if ours and free is not None and free < ROOMY * margin:
            self._needed = free + margin * min(self._slow, ROOMY)
        self._next = self._clock() + self._limits.every_s * (1 if self._needed else self._slow)
        self._slow = min(2 * self._slow, SLOWEST)  # of the margin, too: one may need more than that
        self._tell(f"paused: {self.text}")
        return True

    def look(self) -> None:
        """See, when it is time, whether one can write again."""
        if self.on and self._clock() >= self._next:
            self.look_now()

    def look_now(self) -> None:
        """See at once whether one can write again."""
        if self._trouble is None:
            return
        self._next = self._clock() + self._limits.every_s
        if self._is_over():
            self._end()

    def went_well(self) -> None:
        """Something was made since: looks are as frequent as at first again."""
        if not self.on:
            self._slow = 1

    def strike(self, node: int, unit: int, trouble: Trouble) -> bool:
        """A unit found a disk full; True if too often, while there was room as far as one sees.

        Its own scratch, or a disk of its worker, may be full for ever: no reason to wait for ever.
        """
        free = self._free_at(trouble)
        if not trouble.full or (
            self._is_ours(trouble) and free is not None and free < ROOMY * self._margin()
        ):
            return False
        self._strikes[node, unit] += 1
        return self._strikes[node, unit] > STRIKES

    def is_late(self, node: int, unit: int, trouble: Trouble) -> bool:
        """Whether a unit found a disk full that has room by now: then it just runs again.

        Not for ever: what is free may look otherwise from where it runs.
        """
        before = trouble.free_bytes
        if self.on or before is None or not trouble.full or not self._is_ours(trouble):
            return False
        margin, now = self._margin(), self._free(self._project)
        if before >= ROOMY * margin or now is None or now < before + margin:
            return False
        if not self._can_write(min(PROBE_BYTES, margin)):
            return False
        self._late[node, unit] += 1
        return self._late[node, unit] <= LATE

    def _end(self) -> None:
        self._trouble = None
        self._needed = None
        self._tell(f"resumed: {self._project} can be written to again")

    # ---------------------------------------------------------------- steps that must not fail

    def bear(self, error: BaseException) -> bool:
        """Wait after an error, if the disk is why: whether to try that very step again.

        Returns False for other errors, and if the run is told to stop.
        """
        trouble = trouble_of(error)
        if trouble is None:
            return False
        self.begin(trouble)
        until = self._clock() + self._limits.every_s
        while not self._ends():
            self._sleep(min(0.2, self._limits.every_s))
            if self._needed is not None:
                self.look()
                if not self.on:
                    return True
            elif self._clock() >= until:  # the step itself shows whether it can be done now
                return True
        self.gave_up = True
        return False

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """What is inside can wait: where it cannot be written, the project pauses, no more."""
        try:
            yield
        except (OSError, StoreError) as error:
            trouble = trouble_of(error)
            if trouble is None:
                raise
            self.begin(trouble)

    @contextlib.contextmanager
    def let_go(self) -> Iterator[None]:
        """What is inside is not written where the run was told to stop: as after a crash."""
        try:
            yield
        except StoreError:
            if not self.gave_up:
                raise

    # ---------------------------------------------------------------- looking

    def _is_ours(self, trouble: Trouble) -> bool:
        """Whether the project's own disk is meant, as far as one knows; else a worker's."""
        path = Path(trouble.path)
        if not trouble.path or path.is_relative_to(self._project.absolute()):
            return True
        try:  # such as an image beside the project
            return path.parent.stat().st_dev == self._project.stat().st_dev
        except OSError:
            return False

    def _free_at(self, trouble: Trouble) -> int | None:
        """Bytes that were free when it was met."""
        return self._free(self._project) if trouble.free_bytes is None else trouble.free_bytes

    def _margin(self) -> int:
        total, margin = total_bytes(self._project), self._limits.margin_bytes
        return margin if total is None else min(margin, total // SHARE)

    def _is_over(self) -> bool:
        if self._needed is not None:
            free = self._free(self._project)
            if free is not None and free < self._needed:
                return False
        return self._can_write(min(PROBE_BYTES, self._margin()))

    def _can_write(self, n: int) -> bool:
        """Whether so many bytes can be written where workers stage theirs."""
        probe = self._staging / f"probe-{os.getpid()}"
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
            with probe.open("wb") as file:
                file.write(b"\1" * n)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()
        return True

    # ---------------------------------------------------------------- telling

    def _words(self, trouble: Trouble) -> str:
        place = trouble.path or str(self._project)
        what = place if trouble.path or not self._by else "a file"
        what += f" of {self._by}" if self._by else ""
        later = "the project goes on by itself then, nothing is lost"
        if not trouble.full:
            who = f"user {_user()} on {socket.gethostname()}"
            return f"{what} cannot be written ({trouble.reason}): give {who} the right to; {later}"
        free = self._free_at(trouble) if self._needed is None else self._free(self._project)
        room = "" if free is None else f" has {format_bytes(free)} free"
        where = f"the file system at {mount_point(place)}{room}"
        if not takes_files(self._project):
            return (
                f"{what} cannot be written: {where}, but takes no more files: remove some. {later}"
            )
        if self._needed is None:
            return (
                f"{what} cannot be written ({trouble.reason}), though {where}: free some of the "
                f"quota, or of the disk that the stage or its worker uses; {later}"
            )
        return (
            f"the disk is full ({trouble.reason}): {where}, {format_bytes(self._needed)} are "
            f"needed: free some space; {later}"
        )

    def _tell(self, text: str) -> None:
        self._told.put(self.text)
        if self.say is None:
            log.warning(text)
        else:
            log.info(text)
            self.say(text)
        room = {"bytes free": self._free(self._project), "bytes needed": self._needed}
        self.happened(self.text, {name: n for name, n in room.items() if n is not None})

    def close(self) -> None:
        """The run ends; where it cannot write still, the next one is told."""
        self._told.close(still=self.on)


class _Told:
    """The file that tells other processes; its room is taken while there is some."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._facts: dict[str, Any] = {}
        with contextlib.suppress(OSError):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            self.put("")

    def put(self, text: str) -> None:
        self._facts = {"text": text, "since": time.time()} if text else {}
        self._write(self._facts)

    def _write(self, facts: Mapping[str, Any]) -> None:
        content = json.dumps(facts).encode()[:PLACE_BYTES].ljust(PLACE_BYTES)
        with contextlib.suppress(OSError):
            if self._file is not None:
                os.pwrite(self._file, content, 0)

    def close(self, *, still: bool) -> None:
        self._write({**self._facts, "over": True} if still else {})
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_outage(project: Path) -> str:
    """Why the run of a project cannot write now, as it says itself; empty if it can.

    Examples
    --------
    >>> read_outage(Path("no-such-project"))
    ''
    """
    facts = _facts(project)
    return "" if facts.get("over") else str(facts.get("text", ""))


def left_by_last_run(project: Path) -> tuple[float, str] | None:
    """Since when, and why, the last run of a project could not write when it ended."""
    facts = _facts(project)
    try:
        return (float(facts["since"]), str(facts["text"])) if facts.get("text") else None
    except (KeyError, TypeError, ValueError):
        return None


def _facts(project: Path) -> dict[str, Any]:
    try:
        found = json.loads(outage_file(project).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _user() -> str:
    try:
        return f"{getpass.getuser()} ({os.geteuid()})"
    except (KeyError, OSError):
        return str(os.geteuid())
