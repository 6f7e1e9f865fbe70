"""Which hosts are set aside: the rule, simulated clusters, and where work goes then."""

from types import SimpleNamespace

import numpy as np
import pytest

from latticework.project.node_counts import MOST_COUNTED, MOST_REMEMBERED, HostCount, HostRule
from latticework.project.node_counts import NodeCounts as Counts
from latticework.project.placing_work import Placing
from latticework.project.settings import Settings

RULE = HostRule()
GOOD = {f"node{k}": HostCount(200, 2, 0) for k in range(4)}


@pytest.mark.parametrize(
    ("count", "aside"),
    [
        (HostCount(40, 30, 20), True),
        (HostCount(5, 5, 3), True),
        (HostCount(4, 4, 4), False),  # too few
        (HostCount(200, 6, 5), False),  # by accident
        (HostCount(200, 40, 2), False),  # what failed there failed elsewhere, too
        (HostCount(5000, 4000, 900), True),  # it eats the queue
    ],
)
def test_a_host_is_set_aside_for_what_it_did(count, aside):
    found = RULE.why({**GOOD, "bad": count}, "bad")
    assert (found is not None) == aside, found
    if aside:
        assert f"{count.failures} of {count.attempts} attempts failed, elsewhere 8 of 800" in found


def test_nobody_is_compared_with_next_to_nothing():
    counts = {"one": HostCount(40, 40, 9), "other": HostCount(9, 0, 0)}
    assert RULE.why(counts, "one") is None
    assert RULE.why({**counts, "third": HostCount(1, 0, 0)}, "one") is not None


def simulate(rng, rates, *, tiles=2000, bad_tiles=0.0, retries=3):
    """Units that take their chance on hosts that fail at these rates; what was set aside."""
    counts, aside = Counts(), {}
    hosts = list(rates)
    todo = [(unit, 0) for unit in range(tiles)]
    bad = set(np.flatnonzero(rng.random(tiles) < bad_tiles).tolist())
    while todo:
        unit, tries = todo.pop(0)
        left = [host for host in hosts if host not in aside]
        host = left[rng.integers(len(left))]
        if unit in bad or rng.random() < rates[host]:
            counts.failed(host, 1, np.array([unit]))
            if tries < retries:
                todo.append((unit, tries + 1))
            aside.update(counts.outliers(aside.keys()))
        else:
            counts.completed(host, 1, np.array([unit]))
    return set(aside)


@pytest.mark.parametrize("seed", range(5))
def test_the_one_bad_node_of_a_cluster_is_found(seed):
    rates = {f"node{k}": 0.01 for k in range(8)} | {"broken": 0.9}
    assert simulate(np.random.default_rng(seed), rates) == {"broken"}


@pytest.mark.parametrize("seed", range(5))
def test_hosts_that_are_alike_are_left_alone_whatever_the_tiles_do(seed):
    rates = {f"node{k}": 0.05 for k in range(8)}
    assert simulate(np.random.default_rng(seed), rates, bad_tiles=0.3) == set()


def test_counts_are_bounded():
    counts = Counts()
    for start in range(0, 3 * MOST_REMEMBERED, 1000):
        counts.failed("one", 1, np.arange(start, start + 1000))
    assert sum(map(len, counts.failed_on("one").values())) == MOST_REMEMBERED
    counts.completed("two", 1, np.arange(-MOST_COUNTED, 0))
    assert sum(count.attempts for count in counts.counts.values()) <= MOST_COUNTED


# -------------------------------------------------------------------- where work goes

WORKERS = {f"tcp://10.0.0.{k}:{port}": f"n{k}" for k in (1, 2, 3) for port in (1000, 2000)}


def placing(*aside, workers=WORKERS, known=WORKERS):
    desk = SimpleNamespace(settings=Settings(set_aside=dict.fromkeys(aside, (0.0, ""))))
    found = Placing(desk)
    found.see(workers)
    for worker in known:
        found.learn(worker, WORKERS[worker])
    return found


def test_nothing_is_restricted_while_no_host_is_set_aside():
    assert placing().usable() is None
    assert placing("elsewhere").usable() is None


def test_work_goes_only_to_other_hosts():
    found = placing("n2")
    good = sorted(w for w in WORKERS if WORKERS[w] != "n2")
    assert found.usable() == good
    assert found.options(1, 1, np.arange(3), set(WORKERS)) == {"workers": good}


