"""What tests of watching share: a clock, a project's side of growing, and comparisons."""

import numpy as np

from latticework.io.growth_store import apply_growth
from latticework.io.watch_known import presence_of
from latticework.io.watching import watch_folder
from latticework.lattice import Box
from latticework.lattice.states import State


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Live:
    """A lattice that takes up what a watcher finds, as a project does."""

    def __init__(self, path, *, watch=watch_folder, known=None, **options):
        self.clock = Clock()
        self.watcher = watch(path, clock=self.clock, notify="poll", **options)
        self.lattice = known
        self.notes = []
        self.replaced = []
        self.ended = False
        self.held = {}

    def look(self, seconds=3.0):
        """One look after some seconds; what it found."""
        self.clock.now += seconds
        found = self.watcher.poll(self.lattice)
        self.notes += found.notes
        self.ended |= found.ended
        self.held = {held.path.name: held.why for held in found.held}
        if found.growth is not None:
            self.take(found.growth)
        return found

    def take(self, growth):
        if growth.replaced is not None:
            self.replaced += np.asarray(growth.replaced[0]).tolist()
        if self.lattice is None:
            self.lattice = growth.tiles
        else:
            self.lattice = apply_growth(self.lattice, growth)

    def settle(self, looks=3):
        for _ in range(looks):
            self.look()
        return self

    @property
    def names(self):
        return [] if self.lattice is None else [str(name) for name in self.lattice.names]

    @property
    def there(self):
        return presence_of(self.lattice) == State.COMPLETE


def tile_facts(lattice):
    """Place, problem and pixels of every tile that is there, by name."""
    there = presence_of(lattice) == State.COMPLETE
    facts = {}
    for tile in lattice:
        if not there[tile.id]:
            continue
        problem = tile.problem is not None
        pixels = None if problem else lattice.source.read(tile.id, Box.whole(tile.shape)).tobytes()
        labels = {d: v for d, v in tile.labels.items() if len(lattice.labels[d]) > 1}
        position = {a: round(v, 3) for a, v in tile.position_um.items() if a in lattice.step_px}
        facts[tile.name] = (labels, position, problem, pixels)
    return facts


def assert_same(watched, opened):
    """The watched lattice is the one that `open_tiles` gives, but for the numbers of tiles."""
    mine, theirs = tile_facts(watched), tile_facts(opened)
    assert mine.keys() == theirs.keys()
    for name, facts in theirs.items():
        assert mine[name][0] == facts[0], name
        assert mine[name][2:] == facts[2:], name
    steps = {axis: step for axis, step in watched.step_px.items() if axis in opened.step_px}
    assert steps == dict(opened.step_px)
    assert dict(watched.pixel_size_um) | dict(opened.pixel_size_um) == dict(watched.pixel_size_um)
    assert watched.channels == opened.channels
