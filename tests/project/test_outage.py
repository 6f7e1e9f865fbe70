"""When a run waits for a disk, for how long, and whom it blames: with a clock of its own."""

import errno
import json

import pytest

from latticework.io.trouble import Trouble, total_bytes
from latticework.project.outage import SLOWEST, STRIKES, Limits, Outage, read_outage
from latticework.stages.paths import outage_file

EVERY = 5.0


class World:
    """A disk, a clock and a run, each as a test says."""

    def __init__(self, folder):
        self.folder, self.now, self.free, self.ends = folder, 0.0, 10, False
        self.margin = min(2**20, total_bytes(folder) // 20)
        self.outage = Outage(
            folder,
            folder / "staging",
            lambda: self.ends,
            Limits(self.margin, EVERY),
            clock=lambda: self.now,
            sleep=self.sleep,
            free=lambda _path: self.free,
        )
        self.said = []
        self.outage.say = self.said.append
        self.in_sleep = lambda: None

    def sleep(self, seconds):
        self.now += seconds
        self.in_sleep()

    def seconds_until_it_ends(self):
        begun = self.now
        while self.outage.on:
            self.now += 1
            self.outage.look()
        return self.now - begun

    def full(self, path=None, free=10):
        return Trouble(True, "No space left on device", str(path or self.folder / "a"), free)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_it_goes_on_when_there_is_the_margin_more_than_there_was(world):
    assert world.outage.begin(world.full())
    assert not world.outage.begin(world.full())
    world.free = 10 + world.margin - 1
    world.now = 100
    world.outage.look()
    assert world.outage.on
    world.free += 1
    world.outage.look()
    assert world.outage.on  # it has just looked
    assert world.seconds_until_it_ends() == EVERY
    assert [text.split(":")[0] for text in world.said] == ["paused", "resumed"]


def test_an_image_beside_the_project_waits_for_room_and_for_more_where_that_did_not_do(
    tmp_path,
):
    (tmp_path / "brain.lw").mkdir()
    (tmp_path / "brain.ome.zarr.part").mkdir()
    world = World(tmp_path / "brain.lw")
    for times in (1, 2, 4, 4):
        world.free = 10
        assert world.outage.begin(world.full(tmp_path / "brain.ome.zarr.part" / "0"))
        world.free, world.now = 10 + times * world.margin - 1, world.now + 100
        world.outage.look()
        assert world.outage.on
        world.free, world.now = world.free + 1, world.now + 100
        world.outage.look()
        assert not world.outage.on
    world.outage.went_well()
    world.outage.begin(world.full())
    world.free, world.now = 10 + world.margin, world.now + 100
    world.outage.look()
    assert not world.outage.on


def test_a_disk_of_a_worker_is_tried_again_more_and_more_rarely_until_something_is_made(world):
    waits = []
    for _ in range(7):
        world.outage.begin(world.full("/scratch/of/a/node", free=None))
        waits.append(world.seconds_until_it_ends())
    assert waits[:4] == [EVERY, 2 * EVERY, 4 * EVERY, 8 * EVERY]
    assert waits[4:] == [SLOWEST * EVERY] * 3
    world.outage.went_well()
    world.outage.begin(world.full("/scratch/of/a/node", free=None))
    assert world.seconds_until_it_ends() == EVERY


def test_nobody_is_blamed_for_a_full_disk_but_whoever_finds_one_where_there_is_room(world):
    assert not any(world.outage.strike(1, 7, world.full(free=0)) for _ in range(10 * STRIKES))
    roomy = world.full(free=100 * world.margin)
    assert [world.outage.strike(1, 7, roomy) for _ in range(STRIKES + 1)] == [False] * STRIKES + [
        True
    ]
    assert not world.outage.strike(1, 8, roomy)
    closed = Trouble(False, "Permission denied", str(world.folder), 10**12)
    assert not any(world.outage.strike(1, 9, closed) for _ in range(10 * STRIKES))


def test_a_late_report_of_a_disk_that_has_room_by_now_pauses_nothing(world):
    full = world.full(free=10)
    assert not world.outage.is_late(1, 7, full)  # it has none now, either
    world.free = 10 + 2 * world.margin
    assert world.outage.is_late(1, 7, full)
    assert not world.outage.is_late(1, 7, world.full("/scratch/of/a/node"))
    assert world.outage.is_late(1, 7, full)
    assert not world.outage.is_late(1, 7, full)  # it looks otherwise where it runs
    assert world.outage.is_late(1, 8, full)
    world.outage.begin(world.full(free=world.free))
    assert not world.outage.is_late(1, 9, full)


def test_a_step_waits_for_room_and_is_tried_again(world):
    def make_room():
        world.free = 10**12 if world.now > 60 else 10

    world.in_sleep = make_room
    assert world.outage.bear(OSError(errno.ENOSPC, "no", str(world.folder / "a")))
    assert 60 < world.now < 60 + 2 * EVERY
    assert not world.outage.on


def test_a_step_that_is_not_allowed_is_tried_again_itself(world):
    assert world.outage.bear(PermissionError(errno.EACCES, "no", str(world.folder / "a")))
    assert world.now == pytest.approx(EVERY, abs=1)
    assert "cannot be written" in world.outage.text
    assert world.seconds_until_it_ends() <= EVERY


def test_a_step_is_given_up_when_the_run_is_told_to_stop(world):
    world.in_sleep = lambda: setattr(world, "ends", world.now > 30)
    assert not world.outage.bear(OSError(errno.ENOSPC, "no"))
    assert world.outage.gave_up


def test_other_errors_are_not_waited_for(world):
    assert not world.outage.bear(ValueError("no"))
    assert (world.now, world.outage.on, world.outage.gave_up) == (0, False, False)
    with pytest.raises(OSError, match="lost"), world.outage.noted():
        raise OSError(errno.EIO, "lost")


def test_other_processes_read_why_and_no_file_grows_for_that(world):
    file = outage_file(world.folder)
    size = file.stat().st_size
    assert read_outage(world.folder) == ""
    world.outage.begin(world.full())
    assert read_outage(world.folder) == world.outage.text != ""
    assert file.stat().st_size == size
    world.free = 10**12
    world.outage.look_now()
    assert read_outage(world.folder) == ""
    file.write_text("no JSON")
    assert read_outage(world.folder) == ""
    file.write_text(json.dumps([1]))
    assert read_outage(world.folder) == ""
