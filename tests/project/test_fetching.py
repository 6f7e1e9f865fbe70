"""Reports of batches are fetched in bounded time, and none takes another along."""

from concurrent.futures import CancelledError

import pytest

from latticework.project.fetching import fetched


def fail(value):
    raise ValueError(value)


def come_back(*futures):
    for future in futures:
        future.exception()


def test_a_fetch_that_takes_too_long_leaves_later_ones_unharmed(local_client):
    """A busy machine: Dask's own requests wait for their turn, and are given up on."""
    futures = [local_client.submit(abs, -n, pure=False) for n in range(8)]
    come_back(*futures)

    async def turns(taken):
        for _ in range(5):
            if taken:
                await local_client._gather_semaphore.acquire()
            else:
                local_client._gather_semaphore.release()

    local_client.sync(turns, True)
    for future in futures[:4]:
        with pytest.raises(TimeoutError):
            fetched(future, 0.05)
    local_client.sync(turns, False)
    assert [fetched(future, 10) for future in futures] == list(range(8))


def test_what_a_task_raised_or_that_it_was_cancelled_is_told(local_client):
    failed = local_client.submit(fail, "no file", pure=False)
    come_back(failed)
    with pytest.raises(ValueError, match="no file"):
        fetched(failed, 10)
    cancelled = local_client.submit(abs, -1, pure=False)
    come_back(cancelled)
    cancelled.cancel()
    with pytest.raises(CancelledError):
        fetched(cancelled, 10)
