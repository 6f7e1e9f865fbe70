"""A real SLURM of several nodes on this machine, to be thrown away.

::

    python -m tests.slurm.testbed start FOLDER     # prints what a shell needs to use it
    python -m tests.slurm.testbed stop FOLDER

    with Testbed(folder) as slurm:                 # ends with its process, even if that is killed
        job = slurm.submit("sleep", "60")
        slurm.cut_power("n1")

The controller, one daemon for each node and munge run as whoever starts them, listen on free ports
(of the loopback interface only, where SLURM lets them), and keep all that they write in the
folder. A start begins anew: what an earlier testbed left in the folder is ended and removed.
"""

import contextlib
import fcntl
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.slurm.belonging import MARK, end_at_once, processes_of, processes_on
from tests.slurm.configuration import (
    LONGEST_FOLDER,
    Layout,
    cgroup_conf,
    free_ports,
    gres_conf,
    leads_to_loopback,
    slurm_conf,
)

COMMANDS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel", "sinfo")
PACKAGES = "slurmctld slurmd slurm-client munge"
ROOT = Path(__file__).resolve().parents[2]
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))
OTHERS = ("SLURM", "SQUEUE", "SBATCH", "SACCT")
"""How variables begin that say which SLURM to use and how."""
TIME = "%Y-%m-%dT%H:%M:%S"
"""How SLURM writes a time; ``Unknown`` sorts after them all."""
GUARD_S = 5.0
"""How long to wait, at most, for the guard of a testbed that has died to clear it away."""
OWN_FOLDERS = ("run", "state", "spool", "logs")


class TestbedError(RuntimeError):
    """The testbed did not do what it should."""

    __test__ = False  # no test of pytest's, in spite of its name


def missing_commands():
    """The programs of SLURM and munge that are not installed here."""
    return [name for name in COMMANDS if shutil.which(name, path=PATH) is None]


def how_to_install():
    """What to do where SLURM is missing; empty where it is not."""
    missing = missing_commands()
    if not missing:
        return ""
    return (
        f"no SLURM on this machine ({', '.join(missing)} not found): on Debian and Ubuntu, "
        f"apt-get install {PACKAGES}"
    )


