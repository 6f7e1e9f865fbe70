"""What a command leaves behind that is no file."""

import os

import pytest

from latticework.stages.command import File
from latticework.stages.command_files import check_file
from latticework.stages.failures import OutputCheckError


def test_a_named_pipe_is_no_declared_file_and_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.tif")
    with pytest.raises(OutputCheckError, match="pipe"):
        check_file(tmp_path / "a.tif", File("a.tif", shape="tile"), "a", (8, 8))
