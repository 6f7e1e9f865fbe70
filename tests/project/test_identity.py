"""Results belong to the project, the code and the parameters that were given, not to a cache's."""

import shutil

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
