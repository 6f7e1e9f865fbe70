"""A stage most of whose first units fail pauses itself, says so, and can be let go on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import latticework as lw
from latticework.errors import ProjectError
from latticework.lattice import State
from latticework.project.patience import Patience, Trials
from latticework.project.settings import Settings
from latticework.viz.progress import SilentProgress
from tests.project import steps
from tests.project.running import HereClient, numbered, run_here
from tests.project.stepping import Session


def spoiled(folder, bad, *, grid=(8, 8), retries=0, patience=None):
    """A project whose stage fails at some tiles, with one below and one beside it."""
    project = lw.create(folder / "p.lw", numbered(grid)[0])
    if patience is not None:
        project.set_patience(**patience)
    project.add(steps.fail_at, name="sharp", bad=list(bad), retries=retries)
    project.add(steps.add, name="child", after="sharp")
    project.add(steps.add, name="beside")
    return project


def tried(project):
    return int((project.pipeline["sharp"].units.attempts > 0).sum())


def test_a_stage_whose_first_tiles_fail_pauses_itself_and_the_others_go_on(folder):
    project = spoiled(folder, range(64))
    summary = run_here(project)
    assert not summary
    assert 10 <= tried(project) < 20
    assert project.counts["sharp"]["failed"] == tried(project)
    assert project.counts["beside"] == {"complete": 64}
    assert project.settings.paused_stages == ("sharp",)
    reason = "of its first 10 units failed, the last with ValueError: tile"
    assert reason in project.settings.gave_up["sharp"]
    assert "Stage 'sharp' has paused itself: 10 of its first 10 units failed" in repr(summary)
    assert "project.resume('sharp')" in summary.closing[-1]
    for seen in (project, lw.open_project(project.path)):
        why = seen.why("sharp", 60)
        assert why.startswith("ready to run, but stage 'sharp' has paused itself: 10 of its first")
        assert why.endswith("project.resume('sharp') lets it go on")


def test_it_is_told_while_it_happens_and_kept_in_the_history(folder):
    said = []

    class Listening(SilentProgress):
        def _tell(self, text):
            said.append(text)

    project = spoiled(folder, range(64))
    with project.lock().held():
        from latticework.project import running

        chosen = running.chosen_nodes(project, None)
        running.run_nodes(project, HereClient(), chosen, Listening())
    assert any(text.startswith("stage 'sharp' has paused itself: 10 of its") for text in said)
    (event,) = project.events("stage paused itself").itertuples()
    assert (event.stage, event.counts) == ("sharp", {"complete": 0, "failed": 10})


def test_what_works_for_half_of_its_tiles_goes_on(folder):
    project = spoiled(folder, range(1, 64, 2))
    run_here(project)
    assert project.counts["sharp"] == {"complete": 32, "failed": 32}
    assert project.settings.gave_up == {}


def test_a_small_pipeline_never_pauses_itself(folder):
    project = spoiled(folder, range(3), grid=(1, 3))
    run_here(project)
    assert project.counts["sharp"] == {"failed": 3}
    assert project.settings.gave_up == {}


def test_attempts_that_are_made_again_are_no_failures_yet(folder):
    project = lw.create(folder / "p.lw", numbered((8, 8))[0])
    (folder / "marks").mkdir()
    project.add(steps.fail_once, name="sharp", marks=str(folder / "marks"), retries=1)
    assert run_here(project)


def test_a_stage_that_has_worked_for_long_does_not_pause_itself(folder):
    project = spoiled(folder, range(40, 64))
    run_here(project)
    assert project.counts["sharp"] == {"complete": 40, "failed": 24}


def test_failures_of_earlier_runs_do_not_count(folder):
    project = spoiled(folder, range(9), grid=(1, 9))
    run_here(project)
    project.retry("sharp")
    run_here(project)
    assert project.settings.gave_up == {}


@pytest.mark.parametrize(
    "patience", [{"after": None}, {"after": 100}, {"share": 0.99, "after": 64}]
)
def test_patience_can_be_changed_or_switched_off(folder, patience):
    expected = 64 if patience != {"share": 0.99, "after": 64} else 63
    project = spoiled(folder, range(expected), patience=patience)
    run_here(project)
    assert project.counts["sharp"].get("failed") == expected


def test_patience_may_be_that_of_one_stage(folder):
    project = spoiled(folder, range(64))
    project.set_patience("sharp", after=30)
    run_here(project)
    assert 30 <= tried(project) < 40
    project.resume("sharp")
    project.set_patience(after=None)  # for all, also those that had something of their own
    run_here(project)
    assert tried(project) == 64


def test_resuming_gives_it_a_fresh_start(folder):
    project = spoiled(folder, range(64))
    run_here(project)
    first = tried(project)
    project.resume("sharp")
    assert project.settings.paused_stages == ()
    assert project.why("sharp", 60).startswith("ready to run: nothing runs")
    run_here(project)
    assert first + 10 <= tried(project) < first + 20
    assert "sharp" in project.settings.gave_up


def test_a_run_leaves_out_what_had_paused_itself_before(folder):
    project = spoiled(folder, range(64))
    run_here(project)
    first = tried(project)
    assert not run_here(project)
    assert tried(project) == first


def test_mending_the_code_is_reason_enough_to_go_on(folder):
    project = spoiled(folder, range(64))
    run_here(project)
    project.change("sharp", bad=[])
    assert project.settings.gave_up == {}
    assert run_here(project), project.counts
    assert project.settings.paused_stages == ()


def test_other_options_are_no_reason_to_go_on(folder):
    project = spoiled(folder, range(64))
    run_here(project)
    project.change("sharp", retries=1)
    assert "sharp" in project.settings.gave_up


def test_a_retry_lets_it_go_on(folder):
    project = spoiled(folder, range(64))
    run_here(project)
    project.retry("sharp")
    assert project.settings.gave_up == {}


def test_a_users_pause_stays_a_pause(folder):
    project = spoiled(folder, range(64))
    run_here(project)
    project.pause("beside", "sharp")
    project.change("sharp", bad=[])
    assert project.settings.paused_stages == ("beside", "sharp")


def test_a_run_goes_on_for_what_a_user_has_paused_but_not_for_what_gave_up(folder):
    lw.create(folder / "p.lw", numbered((8, 8))[0])
    session = Session(folder / "p.lw", slots=1)
    project = session.project
    project.add(steps.fail_at, name="sharp", bad=list(range(64)), retries=0)
    project.add(steps.add, name="beside")
    session.begin()
    coordinator = session.coordinator
    coordinator.stay = False
    project.pause("beside")
    session.finish()
    assert "sharp" in project.settings.gave_up
    assert not coordinator._is_over()  # 'beside' was paused while it runs
    project.resume("beside")
    session.finish()
    assert project.counts["beside"] == {"complete": 64}
    assert project.counts["sharp"].get("waiting")
    assert coordinator._is_over()
    session.crash()


def test_a_coordinator_that_is_killed_leaves_it_paused(folder):
    lw.create(folder / "p.lw", numbered((8, 8))[0])
    session = Session(folder / "p.lw", slots=1)
    session.project.add(steps.fail_at, name="sharp", bad=list(range(64)), retries=0)
    session.begin()
    session.finish()
    session.commit()
    session.crash()
    assert "sharp" in session.project.settings.gave_up
    states = session.project.pipeline["sharp"].units.state
    assert (states == State.FAILED).sum() == 10


@pytest.mark.parametrize(
    ("given_values", "message"),
    [
        ({"after": 0}, "after=0"),
        ({"after": 2.5}, "after=2.5"),
        ({"after": True}, "after=True"),
        ({"share": 1.0}, "share=1.0"),
        ({"share": "half"}, "share='half'"),
    ],
)
def test_patience_that_makes_no_sense_is_refused(folder, given_values, message):
    project = spoiled(folder, [])
    with pytest.raises(ProjectError, match=message):
        project.set_patience(**given_values)
    with pytest.raises(ProjectError, match="there is no stage 'sharpe'"):
        project.set_patience("sharpe")


@given(st.integers(1, 50), st.floats(0, 0.99), st.integers(0, 100), st.integers(0, 100))
def test_it_is_lost_exactly_when_too_large_a_share_of_enough_units_failed(
    after, share, complete, failed
):
    lost = Patience(after, share).is_lost(complete=complete, failed=failed)
    assert lost == (complete + failed >= after and failed > share * (complete + failed))
    assert not Patience(None, share).is_lost(complete=complete, failed=failed)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_trials_add_up(parts):
    trials = Trials()
    total = (0, 0)
    for complete, failed in parts:
        total = trials.see("a", complete=complete, failed=failed)
        trials.see("b", complete=1, failed=1)
    assert total == (sum(c for c, _ in parts), sum(f for _, f in parts))


def test_older_settings_are_read():
    settings = Settings.from_json(
        '{"paused": false, "paused_stages": ["a"], "skipped": {}, "region": {}, "priority": '
        '{"order": "acquisition", "axis": null, "preview": null, "region": {}}}'
    )
    assert (settings.gave_up, settings.set_aside, settings.patience) == ({}, {}, {})
