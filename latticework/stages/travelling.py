"""How the user's code travels to the workers, so that its tracebacks still show its lines.

cloudpickle carries functions of notebooks and of one's own modules by value. Since version 3.1.3 it
drops the name of the file that they come from, which a traceback needs; and the lines of a
notebook's cell are known to the notebook's process alone. Here both come along.
"""

import io
import linecache
import os
from collections.abc import Callable
from types import CodeType
from typing import Any

import cloudpickle

LONGEST_SOURCE = 200_000
"""Characters of a source that is in no file, up to which it comes along."""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's, for code that knows where it comes from."""

    def __init__(self, file: io.BytesIO) -> None:
        self.dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({CodeType: self._code})
        self._sources: dict[str, str] = {}
        super().__init__(file)

    def _code(self, code: CodeType) -> tuple[Callable[..., CodeType], tuple[Any, ...]]:
        make, parts = cloudpickle.Pickler.dispatch_table[CodeType](code)
        name = code.co_filename
        if name not in self._sources:  # one object for all of a file's code: pickled once
            self._sources[name] = _source_that_is_in_no_file(name)
        return _code_from, (name, self._sources[name], make, *parts)


def dumps(value: Any) -> bytes:
    """Pickle a value; functions keep the names of their files and, in a notebook, their lines.

    Parameters
    ----------
    value
        Anything that cloudpickle takes.

    Examples
    --------
    >>> import pickle
    >>> square = eval(compile("lambda tile: tile**2", "brain.ipynb", "eval"))
    >>> pickle.loads(dumps(square)).__code__.co_filename
    'brain.ipynb'
    """
    with io.BytesIO() as file:
        _Pickler(file).dump(value)
        return file.getvalue()


def _source_that_is_in_no_file(name: str) -> str:
    if os.path.exists(name):  # noqa: PTH110  any text, such as "<stdin>"
        return ""
    source = "".join(linecache.getlines(name))
    return source if len(source) <= LONGEST_SOURCE else ""


def _code_from(name: str, source: str, make: Callable[..., CodeType], *parts: Any) -> CodeType:
    """Code as it was, in a process that may not have seen its source."""
    if source and name not in linecache.cache:
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return make(*parts).replace(co_filename=name)


__all__ = ["dumps"]
