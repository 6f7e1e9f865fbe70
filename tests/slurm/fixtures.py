"""Fixtures for tests that need a real SLURM.

``slurm``        one testbed for the whole session
``idle_slurm``   the same, with no job in it and all its nodes idle

Where SLURM is not installed these tests are skipped, saying so, or fail if `LATTICEWORK_NEED_SLURM`
is 1, as in CI.
"""

import os
import tempfile

import pytest

from tests.slurm.testbed import OTHERS, Testbed, how_to_install

NEEDED = "LATTICEWORK_NEED_SLURM"


def skip_without_slurm():
    """Skip where SLURM is not installed, or fail if it has to be there."""
    problem = how_to_install()
    if problem and os.environ.get(NEEDED, "") not in ("", "0"):
        pytest.fail(f"{NEEDED} is set, but there is {problem}", pytrace=False)
    if problem:
        pytest.skip(problem)


@pytest.fixture(scope="session")
def slurm():
    """A real SLURM of three nodes with two CPUs and 8 GiB each; commands here talk to it."""
    skip_without_slurm()
    with (
        tempfile.TemporaryDirectory(prefix="lw-slurm-", ignore_cleanup_errors=True) as folder,
        Testbed(folder) as testbed,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in list(os.environ):
            if name.startswith(OTHERS):
                patch.delenv(name)
        for name, value in testbed.environment.items():
            patch.setenv(name, value)
        yield testbed


@pytest.fixture
def idle_slurm(slurm):
    """The session's SLURM with no job in it and all its nodes idle."""
    slurm.clear()
    return slurm
