"""Where work runs: the current Dask client, a given one, or a local cluster of our own.

The local cluster's workers are processes of their own, started by command line. Unlike those of
`distributed.LocalCluster` they do not import the caller's main module again (a script needs no
``if __name__ == "__main__"``), do not see the terminal's Ctrl-C, and end with the process that
started them, even if that is killed.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import ProcessInterface, SpecCluster

from latticework.errors import ProjectError

if TYPE_CHECKING:
    from distributed import Client


class LocalWorker(ProcessInterface):  # which ships without types: hence what is ignored below
    """One worker process (with its nanny) of a local cluster.

    Parameters
    ----------
    scheduler
        Address of the scheduler.
    name
        Name of the worker.
    memory_limit
        Bytes after which the nanny restarts it.
    """

    def __init__(
        self,
        scheduler: str,
        name: str | None = None,
        memory_limit: int | str = "auto",
        local_directory: str | None = None,
    ) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.scheduler = scheduler
        options = {"nthreads": 1, "memory_limit": memory_limit, "name": name, "host": "127.0.0.1"}
        options |= {"dashboard": False, "local_directory": local_directory}
        self.options = {key: value for key, value in options.items() if value is not None}
        super().__init__(scheduler=scheduler, name=name)  # type: ignore[no-untyped-call]

    async def start(self) -> None:
        """Start the process."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "latticework.project.worker_process",
            str(os.getpid()),
            self.scheduler,
            json.dumps(self.options),
            env=worker_environment(),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        await super().start()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """End the process and its children."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 3)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, 9)
                await self.process.wait()
        await super().close()  # type: ignore[no-untyped-call]


class OwnCluster(SpecCluster):
    """Local workers that start again by themselves, however often they die.

    Dask gives up a worker that has died once and is away again 15 seconds later.
    """

    def _update_worker_status(self, op: str, msg: Any) -> None:
        Cluster._update_worker_status(self, op, msg)  # noqa: SLF001  skips SpecCluster's


@contextlib.contextmanager
def sparing_shared_handlers() -> Iterator[None]:
    """Inside, a new cluster silences the handlers of Dask's own loggers alone.

    Dask sets the levels of all handlers that its loggers have. Where one of them is the root
    logger's as well, as pytest's are, messages of everything else would be lost with Dask's.
    """
    shared = [
        (logger, handler)
        for logger in map(logging.getLogger, ("distributed", "bokeh"))
        for handler in logger.handlers
        if handler in logging.getLogger().handlers
    ]
    for logger, handler in shared:
        logger.removeHandler(handler)
    try:
        yield
    finally:
        for logger, handler in shared:
            logger.addHandler(handler)


def worker_environment() -> dict[str, str]:
    """Environment of local workers: this process's, with its import path."""
    paths = [os.path.abspath(path) for path in sys.path if not path.endswith(".zip")]  # noqa: PTH100
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    quiet = {"DASK_LOGGING__DISTRIBUTED": "error"}
    return {**threads, **quiet, **os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def local_cluster(
    workers: int | None = None, *, memory: str | None = None, dashboard: bool = True
) -> SpecCluster:
    """Start a cluster on this machine, on its loopback interface.

    Parameters
    ----------
    workers
        Number of worker processes, one thread each; one per core if not given.
    memory
        Memory of each worker, such as ``"4GiB"``; the machine's, divided, if not given.
    dashboard
        Whether Dask's dashboard is served, on 127.0.0.1 and a free port (8787 if free).
    """
    from dask.system import CPU_COUNT
    from distributed import Scheduler
    from distributed.worker_memory import parse_memory_limit

    workers = CPU_COUNT if workers is None else int(workers)
    if workers < 1:
        raise ProjectError(f"a cluster of {workers} workers cannot run anything: give at least 1")
    limit = parse_memory_limit(memory or "auto", 1, workers, logger=logging.getLogger(__name__))
    address = "127.0.0.1:0" if _port_taken(8787) else "127.0.0.1:8787"
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": "127.0.0.1",
            "protocol": "tcp://",
            "dashboard": dashboard,
            "dashboard_address": address,
            "allowed_failures": 0,
        },
    }
    spec = {
        f"local-{k}": {"cls": LocalWorker, "options": {"memory_limit": limit}}
        for k in range(workers)
    }
    with (
        sparing_shared_handlers(),
        warnings.catch_warnings(),
    ):  # another cluster may take the port between look and start
        warnings.filterwarnings("ignore", message=r"\s*Port \d+ is already in use")
        return OwnCluster(spec, scheduler, name="latticework", silence_logs=logging.CRITICAL)  # type: ignore[no-untyped-call]


def _port_taken(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def client_for(where: Any) -> Iterator["Client"]:
    """A Dask client for what a user gave to ``run``.

    Parameters
    ----------
    where
        None (the current client, else a local cluster for the time being), a client, a cluster,
        or the address of a scheduler.
    """
    from distributed import Client, default_client

    if isinstance(where, Client):
        if where.asynchronous:
            raise ProjectError(
                "an asynchronous Dask client cannot run a project: give a normal one"
            )
        if where.status != "running":
            raise ProjectError(f"this Dask client is {where.status}: give one that is connected")
        yield where
        return
    current: Client | None = None
    if where is None:
        with contextlib.suppress(ValueError):
            current = default_client()
        if current is not None:
            if current.asynchronous:
                raise ProjectError(
                    "the current Dask client is asynchronous and cannot run a project: give a "
                    "normal client, a cluster or a scheduler's address"
                )
            yield current
            return
        with local_cluster() as cluster, Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            yield client
        return
    if not isinstance(where, str) and not hasattr(where, "scheduler_address"):
        raise ProjectError(
            f"run() takes nothing, a Dask client, a cluster or a scheduler's address, not {where!r}"
        )
    with Client(where, set_as_default=False) as client:
        yield client
