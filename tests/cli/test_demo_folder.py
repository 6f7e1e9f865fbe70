"""The demo never touches what it has not made."""

import pytest

from latticework.cli.demo_folder import DemoFolder, choose_folder
from latticework.errors import ProjectError


def test_a_folder_with_something_else_in_it_is_refused(typed, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert "holds something else" in typed("demo", tmp_path, code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_a_folder_a_free_name_is_chosen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert choose_folder(None).path == tmp_path / "latticework-demo"
    (tmp_path / "latticework-demo").mkdir()
    (tmp_path / "latticework-demo" / "mine.txt").touch()
    (tmp_path / "latticework-demo-2").touch()
    assert choose_folder(None).path == tmp_path / "latticework-demo-3"


def test_only_what_a_demo_made_is_replaced(tmp_path):
    folder = DemoFolder(tmp_path / "demo")
    folder.begin({"size": {"y": 1, "x": 1}, "seed": 0})
    (folder.path / "mine.txt").write_text("mine")
    folder.pipeline.write_text("changed")
    folder.acquisition.mkdir()
    assert choose_folder(folder.path).ours
    folder.clear("as shipped")
    left = sorted(path.name for path in folder.path.iterdir())
    assert left == ["mine.txt", "pipeline-changed.py"]


def test_a_damaged_marker_is_said(tmp_path):
    folder = DemoFolder(tmp_path)
    folder.marker.write_text("{")
    with pytest.raises(ProjectError, match="cannot be read"):
        folder.facts()


def test_what_the_demo_cannot_do_is_refused(typed, tmp_path):
    assert "one layer" in typed("demo", tmp_path / "d", "--size", "2x3x4", code=2)
    assert "there is no demo" in typed("demo", tmp_path / "d", "--keep", code=2)
    assert not (tmp_path / "d").exists()
