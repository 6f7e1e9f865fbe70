"""Requests that meet the end of a run are carried out all the same, by somebody else."""

import threading
import time

import pytest

import latticework as lw
from latticework.errors import ProjectError
from latticework.project.coordinator import Coordinator
from latticework.project.lock import CoordinatorLock
from latticework.stages.paths import lock_file
from tests.project import steps
from tests.project.running import HereClient, numbered


@pytest.mark.parametrize("landing", ["well", "badly"])
def test_a_request_that_a_run_does_not_take_any_more_is_carried_out_after_it(tmp_path, landing):
    project = lw.create(tmp_path / "p.lw", numbered()[0])
    project.add(steps.total)
    with project.lock().held():
        coordinator = project.coordinator = Coordinator(project, HereClient())
        coordinator.run()
        if landing == "badly":
            coordinator.requests._open = True  # as if landing had been cut short
        asks = threading.Thread(target=project.pause, args=("total",))
        asks.start()  # nobody listens to the run's requests any more
        asks.join(0.5)
        assert asks.is_alive()
        project.close_writer()
        project.coordinator = None
        project.forget()
    asks.join(10)
    assert not asks.is_alive()
    assert lw.open_project(project.path).settings.paused_stages == ("total",)


def test_a_run_that_dies_with_a_request_in_hand_is_not_waited_for(tmp_path):
    project = lw.create(tmp_path / "p.lw", numbered()[0])
    project.add(steps.total)
    other = CoordinatorLock(lock_file(project.path))
    other.acquire()
    said = []

    def ask():
        with pytest.raises(ProjectError, match="ended while it was to pause") as refused:
            project.pause()
        said.append(str(refused.value))

    asks = threading.Thread(target=ask)
    asks.start()
    limit = time.monotonic() + 10
    while not list(project.mailbox.collect()) and time.monotonic() < limit:
        time.sleep(0.01)  # it takes the request, and that is the last that is heard of it
    other.release()
    asks.join(10)
    assert said
    lw.open_project(project.path).pause("total")


NONSENSE = [
    ("region", {"bounds": [1]}),
    ("region", {"bounds": {"tile_y": 5}}),
    ("prioritise", {"region": 3}),
    ("add", {}),
    ("withdraw", {"unit": "none"}),
    ("retry", {"states": 5}),
    ("no such request", {}),
]


def test_requests_that_make_no_sense_do_not_end_the_run(tmp_path):
    project = lw.create(tmp_path / "p.lw", numbered()[0])
    project.add(steps.total)
    with project.lock().held():
        coordinator = project.coordinator = Coordinator(project, HereClient())
        tickets = [project.mailbox.ask(*asked) for asked in NONSENSE]
        coordinator.run()
        coordinator.requests.collect()
        project.close_writer()
        project.coordinator = None
        project.forget()
    assert all("error" in project.mailbox.fetch(ticket) for ticket in tickets)
    assert project.counts["total"] == {"complete": 20}
