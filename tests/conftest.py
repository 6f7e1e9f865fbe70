"""Fixtures that the whole test suite shares.

``shared_data``   the folder of real acquisitions, or a skip that says so
``local_client``  one small Dask cluster for the whole session, with two worker processes
``slurm``         a real SLURM on this machine, or a skip that says so; see tests/slurm/fixtures.py
``browser``       a headless Chromium, or a skip that says so; see tests/viz/browser.py
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.slurm.fixtures import idle_slurm, slurm  # noqa: F401  fixtures
from tests.viz.browser import browser  # noqa: F401  fixture

ROOT = Path(__file__).resolve().parent.parent

# No test opens a window, and with two cores and two workers more threads per call only wait.
os.environ.setdefault("MPLBACKEND", "Agg")
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# "quick" is what a person waits for; CI looks further. No deadlines: a shared machine stutters.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=25, **_COMMON)
settings.register_profile("ci", max_examples=60, derandomize=True, print_blob=True, **_COMMON)
settings.register_profile("thorough", max_examples=1000, **_COMMON)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "quick")
)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real acquisitions, read only; tests that need it are skipped without it."""
    given = os.environ.get("LATTICEWORK_SHARED_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(
            f"no shared data at {folder}: set LATTICEWORK_SHARED_DATA to the folder that has it"
        )
    return folder


@pytest.fixture(scope="session")
def local_client() -> Iterator[object]:
    """A Dask client of a cluster with two single-threaded worker processes, shared by the session.

    Tests that kill workers or close the cluster start their own.
    """
    from distributed import Client, LocalCluster

    from latticework.project.clusters import sparing_shared_handlers

    with sparing_shared_handlers():  # or messages are lost to all tests after the first that asks
        cluster = LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=50,
        )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client
