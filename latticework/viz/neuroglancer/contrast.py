"""Values between which an image is shown, from a few of its pixels."""

from collections.abc import Iterable

import numpy as np

from latticework.io.preview_layout import PERCENTILES

MOST = 250_000
"""Pixels of one sample that are looked at."""


def contrast_of(samples: Iterable[np.ndarray]) -> tuple[float, float]:
    """Percentiles of some pixels; 0 to 1 if there are none.

    Examples
    --------
    >>> contrast_of([np.arange(1001)])
    (10.0, 998.0)
    >>> contrast_of([np.zeros(4)])
    (0.0, 1.0)
    """
    parts = []
    for sample in samples:
        values = np.ravel(sample)
        values = values[:: max(1, values.size // MOST)]
        parts.append(values[np.isfinite(values)] if values.dtype.kind == "f" else values)
    pixels = np.concatenate(parts) if parts else np.zeros(0)
    if not pixels.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(pixels, PERCENTILES))
    if high <= low:
        high = max(float(pixels.max()), low + 1.0)
    return low, high


__all__ = ["contrast_of"]
