"""Fixtures of the tests of projects."""

import tempfile
from pathlib import Path

import pytest

from tests.project.running import MEMORY


@pytest.fixture
def folder():
    """An empty folder, in memory where there is a file system for that."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as path:
        yield Path(path)
