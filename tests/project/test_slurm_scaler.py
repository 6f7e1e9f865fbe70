"""How many jobs a pool has, which ones, and what becomes of them: without SLURM."""

from types import SimpleNamespace

import pytest

import latticework as lw
from latticework.errors import ProjectError
from latticework.io.slurm_jobs import SlurmJob
from latticework.io.slurm_queue import QueuePoll
from latticework.project.slurm_scaling import SlurmScaler


class FakeCluster:
    """Dask's cluster, and the jobs that an earlier coordinator has left."""

    def __init__(self, left=None):
        self.left, self.joined, self.logs = left, left is not None, "logs"
        self.workers, self.worker_spec, self.ended = {}, {}, []
        self.scheduler_info = {"workers": {}}

    def find_jobs(self):
        if isinstance(self.left, Exception):
            raise self.left
        return self.left

    def _add(self, name, job_id):
        self.workers[name], self.worker_spec[name] = SimpleNamespace(job_id=job_id), {}

    def adopt(self, jobs):
        for name, job_id in jobs.items():
            self._add(name, job_id)

    def scale(self, *, jobs):
        for k in range(len(self.worker_spec), jobs):
            self._add(f"cpu-2-{k}", str(900 + k))

    def forget(self, names):
        for name in names:
            del self.workers[name], self.worker_spec[name]

    def end(self, names):
        self.ended += names
        self.forget(names)

    def connect(self, *workers):
        self.scheduler_info = {"workers": {f"tcp://{name}": {"name": name} for name in workers}}


class FakeQueue:
    def __init__(self):
        self.states = {}

    def look(self, ids):
        states = {job: SlurmJob(job, self.states.get(job, "RUNNING")) for job in ids}
        return QueuePoll(states, 0.0)

    def hurry(self, least_s):
        pass


def made(cluster, **options):
    clock, queue = [100.0], FakeQueue()
    client = SimpleNamespace(processing=dict)
    spec = lw.slurm(name="cpu", idle_s=60, **{"maximum": 4, **options})
    scaler = SlurmScaler(spec, cluster, client, queue, clock=lambda: clock[0])
    return scaler, clock, queue


def test_jobs_that_an_earlier_coordinator_has_left_count():
    cluster = FakeCluster({"cpu-1-0": "7", "cpu-1-5": "9"})
    scaler, clock, _ = made(cluster)
    scaler.scale(2)
    assert scaler.jobs == {"cpu-1-0": "7", "cpu-1-5": "9"}
    scaler.scale(3)
    clock[0] += 1
    scaler.scale(3)
    assert set(scaler.jobs) == {"cpu-1-0", "cpu-1-5", "cpu-2-2"}


def test_jobs_that_were_left_are_kept_until_it_is_known_what_there_is_to_do():
    cluster = FakeCluster({"cpu-1-0": "7", "cpu-1-5": "9"})
    scaler, clock, _ = made(cluster)
    scaler.scale(0)
    clock[0] += 50
    scaler.scale(1)
    assert cluster.ended == []
    clock[0] += 20
    cluster.connect("cpu-1-5")
    scaler.scale(1)
    assert cluster.ended == ["cpu-1-0"]  # which had not begun
    assert set(scaler.jobs) == {"cpu-1-5"}


def test_while_slurm_does_not_say_which_jobs_were_left_none_is_submitted():
    cluster = FakeCluster(ProjectError("squeue did not answer within 20 s"))
    scaler, clock, _ = made(cluster)
    scaler.scale(4)
    assert cluster.worker_spec == {}
    assert "which jobs are there: squeue did not answer" in scaler.pending()
    cluster.left = {"cpu-1-0": "7"}
    scaler.scale(4)  # not asked again at once
    assert cluster.worker_spec == {}
    clock[0] += 20
    scaler.scale(4)
    assert len(cluster.worker_spec) == 4
    assert "cpu-1-0" in cluster.worker_spec


def test_a_job_that_was_being_submitted_when_the_last_coordinator_was_killed_counts_later():
    cluster = FakeCluster({"cpu-1-0": "7"})
    scaler, clock, _ = made(cluster, maximum=3)
    scaler.scale(2)
    cluster.left = {"cpu-1-0": "7", "cpu-1-1": "8"}
    cluster.connect("cpu-1-0", "cpu-1-1")
    for _ in range(40):
        clock[0] += 1
        scaler.scale(2)
    assert set(scaler.jobs) == {"cpu-1-0", "cpu-1-1", "cpu-2-1"}
    clock[0] += 60
    scaler.scale(2)
    assert cluster.ended == ["cpu-2-1"]  # one too many by now


@pytest.mark.parametrize(("processes", "worker"), [(1, "cpu-2-0"), (2, "cpu-2-0-1")])
def test_why_a_worker_has_gone_is_known_when_its_job_is_gone(processes, worker):
    cluster = FakeCluster()
    scaler, clock, queue = made(cluster, cores=processes)
    scaler.scale(1)
    cluster.connect(worker)
    scaler.scale(1)
    assert scaler.cause(worker) is None
    queue.states["900"] = "PREEMPTED"
    clock[0] += 1
    scaler.scale(0)
    assert scaler.jobs == {}
    assert scaler.cause(worker) == "preempted"


@pytest.mark.parametrize(
    ("slots", "words"), [(1, "1 job wanted, which"), (3, "3 jobs wanted, not")]
)
def test_jobs_that_are_not_there_yet_are_counted_in_words(slots, words):
    scaler, _, _ = made(FakeCluster())
    scaler.scale(slots)
    assert scaler.pending().startswith(words)


def test_jobs_of_several_processes_are_counted_as_jobs():
    cluster = FakeCluster()
    scaler, _, _ = made(cluster, cores=8)
    scaler.scale(17)
    assert len(cluster.worker_spec) == 3