def test_a_pool_without_other_hosts_uses_what_it_has():
    found = placing("n2")
    assert found.options(1, 1, np.arange(3), set(on("n2"))) == {}
    assert found.options(2, 1, np.arange(3), set(on("n1"))) == {}
    assert found.options(3, 1, np.arange(3), set(on("n1", "n2"))) == {"workers": on("n1")}


def test_what_failed_on_a_host_is_tried_again_on_another_one_if_there_is_one():
    found = placing("n1")
    found.counts.failed("n2", 1, np.array([3]))
    assert found.options(1, 1, np.array([2, 3]), set(WORKERS)) == {"workers": on("n3")}
    assert found.options(2, 1, np.array([2]), set(WORKERS)) == {"workers": on("n2", "n3")}
    another_stage = found.options(3, 9, np.array([3]), set(WORKERS))
    assert another_stage == {"workers": on("n2", "n3")}
    found.counts.failed("n3", 1, np.array([3]))
    assert found.options(4, 1, np.array([3]), set(WORKERS)) == {"workers": on("n2", "n3")}
    found.counts.completed("n2", 1, np.array([3]))
    assert placing().options(5, 1, np.array([3]), set(WORKERS)) == {}


def test_what_waits_for_workers_that_have_left_is_called_back():
    found = placing("n2")
    found.options(1, 1, np.arange(3), set(WORKERS))
    found.options(2, 1, np.arange(3), set(WORKERS))
    assert found.stranded([1, 2, 3]) == []
    found.see([*on("n2"), "tcp://10.0.0.9:1"])  # a new worker, which the batches do not know
    assert found.stranded([2, 3]) == [2]
    found.see([])  # none at all: nowhere to send it anew
    assert found.stranded([2, 3]) == []


def on(*hosts):
    return sorted(worker for worker, host in WORKERS.items() if host in hosts)


class Answering:
    """A client whose workers tell their hosts; some are gone."""

    def __init__(self, gone=()):
        self.gone, self.asked = gone, []

    def run(self, _function, *, workers, on_error):
        assert on_error == "ignore"
        self.asked.append(workers)
        return {worker: WORKERS[worker] for worker in workers if worker not in self.gone}


def pools_of(client, found):
    """One pool with all the workers that were seen."""
    return [SimpleNamespace(client=client, addresses=found._workers)]


def test_workers_are_asked_once_for_their_hosts_when_they_are_new():
    found, client = placing("n2", known=[]), Answering()
    assert found.usable() is None  # nobody knows yet which ones those are
    for _ in range(3):
        found.ask_new(pools_of(client, found))
        found._asking.join(60)
    assert client.asked == [sorted(WORKERS)]
    assert found.usable() == on("n1", "n3")
    found.see([*WORKERS, "tcp://10.0.0.9:1"])
    found.ask_new(pools_of(client, found))
    found._asking.join(60)
    assert client.asked[1:] == [["tcp://10.0.0.9:1"]]  # which is not known here: an error


def test_workers_that_do_not_answer_are_used():
    found = placing("n2", known=[])
    found.ask_new(pools_of(Answering(gone=on("n1")), found))
    found._asking.join(60)
    assert found.usable() == on("n1", "n3")
    found.ask_new(pools_of(object(), found))  # nothing that could be asked: nothing happens


def test_several_nodes_at_one_address_are_told_apart():
    workers = {"tcp://127.0.0.1:1": "a", "tcp://127.0.0.1:2": "b", "tcp://127.0.0.1:3": "?"}
    found = placing("a", workers=workers, known=[])
    found.learn("tcp://127.0.0.1:1", "a")
    found.learn("tcp://127.0.0.1:2", "b")
    assert found.usable() == ["tcp://127.0.0.1:2", "tcp://127.0.0.1:3"]


def test_the_last_hosts_are_used_all_the_same():
    assert placing("n1", "n2", "n3").usable() is None


def test_the_last_host_is_never_set_aside():
    left = [worker for worker in WORKERS if WORKERS[worker] in ("n1", "n2")]
    found = placing("n1", workers=left)
    found.counts.completed("n3", 1, np.arange(1000))
    found.counts.failed("n2", 1, np.arange(20))
    found.counts.completed("n3", 1, np.arange(20))
    assert found.counts.outliers() == {"n2": found.counts.outliers()["n2"]}
    assert found.outliers() == {}
    found.see(WORKERS)
    assert list(found.outliers()) == ["n2"]
