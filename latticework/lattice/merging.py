"""Labels of lattice dims when tiles with further labels join."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_DIGITS = re.compile(r"(\d+)")


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which ``ZStep_10`` follows ``ZStep_9``.

    Examples
    --------
    >>> sorted(["t10.tif", "t9.tif", "T1.tif"], key=natural_key)
    ['T1.tif', 't9.tif', 't10.tif']
    """
    parts = _DIGITS.split(name.casefold())
    return [(0, int(part), part) if i % 2 else (1, 0, part) for i, part in enumerate(parts)]


def dense(first: int, last: int, used: int) -> bool:
    """Whether grid labels are numbered through, so that a missing one is a hole, not a gap.

    Parameters
    ----------
    first, last
        Least and greatest label.
    used
        How many labels tiles have.
    """
    return last - first < 4 * used + 16


@dataclass(frozen=True, slots=True)
class Merged:
    """Labels along one dim, old and new."""

    labels: np.ndarray
    """All of them, in order."""
    moved: np.ndarray | None
    """New grid position of every old one; None where they stay."""
    at: np.ndarray
    """Grid position of every new tile."""


def find_labels(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Grid position of each value among the labels; -1 where it is none."""
    if not len(labels):
        return np.full(len(values), -1, dtype=np.int64)
    order = np.argsort(labels, kind="stable")
    at = order[np.minimum(np.searchsorted(labels, values, sorter=order), len(labels) - 1)]
    return np.where(labels[at] == values, at, -1).astype(np.int64)


def merge_labels(
    labels: np.ndarray, values: np.ndarray, *, spatial: bool, used: Callable[[], int]
) -> Merged:
    """Labels of a dim with those of new tiles.

    Numbers keep their direction (ascending or descending), text its natural order; labels in an
    order of their own get new ones at the end. Whole numbers along spatial axes have no gaps
    (unless they lie far apart), so that the next label is the tile next door.

    Parameters
    ----------
    labels
        Labels that there are.
    values
        Label of every new tile.
    spatial
        Whether the dim is an axis in space.
    used
        How many of `labels` have tiles; asked only where there would be gaps.

    Examples
    --------
    >>> merge_labels(np.array([4, 5]), np.array([2, 5]), spatial=True, used=lambda: 2)
    Merged(labels=array([2, 3, 4, 5]), moved=array([2, 3]), at=array([0, 3]))
    >>> wells = np.array(["A1", "A10"])
    >>> merge_labels(wells, np.array(["A2"]), spatial=False, used=lambda: 2).labels.tolist()
    ['A1', 'A2', 'A10']
    """
    at = find_labels(labels, values)
    if (at >= 0).all():
        return Merged(labels, None, at)
    further = np.unique(values[at < 0])
    merged = _in_order(labels, further, spatial=spatial, used=used)
    moved = find_labels(merged, labels)
    stays = np.array_equal(moved, np.arange(len(labels)))
    return Merged(merged, None if stays else moved, find_labels(merged, values))


def _in_order(
    labels: np.ndarray, further: np.ndarray, *, spatial: bool, used: Callable[[], int]
) -> np.ndarray:
    together = np.concatenate([labels, further])
    if labels.dtype.kind == "U":
        texts = labels.tolist()
        if texts != sorted(texts, key=natural_key):
            return together
        return np.array(sorted(together.tolist(), key=natural_key))
    turned = len(labels) > 1 and bool((labels[1:] < labels[:-1]).all())
    if not turned and bool((labels[1:] < labels[:-1]).any()):
        return together
    merged = np.sort(together)
    if spatial and merged.dtype.kind in "iu":
        first, last = int(merged[0]), int(merged[-1])
        gaps = last - first + 1 != len(merged)
        if gaps and dense(first, last, used() + len(further)):
            merged = np.arange(first, last + 1, dtype=merged.dtype)
    return merged[::-1] if turned else merged
