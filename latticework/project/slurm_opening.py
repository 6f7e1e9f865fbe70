"""A pool of SLURM jobs is opened, and ended or left to the next coordinator."""

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client

from latticework.errors import ProjectError
from latticework.io.slurm_queue import shared_queue
from latticework.project.lasting import Lasting
from latticework.project.lasting_scheduler import COORDINATOR
from latticework.project.pools import Pool
from latticework.project.slurm_cluster import PoolCluster
from latticework.project.slurm_pool import SlurmPool
from latticework.project.slurm_scaling import SlurmScaler

RENEW_S = 30.0
"""Seconds that workers have to end what they did for an earlier coordinator."""

log = logging.getLogger(__name__)


@contextmanager
def open_slurm_pool(spec: SlurmPool, folder: Path) -> Iterator[Pool]:
    """A pool of SLURM jobs, for as long as the context lasts.

    If its scheduler outlives this process, and the context ends with an error, the jobs stay for
    a while: the next run goes on with them.

    Raises
    ------
    ProjectError
        If dask-jobqueue does not take its options, or there is no SLURM.
    """
    if shutil.which("sbatch") is None:
        raise ProjectError(
            f"pool {spec.name!r}: there is no sbatch on this machine: run on a node of the SLURM "
            "cluster, or in one of its jobs; or use latticework.local()"
        )
    arguments = spec.arguments(folder)
    try:
        cluster = PoolCluster(label=spec.name, lasting=_lasting(spec, folder), **arguments)
    except (TypeError, ValueError) as error:
        raise ProjectError(f"pool {spec.name!r}: {error}") from error
    except RuntimeError as error:
        if isinstance(error.__cause__, ProjectError):
            raise error.__cause__ from None
        raise
    with cluster, Client(cluster, set_as_default=False, name=COORDINATOR) as client:
        if cluster.joined:
            renew_workers(client)
        scaler = SlurmScaler(spec, cluster, client, shared_queue(spec.poll_s))
        with contextlib.suppress(Exception):
            scaler.scale(spec.minimum)
        try:
            yield Pool(
                spec.name, client, memory_bytes=spec.worker_bytes, gpus=spec.gpus, scaler=scaler
            )
        except Exception:
            if spec.outlive_s and scaler.jobs:
                cluster.leave()
                log.warning(
                    "pool %r: the run has failed; %s for the next run, for %g minutes",
                    *(spec.name, _jobs_wait(len(scaler.jobs)), spec.outlive_s / 60),
                )
            raise


def _jobs_wait(n: int) -> str:
    return "its job waits" if n == 1 else f"its {n} jobs wait"


def _lasting(spec: SlurmPool, folder: Path) -> Lasting | None:
    """The scheduler of a pool, if it is to outlive this process."""
    if not spec.outlive_s:
        return None
    logs = folder / "logs" / f"slurm-{spec.name}"
    return Lasting(folder.resolve(), spec.name, logs, spec.outlive_s, spec.shape())


def renew_workers(client: Any) -> None:
    """Have all workers begin anew, in their jobs.

    What they did for an earlier coordinator ends, and with it what they had loaded: modules that
    may have changed since.
    """
    workers = list(client.nthreads())
    if workers:
        client.sync(
            client.scheduler.restart_workers,
            workers=workers,
            timeout=RENEW_S,
            wait_for_workers=False,
            on_error="return",
            stimulus_id=f"latticework-renew-{time.time()}",
        )


__all__ = ["open_slurm_pool", "renew_workers"]
