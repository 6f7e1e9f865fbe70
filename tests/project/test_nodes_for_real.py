"""Hosts that are set aside, with workers of Dask that believe to be on several nodes."""

import contextlib
import os
import subprocess
import sys
import time

import pytest
from distributed import Client, LocalCluster

import latticework as lw
from tests.project.running import numbered


def on_node(tile, *, bad, seconds=0.0):
    """Fails on one node, and takes its time on the others."""
    import os
    import time

    if os.environ["SLURMD_NODENAME"] == bad:
        raise OSError("the scratch disk of this node is gone")
    time.sleep(seconds)
    return tile


@contextlib.contextmanager
def workers(client):
    """Starts workers on nodes of given names; ends them all."""
    started = {}

    def start(name):
        address = client.scheduler.address
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
        command += ["--no-dashboard", "--host", "127.0.0.1", "--name", name]
        log = subprocess.DEVNULL
        started[name] = subprocess.Popen(
            command, env={**os.environ, "SLURMD_NODENAME": name}, stdout=log, stderr=log
        )

    try:
        yield start
    finally:
        for process in started.values():
            process.terminate()
        for process in started.values():
            process.wait(60)


@pytest.fixture
def client():
    options = {"n_workers": 0, "processes": True, "dashboard_address": None, "silence_logs": 50}
    with (
        LocalCluster(host="127.0.0.1", **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.slow
def test_a_node_without_its_disk_is_set_aside_and_every_tile_completes(folder, client):
    project = lw.create(folder / "p.lw", numbered((15, 20), (4, 4))[0])
    project.add(on_node, bad="n1", seconds=0.01)
    with workers(client) as start:
        start("n1")
        start("n2")
        client.wait_for_workers(2)
        assert project.run(client, progress="none"), project.counts
    table = project.nodes()
    assert table.set_aside.notna().to_dict() == {"n1": True, "n2": False}
    assert table.loc["n2", "failed"] == 0
    assert table.loc["n2", "attempts"] == 300
    assert "node set aside" in project.events().event.tolist()


@pytest.mark.slow
def test_work_that_waits_for_nodes_that_have_left_goes_to_new_ones(folder, client):
    project = lw.create(folder / "p.lw", numbered((5, 6), (4, 4))[0])
    project.add(on_node, bad="n1", seconds=0.2)
    with workers(client) as start:
        start("n1")
        start("n2")
        client.wait_for_workers(2)
        project.set_aside("n1")
        run = project.start(client)
        limit = time.monotonic() + 120
        while project.counts["on_node"].get("complete", 0) < 5 and time.monotonic() < limit:
            time.sleep(0.05)
        (leaving,) = [
            address
            for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()
            if worker["name"] == "n2"
        ]
        start("n3")
        client.wait_for_workers(3)
        client.retire_workers([leaving])
        assert run.wait(120), project.counts
    assert project.nodes().loc["n3", "attempts"] > 0
