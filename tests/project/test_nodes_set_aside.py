"""A host that fails much more than the others gets no more work, and its failures are forgiven."""

from types import SimpleNamespace

import numpy as np
import pytest

import latticework as lw
from latticework.errors import ProjectError
from latticework.project import dispatch
from tests.project import steps
from tests.project.hosts import HostsClient, needs_mount
from tests.project.running import numbered, run_here
from tests.project.stepping import Session


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Every host gets some, however quick its units are."""
    monkeypatch.setattr(dispatch, "LARGEST", 6)


def mounted(folder, *, bad_hosts, grid=(12, 12), **options):
    project = lw.create(folder / "p.lw", numbered(grid, (2, 2))[0])
    params = {"bad_hosts": list(bad_hosts), "bad_tiles": options.pop("bad_tiles", [])}
    project.add(needs_mount, params=params, **options)
    return project


def run_on(project, client):
    summary = run_here(project, client=client)
    project.hooks.wait()
    return summary


def test_a_bad_host_is_set_aside_and_no_tile_pays_for_it(folder):
    project = mounted(folder, bad_hosts=["n2"], retries=2)
    told = []
    project.on("node set aside", told.append)
    client = HostsClient()
    assert run_on(project, client), project.counts
    assert set(client.restricted) == {"n0", "n1", "n3"}
    (event,) = told
    assert event.host == "n2"
    assert "attempts failed, elsewhere 0 of" in event.message
    table = project.nodes()
    assert table.index.tolist() == ["n0", "n1", "n2", "n3"]
    assert table.set_aside.notna().tolist() == [False, False, True, False]
    assert table.loc["n2", "exception"] == table.loc["n2", "failed"] == table.loc["n2", "attempts"]
    assert 5 <= table.loc["n2", "failed"] < 72
    assert table.loc["n0", "failed"] == 0
    assert table.loc["n2", "why"] in event.message
    assert table.attempts.sum() == project.attempts_made()


def test_what_had_failed_for_good_there_is_tried_again_elsewhere(folder):
    project = mounted(folder, bad_hosts=["n2"], retries={"exception": 1})
    client = HostsClient()
    client.addresses = {"tcp://10.0.0.2:1": "n2", "tcp://10.0.0.1:1": "n1"}
    assert run_on(project, client), project.counts
    assert list(project.settings.set_aside) == ["n2"]


def test_tiles_that_are_bad_fail_everywhere_and_set_nobody_aside(folder):
    bad = list(range(0, 144, 3))
    project = mounted(folder, bad_hosts=[], bad_tiles=bad, retries=2)
    run_on(project, HostsClient())
    assert project.counts["needs_mount"] == {"complete": 96, "failed": 48}
    assert project.settings.set_aside == {}


def test_bad_tiles_fail_also_where_a_host_is_set_aside(folder):
    project = mounted(folder, bad_hosts=["n2"], bad_tiles=[5, 77], retries=2)
    run_on(project, HostsClient())
    assert project.counts["needs_mount"] == {"complete": 142, "failed": 2}
    assert "ValueError: the tile is dark" in project.why("needs_mount", 77)


def test_a_host_that_is_alone_is_never_set_aside(folder):
    project = mounted(folder, bad_hosts=["n0"], grid=(3, 3), retries=1)
    run_on(project, HostsClient(hosts=1))
    assert project.settings.set_aside == {}
    assert project.counts["needs_mount"] == {"failed": 9}


def test_a_user_sets_hosts_aside_and_takes_them_back(folder):
    project = mounted(folder, bad_hosts=[])
    project.set_aside("n1", "its fan is loud")
    assert project.nodes().why.tolist() == ["its fan is loud"]
    client = HostsClient()
    assert run_on(project, client)
    assert client.done  # until a worker has reported, nobody knows that its host is called n1
    assert set(client.restricted) == {"n0", "n2", "n3"}
    assert lw.open_project(project.path).settings.set_aside["n1"][1] == "its fan is loud"
    project.take_back("n1")
    assert project.settings.set_aside == {}
    project.retry(failed=False)
    client = HostsClient()
    assert run_on(project, client)
    assert (set(client.done), client.restricted) == ({"n0", "n1", "n2", "n3"}, [])
    with pytest.raises(ProjectError, match="host 'n7' is not set aside; those that are: none"):
        project.take_back("n7")
    with pytest.raises(ProjectError, match="no name of a host"):
        project.set_aside(" ")


def test_the_only_host_is_used_even_if_a_user_set_it_aside(folder):
    project = mounted(folder, bad_hosts=[], grid=(3, 3))
    project.set_aside("n0")
    assert run_on(project, HostsClient(hosts=1))


def test_a_host_that_is_set_aside_while_it_runs_has_its_failures_forgiven(folder):
    project = mounted(folder, bad_hosts=["n1"], retries=0)
    project.set_patience(after=None)
    client = HostsClient(hosts=2)
    submit, asked = client.submit, []

    def slowly(*arguments, **options):
        if project.pipeline["needs_mount"].units.tally[5] and not asked:
            asked.append(True)  # as if a user had asked just now
            project.set_aside("n1")
        return submit(*arguments, **options)

    client.submit = slowly
    assert run_on(project, client), project.counts
    assert project.nodes().loc["n1", "exception"] >= 1


def test_workers_that_die_before_they_have_a_name_say_nothing_about_a_host(folder):
    from distributed import KilledWorker

    lw.create(folder / "p.lw", numbered((6, 6), (2, 2))[0])
    session = Session(folder / "p.lw", slots=1)
    session.project.add(steps.add)
    session.begin()
    placing = session.coordinator.care.placing
    placing.learn("tcp://127.0.0.1:1", "box")
    for number in range(60):
        session.send()
        for batch, future in session.out:
            batch.started = True
            if number % 2:
                lost = SimpleNamespace(address=f"tcp://127.0.0.1:{number + 1}")
                future.become("error", KilledWorker("task", lost, 0))
            else:
                future.compute()
                future.become("finished")
        session.take_in()
    assert "127.0.0.1" not in placing.counts.counts
    assert session.project.settings.set_aside == {}
    session.crash()


def test_units_that_were_set_aside_for_good_keep_what_was_made(folder):
    """Taking a host out changes where work is done, and nothing that is complete."""
    project = mounted(folder, bad_hosts=["n2"], retries=2)
    project.add(steps.add, after="needs_mount")
    assert run_on(project, HostsClient())
    made = project["add"].data.to_numpy()
    last = project.attempts_made()
    assert run_on(project, HostsClient())
    assert project.attempts_made() == last
    np.testing.assert_array_equal(made, numbered((12, 12), (2, 2))[1] + 1)
