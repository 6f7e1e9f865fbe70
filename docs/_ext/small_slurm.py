"""A small SLURM for the pages that use one, where SLURM is installed; it ends with the build.

It is the tests' own (`tests/slurm/testbed.py`): nothing of it is left. Without SLURM the pages run
all the same, and say so.
"""

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

PAGES = {"gallery/slurm"}

_open = contextlib.ExitStack()


def _start(_app: Sphinx, _env: Any, docnames: list[str]) -> None:
    root = str(Path(__file__).resolve().parents[2])
    if root not in sys.path:
        sys.path.append(root)
    from tests.slurm.testbed import Testbed, how_to_install

    if not PAGES & set(docnames) or how_to_install():
        return
    folder = tempfile.TemporaryDirectory(prefix="lw-docs-slurm-", ignore_cleanup_errors=True)
    testbed = _open.enter_context(Testbed(_open.enter_context(folder)))
    os.environ.update(testbed.environment)
    _open.callback(lambda: [os.environ.pop(name, None) for name in testbed.environment])


def _end(_app: Sphinx, _error: Exception | None) -> None:
    _open.close()


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("env-before-read-docs", _start)
    app.connect("build-finished", _end)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
