"""What a stage makes of a tile: an array, a table, a record, or nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from latticework.errors import StageError

KINDS = ("array", "table", "record", "files", "nothing")
ALONE = (dict, str, bytes, bool, int, float, np.generic, list, tuple)


@dataclass(frozen=True, slots=True)
class Output:
    """What one unit of a stage makes; declared, or found from the first tile.

    Made by `array_output`, `table_output`, `record_output`, `files_output`.
    """

    kind: str
    """``"array"``, ``"table"``, ``"record"``, ``"files"`` or ``"nothing"``."""
    dtype: str | None = None
    """Arrays: NumPy dtype string, or None where the first tile decides."""
    dims: tuple[str, ...] | None = None
    """Arrays: pixel dims, or None where the first tile decides."""
    shape: tuple[int, ...] | None = None
    """Arrays: shape for a tile of the lattice's full size, or None where the first tile decides."""

    @property
    def settled(self) -> bool:
        """Whether everything is known that a store needs."""
        return self.kind != "array" or None not in (self.dtype, self.dims, self.shape)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From `to_json`."""
        sequences = {
            key: None if values[key] is None else tuple(values[key]) for key in ("dims", "shape")
        }
        return cls(values["kind"], values["dtype"], **sequences)

    def differences(self, other: "Output") -> str:
        """What `other`, a settled one, has that this one does not allow; empty if all fits."""
        wrong = [
            f"{name} {getattr(other, name)} instead of {getattr(self, name)}"
            for name in ("kind", "dtype", "dims", "shape")
            if getattr(self, name) is not None and getattr(self, name) != getattr(other, name)
        ]
        return ", ".join(wrong)


def array_output(
    dtype: Any = None, *, shape: Mapping[str, int] | None = None, dims: Sequence[str] | None = None
) -> Output:
    """Declare that a stage makes an array.

    Parameters
    ----------
    dtype
        Its type; found from the first tile if not given.
    shape
        Pixels by dim, such as ``{"y": 256, "x": 256}``; found if not given.
    dims
        Dims alone, where the shape is to be found.

    Examples
    --------
    >>> array_output("float32").dtype
    '<f4'
    """
    if shape is not None:
        dims = tuple(shape)
    sizes = None if shape is None else tuple(int(n) for n in shape.values())
    return Output(
        "array",
        None if dtype is None else _little(np.dtype(dtype)),
        None if dims is None else tuple(dims),
        sizes,
    )


def table_output() -> Output:
    """Declare that a stage makes a table (`pandas.DataFrame` or `pyarrow.Table`) per tile."""
    return Output("table")


def record_output() -> Output:
    """Declare that a stage makes a small record (dict, number, string, list) per tile."""
    return Output("record")


def files_output() -> Output:
    """Declare that a command makes files, kept as they are in a folder per unit."""
    return Output("files")


def _little(dtype: np.dtype) -> str:
    return np.dtype(dtype).newbyteorder("<").str


def found_output(value: Any, dims: Sequence[str], tile: str) -> Output:
    """What a returned value is.

    Parameters
    ----------
    value
        What the stage's callable returned, trimmed if it is an array.
    dims
        Dims of the tile that it was given, for arrays that carry no dims.
    tile
        Address of the tile, for messages.

    Raises
    ------
    StageError
        If it is nothing that can be kept.
    """
    if value is None:
        return Output("nothing")
    if isinstance(value, pd.DataFrame | pa.Table):
        return Output("table")
    if hasattr(value, "dims") and hasattr(value, "dtype"):
        if value.ndim == 0:
            return Output("record")
        return Output(
            "array", _little(value.dtype), tuple(map(str, value.dims)), tuple(value.shape)
        )
    if isinstance(value, np.ndarray) and value.ndim:
        if value.dtype.hasobject or value.dtype.kind in "USVMm":
            raise StageError(
                f"tile {tile}: an array of type {value.dtype} cannot be stored: return numbers"
            )
        return Output("array", _little(value.dtype), _dims_for(value, dims, tile), value.shape)
    if isinstance(value, ALONE) or (isinstance(value, np.ndarray) and not value.ndim):
        return Output("record")
    raise StageError(
        f"tile {tile}: a stage returns an array, a table, a record (dict, number, string, list) "
        f"or nothing, not {type(value).__module__}.{type(value).__qualname__}"
    )


def _dims_for(value: np.ndarray, dims: Sequence[str], tile: str) -> tuple[str, ...]:
    if value.ndim == len(dims):
        return tuple(dims)
    canonical = ("c", "z", "y", "x")
    if value.ndim < len(dims) and value.ndim <= 2:
        return canonical[4 - value.ndim :]  # a projection: what remains is y x, or x
    if value.ndim <= 4 and not set(dims) <= set(canonical[4 - value.ndim :]):
        raise StageError(
            f"tile {tile}: the stage was given dims {tuple(dims)} and returned an array of "
            f"{value.ndim} dims without names: return an xarray.DataArray, so that they are known"
        )
    if value.ndim <= 4:
        return canonical[4 - value.ndim :]
    raise StageError(
        f"tile {tile}: an array of {value.ndim} dims needs names: return an xarray.DataArray"
    )
