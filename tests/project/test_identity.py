"""Results belong to the project, the code and the parameters that were given, not to a cache's."""

import json
import shutil
import sqlite3

import numpy as np

import latticework as lw
from tests.project.running import numbered, run_here


def test_a_project_made_again_in_the_same_folder_reads_its_own_acquisition(folder):
    """Workers live longer than projects: what they opened of the first is not for the second."""
    _, array = numbered()
    for pixels in (array, array + 7):
        shutil.rmtree(folder / "p.lw", ignore_errors=True)
        block = lw.Lattice.from_array(pixels, block={"y": 6, "x": 8})
        project = lw.create(folder / "p.lw", block)
        project.add(np.invert, name="inverted")
        assert run_here(project)
        np.testing.assert_array_equal(project["inverted"].data, ~pixels)
        np.testing.assert_array_equal(project.source.data, pixels)


def test_looking_at_a_project_runs_none_of_its_code(folder):
    """Its journal may be somebody else's, and name any module or file."""
    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)
    project.add(np.invert, name="inverted")
    assert run_here(project)
    mark, payload = folder / "was here", folder / "payload.py"
    payload.write_text(f"open({str(mark)!r}, 'w').close()\ndef f(tile): return tile\n")
    rewrite(project, "inverted", module="pipeline_file_payload", qualname="f", file=str(payload))
    found = lw.open_project(project.path)
    assert found.why("inverted", 0).startswith("complete")
    assert len(found.attempts("inverted")) == 20
    assert found["inverted"].data.shape == (24, 40)
    assert found.retry("inverted", failed=False) == 20
    assert not mark.exists()
    run_here(found)
    assert mark.exists()


def test_why_still_knows_stages_of_a_notebook(folder):
    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)
    project.add(lambda tile: tile, name="kept")
    found = lw.open_project(project.path)
    assert "was defined in a notebook or script" in found.why("kept", 0)


def rewrite(project, stage, **function):
    """Change what a project's journal says of a stage's function."""
    database = sqlite3.connect(project.path / "journal.sqlite")
    ((text,),) = database.execute("select definition from stages where name=?", (stage,))
    definition = json.loads(text)
    definition["function"] |= function
    database.execute("update stages set definition=? where name=?", (json.dumps(definition), stage))
    database.commit()
    database.close()
