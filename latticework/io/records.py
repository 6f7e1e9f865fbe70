"""Small results of a stage (numbers, texts, short arrays) as JSON text.

Strict JSON has no NaN, no arrays and no times, so those become objects with one tag::

    nan, inf        {"$float": "nan"}
    1 + 2j          {"$complex": [1.0, 2.0]}
    array           {"$array": [[1, 2]], "dtype": "<i4", "shape": [1, 2]}
    datetime, date  {"$datetime": "2024-05-01T12:00:00"}, {"$date": "2024-05-01"}
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import numpy as np

from latticework.errors import StoreError

LIMIT_BYTES = 1_000_000
"""Largest record; what is larger is an array or a table."""


def to_json(record: Any) -> str:
    """A record as JSON text.

    Dicts with text keys, lists, tuples (which come back as lists), numbers, texts, booleans,
    None, NumPy scalars (which come back as Python's), numeric arrays, datetimes and dates.

    Raises
    ------
    StoreError
        Where a value is of another type (its place is named), or the record is above 1 MB.

    Examples
    --------
    >>> to_json({"cells": np.int64(7), "mean": float("nan")})
    '{"cells": 7, "mean": {"$float": "nan"}}'
    >>> to_json({"masks": {"a": object()}})
    Traceback (most recent call last):
    ...
    latticework.errors.StoreError: record['masks']['a'] is of type object, which a record ...
    """
    text = json.dumps(_encode(record, "record"), ensure_ascii=False, allow_nan=False)
    if len(text.encode("utf-8")) > LIMIT_BYTES:
        raise StoreError(
            f"a record of {len(text):,} bytes is above the limit of {LIMIT_BYTES:,}: "
            f"return large results as an array or a table"
        )
    return text


def from_json(text: str) -> Any:
    """The record that `to_json` made a text of.

    Examples
    --------
    >>> from_json(to_json({"shift": np.array([1.5, -2.0]), "n": 3}))
    {'shift': array([ 1.5, -2. ]), 'n': 3}
    """
    try:
        return json.loads(text, object_hook=_decode)
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"not a record: {text[:60]!r}: {error}") from error


def _encode(value: Any, place: str) -> Any:
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64):
        value = value.item()
    match value:
        case None | bool():
            return value
        case str():
            return _whole_text(value, place)
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else {"$float": str(value)}
        case complex():
            return {"$complex": [_encode(part, place) for part in (value.real, value.imag)]}
        case datetime():
            return {"$datetime": value.isoformat()}
        case date():
            return {"$date": value.isoformat()}
        case list() | tuple():
            return [_encode(item, f"{place}[{at}]") for at, item in enumerate(value)]
        case np.ndarray():
            return _encode_array(value, place)
        case Mapping():
            return _encode_mapping(value, place)
    raise StoreError(
        f"{place} is of type {type(value).__name__}, which a record cannot hold: use numbers, "
        f"texts, booleans, None, lists, dicts, small numeric arrays or datetimes"
    )


def _whole_text(text: str, place: str) -> str:
    """The text, if it is one: half a character cannot be written to any file."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StoreError(
            f"{place} is {text[:60]!a}, which is not valid text (a lone surrogate, as in file "
            "names that are not UTF-8): use text.encode('utf-8', 'backslashreplace').decode()"
        ) from error
    return text


def _encode_array(array: np.ndarray, place: str) -> Any:
    if array.dtype.kind not in "biufc":
        raise StoreError(f"{place} is an array of {array.dtype}, but records hold numeric arrays")
    if array.nbytes > LIMIT_BYTES:
        raise StoreError(
            f"{place} is an array of {array.nbytes:,} bytes; above {LIMIT_BYTES:,}, "
            f"let the stage return the array itself"
        )
    items = [_encode(item, place) for item in array.ravel().tolist()]
    return {"$array": items, "dtype": array.dtype.str, "shape": list(array.shape)}


def _encode_mapping(mapping: Mapping[Any, Any], place: str) -> Any:
    for key in mapping:
        if not isinstance(key, str):
            raise StoreError(f"{place} has the key {key!r}, but keys of a record are texts")
        _whole_text(key, f"a key of {place}")
    encoded = {str(key): _encode(item, f"{place}[{key!r}]") for key, item in mapping.items()}
    if any(key.startswith("$") for key in encoded):
        return {"$dict": [[key, item] for key, item in encoded.items()]}
    return encoded


_TAGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "$float": lambda value: float(value["$float"]),
    "$complex": lambda value: complex(*value["$complex"]),
    "$datetime": lambda value: datetime.fromisoformat(value["$datetime"]),
    "$date": lambda value: date.fromisoformat(value["$date"]),
    "$array": lambda value: np.array(value["$array"], dtype=value["dtype"]).reshape(value["shape"]),
    "$dict": lambda value: dict(value["$dict"]),
}


def _decode(value: dict[str, Any]) -> Any:
    tag = next(iter(value), "")
    return _TAGS[tag](value) if tag.startswith("$") else value
