"""The one kind of cluster that all Dask-based contestants get."""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distributed import Client, LocalCluster


@contextmanager
def local_cluster(
    scratch: Path,
    *,
    workers: int = 2,
    threads: int = 1,
    warm: Sequence[str] = (),
    tuned: bool = False,
) -> Iterator[Client]:
    """A client of `workers` processes with one thread each, or more, started and warm.

    Warm means that each worker has answered and has imported the modules in `warm`, so that
    what is timed afterwards is work. `tuned` has the workers keep the memory that they free: Dask
    starts them so that glibc gives every large buffer back at once, and the page faults of
    getting it again more than double the time of reading and writing tiles of 16 MB.
    """
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=str(scratch / "dask"),
        ) as cluster,
        Client(cluster) as client,
    ):
        for module in warm:
            client.run(_import, module)
        if tuned:
            client.run(_keep_freed_memory)
        client.gather(client.map(abs, range(10 * workers), pure=False))
        yield client


def bytes_read(client: Client) -> int:
    """Bytes that the workers have read through system calls so far (-1 where not counted).

    On Linux these are files, from disk or cache; what comes through sockets is not among them.
    """
    counts = client.run(_bytes_read).values()
    return -1 if min(counts) < 0 else sum(counts)


def _bytes_read() -> int:
    import psutil

    try:
        return int(psutil.Process().io_counters().read_chars)
    except (AttributeError, psutil.AccessDenied):
        return -1


def _keep_freed_memory() -> None:
    import ctypes
    import sys

    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.mallopt(-1, 1 << 26)  # M_TRIM_THRESHOLD of glibc's malloc.h
        library.mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD; older versions take no more


def _import(module: str) -> None:
    importlib.import_module(module)
