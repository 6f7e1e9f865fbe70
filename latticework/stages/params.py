"""Parameters of stages as plain values: what is kept of them in a project, and what they were.

A description holds whatever decides what a stage makes. Where it is the whole value, `restore`
gives exactly that value back, of the same type, so that a stage does the same in a later process.
What JSON cannot hold is tagged: a dict with one key that says what it is.
"""

import enum
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from latticework.errors import StageError
from latticework.stages.callables import content, reference_to

NOT_KEPT = ("array", "object", "function")
"""Tags of what is known by its hash alone."""
TAGS = frozenset({*NOT_KEPT, "tuple", "numpy", "items"})


def describe(value: Any) -> Any:
    """A parameter as a plain value; large or special ones by type and a hash of their content.

    Raises
    ------
    StageError
        If it cannot be sent to another process.

    Examples
    --------
    >>> describe({"at": (0, 1), "gain": np.float32(2)})
    {'at': {'tuple': [0, 1]}, 'gain': {'numpy': ['<f4', 2.0]}}
    >>> restore("options", _)
    {'at': (0, 1), 'gain': np.float32(2.0)}
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [describe(item) for item in value]
    if type(value) is tuple:
        return {"tuple": [describe(item) for item in value]}
    if type(value) is dict:
        return _dict(value)
    if isinstance(value, np.generic) and value.dtype.kind in "biufc" and value.itemsize <= 16:
        if value.dtype.kind == "c":
            return {"numpy": [value.dtype.str, [float(value.real), float(value.imag)]]}
        if not isinstance(value, np.longdouble):
            return {"numpy": [value.dtype.str, value.item()]}
    if type(value) is np.ndarray:
        return {"array": [value.dtype.str, list(value.shape), _digest(content(value))]}
    if hasattr(value, "dims") and hasattr(value, "coords") and hasattr(value, "dtype"):
        return {"array": [value.dtype.str, list(value.shape), _digest(_labelled(value))]}
    return _by_hash(value)


def _by_hash(value: Any) -> dict[str, Any]:
    if callable(value):
        code = reference_to(value)
        return {"function": [code.module, code.qualname, code.code]}
    if isinstance(value, set | frozenset | bytes | np.generic | enum.Enum):
        return {"object": [type(value).__qualname__, _digest(content(value))]}
    import cloudpickle

    try:
        pickled = cloudpickle.dumps(value)
    except Exception as error:
        raise StageError(
            f"a parameter of type {type(value).__name__} cannot travel to the workers: {error}; "
            "give what it is made from, and make it in the stage"
        ) from error
    return {"object": [type(value).__qualname__, _digest(pickled)]}


def restore(name: str, value: Any) -> Any:
    """A parameter from its description, where that is the value itself.

    Parameters
    ----------
    name
        Of the parameter, for the message.
    value
        What `describe` made of it.

    Raises
    ------
    StageError
        If the project keeps but a hash of it.
    """
    if isinstance(value, list):
        return [restore(name, item) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value)) if len(value) == 1 else None
    if tag in NOT_KEPT:
        raise StageError(
            f"parameter {name!r} is {tag} data that the project does not keep: "
            "add the stage again from the notebook or script that made it"
        )
    if tag == "tuple":
        return tuple(restore(name, item) for item in value["tuple"])
    if tag == "items":
        return {restore(name, key): restore(name, item) for key, item in value["items"]}
    if tag == "numpy":
        dtype, number = value["numpy"]
        return np.array(complex(*number) if isinstance(number, list) else number, dtype)[()]
    return {key: restore(name, item) for key, item in value.items()}


def _dict(value: dict[Any, Any]) -> dict[str, Any]:
    """A dict as it is, if JSON with sorted keys brings back the same; else as its items."""
    plain = all(type(key) is str for key in value) and list(value) == sorted(value)
    if plain and not (len(value) == 1 and TAGS & value.keys()):
        return {key: describe(item) for key, item in value.items()}
    return {"items": [[describe(key), describe(item)] for key, item in value.items()]}


def _labelled(array: Any) -> str:
    """Content of a DataArray: its values and what they are labelled with."""
    coords: Mapping[Any, Any] = array.coords
    labels = {name: (list(coord.dims), coord.to_numpy()) for name, coord in coords.items()}
    return content([list(array.dims), array.to_numpy(), labels, dict(array.attrs), array.name])


def _digest(data: str | bytes) -> str:
    data = data if isinstance(data, bytes) else data.encode(errors="surrogatepass")
    return hashlib.blake2b(data, digest_size=8).hexdigest()
