"""A process beside a worker that ends the worker's commands when the worker dies.

It is run as a script, with the standard library alone, and reads lines from its standard input::

    + TAG        a command is about to start, with LATTICEWORK_COMMAND=TAG in its environment
    = TAG PID    it started, as leader of this process group
    - TAG        it has ended, and all that it started

When the input ends, or its parent is another process than at the start, the worker is gone: what
runs is asked to end (SIGTERM), and after a grace killed. Processes are found by the tag in their
environment, so that also those are that left the group or whose start was not told any more.
"""

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

VARIABLE = "LATTICEWORK_COMMAND"
"""Environment variable that marks every process of a command with the command's tag."""
GRACE_S = 5.0
"""Seconds from asking a process to end until it is killed."""
PROC = Path("/proc")


def tagged(tags: set[bytes]) -> list[int]:
    """Processes with one of these tags in their environment, as far as the system tells."""
    wanted = [f"{VARIABLE}=".encode() + tag for tag in tags]
    found = []
    for folder in PROC.iterdir() if PROC.is_dir() else ():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended, or is somebody else's
            continue
        if any(line in variables for line in wanted):
            found.append(int(folder.name))
    return found


def signal_all(number: int, processes: set[int], groups: set[int]) -> None:
    """Send a signal to processes and process groups, as far as they are there.

    Each gets it once, for a program may take a second request to end as an order to be quick: a
    shell runs its trap again.
    """
    beside = {process for process in processes if _group_of(process) not in groups}
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for process in beside:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def _group_of(process: int) -> int | None:
    try:
        return os.getpgid(process)
    except (ProcessLookupError, PermissionError):
        return None


def end_all(tags: set[bytes], groups: set[int], grace_s: float = GRACE_S) -> None:
    """End every process of these commands, with a grace for those that tidy up."""
    asked: set[int] = set()
    until = time.monotonic() + grace_s
    while True:
        late = time.monotonic() > until
        here = set(tagged(tags))
        running = here or any(map(group_runs, groups))
        if late and not running:
            return
        if not running and time.monotonic() > until - grace_s + 0.5:
            return  # half a second for a process that was about to start
        if late:
            signal_all(signal.SIGKILL, here, groups)
        elif here - asked or not asked:
            signal_all(signal.SIGTERM, here - asked, groups if not asked else set())
            asked |= here or {0}
        time.sleep(0.05)
        if time.monotonic() > until + grace_s:
            return  # what SIGKILL does not end hangs in the kernel


def group_runs(group: int) -> bool:
    """Whether a process group has members that run.

    Those that have ended do not count: in containers often nobody waits for them.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    if not (PROC / "self/stat").exists():
        return True
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                facts = (folder / "stat").read_bytes().rpartition(b")")[2].split()
                if int(facts[2]) == group and facts[0] not in (b"Z", b"X"):
                    return True
    return False


def main() -> None:
    """Read what runs until the worker is gone; then end it."""
    parent = os.getppid()
    running: dict[bytes, int | None] = {}
    rest = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], 0.5)[0]:
            continue
        data = os.read(0, 65536)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            what, tag, *pid = line.split(b" ")
            if what == b"-":
                running.pop(tag, None)
            else:
                running[tag] = int(pid[0]) if pid else None
    if running:
        end_all(set(running), {group for group in running.values() if group is not None})


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        main()
    sys.exit(0)
