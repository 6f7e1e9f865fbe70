"""Data of figures: only what has changed is sent to the browser."""

from collections.abc import Mapping

import numpy as np
from bokeh.models import ColumnDataSource

MOST_PATCHES = 0.5
"""Share of the values from which on all of them are sent."""


def send(source: ColumnDataSource, columns: Mapping[str, np.ndarray], *, by: str) -> str:
    """Give a source other values, and send only those that are other.

    Where the rows have moved on along one column (times of which the first have gone and later
    ones have come), the new rows are streamed; single values that differ are patched.

    Parameters
    ----------
    source
        What a figure shows.
    columns
        Its new values: arrays of one length.
    by
        The column that tells which row is which, such as times.

    Returns
    -------
    str
        What was sent: ``"nothing"``, ``"patch"``, ``"stream"``, or ``"all"``.

    Examples
    --------
    >>> source = ColumnDataSource({"at": np.arange(4), "n": np.array([1, 2, 3, 4])})
    >>> send(source, {"at": np.arange(1, 5), "n": np.array([2, 3, 5, 1])}, by="at")
    'stream'
    >>> source.data["at"].tolist(), source.data["n"].tolist()
    ([1, 2, 3, 4], [2, 3, 5, 1])
    >>> send(source, {"at": np.arange(1, 5), "n": np.array([2, 3, 5, 2])}, by="at")
    'patch'
    """
    new = {name: np.asarray(values) for name, values in columns.items()}
    old = {name: np.asarray(source.data[name]) for name in new if name in source.data}
    n = len(new[by])
    gone = _moved_on(old.get(by), new[by])
    if gone is None or set(old) != set(source.data) or set(old) != set(new):
        source.data = dict(new)
        return "all"
    kept = len(old[by]) - gone
    came = n - kept
    changed = {name: _changes(old[name][gone:], new[name][:kept]) for name in new}
    if sum(map(len, changed.values())) > MOST_PATCHES * kept * len(new):
        source.data = dict(new)
        return "all"
    if came or gone:
        if not came:  # a stream of nothing would drop nothing
            source.data = dict(new)
            return "all"
        source.stream({name: values[kept:] for name, values in new.items()}, rollover=n)
    patches = {
        name: [(int(k), new[name][k].item()) for k in rows]
        for name, rows in changed.items()
        if len(rows)
    }
    if patches:
        source.patch(patches)
    return "stream" if came else "patch" if patches else "nothing"


def _moved_on(old: np.ndarray | None, new: np.ndarray) -> int | None:
    """How many of the first rows have gone; None if the rows are others altogether."""
    if old is None or not len(old) or not len(new):
        return None
    found = np.flatnonzero(old == new[0])
    if len(found) != 1:
        return None
    gone = int(found[0])
    kept = len(old) - gone
    return gone if kept <= len(new) and np.array_equal(old[gone:], new[:kept]) else None


def _changes(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Rows of which the value is another one."""
    same = old == new
    if old.dtype.kind == "f" and new.dtype.kind == "f":
        same |= np.isnan(old) & np.isnan(new)
    return np.flatnonzero(~same)
