"""Settings that a project could not live with are refused before they are kept."""

import numpy as np
import pytest

import latticework as lw
from latticework.errors import ProjectError
from tests.project import steps
from tests.project.running import numbered, run_here


@pytest.fixture
def project(tmp_path):
    found = lw.create(tmp_path / "p.lw", numbered()[0])
    found.add(steps.same)
    return found


REFUSED = {
    "a text where labels are numbers": lambda p: p.choose_region(y=slice("a", None)),
    "no number": lambda p: p.choose_region(y=slice(float("nan"), None)),
    "none among labels": lambda p: p.choose_region(y=[None]),
    "a list of lists": lambda p: p.choose_region(y=[[0, 1]]),
    "anything": lambda p: p.choose_region(y=object()),
    "a skipped text": lambda p: p.skip(y="a"),
    "a skipped slice": lambda p: p.skip(y=slice(0, 1)),
    "a skipped list of lists": lambda p: p.skip(y=[[0, 1]]),
    "a first region of texts": lambda p: p.prioritise(y=slice("a", None)),
    "a text as number of tiles": lambda p: p.prioritise(preview="x"),
    "no tile of none": lambda p: p.prioritise(preview=0),
    "an object as parameter": lambda p: p.set_parameters(x=object()),
    "an array as parameter": lambda p: p.set_parameters(x=np.zeros(3)),
    "half a character as parameter": lambda p: p.set_parameters(x="\udcff"),
    "no state": lambda p: p.retry("same", states="nonsense"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_project_could_not_live_with_is_refused_and_not_kept(project, what):
    before = project.settings
    with pytest.raises(ProjectError):
        REFUSED[what](project)
    again = lw.open_project(project.path)
    assert again.settings == before
    assert run_here(again)
    assert project.counts == {"same": {"complete": 20}}


def test_planes_that_have_not_come_yet_can_be_named(project):
    assert project.choose_region(y=slice(2, 99)) == 2 * 5
    project.skip(y=99)
    project.prioritise(y=99, preview=3)
    assert run_here(project)
