"""A coordinator that is taken through its work step by step, and what must hold after each."""

import contextlib
import dataclasses
import time
from concurrent.futures import CancelledError

import numpy as np

import latticework as lw
from latticework.lattice.states import ACTIVE, BROKEN, State
from latticework.project import running
from latticework.project.coordinator import Coordinator
from latticework.project.delays import Delays
from latticework.project.deriving import left_out
from latticework.project.pipeline import Pipeline
from tests.project.running import Fetches
from tests.project.weather import WEATHER

FACTS = ("mark", "tries", "published", "fingerprint")


class Later:
    """A future whose fate the test decides."""

    client = Fetches()

    def __init__(self, function, arguments):
        self.function, self.arguments = function, arguments
        self.status, self.value, self.error = "pending", None, None
        self.callbacks = []

    def compute(self, bad=()):
        """A worker does it, but nobody knows yet."""
        if self.value is None:
            WEATHER.forecast(bad)
            self.value = self.function(*self.arguments)

    def become(self, status, error=None):
        if self.status in ("pending", "lost"):
            self.status, self.error = status, error
            self._tell()

    def _tell(self):
        for callback in self.callbacks:
            callback(self)

    def result(self):
        if self.status != "finished":
            raise CancelledError
        return self.value

    def exception(self):
        return self.error

    def release(self):
        pass

    def cancel(self):
        self.become("cancelled")

    def add_done_callback(self, callback):
        self.callbacks.append(callback)


