"""The report of a batch that has come back, fetched from the worker that has it.

Dask puts requests for results together, and all of them wait for one task. Where a request is given
up on while that task is under way, as `Future.result(timeout=...)` does when its time is over, the
task is cancelled, and on a busy machine every later request of the client gets the cancelled task
(found with distributed 2026.8; the error is that of its issue 8514, an `UnboundLocalError`). So
nothing is given up on here: who has waited for long enough leaves, and asks again later.
"""

import asyncio
from typing import Any

from distributed import Client


def fetched(future: Any, seconds: float) -> Any:
    """What a finished future has.

    Parameters
    ----------
    future
        Of a `distributed.Client`.
    seconds
        How long to wait at most.

    Raises
    ------
    TimeoutError
        If it has not come until then, or cannot come now, as its worker has gone or other requests
        were given up on: ask again.
    Exception
        What the task has raised; `concurrent.futures.CancelledError` if it was cancelled.

    Examples
    --------
    >>> with Client(processes=False, n_workers=1, dashboard_address=None) as client:
    ...     fetched(client.submit(abs, -3), 10)
    3
    """
    client = future.client
    return client.sync(_within, client, future, seconds)


async def _within(client: Client, future: Any, seconds: float) -> Any:
    asked = asyncio.ensure_future(client.gather(future, asynchronous=True))
    done, _ = await asyncio.wait({asked}, timeout=seconds)
    if not done or asked.cancelled():
        asked.add_done_callback(_let_be)
        raise TimeoutError
    return asked.result()


def _let_be(asked: "asyncio.Future[Any]") -> None:
    """Nobody waits for it any more; an error is none of anybody's, but asyncio would tell it."""
    if not asked.cancelled():
        asked.exception()
