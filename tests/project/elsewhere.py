"""A coordinator that another machine might be: it shares no file locks with this one.

``python -m tests.project.elsewhere FOLDER SECONDS MACHINE`` runs a small project there. With
``-`` as MACHINE it is this machine, with a file system that has no locks at all.
"""

import errno
import importlib
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import latticework as lw
from latticework.errors import ProjectLockedError
from latticework.project import lease, lock
from tests.project import steps
from tests.project.running import numbered, run_here

ROOT = Path(__file__).resolve().parents[2]
TILES = 20
WATCH_S = 2.0
"""As long as the tests watch for a beat."""


def slowly(tile, *, seconds):
    time.sleep(seconds)
    return steps.add(tile)


def build(folder, seconds):
    project = lw.create(folder, numbered()[0], exist_ok=True)
    project.add(slowly, params={"seconds": seconds})
    return project


def no_locks(_file, _how):
    raise OSError(errno.ENOLCK, "no locks available")


def only_own_locks(_file, _how):
    """What a file system does that keeps locks to each host."""


def be_elsewhere(machine):
    """From here on this process is on another machine, or where there are no locks."""
    locks = {name: getattr(lock.fcntl, name) for name in ("LOCK_EX", "LOCK_NB", "LOCK_SH")}
    flock = no_locks if machine == "-" else only_own_locks
    lock.fcntl = SimpleNamespace(flock=flock, **locks)
    connect = sqlite3.connect

    def without_locks(path, **options):
        return connect(f"{path}&vfs=unix-none" if options.get("uri") else path, **options)

    sqlite3.connect = without_locks
    if machine != "-":
        lease.this_machine = lambda: machine
    lease.BEAT_S = lock.BEAT_S = 0.2
    lease.WATCH_S = lock.WATCH_S = WATCH_S


def main():
    folder, seconds, machine = sys.argv[1:]
    be_elsewhere(machine)
    try:
        summary = run_here(build(folder, float(seconds)))
    except ProjectLockedError as error:
        print(f"LOCKED {error}", flush=True)
        sys.exit(3)
    print(summary, flush=True)


def start(folder, seconds, machine, log):
    with Path(log).open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.project.elsewhere", str(folder), str(seconds), machine],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


if __name__ == "__main__":
    # imported, its callables have a module that others can import, too
    importlib.import_module("tests.project.elsewhere").main()
