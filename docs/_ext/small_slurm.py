"""A small SLURM for the pages that use one, where SLURM is installed; it ends with the build.

It is the tests' own (`tests/slurm/testbed.py`), and nothing of it is left. Where SLURM is not
installed, does not start, or the tests are not there, the build says so and goes on: the pages run
all the same, and say so, too.
"""

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

PAGES = {"gallery/slurm"}

_open = contextlib.ExitStack()
_log = logging.getLogger(__name__)


def _start(_app: Sphinx, _env: Any, docnames: list[str]) -> None:
    if not PAGES & set(docnames):
        return
    root = str(Path(__file__).resolve().parents[2])
    if root not in sys.path:
        sys.path.append(root)
    try:
        from tests.slurm.testbed import Testbed, how_to_install

        if problem := how_to_install():
            _log.info("the page on SLURM runs without it: %s", problem)
            return
        folder = tempfile.TemporaryDirectory(prefix="lw-docs-slurm-", ignore_cleanup_errors=True)
        testbed = _open.enter_context(Testbed(_open.enter_context(folder)))
    except Exception as error:  # the page says the same and runs without a cluster
        _open.close()
        _log.info("the page on SLURM runs without it: %s: %s", type(error).__name__, error)
        return
    before = {name: os.environ.get(name) for name in testbed.environment}
    os.environ.update(testbed.environment)
    _open.callback(_put_back, before)


def _put_back(before: dict[str, str | None]) -> None:
    """The environment is again as it was."""
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _end(_app: Sphinx, _error: Exception | None) -> None:
    _open.close()


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("env-before-read-docs", _start)
    app.connect("build-finished", _end)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
