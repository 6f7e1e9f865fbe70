"""The rate estimator, with a clock of its own."""

import pytest

from latticework.viz import RateEstimator


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_nothing_is_known_before_the_first_tile(clock):
    speed = RateEstimator(clock=clock)
    assert speed.rate is None
    speed.update(0)
    clock.now += 5
    speed.update(0)
    assert speed.rate is None
    assert speed.time_left(10) is None
    assert speed.time_left(0) == 0


def test_what_was_done_before_is_no_speed(clock):
    speed = RateEstimator(clock=clock)
    speed.update(900_000)
    clock.now += 10
    speed.update(900_020)
    assert speed.rate == pytest.approx(2.0)
    assert speed.time_left(100) == pytest.approx(50.0)


def test_the_recent_past_counts(clock):
    speed = RateEstimator(window_s=30, clock=clock)
    done = 0
    for _ in range(1000):
        speed.update(done)
        clock.now += 0.1
        done += 1
    for _ in range(1000):
        speed.update(done)
        clock.now += 0.1
        done += 10
    assert speed.rate == pytest.approx(100.0, rel=0.05)


def test_slow_tiles_have_a_rate_too(clock):
    speed = RateEstimator(window_s=30, at_least=10, clock=clock)
    for done in range(8):
        speed.update(done)
        clock.now += 300
    speed.update(8)
    assert speed.rate == pytest.approx(1 / 300)


def test_a_stall_slows_the_rate(clock):
    speed = RateEstimator(clock=clock)
    speed.update(0)
    clock.now += 10
    speed.update(100)
    clock.now += 90
    speed.update(100)
    assert speed.rate == pytest.approx(1.0)


def test_waiting_for_inputs_does_not_slow_the_rate(clock):
    speed = RateEstimator(clock=clock)
    speed.update(0, active=False)
    clock.now += 3600
    speed.update(0, active=True)
    clock.now += 10
    speed.update(50, active=True)
    speed.update(50, active=False)
    clock.now += 3600
    speed.update(50, active=True)
    assert speed.rate == pytest.approx(5.0)


def test_tiles_that_run_again_start_the_measurement_anew(clock):
    speed = RateEstimator(clock=clock)
    speed.update(0)
    clock.now += 1
    speed.update(100)
    speed.update(40)
    assert speed.rate is None
    clock.now += 10
    speed.update(60)
    assert speed.rate == pytest.approx(2.0)


def test_memory_is_bounded(clock):
    speed = RateEstimator(clock=clock)
    for done in range(50_000):
        speed.update(done)
        clock.now += 0.001
    assert len(speed._samples) < 200
    assert speed.rate == pytest.approx(1000.0, rel=0.01)
