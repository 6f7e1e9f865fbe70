"""Nothing of Dask's is printed when a cluster of our own ends."""

import subprocess
import sys

import dask
import pytest

from latticework.project.worker_process import QUIET, preloads

ENDS = """
import sys
import distributed.scheduler
distributed.scheduler.heartbeat_interval = lambda n: 0.001  # so that one is under way at the end
from distributed import Client
from latticework.project.clusters import local_cluster

if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        with local_cluster(2, dashboard=False) as cluster:
            with Client(cluster, set_as_default=False) as client:
                client.wait_for_workers(2)
                assert client.submit(sum, [1, 2]).result() == 3
"""


@pytest.mark.slow
def test_a_heartbeat_that_is_under_way_when_a_cluster_ends_prints_nothing():
    words = [sys.executable, "-c", ENDS, "8"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    assert ended.stderr == ""


@pytest.mark.parametrize(("given", "first"), [(["mine"], ["mine"]), ("mine", ["mine"]), ([], [])])
def test_workers_are_told_to_be_quiet_beside_what_a_user_preloads(given, first):
    with dask.config.set({"distributed.worker.preload": given}):
        assert preloads() == [*first, QUIET]
