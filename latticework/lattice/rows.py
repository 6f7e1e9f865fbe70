"""Arrays with one row per tile that grow at their end without being copied each time."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

SPARE_ROWS = 64
"""Room for at least so many rows more, when rows move to a new place in memory."""


class _Buffer:
    """Memory with room for rows to come, and how many are taken."""

    __slots__ = ("array", "lock", "used")

    def __init__(self, array: np.ndarray, used: int) -> None:
        self.array = array
        self.used = used
        self.lock = threading.Lock()


class GrowingRows:
    """Rows that stay as they are, from which longer ones are made cheaply; a value.

    ::

        a = GrowingRows([1, 2, 3])      memory:  1 2 3 · · · ·     a.rows is the first three
        b = a.with_rows([4])                     1 2 3 4 · · ·     b.rows the first four
        c = a.with_rows([9])            its own: 1 2 3 9 · · ·     the room behind a is taken

    The room doubles when it is used up, so that a row is copied about once in its life.

    Examples
    --------
    >>> a = GrowingRows(np.array([1, 2, 3]))
    >>> b, c = a.with_rows([4]), a.with_rows([9])
    >>> a.rows.tolist(), b.rows.tolist(), c.rows.tolist()
    ([1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 9])
    """

    __slots__ = ("_buffer", "rows")

    rows: np.ndarray
    """The rows, not writable."""

    def __init__(self, rows: Any, _buffer: _Buffer | None = None) -> None:
        view = np.asarray(rows).view()
        view.setflags(write=False)
        self.rows = view
        self._buffer = _buffer

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return GrowingRows, (self.rows,)

    def with_rows(self, new: Any) -> "GrowingRows":
        """These rows and `new` ones behind them."""
        n, total = len(self), len(self) + len(new)
        buffer = self._buffer
        if buffer is not None:
            with buffer.lock:
                if buffer.used == n and total <= len(buffer.array):
                    buffer.array[n:total] = new
                    buffer.used = total
                    return GrowingRows(buffer.array[:total], buffer)
        moved = self._moved(total)
        moved.array[n:total] = new
        return GrowingRows(moved.array[:total], moved)

    def changed(self, where: Any, values: Any) -> "GrowingRows":
        """As many rows, of which those at `where` have new values."""
        moved = self._moved(len(self))
        moved.array[: len(self)][where] = values
        return GrowingRows(moved.array[: len(self)], moved)

    def _moved(self, total: int) -> _Buffer:
        """A copy with room for `total` rows and as many again."""
        shape = (total + max(total, SPARE_ROWS), *self.rows.shape[1:])
        array = np.empty(shape, self.rows.dtype)
        array[: len(self)] = self.rows
        return _Buffer(array, total)


class GrownNames(Sequence[str]):
    """Names that were there, however they are kept, and those that joined them.

    Examples
    --------
    >>> names = GrownNames(["a", "b"]).with_names(["c"])
    >>> names[2], len(names), np.asarray(names).tolist()
    ('c', 3, ['a', 'b', 'c'])
    """

    __slots__ = ("_head", "_tail")

    def __init__(self, head: Any, tail: GrowingRows | None = None) -> None:
        self._head = head
        self._tail = GrowingRows(np.empty(0, dtype=object)) if tail is None else tail

    def with_names(self, new: Any) -> "GrownNames":
        """These names and `new` ones behind them."""
        return GrownNames(self._head, self._tail.with_rows(np.asarray(new, dtype=object)))

    def __len__(self) -> int:
        return len(self._head) + len(self._tail)

    def __iter__(self) -> Iterator[str]:
        yield from self._head
        yield from self._tail.rows

    def __getitem__(self, row: Any) -> Any:
        if not isinstance(row, int | np.integer):
            return np.asarray(self)[row]
        row = range(len(self))[row]
        split = len(self._head)
        return str(self._head[row] if row < split else self._tail.rows[row - split])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        head = np.asarray(self._head, dtype=object)
        return np.concatenate([head, self._tail.rows]).astype(dtype or object, copy=False)
