"""What a function's code uses beside itself: helper functions and constants of one's own files.

A stage's code is more than its function: where that calls a helper in the same file, and the helper
is changed, what was made with it is stale. Libraries are known by their versions, so only code
outside installed packages is followed, notebooks included.
"""

import inspect
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

_FIXED = (
    str,
    bytes,
    bool,
    int,
    float,
    complex,
    tuple,
    frozenset,
    np.ndarray,
    np.generic,
    type(None),
)
_FILLED = (list, dict, set)
"""Constants as well, unless their name says that they are not for others, as ``_cache`` does."""
_LIBRARY = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})


def reached(function: Any) -> dict[str, Any]:
    """Own functions and constants that a function uses, directly or not, by name and in order.

    Parameters
    ----------
    function
        Anything with code: a function, a method, a class or an object that can be called.

    Examples
    --------
    >>> reached(len)
    {}
    """
    found: dict[str, Any] = {}
    todo, seen = [function], set[int]()
    while todo:
        for code, names in _codes(todo.pop()):
            used = list(_names(code))
            for name, value in _values(names, used):
                if isinstance(value, _FIXED) or (isinstance(value, _FILLED) and name[0] != "_"):
                    found[f"{names.get('__name__')}:{name}"] = value
                    continue
                own = getattr(value, "function", value)  # a Stage holds its function
                if is_own(own) and id(own) not in seen:
                    seen.add(id(own))
                    found[f"{own.__module__}:{own.__qualname__}"] = own
                    todo.append(own)
    return dict(sorted(found.items()))


def is_own(value: Any) -> bool:
    """Whether a function or class is defined outside of installed packages."""
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        return False
    module = sys.modules.get(value.__module__)
    return module is not None and is_own_module(module)


def is_own_module(module: ModuleType) -> bool:
    """Whether a module lies outside of installed packages and the standard library."""
    if module.__name__ == "__main__":
        return True
    file = getattr(module, "__file__", None)
    if file is None or module.__name__.partition(".")[0] == "latticework":
        return False
    return not ("-packages" in file or file.startswith(_LIBRARY))


def _codes(value: Any) -> Iterator[tuple[CodeType, Mapping[str, Any]]]:
    """Code objects of something that can be called, with the names that they see."""
    value = getattr(value, "__func__", value)
    if isinstance(value, FunctionType):
        if is_own(value):
            yield value.__code__, value.__globals__
        return
    kind = value if inspect.isclass(value) else type(value)
    if is_own(kind):
        for part in vars(kind).values():
            method = getattr(part, "__func__", getattr(part, "fget", part))
            if isinstance(method, FunctionType):
                yield method.__code__, method.__globals__


def _names(code: CodeType) -> Iterator[str]:
    """Names that code uses, functions inside it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _values(names: Mapping[str, Any], used: list[str]) -> Iterator[tuple[str, Any]]:
    """Global values of the names used; of own modules, their members that are used."""
    for name in used:
        value = names.get(name, names)
        if isinstance(value, ModuleType):
            if is_own_module(value):
                members = vars(value)
                yield from ((member, members[member]) for member in used if member in members)
        elif value is not names:
            yield name, value