class SteppedClient:
    """As much of a Dask client as the coordinator uses; does nothing by itself."""

    status = "running"

    def __init__(self, slots=1):
        self.slots, self.workers = slots, slots

    def nthreads(self):
        return {f"here-{k}": self.slots // self.workers for k in range(self.workers)}

    def subscribe_topic(self, topic, handler):
        pass

    def unsubscribe_topic(self, topic):
        pass

    def submit(self, function, *arguments, **_options):
        return Later(function, arguments)

    def run(self, function, *arguments, **_options):
        with contextlib.closing(function(*arguments)) as called, contextlib.suppress(StopIteration):
            called.send(None)  # as an event loop does


class Session:
    """A project and perhaps its coordinator, which does only what it is told to."""

    def __init__(self, path, slots=2):
        self.path, self.client = path, SteppedClient(slots)
        self.project = lw.open_project(path)
        self.coordinator = None
        self.later_s = 0.0

    @property
    def pipeline(self):
        return self.project.pipeline

    @property
    def out(self):
        """Batches that are out, with their futures."""
        return [] if self.coordinator is None else list(self.coordinator.flying.values())

    # ---------------------------------------------------------------- begin and end

    def begin(self):
        """As `Project.run` does, up to where the loop begins."""
        project = self.project
        project.lock().acquire()
        running.refresh_code(project)
        self.coordinator = project.coordinator = Coordinator(project, self.client, stay=True)
        self.coordinator.states.begin()
        self.coordinator.care.delays = Delays(self.coordinator, self.clock)
        self.coordinator.care.delays.begin()

    def clock(self):
        """The time, some of which may have been skipped."""
        return time.time() + self.later_s

    def end(self):
        """As when a run is stopped and does not wait."""
        project = self.project
        self.coordinator._land()
        project.close_writer()
        self.coordinator = project.coordinator = None
        project.seen_now()
        project.lock().release()

    def crash(self):
        """As when the process is killed: what was not committed is gone."""
        project = self.project
        if self.coordinator is not None:
            self.coordinator._janitor.shutdown()
            if project._writer is not None:
                database = project._writer._db
                if database.in_transaction:
                    database.rollback()
                database.close()
            project._writer = self.coordinator = project.coordinator = None
            project.lock().release()
        self.reopen()

    def reopen(self):
        self.project._journal.close()
        self.project = lw.open_project(self.path)

    # ---------------------------------------------------------------- steps

    def send(self):
        self.coordinator.look_at_slots()
        self.coordinator._look_at_pools()
        self.coordinator.care.delays.release()
        before = set(self.coordinator.flying)
        self.coordinator.sender.send()
        for number in set(self.coordinator.flying) - before:
            self.check_sent(self.coordinator.flying[number][0])

    def take_in(self):
        """Look at everything that has come back."""
        coordinator = self.coordinator
        for number in coordinator._lost:
            coordinator.events.put(("done", number))
        coordinator._lost.clear()
        while not coordinator.events.empty():
            coordinator._collect()

    def commit(self):
        self.coordinator.journal.commit()

    def tell_started(self, batch):
        self.coordinator.events.put(("started", batch.number))

    def finish(self, limit=400):
        """Run to the end in good weather."""
        for _ in range(limit):
            self.send()
            out = self.out
            if not out and any(queue.n_held for queue in self.coordinator.ready.values()):
                self.later_s += 1e6
                continue
            if not out:
                return
            for _, future in out:
                future.compute()
                future.become("finished")
            self.take_in()
        raise AssertionError("it does not end")

    # ---------------------------------------------------------------- what must hold

    def check_sent(self, batch):
        """Nothing current runs, nothing fails more often than it may."""
        node, journal = batch.node, self.coordinator.journal
        assert_ready(self.pipeline, node, batch.units)
        for unit, now in zip(batch.units.tolist(), batch.fingerprints.tolist(), strict=True):
            rows = journal.query(
                "select id, outcome, fingerprint from attempts where stage=? and unit=? "
                "order by id desc",
                (node.id, unit),
            )
            since = max(
                (
                    after
                    for after, units in journal.query(
                        "select after, units from changes where stage=? "
                        "and what in ('retry', 'drop')",
                        (node.id,),
                    )
                    if unit in np.frombuffer(units, "<i8")
                ),
                default=0,
            )
            failures = exceptions = 0
            for id, outcome, fingerprint in rows:
                if id <= since or outcome == 10:
                    break
                if outcome == 1:
                    same = fingerprint & 0xFFFFFFFFFFFFFFFF == now
                    assert not (same and failures == 0), f"{node.name} {unit} was current"
                    break
                if outcome in (2, 3, 4, 6, 7, 8):
                    if fingerprint & 0xFFFFFFFFFFFFFFFF != now:
                        break
                    failures += 1
                    exceptions += outcome == 2
            told = f"{node.name} {unit} failed {failures} times before"
            assert failures <= node.retries, told
            assert exceptions <= node.budgets.exception.times, told

    def check(self):
        """Everything that must hold between two steps."""
        pipeline = self.pipeline
        again = copied(self.project)
        may_run = {}
        again.derive_node(again["source"])
        for node in again:
            may_run[node.name] = np.concatenate([[], *again.derive_node(node)]).astype(int)
        out = {}
        for batch, _ in self.out:
            node = pipeline.nodes.get(batch.stage)
            if node is not None and node.units is batch.node.units:
                out.setdefault(node.name, set()).update(batch.units.tolist())
        for node in pipeline.nodes.values():
            facts, other = node.units, again[node.name].units
            where = node.name
            for name in ("state", *FACTS):
                mine, theirs = getattr(facts, name), getattr(other, name)
                np.testing.assert_array_equal(mine, theirs, err_msg=f"{name} of {where}")
            counts = np.bincount(facts.state, minlength=len(State))
            np.testing.assert_array_equal(facts.tally, counts, err_msg=f"tally of {where}")
            if node.is_source:
                continue
            active = set(np.flatnonzero(np.isin(facts.state, ACTIVE)).tolist())
            assert active == out.get(where, set()), f"{where}: what is out"
            self._check_waiting(node, may_run[where])
            assert_consistent(pipeline, node)

    def _check_waiting(self, node, may_run):
        if self.coordinator is None:
            return
        queue = self.coordinator.ready[node.name]
        members = np.flatnonzero(queue._member).tolist()
        assert len(queue) == len(members)
        suspects = set(self.coordinator.suspects._units[node.name]) | set(
            self.coordinator.outgrown.waiting(node.name)
        )
        held = set(queue._held)
        assert not held & set(members), f"{node.name}: queued though it waits"
        assert set(members) <= set(may_run.tolist()), f"{node.name}: queued but may not run"
        assert set(may_run.tolist()) <= set(members) | suspects | held, f"{node.name}: forgotten"

    def check_durable(self):
        """What another process sees is what is in memory."""
        other = lw.open_project(self.path)
        try:
            mine = copied(self.project, landed=True)
            mine.derive()
            assert set(other.pipeline.nodes) == set(mine.nodes)
            for node in mine.nodes.values():
                theirs = other.pipeline[node.name]
                for name in FACTS:
                    a, b = getattr(node.units, name), getattr(theirs.units, name)
                    np.testing.assert_array_equal(a, b, err_msg=f"{name} of {node.name}, durable")
                np.testing.assert_array_equal(
                    node.units.state, theirs.units.state, err_msg=f"{node.name}, durable"
                )
        finally:
            other._journal.close()

    # ---------------------------------------------------------------- what was made

    def made(self):
        """State and value of every unit, by stage."""
        found = {}
        for node in self.pipeline:
            complete = np.flatnonzero(node.units.state == State.COMPLETE)
            kind = node.output.kind if node.output is not None else None
            if kind == "record":
                values = self.project.records(node, complete)
                values = {unit: values[unit] for unit in complete.tolist()}
            else:
                stage = self.project[node.name]
                values = {u: np.asarray(stage.tile(u)).tolist() for u in complete.tolist()}
            found[node.name] = (node.units.state.tolist(), values)
        return found


def copied(project, *, landed=False):
    """The pipeline made anew from its facts, every edge worked out again."""
    old = project.pipeline
    new = Pipeline(old.lattice, project._load_own_lattice)
    new.open, new.over, new.skipped, new.scope = old.open, old.over, old.skipped, old.scope
    new.extents = old.extents
    for node in old:
        units = node.units.copy()
        if landed:
            active = np.flatnonzero(np.isin(units.state, ACTIVE))
            units.put(active, State.WAITING)
        new.add(dataclasses.replace(node, units=units, edges=[], lattice=new.lattices[node.key]))
    return new


def inputs_in(pipeline, node):
    """For each edge and unit: states of what it reads, without what it leaves out."""
    units = np.arange(len(node.units))
    for edge in node.edges:
        which, read = edge.dependency.inputs(units)
        out = left_out(pipeline, edge, units, which, read)
        if out is not None:
            which, read = which[~out], read[~out]
        yield edge, which, pipeline[edge.parent].units.state[read]


def assert_ready(pipeline, node, units):
    """Everything that these units read is complete."""
    for edge, which, state in inputs_in(pipeline, node):
        bad = np.isin(which, units) & (state != State.COMPLETE)
        assert not bad.any(), f"{node.name} {which[bad]} read {edge.parent} too early"


def assert_consistent(pipeline, node):
    """Complete is published, current and made of what is complete; blocked has a reason."""
    facts, units = node.units, np.arange(len(node.units))
    complete = np.flatnonzero(facts.state == State.COMPLETE)
    if len(complete):
        assert (facts.published[complete] > 0).all(), node.name
        now = pipeline.expected(node, complete)
        np.testing.assert_array_equal(facts.fingerprint[complete], now, err_msg=node.name)
        assert_ready(pipeline, node, complete)
    broken = np.zeros(len(units), dtype=bool)
    for edge in node.edges:
        which, read = edge.dependency.inputs(units)
        state = pipeline[edge.parent].units.state[read]
        np.logical_or.at(broken, which, np.isin(state, BROKEN))
    blocked = facts.state == State.BLOCKED
    assert not (blocked & ~broken).any(), f"{node.name}: blocked by nothing"
