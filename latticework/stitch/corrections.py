"""What a person knows better: links corrected by hand, and tiles whose places are known."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.lattice import Lattice
from latticework.stitch.doubts import BY_HAND

if TYPE_CHECKING:
    import pandas as pd

NEAR_PX, NEAR = 1e-3, 1e-5
"""Offsets that differ by less than so many pixels, and this share of them, are the same: files
have six digits."""


def corrected_rows(
    links: "pd.DataFrame | Path | str", known: "pd.DataFrame | None", dims: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The rows of a table of links that a person has changed, as plain values.

    Parameters
    ----------
    links
        As `latticework.stitch.Placement` has them, or the CSV file beside a report; edited.
    known
        As they were measured. Rows with other offsets were changed; and those that are trusted
        against a reason (``why``), or not trusted without one, are ``fixed``, or marked "by hand".
    dims
        The tiles' spatial dims, where `known` does not tell.

    Returns
    -------
    list
        Of mappings: ``first``, ``second``, ``trusted``, and ``offset_y_px`` and so on where known.

    Raises
    ------
    LatticeError
        If it is no table of links, or some of its offsets are missing while others are there.

    Examples
    --------
    >>> import pandas as pd
    >>> known = pd.DataFrame({"first": [0, 1], "second": [1, 2], "trusted": [True, True]})
    >>> corrected_rows(known.assign(trusted=[True, False]), known)
    [{'first': 1, 'second': 2, 'trusted': False}]
    """
    import pandas as pd

    table = links if isinstance(links, pd.DataFrame) else _read_table(links)
    missing = [name for name in ("first", "second", "trusted") if name not in table]
    if missing:
        raise LatticeError(
            f"a table of links has the columns first, second and trusted, but {missing[0]} is "
            f"missing in {'this one' if table is links else links}"
        )
    offsets = _offsets(table)
    _check_offsets(table, _offsets(known) if known is not None else _names(dims), links)
    trusted = _truths(table)
    why = pd.Series("", table.index)
    if "why" in table:
        why = table["why"].astype(object).where(table["why"].notna(), "").astype(str)
    reason = (why != "").to_numpy()
    by_hand = (why == BY_HAND).to_numpy() | np.where(trusted, reason, ~reason)
    if "fixed" in table:
        by_hand |= table["fixed"].fillna(value=False).astype(bool).to_numpy()
    changed = by_hand if known is None else by_hand | _changed(table, known, offsets)
    rows = []
    for row, of in zip(table[changed].to_dict("records"), trusted[changed].tolist(), strict=True):
        told = {name: float(row[name]) for name in offsets if np.isfinite(row[name])}
        if of and len(told) < len(offsets):
            raise LatticeError(
                f"the link of tiles {row['first']} and {row['second']} is trusted and has no "
                "offset: give all of its offsets, or do not trust it"
            )
        about = {"first": int(row["first"]), "second": int(row["second"])}
        rows.append({**about, "trusted": bool(of), **told})
    return rows


def _names(dims: Sequence[str]) -> list[str]:
    """Columns of offsets along some dims."""
    return [f"offset_{dim}_px" for dim in dims]


def _offsets(table: "pd.DataFrame") -> list[str]:
    """The columns of offsets that a table has."""
    return [n for n in table.columns if n.startswith("offset_") and n.endswith("_px")]


def _check_offsets(table: "pd.DataFrame", needed: Sequence[str], links: Any) -> None:
    """Refuse a table with some of the offsets: one that is misspelt would not count."""
    missing = [name for name in needed if name not in table]
    if not missing or len(missing) == len(needed):
        return
    kinds = ("offset_", "nominal_", "model_", "error_", "residual_")  # what the others begin with
    there = [str(name) for name in table.columns if name not in needed]
    there = [name for name in there if not name.startswith(kinds[1:])]
    like = get_close_matches(missing[0], there, 1, 0.5)
    raise LatticeError(
        f"{'the table of links' if table is links else links} has offsets, but no column "
        f"{missing[0]}{f' (is it {like[0]}?)' if like else ''}: give {', '.join(needed)}, or none "
        "of them"
    )


def _read_table(path: Path | str) -> "pd.DataFrame":
    """A table as spreadsheets write it: columns apart by commas, semicolons or tabs."""
    import pandas as pd

    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            head = file.readline()
        apart = max(",;\t", key=head.count)
        table = pd.read_csv(path, sep=apart, encoding="utf-8-sig")
        numbers = [name for name in table.columns if name.endswith(("_px", "_um"))]
        if apart != "," and not all(pd.api.types.is_numeric_dtype(table[n]) for n in numbers):
            table = pd.read_csv(path, sep=apart, decimal=",", encoding="utf-8-sig")
    except ValueError as error:
        raise LatticeError(f"{path} cannot be read as a CSV table ({error})") from error
    return table


