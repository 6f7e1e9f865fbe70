"""Stages whose result depends on exactly what they were given, and may be told to fail."""

import json
import zlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from latticework.lattice.tile import Tile
from latticework.stages.collections import Tiles


def weather():
    """Fails where the test wants that."""
    from tests.project.weather import WEATHER

    WEATHER.call()


def digest(*inputs, salt=0, bad=None):
    """A number that follows from everything that was given; fails for some of it, for good."""
    weather()
    value = _number([salt, *map(_plain, inputs)])
    if bad is not None and value % 3 == bad:
        raise ValueError(f"{value} is a bad number")
    return {"v": value}


def smear(tile, *, salt=0):
    """The same as an array of the tile's size, halo and all."""
    weather()
    return tile.copy(data=np.full(tile.shape, _number([salt, _plain(tile)]) % 60_000, "u2"))


def _number(value):
    return zlib.crc32(json.dumps(value, sort_keys=True, default=str).encode())


def _plain(given):
    """As something that JSON can hold and that does not depend on tile ids or places."""
    if isinstance(given, Tiles):
        return {str(key): _plain(given[key]) if given[key] is not None else None for key in given}
    if isinstance(given, pd.DataFrame):
        return list(map(str, given["v"].tolist()))  # in the order of the grid
    if isinstance(given, Mapping):
        return {key: value for key, value in given.items() if key == "v"}
    if isinstance(given, Tile):
        return dict(given.labels)
    values = np.asarray(given)
    return [values.shape, zlib.crc32(np.ascontiguousarray(values).tobytes())]
