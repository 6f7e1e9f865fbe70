"""Whatever dies and stalls while a project runs, it ends as if nothing had."""

import os

import numpy as np
import pytest

import latticework as lw
from tests.project.chaos import STAGES, Chaos, build
from tests.project.running import completions, run_here

MINUTES = float(os.environ.get("LATTICEWORK_CHAOS_MINUTES", "1.5"))
"""How long; a night of it before a release."""
TILES_PER_MINUTE = 400


@pytest.mark.slow
def test_a_project_under_fire_ends_as_an_undisturbed_one(tmp_path):
    tiles = int(MINUTES * TILES_PER_MINUTE) // 50 * 50
    rng = np.random.default_rng()
    chaos = Chaos((tmp_path / "fire.lw", tiles, 0.2), rng, tmp_path / "log.txt")
    chaos.start()
    try:
        chaos.rage(60 * MINUTES)
        code = chaos.finish(600 + 60 * MINUTES)
    finally:
        chaos.end()
    log = (tmp_path / "log.txt").read_text(errors="replace")
    assert code == 0, (chaos.done, log[-5000:])
    assert chaos.done["worker killed"] > 5 * MINUTES, chaos.done
    project = lw.open_project(tmp_path / "fire.lw")
    assert project.counts == {stage: {"complete": tiles} for stage in STAGES}
    made = completions(project)
    assert len(made) == len(STAGES) * tiles
    assert set(made.values()) == {1}
    peace = build(tmp_path / "peace.lw", tiles, 0.0)
    assert run_here(peace)
    for stage in ("edges", "slow", "sum"):
        np.testing.assert_array_equal(project[stage].data.to_numpy(), peace[stage].data.to_numpy())
    for tile in peace.lattice:
        assert project["numbers"].tile(**tile.labels) == peace["numbers"].tile(**tile.labels)
