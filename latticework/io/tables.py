"""Tables of a stage: one Parquet file per tile, read back as one DataFrame.

Files lie in folders of a thousand, ``12/12034.parquet`` for tile 12034, so that no folder becomes
too large for a network file system.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticework.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

TILE_COLUMN = "tile_id"
"""Column that `read_tables` adds; tables cannot have it themselves."""


def table_key(tile_id: int) -> str:
    """File of a tile's table, relative to the store.

    Examples
    --------
    >>> table_key(12034)
    '12/12034.parquet'
    """
    return f"{int(tile_id) // 1000}/{int(tile_id)}.parquet"


def stage_table(staging: Path | str, tile_id: int, table: Any) -> str:
    """Write a tile's table below `staging`; returns its key, for `publish`.

    Parameters
    ----------
    staging
        The attempt's own folder.
    tile_id
        The tile.
    table
        A `pandas.DataFrame` (named indices become columns, others are dropped) or a
        `pyarrow.Table`. A table without rows keeps its columns.

    Raises
    ------
    StoreError
        Where `table` is something else, or a column cannot be stored.

    Examples
    --------
    >>> import tempfile, pandas
    >>> folder = tempfile.mkdtemp()
    >>> stage_table(folder, 7, pandas.DataFrame({"y": [1.5, 2.5], "x": [3, 4]}))
    '0/7.parquet'
    >>> read_tables(folder, [7])
       tile_id    y  x
    0        7  1.5  3
    1        7  2.5  4
    """
    import pyarrow.parquet as pq

    arrow = _as_arrow(table, tile_id)
    key = table_key(tile_id)
    file = Path(staging) / key
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(arrow, file, compression="zstd")
    except (OSError, ValueError, NotImplementedError) as error:
        raise StoreError(f"cannot write the table of tile {tile_id} to {file}: {error}") from error
    return key


def read_tables(folder: Path | str, ids: Iterable[int]) -> "pd.DataFrame":
    """The tables of these tiles below one another, with a first column ``tile_id``.

    Raises
    ------
    StoreError
        Where a file is missing or damaged, or the tables' columns do not agree.
    """
    import pandas as pd
    import pyarrow as pa

    ids = [int(tile_id) for tile_id in ids]
    if not ids:
        return pd.DataFrame({TILE_COLUMN: pd.Series(dtype="int64")})
    with ThreadPoolExecutor(max_workers=4) as threads:
        tables = list(threads.map(lambda tile_id: _read(Path(folder), tile_id), ids))
    try:
        whole = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise StoreError(
            f"the tables in {folder} do not have the same columns: {error}; "
            f"let the stage return the same columns and types for every tile"
        ) from error
    frame: pd.DataFrame = whole.to_pandas()
    return frame


def _read(folder: Path, tile_id: int) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder / table_key(tile_id)
    try:
        with pq.ParquetFile(file, memory_map=False) as opened:  # read_table takes twice as long
            table = opened.read(use_threads=False)
    except FileNotFoundError as error:
        raise StoreError(
            f"no table of tile {tile_id}: {file} is missing; run the stage again for it"
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"the table of tile {tile_id} cannot be read: {file}: {error}; if the file is damaged, "
            f"project.verify() finds it and the next run makes it again"
        ) from error
    ids = pa.repeat(pa.scalar(tile_id, pa.int64()), len(table))
    return table.replace_schema_metadata(None).add_column(0, TILE_COLUMN, ids)


def _as_arrow(table: Any, tile_id: int) -> Any:
    import pandas as pd
    import pyarrow as pa

    if isinstance(table, pd.DataFrame):
        named = [name for name in table.index.names if name is not None]
        frame = table.reset_index(level=named).reset_index(drop=True) if named else table
        _check_columns(list(frame.columns), tile_id)
        try:
            return pa.Table.from_pandas(frame, preserve_index=False)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise StoreError(
                f"the table of tile {tile_id} cannot be stored: {error}; "
                f"give each column values of one type"
            ) from error
    if isinstance(table, pa.Table):
        _check_columns(table.column_names, tile_id)
        return table
    raise StoreError(
        f"the table of tile {tile_id} came as {type(table).__name__}: "
        f"return a pandas.DataFrame or a pyarrow.Table"
    )


def _check_columns(columns: list[Any], tile_id: int) -> None:
    odd = [column for column in columns if not isinstance(column, str)]
    twice = sorted({column for column in columns if columns.count(column) > 1}, key=str)
    if odd or twice:
        raise StoreError(
            f"the table of tile {tile_id} has columns {columns}: names must be texts, each once"
        )
    if TILE_COLUMN in columns:
        raise StoreError(
            f"the table of tile {tile_id} has a column {TILE_COLUMN!r}, which latticework adds "
            f"itself when tables are read: leave it out or rename it"
        )