class Testbed:
    """A SLURM of the tests' own.

    Parameters
    ----------
    folder
        Everything is in it. Made if it is not there; otherwise empty, or of an earlier testbed.
    nodes
        How many nodes, called ``n1``, ``n2``, ...
    cpus, memory_mib
        What each of them claims to have.
    patience_s
        How long to wait for anything, at most.
    """

    __test__ = False

    def __init__(self, folder, *, nodes=3, cpus=2, memory_mib=8192, patience_s=120.0):
        self.layout = Layout(Path(folder).resolve())
        self.nodes = tuple(f"n{k}" for k in range(1, nodes + 1))
        self.cpus, self.memory_mib, self.patience_s = cpus, memory_mib, patience_s
        self._started, self._guard, self._lock = [], None, None

    # ---------------------------------------------------------------- start and stop

    def __enter__(self):
        """Start it; its end is bound to that of this process."""
        try:
            self._take_lock()
            self._guard = subprocess.Popen(
                [sys.executable, "-m", "tests.slurm.testbed", "guard", str(self.layout.folder)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            if self._lock is not None:
                self.stop()
        finally:
            if self._guard is not None:
                self._guard.stdin.close()
                self._guard.wait()
                self._guard = None
            self._release_lock()

    def start(self):
        """Start the daemons and wait until the nodes are idle."""
        if problem := how_to_install():
            raise TestbedError(problem)
        self._prepare()
        self._munged()
        self._daemon("slurmctld", "slurmctld", "-D", "-f", self.layout.conf)
        self._wait_until(lambda: "UP" in self.command("scontrol", "ping"), "no controller answers")
        for node in self.nodes:
            self._slurmd(node)
        self.wait_for_nodes("idle")

    def stop(self):
        """End everything that belongs to it: jobs in good order where they can be, then all."""
        if processes_of(self.layout, "job"):
            with contextlib.suppress(TestbedError, subprocess.TimeoutExpired):
                self.command("scancel", f"--user={os.getuid()}", timeout_s=10)
                limit = time.monotonic() + 10
                while processes_of(self.layout, "job") and time.monotonic() < limit:
                    time.sleep(0.1)
        end_at_once(lambda: processes_of(self.layout), self.patience_s)
        for process in self._started:
            process.wait()
        self._started.clear()

    def _take_lock(self):
        folder = self.layout.folder
        if len(str(folder)) > LONGEST_FOLDER:
            raise TestbedError(
                f"{folder} is {len(str(folder))} characters long, and sockets in it allow "
                f"{LONGEST_FOLDER}: give a folder with a shorter name"
            )
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / "testbed.lock"
        if not lock.exists() and any(folder.iterdir()):
            raise TestbedError(f"{folder} has files that are no testbed's: give an empty folder")
        self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        limit = time.monotonic() + min(self.patience_s, GUARD_S)
        while not self._locks():
            if time.monotonic() > limit:
                self._release_lock()
                raise TestbedError(f"a testbed runs in {folder}: give another folder")
            time.sleep(0.05)

    def _locks(self):
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _release_lock(self):
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _prepare(self):
        """Clear what an earlier one left, and write what the daemons read."""
        layout = self.layout
        end_at_once(lambda: processes_of(layout), self.patience_s)
        for name in OWN_FOLDERS:
            shutil.rmtree(layout.folder / name, ignore_errors=True)
            (layout.folder / name).mkdir()
        with open(layout.key, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as key:
            key.write(secrets.token_bytes(1024))
        host = os.uname().nodename
        ports = free_ports(1 + len(self.nodes))
        text = slurm_conf(
            layout,
            host=host.partition(".")[0],
            user=psutil.Process().username(),
            nodes=self.nodes,
            cpus=self.cpus,
            memory_mib=self.memory_mib,
            ports=ports,
            loopback=leads_to_loopback(host),
        )
        layout.conf.write_text(text, encoding="utf-8")
        (layout.folder / "gres.conf").write_text(gres_conf(self.nodes), encoding="utf-8")
        (layout.folder / "cgroup.conf").write_text(
            cgroup_conf(self.command("slurmctld", "-V")), encoding="utf-8"
        )

    def _munged(self):
        options = {
            "key-file": self.layout.key,
            "socket": self.layout.socket,
            "pid-file": self.layout.run("munged.pid"),
            "log-file": self.layout.logs / "munged.log",
            "seed-file": self.layout.run("munged.seed"),
        }
        self._daemon(
            "munged",
            "munged",
            "--foreground",
            "--force",
            *(f"--{k}={v}" for k, v in options.items()),
        )
        self._wait_until(self.layout.socket.exists, "munge does not answer")

    def _slurmd(self, node):
        (self.layout.folder / "spool" / node).mkdir(exist_ok=True)
        self._daemon(f"slurmd-{node}", "slurmd", "-D", "-f", self.layout.conf, "-N", node)

    def _daemon(self, name, *arguments):
        """Start a program that stays in the foreground, in a session of its own."""
        with (self.layout.logs / f"{name}.out").open("ab") as log:
            process = subprocess.Popen(
                [shutil.which(arguments[0], path=PATH), *map(str, arguments[1:])],
                cwd=self.layout.logs,
                env=self._environment() | {MARK: str(self.layout.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)

    # ---------------------------------------------------------------- use

    @property
    def environment(self):
        """Variables that programs need to use it."""
        return {"SLURM_CONF": str(self.layout.conf)}

    def _environment(self):
        """This process's environment without what belongs to another SLURM, and with ours."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(OTHERS)}
        return kept | self.environment | {"LC_ALL": "C", "PATH": PATH}

    def command(self, *arguments, timeout_s=60.0, stdin=None):
        """What a command of SLURM prints.

        Raises
        ------
        TestbedError
            If it fails.
        """
        done = subprocess.run(
            list(map(str, arguments)),
            env=self._environment(),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise TestbedError(f"{shlex.join(map(str, arguments))}: {done.stderr or done.stdout}")
        return done.stdout.strip()

    def submit(self, *command, options=()):
        """Submit a job that is one command; its id.

        Parameters
        ----------
        command
            The program and its arguments.
        options
            Options of ``sbatch``, such as ``--cpus-per-task=2``.
        """
        script = f"#!/bin/sh\nexec {shlex.join(map(str, command))}\n"
        log = self.layout.logs / "job-%j.out"
        places = (f"--output={log}", f"--chdir={self.layout.folder}")
        said = self.command("sbatch", "--parsable", *places, *options, stdin=script)
        return said.partition(";")[0]

    def job(self, job):
        """What SLURM says of a job, by SLURM's words for it (``JobState``, ``Reason``, ...)."""
        text = self.command("scontrol", "--oneliner", "show", "job", job)
        return dict(field.partition("=")[::2] for field in text.split() if "=" in field)

    def wait_for(self, job, *states):
        """Wait until a job is in one of these states; what SLURM says of it then."""
        said = {}

        def there():
            said.update(self.job(job))
            return said["JobState"] in states

        self._wait_until(there, lambda: f"job {job} is not {' or '.join(states)}: {said}")
        return said

    def cancel(self, job):
        """Cancel a job, as its owner would."""
        self.command("scancel", job)

    def requeue(self, job):
        """Stop a job and run it again, without the two minutes that SLURM waits between."""
        self.command("scontrol", "requeue", job)
        self.wait_for(job, "PENDING")
        self.start_now(job)

    def start_now(self, job):
        """End the wait of a job that was put into the queue again.

        Not quite at once: a node refuses a job whose permit is as old, in seconds, as the end of
        its first run. And again where the wait begins anew as the last of that run is gone.
        """

        def waits_no_longer():
            said = self.job(job)
            if said["JobState"] != "PENDING" or said["Reason"] in ("Resources", "Priority"):
                return True
            if said["EligibleTime"] > time.strftime(TIME, time.localtime(time.time() + 5)):
                self.command("scontrol", "update", f"jobid={job}", "starttime=now+2")
            return False

        self._wait_until(waits_no_longer, lambda: f"job {job} does not start: {self.job(job)}")

    def end_walltime(self, job):
        """A job's time is up: SLURM, which looks each half minute, ends it at its next look."""
        self.command("scontrol", "update", f"jobid={job}", "endtime=now+1")

    # ---------------------------------------------------------------- nodes

    def cut_power(self, node):
        """A node and all that ran on it are gone at once, and SLURM knows."""
        end_at_once(lambda: self._slurmd_of(node))
        end_at_once(lambda: processes_on(self.layout, node))
        self.command("scontrol", "update", f"nodename={node}", "state=down", "reason=power")
        end_at_once(lambda: processes_on(self.layout, node))

    def repair(self, node):
        """A node is back, and takes jobs again."""
        if not self._slurmd_of(node):
            self._slurmd(node)
        self._wait_until(
            lambda: self.node_state(node) in ("idle", "mixed", "allocated") or self._resume(node),
            lambda: f"node {node} is {self.node_state(node)}",
        )

    def node_state(self, node):
        """State of a node: ``idle``, ``mixed``, ``allocated``, ``down``, ..."""
        return self.command("sinfo", "--noheader", f"--nodes={node}", "--format=%T").split("\n")[0]

    def wait_for_nodes(self, *states):
        """Wait until all nodes are in one of these states."""
        self._wait_until(
            lambda: all(self.node_state(node) in states for node in self.nodes),
            lambda: f"nodes are {[self.node_state(node) for node in self.nodes]}, not {states}",
        )

    def clear(self):
        """No job is left, and all nodes are there and idle."""
        for node in self.nodes:
            self.repair(node)
        self._wait_until(self._queue_is_empty, lambda: f"jobs are left:\n{self.command('squeue')}")
        self.wait_for_nodes("idle")

    def _queue_is_empty(self):
        if not self.command("squeue", "--noheader"):
            return True
        self.command("scancel", f"--user={os.getuid()}")
        return False

    def _resume(self, node):
        self._succeeds("scontrol", "update", f"nodename={node}", "state=resume")

    def _slurmd_of(self, node):
        daemons = processes_of(self.layout, "daemon")
        found = []
        for process in daemons:
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[-2:] == ["-N", node]:
                    found.append(process)
        return found

    # ---------------------------------------------------------------- waiting

    def _succeeds(self, *arguments):
        try:
            self.command(*arguments)
        except TestbedError:
            return False
        return True

    def _wait_until(self, condition, problem):
        """Wait for something; say what the daemons last said if it does not come."""
        limit = time.monotonic() + self.patience_s
        error = None
        while time.monotonic() < limit:
            try:
                if condition():
                    return
                error = None
            except TestbedError as caught:
                error = caught
            time.sleep(0.05)
        said = problem() if callable(problem) else problem
        raise TestbedError(f"{said} after {self.patience_s:g} s\n{self._last_words()}") from error

    def _last_words(self):
        parts = []
        for path in sorted(self.layout.logs.glob("*.out")):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            parts += [f"--- {path.name}", *lines[-8:]]
        return "\n".join(parts)


def guard(folder):
    """Stop a testbed as soon as the process at the other end of our input is gone."""
    sys.stdin.buffer.read()
    testbed = Testbed(folder, patience_s=GUARD_S)
    try:
        testbed._take_lock()
    except TestbedError:
        return  # the next one has begun, and has cleared it away
    end_at_once(lambda: processes_of(testbed.layout))


def main(arguments):
    """The command line."""
    if len(arguments) != 2 or arguments[0] not in ("start", "stop", "guard"):
        print(__doc__, file=sys.stderr)
        return 2
    what, folder = arguments
    if what == "guard":
        guard(folder)
        return 0
    testbed = Testbed(folder)
    if what == "stop" and not (testbed.layout.folder.is_dir() or processes_of(testbed.layout)):
        return 0
    try:
        testbed._take_lock()
        if what == "start":
            testbed.start()
            for name, value in testbed.environment.items():
                print(f"export {name}={shlex.quote(value)}")
        else:
            testbed.stop()
    except TestbedError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        testbed._release_lock()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
