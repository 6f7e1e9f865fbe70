"""Memory that a worker keeps: large buffers are used again instead of asked for anew."""

import contextlib
import ctypes
import gc
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Options of glibc's ``mallopt``."""
KEEP_BYTES = 256 * 2**20
"""Free memory that a worker keeps at most."""

OLD_LIMIT = 2**25
"""The largest ``M_MMAP_THRESHOLD`` that some versions of glibc take."""


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, up to `KEEP_BYTES`; True if it can.

    Every tile needs buffers of the same sizes. Dask starts workers so that glibc returns each of
    them to the system at once (``MALLOC_TRIM_THRESHOLD_``), and getting them again costs a page
    fault per 4 kB, which more than doubles the time of reading and writing a tile of 16 MB.
    """
    if sys.platform != "linux":
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        if not libc.mallopt(M_MMAP_THRESHOLD, KEEP_BYTES):
            libc.mallopt(M_MMAP_THRESHOLD, OLD_LIMIT)
        libc.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
    except (OSError, AttributeError):
        return False  # another C library: nothing is lost but time
    return True


def give_back_freed_memory() -> None:
    """Give the memory that this process has freed back to the system, as far as it can."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
