"""Publishing moves whole files, and only where they belong."""

import os

import pytest

from latticework.errors import StoreError
from latticework.io.publish import publish


@pytest.fixture
def staging(tmp_path):
    for key in ("clean/c.0.0", "deep/c/1/2"):
        file = tmp_path / "staging" / key
        file.parent.mkdir(parents=True)
        file.write_text("new")
    return tmp_path / "staging"


def test_files_move_and_replace(tmp_path, staging):
    target = tmp_path / "data.zarr"
    (target / "clean").mkdir(parents=True)
    (target / "clean/c.0.0").write_text("old")
    publish(staging, target, ["clean/c.0.0", "deep/c/1/2"], inside=tmp_path)
    assert (target / "clean/c.0.0").read_text() == "new"
    assert (target / "deep/c/1/2").read_text() == "new"
    assert not any(path.is_file() for path in staging.rglob("*"))


def test_nothing_moves_when_a_file_is_missing(tmp_path, staging):
    with pytest.raises(StoreError, match="left no such file"):
        publish(staging, tmp_path / "data.zarr", ["clean/c.0.0", "clean/c.0.1"])
    assert not (tmp_path / "data.zarr").exists()


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "clean/../../x", "", "a\\b"])
def test_keys_that_lead_outside_are_refused(tmp_path, staging, key):
    with pytest.raises(StoreError, match="leads outside"):
        publish(staging, tmp_path / "data.zarr", [key])


def test_both_folders_must_lie_in_the_project(tmp_path, staging):
    (tmp_path / "project").mkdir()
    with pytest.raises(StoreError, match="not inside the project"):
        publish(
            staging, tmp_path / "project/data.zarr", ["clean/c.0.0"], inside=tmp_path / "project"
        )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_target_without_permission_is_an_error(tmp_path, staging):
    target = tmp_path / "data.zarr"
    target.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="fix the permissions"):
        publish(staging, target, ["clean/c.0.0"])
