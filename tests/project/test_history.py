"""Histories: every attempt that was asked for and no other, with the right labels; throughput."""

import json
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

import latticework as lw
from latticework.errors import LatticeError, ProjectError
from latticework.io.journal import ATTEMPT_COLUMNS
from latticework.lattice import Lattice
from latticework.project.history import attempts_table
from latticework.project.stage_history import KnownStages
from latticework.project.throughput import throughput_table
from latticework.stages.paths import attempt_log, tile_folder
from latticework.stages.reads import plane
from tests.project import steps

T0 = 1_700_000_000.0
TILES = {"z": 3, "y": 2, "x": 4}


def plane_mean(tiles):
    return float(tiles.mean())


def everything(tiles):
    return float(tiles.mean())


@pytest.fixture
def project(folder):
    """A project whose journal was filled by hand: three stages on three lattices, one removed."""
    blocks = np.zeros((3 * 4, 2 * 4, 4 * 4), "u1")
    tiles = Lattice.from_array(blocks, block={"z": 4, "y": 4, "x": 4})
    project = lw.create(folder / "p.lw", tiles)
    project.add(steps.add, name="clean")
    project.add(plane_mean, after="clean", reads=plane("z"), name="planes")
    project.add(everything, after="clean", reads=lw.all_tiles(), name="whole")
    return project


def row(stage, unit, attempt=1, outcome=1, **more):
    given = {
        "stage": stage,
        "unit": unit,
        "attempt": attempt,
        "outcome": outcome,
        "session": 1,
        "fingerprint": 5,
    }
    given |= {"started": T0, "ended": T0 + 1, **more}
    return tuple(given.get(name) for name in ATTEMPT_COLUMNS)


def fill(project, rows):
    with project.lock().held():
        project.writable_journal().add_attempts(rows)
        project.close_writer()


