"""Versions of what makes the results: Python, this library and those that it stands on."""

import functools
import importlib.metadata
import platform

LIBRARIES = (
    *("latticework", "numpy", "scipy", "scikit-image", "dask", "distributed"),
    *("zarr", "tensorstore", "xarray", "pandas", "pyarrow", "tifffile"),
)
"""Distributions whose versions are kept with every session of a project."""


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version()), ("platform", platform.platform())]
    for name in LIBRARIES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


def versions_here() -> dict[str, str]:
    """Versions in this process, by name; what is not installed is left out.

    Examples
    --------
    >>> import numpy
    >>> versions_here()["numpy"] == numpy.__version__
    True
    """
    return dict(_versions())
