"""Which worker wrote what: units that read it are best sent there, where it is still in memory."""

import contextlib
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from latticework.project.dispatch import Batch

NOBODY = -1
QUEUED = 2
"""Batches for each thread that are sent to a worker because it has their inputs."""


class Nearness:
    """Remembers which worker made each unit of a stage, two bytes each.

    It is a hint and no more: what is told to Dask lets other workers take the work, too.

    Examples
    --------
    >>> near = Nearness()
    >>> near.made("clean", 6, np.array([0, 1, 2]), "tcp://a:1")
    >>> near.made("clean", 6, np.array([3]), "tcp://b:1")
    >>> near.best("clean", np.array([1, 2, 3])), near.best("clean", np.array([4, 5]))
    ('tcp://a:1', None)
    """

    def __init__(self) -> None:
        self._by_stage: dict[str, np.ndarray] = {}
        self._numbers: dict[str, int] = {}
        self._addresses: list[str] = []
        self._out: Counter[str] = Counter()
        self._with_nobody: set[int] = set()

    def made(self, stage: str, n: int, units: np.ndarray, worker: str) -> None:
        """A worker made some of a stage's `n` units."""
        known = self._by_stage.get(stage)
        if known is None or len(known) < n:
            grown = np.full(n + n // 2, NOBODY, np.int16)
            if known is not None:
                grown[: len(known)] = known
            self._by_stage[stage] = known = grown
        if worker not in self._numbers:
            if len(self._addresses) > np.iinfo(np.int16).max:
                return  # so many workers have come and gone that the rest are not told apart
            self._numbers[worker] = len(self._addresses)
            self._addresses.append(worker)
        known[units] = self._numbers[worker]

    def best(self, stage: str, units: np.ndarray) -> str | None:
        """The worker that made most of some units; None unless it is half of them."""
        known = self._by_stage.get(stage)
        if known is None or not len(units):
            return None
        makers = known[units[units < len(known)]]
        counts = np.bincount(makers[makers != NOBODY], minlength=1)
        most = int(counts.argmax())
        return self._addresses[most] if 2 * counts[most] >= len(units) else None

    def hint(self, batch: "Batch") -> dict[str, Any]:
        """Options of `distributed.Client.submit` that prefer the worker with a batch's inputs.

        None where that worker has `QUEUED` batches for each of its threads already: Dask would
        let the batch wait there for long, while others have nothing to do.
        """
        pool = batch.pool
        for edge in batch.node.edges:
            if edge.one_each:
                worker = self.best(edge.parent, edge.dependency.inputs(batch.units)[1])
                if worker in pool.addresses and self._out[worker] < QUEUED * pool.threads:
                    batch.near = worker
                    return {"workers": [worker], "allow_other_workers": True}
        return {}

    def sent(self, batch: "Batch") -> None:
        """A batch is out."""
        if batch.near is not None:
            self._out[batch.near] += 1

    def back(self, batch: "Batch") -> None:
        """A batch is not out any more."""
        if batch.near is not None:
            self._out[batch.near] -= 1
            if not self._out[batch.near]:
                del self._out[batch.near]

    def left_behind(self, flying: "Mapping[int, tuple[Batch, Any]]") -> list[int]:
        """Numbers of batches whose worker has gone, and that nobody else has been given.

        When no worker is left, Dask keeps what was to be near one of them for those alone, and
        gives it to none that joins later, though others were allowed (found with distributed
        2026.8; see `Scheduler.valid_workers` there). They have to be called back and sent anew.

        Parameters
        ----------
        flying
            Batches that are out, with their futures, by number.

        Returns
        -------
        list of int
            Those of which that was seen twice: one may just be on its way back.
        """
        lone = [
            (batch, future)
            for batch, future in flying.values()
            if batch.near is not None
            and batch.pool.workers
            and batch.near not in batch.pool.addresses
        ]
        given: set[Any] = set()
        with contextlib.suppress(Exception):  # the scheduler may be gone
            for client in {batch.pool.client for batch, _ in lone}:
                given.update(*client.processing().values())
            nobodys = {
                batch.number
                for batch, future in lone
                if future.status == "pending" and future.key not in given
            }
            twice, self._with_nobody = self._with_nobody & nobodys, nobodys
            return sorted(twice)
        return []