@pytest.fixture
def filled(project):
    ids = {node.name: node.id for node in project.pipeline}
    with project.lock().held():
        journal = project.writable_journal()
        workers = [journal.worker_id(f"tcp://w{k}:1", f"host{k % 2}") for k in range(3)]
        error = journal.error_id("ValueError", "out of focus", "Traceback ...")
        rows = []
        for unit in range(24):
            at = T0 + 60 * unit
            costs = {"cpu_s": 0.5, "peak_memory": 10**6, "bytes_read": 64, "bytes_written": 32}
            costs |= {"worker": workers[unit % 3], "dispatched": at - 2, "session": 1 + unit // 12}
            if unit % 6 == 0:
                times = {"started": at - 1, "ended": at, **costs, "error": error, "exit_code": 3}
                rows.append(row(ids["clean"], unit, 1, 7, **times))
            times = {"started": at, "ended": at + 1.5, **costs}
            rows.append(row(ids["clean"], unit, 2 if unit % 6 == 0 else 1, **times))
        rows += [row(ids["planes"], unit, ended=T0 + 5000 + unit) for unit in range(3)]
        rows.append(row(ids["whole"], 0, ended=T0 + 6000))
        rows.append(row(ids["clean"], 5, 2, 10, started=T0 + 7000, ended=None))
        journal.add_attempts(rows)
        project.close_writer()
    return project


def table(project, stage=None, id=None, labels=None, **wanted):
    return attempts_table(project, stage, id, labels or {}, **wanted)


def test_every_attempt_has_all_that_is_known_of_it(filled):
    found = table(filled)
    assert len(found) == 24 + 4 + 3 + 1 + 1
    first = found.iloc[0]
    assert first[["stage", "tile", "tile_z", "tile_y", "tile_x"]].tolist() == [
        *("clean", "z0_y0_x0"),
        *(0, 0, 0),
    ]
    assert (first.outcome, first.exit_code, first.error) == ("exit code", 3, "ValueError")
    assert first.queued == pd.Timestamp(T0 - 2, unit="s", tz="UTC")
    assert first.ended - first.started == timedelta(seconds=1)
    assert (first.worker, first.host, first.session) == ("tcp://w0:1", "host0", 1)
    assert pd.isna(found.iloc[1].exit_code)
    assert found.exit_code.dtype == "Int64"
    assert found.duration_s.dtype == "float64"


def test_units_of_other_lattices_are_labelled_by_their_own(filled):
    found = table(filled, "planes")
    assert found.tile_z.tolist() == [0, 1, 2]
    assert found.tile_y.isna().all()
    whole = table(filled, "whole")
    assert whole.tile.tolist() == ["(all tiles)"]
    assert whole[["tile_z", "tile_y", "tile_x"]].isna().all(axis=None)


def test_labels_select_many_and_so_planes(filled):
    found = table(filled, "clean", labels={"z": 1})
    assert set(found.tile_z) == {1}
    assert len(found) == 8 + 1  # unit 12 failed once
    every = table(filled, labels={"z": 1})
    assert every.stage.value_counts().to_dict() == {"clean": 9, "planes": 1}
    some = table(filled, "clean", labels={"z": slice(1, 2), "x": [0, 3]})
    assert set(zip(some.tile_z, some.tile_x, strict=True)) == {(1, 0), (1, 3), (2, 0), (2, 3)}
    one = table(filled, labels={"z": 1, "y": 1, "x": 2})
    assert one.tile.tolist() == ["z1_y1_x2"]


def test_a_tile_is_found_by_its_id_and_by_its_name(filled):
    by_id, by_name = table(filled, "clean", 12), table(filled, None, "z1_y1_x1")
    assert len(by_id) == 2
    pd.testing.assert_frame_equal(by_id, table(filled, None, 12))
    assert by_name.tile.tolist() == ["z1_y1_x1"]
    assert table(filled, "whole", 0).stage.tolist() == ["whole"]
    assert table(filled, "planes", 2).tile_z.tolist() == [2]
    for bad in (99, "nobody"):
        with pytest.raises(LatticeError, match=str(bad)):
            table(filled, None, bad)
    with pytest.raises(LatticeError, match="7"):
        table(filled, labels={"z": 7})
    with pytest.raises(LatticeError, match="w"):
        table(filled, labels={"w": 7})


def test_outcomes_workers_hosts_and_sessions_select(filled):
    failed = table(filled, outcome="failed")
    assert failed.outcome.tolist() == ["exit code"] * 4
    pd.testing.assert_frame_equal(failed, table(filled, outcome=["exit code", "exception"]))
    assert set(table(filled, outcome="coordinator ended").tile) == {"z0_y1_x1"}
    assert len(table(filled, outcome="complete")) == 24 + 3 + 1
    assert set(table(filled, worker="tcp://w1:1").tile) == {
        f"z{u // 8}_y{u // 4 % 2}_x{u % 4}" for u in range(1, 24, 3)
    }
    assert set(table(filled, host="host1").worker) == {"tcp://w1:1"}
    assert len(table(filled, "clean", session=2)) == 14
    both = table(filled, "clean", labels={"z": 0}, worker="tcp://w0:1", outcome="failed")
    assert both.tile.tolist() == ["z0_y0_x0", "z0_y1_x2"]
    for wrong in ({"outcome": "fine"}, {"worker": "tcp://w9:1"}, {"host": "elsewhere"}):
        with pytest.raises(ProjectError, match=next(iter(wrong.values()))):
            table(filled, **wrong)


def test_times_select_by_when_attempts_ended(filled):
    def tiles(**span):
        found = table(filled, "clean", **span)
        return sorted(set(found.tile))

    start = datetime.fromtimestamp(T0 + 60 * 3, UTC)
    stop = datetime.fromtimestamp(T0 + 60 * 5, UTC)
    assert tiles(since=start, until=stop) == ["z0_y0_x3", "z0_y1_x0"]
    assert tiles(until=start) == ["z0_y0_x0", "z0_y0_x1", "z0_y0_x2"]
    assert tiles(since=start.isoformat(), until=str(stop)) == ["z0_y0_x3", "z0_y1_x0"]
    ago = time.time() - (T0 + 60 * 3)
    assert tiles(since=ago, until=ago - 120) == ["z0_y0_x3", "z0_y1_x0"]
    assert tiles(since=timedelta(seconds=ago), until=f"{ago - 120:.0f}s") == tiles(
        since=start, until=stop
    )
    never_ended = table(filled, since=datetime.fromtimestamp(T0 + 6500, UTC))
    assert never_ended.outcome.tolist() == ["coordinator ended"]
    for nonsense in ("yesterday-ish", "12", object()):
        with pytest.raises(ProjectError, match="is no time"):
            table(filled, since=nonsense)


def test_a_limit_gives_the_last_ones_in_order(filled):
    columns = ["stage", "tile", "attempt", "ended"]
    last = table(filled).tail(3).reset_index(drop=True)
    pd.testing.assert_frame_equal(table(filled, limit=3)[columns], last[columns])
    assert table(filled, "clean", limit=2).tile.tolist() == ["z2_y1_x3", "z0_y1_x1"]
    with pytest.raises(ProjectError, match="limit=0"):
        table(filled, limit=0)


def test_removed_stages_keep_their_history_with_their_own_labels(filled):
    with filled.lock().held():
        journal = filled.writable_journal()
        sql = "update stages set removed=? where name in ('planes', 'whole')"
        journal.write(sql, (time.time(),))
        filled.close_writer()
    project = lw.open_project(filled.path)
    found = table(project)
    assert found.stage.value_counts().to_dict() == {
        "clean": 29,
        "planes (removed)": 3,
        "whole (removed)": 1,
    }
    gone = table(project, "planes (removed)")
    assert gone.tile_z.tolist() == [0, 1, 2]
    pd.testing.assert_frame_equal(gone, table(project, "planes"))
    project.add(plane_mean, after="clean", reads=plane("z"), name="planes")
    assert len(table(project, "planes")) == 0
    assert len(table(project, "planes (removed)")) == 3
    with pytest.raises(ProjectError, match=r"'typo'.*planes"):
        table(project, "typo")


def test_stages_that_went_with_their_parents_keep_their_labels(filled):
    project = lw.open_project(filled.path)
    project.add(steps.total, after="planes", name="below")
    fill(project, [row(project.pipeline["below"].id, unit) for unit in range(3)])
    project = lw.open_project(filled.path)
    project.remove("clean", children="remove")
    assert project.stages == ()
    found = table(project)
    assert set(found.stage) == {
        "clean (removed)",
        "planes (removed)",
        "whole (removed)",
        "below (removed)",
    }
    below = found[found.stage == "below (removed)"]
    assert below.tile_z.tolist() == [0, 1, 2]
    assert below.tile_y.isna().all()
    assert len(table(project, labels={"z": 1})) == 9 + 1 + 1


def test_withdrawn_tiles_keep_their_history(filled):
    before = table(filled, "clean", 3)
    project = lw.open_project(filled.path)
    project.withdraw(3)
    pd.testing.assert_frame_equal(table(project, "clean", 3), before)
    assert project.counts["clean"]["absent"] == 1
    assert len(table(project, "clean", labels={"z": 0})) == 8 + 2 + 1


def test_the_same_questions_are_answered_from_a_journal_of_the_first_format(filled):
    import contextlib
    import sqlite3

    before = table(filled, "clean", labels={"z": 0})
    path = filled.path / "journal.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db:
        for index in ("attempts_ended", "attempts_by", "attempts_bad", "definitions_of"):
            db.execute(f"drop index {index}")
        for name in ("definitions", "arrivals"):
            db.execute(f"drop table {name}")
        for column in ("exit_code", "dispatched"):
            db.execute(f"alter table attempts drop column {column}")
        db.execute("alter table sessions drop column versions")
        db.execute("update meta set value='1' where key='format'")
        db.commit()
    after = table(lw.open_project(filled.path), "clean", labels={"z": 0})
    assert after.exit_code.isna().all()
    assert after.queued.isna().all()
    same = [name for name in before if name not in ("exit_code", "queued")]
    pd.testing.assert_frame_equal(after[same], before[same])
    assert len(throughput_table(lw.open_project(filled.path))) > 0


def test_logs_are_told_where_there_are_any(filled):
    tile = filled.lattice.tile(0)
    log = attempt_log(filled.path, "clean", tile_folder(0, tile.name), 2, "out")
    log.parent.mkdir(parents=True)
    log.write_text("done\n")
    found = table(filled, "clean", 0)
    assert found.stdout.tolist() == [None, str(log)]
    assert found.stderr.tolist() == [None, None]


def test_an_empty_history_has_the_same_columns(project, filled):
    assert list(table(project, "whole", since=0)) == list(table(filled))


def test_questions_use_the_indexes(filled):
    from latticework.project import history

    known = KnownStages(filled)
    questions = {
        "attempts_of": history.unit_terms(known, "clean", None, {"z": 1}),
        "attempts_ended": history.time_terms(60, None),
        "attempts_by": history.worker_terms(filled, "tcp://w1:1", None),
        "attempts_bad": [
            *history.outcome_terms("failed"),
            *history.unit_terms(known, "clean", None, {}),
        ],
    }
    for index, terms in questions.items():
        where, values = history.combined(terms)
        plan = filled.query(f"explain query plan {history.QUERY}{where}", values)
        assert index in json.dumps(plan), (index, plan)


# ------------------------------------------------------------------ throughput


def test_throughput_equals_the_completion_times_of_the_attempts(filled):
    found = throughput_table(filled, every="5min")
    attempts = table(filled)
    done = attempts[attempts.outcome == "complete"]
    counted = done.groupby(["stage", done.ended.dt.floor("5min")]).size()
    completed = found[found.completed > 0].set_index(["stage", "time"]).completed
    assert completed.to_dict() == counted.to_dict()
    clean = found[found.stage == "clean"]
    assert clean.completed.sum() == 24
    assert clean.failed.sum() == 4
    assert clean.bytes_written.sum() == 24 * 32
    assert clean.mean_duration_s.dropna().tolist() == [1.5] * len(clean.mean_duration_s.dropna())
    np.testing.assert_allclose(found.per_minute, found.completed / 5)


def test_throughput_of_one_stage_and_a_span(filled):
    whole = throughput_table(filled, "clean", every=3600)
    assert set(whole.stage) == {"clean"}
    assert whole.completed.sum() == 24
    until = datetime.fromtimestamp(T0 + 60 * 6 - 5, UTC)
    assert throughput_table(filled, "clean", until=until).completed.sum() == 6
    for wrong in ("soon", 0, -5):
        with pytest.raises(ProjectError, match="every"):
            throughput_table(filled, every=wrong)


def test_throughput_of_a_new_project_is_empty(project):
    assert len(throughput_table(project)) == 0
