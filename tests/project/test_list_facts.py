"""What a MouseLight list says beside its tiles is followed while it changes."""

import json

import pytest

import latticework as lw
from latticework.project.desk import Desk
from latticework.project.list_facts import ListFacts
from latticework.testing.seed_formats import write_mouselight
from tests.project.running import run_here


@pytest.fixture
def listed(folder):
    """A project that was made from a list, and what changes the list's custom parameters."""
    lattice, _ = lw.simulate({"z": 1, "y": 1, "x": 2}, tile_shape={"z": 2, "y": 8, "x": 8}, seed=1)
    write_mouselight(lattice, folder / "raw", parameters={"dye": "GFP", "sigma": 2})
    project = lw.create_watched(folder / "p.lw", folder / "raw", timeout=20)
    file = folder / "raw" / "pipeline-input.json"

    def change(facts=None, **parameters):
        content = json.loads(file.read_text())
        content["projectInfo"]["customParameters"] = parameters
        file.write_text(json.dumps(content))
        opened = lw.open_project(project.path)
        with opened.lock().held():
            (facts or ListFacts(file)).apply(Desk(opened))
            opened.close_writer()
        return dict(lw.open_project(project.path).settings.parameters)

    return project, change


def test_values_that_change_in_the_list_are_followed_also_by_another_run(listed):
    project, change = listed
    assert project.settings.parameters == {"dye": "GFP", "sigma": 2}
    assert change(dye="RFP", sigma=2) == {"dye": "RFP", "sigma": 2}
    assert change(dye="RFP", sigma=3, new=1) == {"dye": "RFP", "sigma": 3, "new": 1}
    assert change(sigma=3) == {"dye": "RFP", "sigma": 3, "new": 1}  # none is taken away


def test_a_parameter_that_a_user_has_set_stays_until_the_list_has_another(listed):
    project, change = listed
    project.set_parameters(dye="blue", sigma=None)
    assert change(dye="GFP", sigma=2, new=1) == {"dye": "blue", "new": 1}
    assert change(dye="RFP", sigma=2, new=1) == {"dye": "RFP", "new": 1}


def test_tiles_of_commands_that_use_a_changed_parameter_are_stale(listed):
    project, change = listed
    for name, placeholder in (("uses", "{dye}"), ("not", "{tile}")):
        text = f"echo {placeholder} > {{file.o}}"
        project.add(lw.command(text, shell=True, name=name, files={"o": "o"}))
    assert run_here(project)
    change(dye="RFP", sigma=2)
    project = lw.open_project(project.path)
    assert project.counts == {"uses": {"stale": 2}, "not": {"complete": 2}}
    assert run_here(project)
    assert project["uses"].files(0)["o"].read_text() == "RFP\n"
