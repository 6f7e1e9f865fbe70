"""Whatever users, workers and microscopes do, and in whatever order, nothing is lost or stuck."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import latticework as lw
from latticework.errors import LatticeworkError
from latticework.io.growth_store import Growth
from latticework.io.memory import MemorySource
from latticework.lattice import Lattice
from latticework.lattice.states import State
from latticework.project.desk import Desk
from latticework.project.growing import grow_project
from tests.project.digests import digest, smear
from tests.project.running import MEMORY
from tests.project.stepping import Session

BLOCKS = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 6, "x": 3}, dtype="u2")
MISSING = ("wait", "run", "absent")
MENU = {
    "flat": (digest, ["source"], lambda _: {}),
    "smear": (smear, ["source"], lambda m: {"overlap": 1, "reads": lw.same_tile(missing=m)}),
    "right": (digest, ["flat"], lambda m: {"reads": lw.neighbours("+x", missing=m)}),
    "below": (digest, ["smear"], lambda m: {"reads": lw.neighbours("+y", missing=m)}),
    "row": (digest, ["flat"], lambda m: {"reads": lw.plane("y", missing=some(m))}),
    "blocks": (
        digest,
        ["smear"],
        lambda m: {"reads": lw.intersecting(BLOCKS, missing=some(m))},
    ),
    "total": (digest, ["right"], lambda m: {"reads": lw.all_tiles(missing=some(m))}),
    "mixed": (
        digest,
        ["flat", "smear", "row"],
        lambda m: {"reads": {"smear": lw.neighbours("+y", "-x", missing=m)}},
    ),
    "back": (
        digest,
        ["flat", "blocks"],
        lambda m: {"reads": {"blocks": lw.intersecting(missing=some(m))}},
    ),
    "after": (digest, ["below", "total"], lambda _: {}),
    "last": (digest, ["row", "blocks"], lambda m: {"reads": lw.all_tiles(missing=some(m))}),
}
"""Stages by name: callable, parents, and options for what is to be done about what is missing."""

BUDGETS = (
    {"exception": lw.Again(1, wait_s=30), "memory": 0},
    {"exception": {"times": 2, "wait_s": 5}, "in_all": 2},
    {"exception": 0},
)

names = st.sampled_from(sorted(MENU))
missings = st.sampled_from(MISSING)
numbers = st.integers(0, 30)
places = st.tuples(st.integers(0, 2), st.integers(0, 2))


def some(missing):
    return "run" if missing == "run" else "wait"


def tiles(where, pixels):
    """Tiles of 2 x 2 pixels at some places (y, x) of a grid."""
    place = np.array(where)
    used = [np.arange(column.min(), column.max() + 1) for column in place.T]
    return Lattice(
        dims=("tile_y", "tile_x"),
        labels={"tile_y": used[0], "tile_x": used[1]},
        index=place - place.min(axis=0),
        tile_dims=("y", "x"),
        tile_shape=(2, 2),
        dtype="u2",
        step_px={"y": 2, "x": 2},
        position_um=place * 2.0,
        names=[f"at {y} {x}" for y, x in where],
        source=memory(pixels),
    )


def memory(pixels):
    return MemorySource([np.full((2, 2), value, "u2") for value in pixels])


def then(**drawn):
    """A rule after which workers may have some time."""

    def decorate(happens):
        def happens_then(self, days, **given):
            happens(self, **given)
            self.pass_days(days)

        happens_then.__name__ = happens.__name__
        return rule(days=st.sampled_from([0, 0, 1, 2, 4]), **drawn)(happens_then)

    return decorate


class Life(RuleBasedStateMachine):
    """A project with a coordinator, workers, a microscope and a user, all without a plan."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.pixels = 0
        self.session = None

    def teardown(self):
        try:
            if self.session is not None:
                self.conclude()
        finally:
            if self.session is not None and self.session.coordinator is not None:
                self.session.crash()
            self.folder.cleanup()

    def pixel(self):
        self.pixels += 1
        return self.pixels

    @property
    def project(self):
        return self.session.project

    @initialize(
        where=st.lists(places, min_size=1, max_size=5, unique=True),
        stages=st.lists(names, min_size=1, max_size=6),
        missing=missings,
        slots=st.integers(1, 2),
        going_on=st.sampled_from([False, False, True]),
    )
    def create(self, where, stages, missing, slots, going_on):
        path = Path(self.folder.name) / "life.lw"
        lw.create(path, tiles(where, [self.pixel() for _ in where]))
        self.session = Session(path, slots)
        self.project.ask("open acquisition", {})
        if not going_on:
            self.project.ask("end acquisition", {})
        for name in stages:
            self._add(name, missing, 0, None)
        self.session.begin()

    def _add(self, name, missing, salt, bad):
        function, parents, options = MENU[name]
        for parent in parents:
            if parent != "source" and parent not in self.project.stages:
                self._add(parent, missing, 0, None)
        more = {"salt": salt} | ({"bad": bad} if bad is not None and function is digest else {})
        self.project.add(function, name=name, after=parents, params=more, **options(missing))

    # ---------------------------------------------------------------- users

    @then(name=names, missing=missings, salt=st.integers(0, 2), bad=st.sampled_from([None, 0, 1]))
    def add(self, name, missing, salt, bad):
        try:
            self._add(name, missing, salt, bad)
        except LatticeworkError:
            return  # a removed parent left its reader with others

    @then(number=numbers, salt=st.integers(0, 2), bad=st.sampled_from([None, None, 0, 1]))
    def change(self, number, salt, bad):
        name = self._stage(number)
        if name is not None:
            more = {} if name == "smear" else {"bad": bad}
            self.project.change(name, salt=salt, **more)

    @then(number=numbers, retries=st.integers(0, 2) | st.sampled_from(BUDGETS))
    def change_retries(self, number, retries):
        name = self._stage(number)
        if name is not None:
            self.project.change(name, retries=retries)

    @then(number=numbers, children=st.sampled_from(["reparent", "remove"]), outputs=st.booleans())
    def remove(self, number, children, outputs):
        name = self._stage(number)
        if name is None:
            return
        try:
            self.project.remove(name, children=children, outputs=outputs)
        except LatticeworkError:
            assert children == "reparent"  # the readers cannot read its parents

    def _stage(self, number):
        stages = self.project.stages
        return stages[number % len(stages)] if stages else None

    @then(number=numbers, on=st.sampled_from([True, False, False]))
    def pause(self, number, on):
        name = self._stage(number)
        names = [name] if number % 3 and name else []
        if on:
            self.project.pause(*names)
        else:
            self.project.resume(*names)
            self.project.resume()

    @then(number=numbers, unit=st.integers(0, 3) | st.none(), failed=st.booleans())
    def retry(self, number, unit, failed):
        name = self._stage(number)
        if name is not None and self._has(name, unit):
            self.project.retry(name, unit, failed=failed)

    @then(number=numbers, unit=st.integers(0, 3) | st.none())
    def cancel(self, number, unit):
        name = self._stage(number)
        if name is not None and self._has(name, unit):
            self.project.cancel(name, unit)

    def _has(self, name, unit):
        return unit is None or unit < len(self.project.pipeline[name].units)

    @then(labels=st.lists(st.integers(0, 2), max_size=2, unique=True), there=st.booleans())
    def skip(self, labels, there):
        if there:
            self.project.skip(y=labels)
        else:
            self.project.unskip(y=labels or None)

    @then(first=st.sampled_from([None, None, 0, 1, 2]))
    def region(self, first):
        self.project.choose_region(**({} if first is None else {"x": slice(first, None)}))

    @then(how=st.sampled_from([{}, {"preview": 2}, {"order": "planes", "axis": "y"}, {"x": 1}]))
    def prioritise(self, how):
        self.project.prioritise(**how)

    # ---------------------------------------------------------------- the microscope

    @then(where=st.lists(places, min_size=1, max_size=3, unique=True), announced=st.booleans())
    def arrive(self, where, announced):
        lattice = self.project.lattice
        taken = {tuple(tile.labels.values()) for tile in map(lattice.tile, range(len(lattice)))}
        where = [place for place in where if place not in taken]
        if not where:
            return
        presence = None
        if announced:
            presence = ([len(lattice)], [State.WAITING])
        self._grow(Growth(tiles(where, [self.pixel() for _ in where]), presence=presence))

    @then(number=numbers)
    def replace(self, number):
        self._grow(Growth(replaced=([number % len(self.project.lattice)], memory([self.pixel()]))))

    @then(number=numbers, what=st.sampled_from([State.WAITING, State.COMPLETE]))
    def appear(self, number, what):
        self._grow(Growth(presence=([number % len(self.project.lattice)], [what])))

    @then(number=numbers, back=st.booleans())
    def withdraw(self, number, back):
        tile = number % len(self.project.lattice)
        if back:
            self.project.reinstate(tile)
        else:
            self.project.withdraw(tile)

    @then(end=st.sampled_from([True, True, False]))
    def acquisition(self, end):
        self.project.ask("end acquisition" if end else "open acquisition", {})

    def _grow(self, growth):
        if self.session.coordinator is not None:
            grow_project(self.session.coordinator, growth)
            return
        with self.project.lock().held():
            grow_project(Desk(self.project), growth)
            self.project.close_writer()
            self.project.seen_now()

    # ---------------------------------------------------------------- workers

    def runs(self):
        return self.session is not None and self.session.coordinator is not None

    @precondition(runs)
    @rule()
    def send(self):
        self.session.send()

    @precondition(runs)
    @rule(number=numbers)
    def worker_begins(self, number):
        for batch, _ in self._one_out(number):
            self.session.tell_started(batch)

    @precondition(runs)
    @rule(number=numbers, bad=st.sets(st.integers(0, 3), max_size=2))
    def worker_ends(self, number, bad):
        for _, future in self._one_out(number):
            future.compute(bad)

    @precondition(runs)
    @rule(number=numbers, bad=st.sets(st.integers(0, 3), max_size=2), commit=st.booleans())
    def comes_back(self, number, bad, commit):
        for _, future in self._one_out(number):
            future.compute(bad)
            future.become("finished")
        self._take_in(commit)

    @precondition(runs)
    @rule(
        number=numbers, how=st.sampled_from(["died", "died before", "refused", "dropped", "lost"])
    )
    def goes_wrong(self, number, how):
        from distributed import KilledWorker

        for batch, future in self._one_out(number):
            if how == "died":
                batch.started = True
                future.become("error", KilledWorker("task", None, 0))
            elif how == "died before":
                future.become("error", KilledWorker("task", None, 0))
            elif how == "refused":
                future.become("error", ImportError("no such module"))
            else:
                future.become("lost" if how == "lost" else "cancelled")
        self._take_in(False)

    def pass_days(self, rounds):
        """Some rounds in good weather; what comes back last is not looked at yet."""
        for _ in range(rounds if self.runs() else 0):
            self.session.send()
            for batch, future in self.session.out:
                self.session.tell_started(batch)
                self.session.take_in()
                future.compute()
                future.become("finished")

    @precondition(runs)
    @rule(rounds=st.integers(1, 6), look=st.booleans())
    def good_days(self, rounds, look):
        self.pass_days(rounds)
        if look:
            self._take_in(rounds % 2 > 0)

    def _one_out(self, number):
        if not self.session.out:
            self.session.take_in()
            self.session.send()
        out = self.session.out
        return [out[number % len(out)]] if out else []

    def _take_in(self, commit):
        self.session.take_in()
        if commit:
            self.session.commit()

    @rule(seconds=st.sampled_from([1, 20, 100]))
    def time_passes(self, seconds):
        if self.session is not None:
            self.session.later_s += seconds

    # ---------------------------------------------------------------- the coordinator

    @precondition(runs)
    @rule()
    def commit(self):
        self.session.commit()

    @precondition(runs)
    @rule(snapshot=st.booleans(), begin=st.booleans())
    def end(self, snapshot, begin):
        if snapshot:
            self.session.coordinator._snapshot()
        self.session.end()
        if begin:
            self.session.begin()

    @rule(begin=st.booleans())
    def crash(self, begin):
        self.session.crash()
        if begin:
            self.session.begin()

    @precondition(lambda self: self.session is not None and not self.runs())
    @rule()
    def begin(self):
        self.session.begin()

    # ---------------------------------------------------------------- what holds

    @invariant()
    def all_is_well(self):
        if self.session is None:
            return
        self.session.check()
        writer = self.project._writer
        if writer is None or not writer._db.in_transaction:
            self.session.check_durable()

    def conclude(self):
        """Everything goes on, and nothing more happens: the same as if it had been so at once."""
        session, project = self.session, self.project
        if session.coordinator is None:
            session.begin()
        for _, future in session.out:
            future.become("cancelled")
        session.take_in()
        for stage in project.stages:
            project.resume(stage)
        project.resume()
        project.ask("end acquisition", {})
        awaited = np.flatnonzero(session.pipeline["source"].presence == State.WAITING)
        if len(awaited):
            self._grow(Growth(presence=(awaited, np.full(len(awaited), State.COMPLETE, "u1"))))
        project.retry()
        session.check()
        session.finish()
        session.check()
        session.commit()
        session.check_durable()
        mine = session.made()
        for node in session.pipeline:
            assert not np.isin(node.units.state, [1, 2, 3, 8]).any(), f"{node.name} is not done"
        ended = project.query(
            "select max(n) from (select count(*) n from attempts group by stage, unit, attempt)"
        )
        assert ended[0][0] in (None, 1), "an attempt was recorded twice"
        assert mine == self._at_once(project)

    def _at_once(self, project):
        """What a new project of the same tiles makes of the same stages."""
        path = Path(self.folder.name) / "at once.lw"
        lw.create(path, project.lattice)
        other = Session(path)
        try:
            other.project.ask("open acquisition", {})
            other.project.ask("end acquisition", {})
            settings = project.settings
            if settings.skipped:
                other.project.skip(y=list(settings.skipped["tile_y"]))
            if settings.region:
                other.project.ask("region", {"bounds": settings.region})
            for node in project.pipeline:
                if node.key.startswith("own:"):
                    other.project.keep_own_lattice(node.key, node.lattice)
                other.project.add(node.stage, after=list(node.parents))
            other.begin()
            other.finish()
            return other.made()
        finally:
            other.crash()


USUAL = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    max_examples=25,
    stateful_step_count=25,
)


def test_a_project_lives_through_anything():
    run_state_machine_as_test(Life, settings=USUAL)


def test_what_is_current_again_stays_though_workers_died_in_between():
    """A change makes a reduction stale, its worker dies twice, and the change is taken back."""
    life = Life()
    where = [(1, 0), (0, 1), (2, 0), (0, 0), (2, 1)]
    life.create(where=where, slots=2, going_on=False, stages=["after"] * 4, missing="wait")
    life.region(days=4, first=None)
    life.cancel(days=0, number=0, unit=0)
    life.replace(days=4, number=0)
    life.region(days=0, first=1)
    for _ in range(2):
        life.goes_wrong(how="died", number=0)
        life.all_is_well()
    life.region(days=2, first=None)
    life.all_is_well()
    life.teardown()


@pytest.mark.slow
def test_a_project_lives_through_anything_for_long():
    run_state_machine_as_test(
        Life, settings=settings(USUAL, max_examples=120, stateful_step_count=40)
    )
