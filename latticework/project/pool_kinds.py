"""Where work runs, as users say it: this machine, SLURM, any Dask cluster; one pool or several."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from latticework.errors import ProjectError
from latticework.project.clusters import client_for, local_cluster
from latticework.project.pools import Pool, Pools
from latticework.stages.needs import bytes_of


@runtime_checkable
class PoolSpec(Protocol):
    """A pool that can be opened; `local` and `slurm` make some."""

    name: str
    """Its name, for stages that ask for it."""

    def open(self, folder: Path) -> AbstractContextManager[Pool]:
        """Have the pool for as long as it is needed.

        Parameters
        ----------
        folder
            The project's, for logs.
        """


@dataclass(frozen=True, slots=True)
class LocalPool:
    """Workers on this machine; see `local`."""

    name: str = "local"
    """Its name."""
    workers: int | None = None
    """Worker processes, of one thread each; one per core if None."""
    memory: str | int | None = None
    """Memory of each worker; the machine's, divided, if None."""
    gpus: int = 0
    """Graphics cards that each worker may use."""

    @contextmanager
    def open(self, folder: Path) -> Iterator[Pool]:  # noqa: ARG002  workers here log to the screen
        """Start the workers; they end with the context."""
        from distributed import Client

        limit = None if self.memory is None else bytes_of(self.memory)
        with (
            local_cluster(self.workers, memory=None if limit is None else str(limit)) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            client.wait_for_workers(1, timeout=60)
            yield Pool(self.name, client, memory_bytes=limit, gpus=self.gpus)


def local(
    workers: int | None = None,
    *,
    memory: str | int | None = None,
    name: str = "local",
    gpus: int = 0,
) -> LocalPool:
    """A pool of workers on this machine, for `Project.run`.

    Parameters
    ----------
    workers
        Worker processes, of one thread each; one per core if not given.
    memory
        Memory of each worker, such as ``"4GiB"``; the machine's, divided, if not given.
    name
        Name of the pool, for stages that ask for it (``needs=``).
    gpus
        Graphics cards that each worker may use.

    Examples
    --------
    >>> local(2, memory="4GiB")
    LocalPool(name='local', workers=2, memory='4GiB', gpus=0)
    """
    if workers is not None and (isinstance(workers, bool) or int(workers) < 1):
        raise ProjectError(f"workers={workers!r}: a pool needs at least 1 worker")
    if memory is not None and not bytes_of(memory):
        raise ProjectError(f"memory={memory!r}: a worker needs some")
    return LocalPool(name, workers, memory, gpus)


@contextmanager
def opened(where: Any, folder: Path) -> Iterator[Pools]:
    """The pools of what a user gave to ``run``.

    Parameters
    ----------
    where
        A pool (`local`, `slurm`), a Dask client, a cluster, the address of a scheduler; several
        of these in a list, or in a mapping by name; None for the current client or this machine.
    folder
        The project's.
    """
    with ExitStack() as stack:
        given: list[tuple[str | None, Any]]
        if isinstance(where, Mapping):
            given = [(str(name), one) for name, one in where.items()]
        elif isinstance(where, Sequence) and not isinstance(where, str):
            given = [(None, one) for one in where]
        else:
            given = [(None, where)]
        if not given:
            raise ProjectError("no pool to run in: give at least one")
        yield Pools(
            [
                stack.enter_context(_open(one, name or _name(one, k), folder))
                for k, (name, one) in enumerate(given)
            ]
        )


def _name(one: Any, k: int) -> str:
    if isinstance(one, PoolSpec):
        return one.name
    return "workers" if not k else f"workers-{k + 1}"


@contextmanager
def _open(one: Any, name: str, folder: Path) -> Iterator[Pool]:
    if isinstance(one, Pool):
        yield one
    elif isinstance(one, PoolSpec) and not hasattr(one, "scheduler_address"):
        with one.open(folder) as pool:
            pool.name = name
            yield pool
    else:
        with client_for(one) as client, contextlib.suppress(GeneratorExit):
            yield Pool(name, client)


__all__ = ["LocalPool", "PoolSpec", "local", "opened"]