def whole_links(links: "pd.DataFrame", dims: Sequence[str]) -> "pd.DataFrame":
    """A table of links, if it has the columns that `latticework.stitch.place` needs.

    Raises
    ------
    LatticeError
        That names what is missing.
    """
    needed = ["first", "second", "axis", "trusted", "why", "correlation"]
    needed += _names(dims) + [f"model_{dim}_px" for dim in dims]
    missing = [name for name in needed if name not in links]
    if missing:
        raise LatticeError(
            f"the table of links has no column {', '.join(missing)}: give the whole table that "
            "register made, edited"
        )
    return links


TRUE, FALSE = {"true", "yes", "1", "1.0"}, {"false", "no", "0", "0.0"}


def _truths(table: "pd.DataFrame") -> np.ndarray:
    """The column ``trusted``, in whatever words."""
    words = table["trusted"].astype(str).str.strip().str.lower()
    wrong = ~words.isin(TRUE | FALSE)
    if wrong.any():
        row = table[wrong].iloc[0]
        raise LatticeError(
            f"the link of tiles {row['first']} and {row['second']} has {row['trusted']!r} for "
            "trusted: write True or False"
        )
    return words.isin(TRUE).to_numpy()


def _changed(table: "pd.DataFrame", known: "pd.DataFrame", offsets: Sequence[str]) -> np.ndarray:
    """Which rows have another offset than those of the same pair before."""
    keys = ["first", "second"]
    before = table[keys].merge(known[[*keys, *(n for n in offsets if n in known)]], "left", keys)
    changed = np.zeros(len(table), bool)
    for name in offsets:
        if name in before:
            old, now = before[name].to_numpy("f8"), table[name].to_numpy("f8")
            apart = np.abs(old - now) > NEAR_PX + NEAR * np.abs(old)
            changed = changed | apart | (np.isnan(old) & np.isfinite(now))
    return np.asarray(changed)


def apply_corrections(
    links: "pd.DataFrame", corrections: Sequence[Mapping[str, Any]]
) -> "pd.DataFrame":
    """Links with what a person says of some of them; these are ``fixed``.

    Parameters
    ----------
    links
        As `latticework.stitch.register` gives them.
    corrections
        As `corrected_rows` gives them.

    Raises
    ------
    LatticeError
        If there is no such pair.
    """
    links = links.copy()
    if not corrections:
        return links
    links["fixed"] = False
    place = {pair: k for k, pair in zip(links.index, _pairs(links), strict=True)}
    for row in corrections:
        pair = (int(row["first"]), int(row["second"]))
        if pair not in place:
            raise LatticeError(
                f"tiles {pair[0]} and {pair[1]} are no pair that was compared: correct a link of "
                "the table, from its first tile to its second"
            )
        at = place[pair]
        for name, value in row.items():
            if name not in ("first", "second"):
                links.loc[at, name] = value
        links.loc[at, "fixed"] = True
        links.loc[at, "why"] = "" if row["trusted"] else BY_HAND
        if row["trusted"] and not np.isfinite(links.loc[at, "correlation"]):
            links.loc[at, "correlation"] = 1.0
    return links


def _pairs(links: "pd.DataFrame") -> list[tuple[int, int]]:
    return list(zip(links["first"].tolist(), links["second"].tolist(), strict=True))


def anchors_of(
    lattice: Lattice, anchors: "Mapping[int | str, Any] | Path | str | None"
) -> dict[str, list[float]]:
    """Places that are known, by the tile's id as text, along the lattice's spatial dims.

    Parameters
    ----------
    lattice
        Whose tiles they are.
    anchors
        Positions in micrometres by id or name; or a CSV file with the columns ``tile`` (id or
        name) and ``position_y_um`` and so on.

    Raises
    ------
    LatticeError
        If there is no such tile, or a position is not whole.
    """
    if not anchors:
        return {}
    if isinstance(anchors, str | Path):
        columns = [f"position_{axis}_um" for axis in lattice.spatial_dims]
        table = _read_table(anchors)
        missing = [name for name in ("tile", *columns) if name not in table]
        if missing:
            raise LatticeError(f"{anchors} has no column {missing[0]}: a table of anchors needs it")
        anchors = dict(zip(table["tile"], table[columns].to_numpy("f8").tolist(), strict=True))
    by_name = {name: int(id) for name, id in zip(lattice.names, lattice.ids, strict=True)}
    found = {}
    for tile, position in anchors.items():
        id = by_name.get(tile, tile)
        if not str(id).isdecimal() or int(id) not in set(lattice.ids.tolist()):
            raise LatticeError(f"the anchor {tile!r} is no tile of this lattice, by id or name")
        given = position
        if isinstance(position, Mapping):
            given = [position.get(axis, np.nan) for axis in lattice.spatial_dims]
        values = np.asarray(given, "f8").ravel()
        if len(values) != len(lattice.spatial_dims) or not np.isfinite(values).all():
            raise LatticeError(
                f"the anchor of tile {tile!r} is {position!r}: give its position in micrometres "
                f"along {', '.join(lattice.spatial_dims)}"
            )
        found[str(int(id))] = values.tolist()
    return found


__all__ = ["anchors_of", "apply_corrections", "corrected_rows"]
