"""What Dask's worker processes do not print: that a heartbeat did not reach a scheduler that left.

When a cluster ends, a heartbeat may be under way, and Dask logs its broken connection as an error,
with a traceback. It is none: if a scheduler is lost in the middle of a run, the worker ends and the
coordinator says so. Dask loads this module in each worker process (``preload``).
"""

import logging

HEARTBEAT = "Failed to communicate with scheduler during heartbeat"


class NoLostHeartbeats(logging.Filter):
    """Lets everything pass but heartbeats whose connection was closed.

    Examples
    --------
    >>> lost = logging.LogRecord("distributed.worker", logging.ERROR, "", 0, HEARTBEAT, (), None)
    >>> lost.exc_info = (ConnectionError, ConnectionError(), None)
    >>> NoLostHeartbeats().filter(lost)
    False
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        kind = record.exc_info[0] if record.exc_info else None
        lost = kind is not None and issubclass(kind, OSError)
        return not (lost and str(record.msg).startswith(HEARTBEAT))


def dask_setup(_worker: object) -> None:
    """Install it; called by Dask where the module is preloaded."""
    logging.getLogger("distributed.worker").addFilter(NoLostHeartbeats())


__all__ = ["NoLostHeartbeats", "dask_setup"]
