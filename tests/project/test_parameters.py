"""Parameters of a project, which commands use."""

import numpy as np

import latticework as lw
from tests.project.running import run_here


def test_a_command_runs_again_when_a_project_parameter_that_it_uses_changes(folder):
    tiles = lw.Lattice.from_array(np.zeros((8, 16), "u1"), block={"y": 8, "x": 8})
    project = lw.create(folder / "p.lw", tiles)
    project.set_parameters(word="one", other=1)
    write = ["sh", "-c", "echo $0 > out.txt", "{word}"]
    project.add(lw.command(write, name="say", files={"out": lw.file("out.txt")}))
    project.add(lw.command(["true"], name="quiet"))
    assert run_here(project)
    assert project["say"].files(0)["out"].read_text() == "one\n"
    project.set_parameters(other=2)
    assert project.counts["say"] == {"complete": 2}
    project.set_parameters(word="two")
    assert project.counts["say"] == {"stale": 2}
    assert project.counts["quiet"] == {"complete": 2}
    assert run_here(project)
    assert project["say"].files(1)["out"].read_text() == "two\n"
    assert len(project.attempts("say")) == 4
    assert lw.open_project(project.path).counts["say"] == {"complete": 2}
