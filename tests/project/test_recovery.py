"""Journals that are damaged or gone: opening says so, recovering loses nothing that is known."""

import os
import random
import shutil
import sqlite3

import numpy as np
import pytest

import latticework as lw
from latticework.errors import LatticeworkError, ProjectLockedError, StoreError
from latticework.io.journal import Journal
from latticework.io.salvage import salvage
from latticework.project import status_writer
from latticework.project.recovering import Recovered
from tests.project import steps
from tests.project.running import attempts_since, completions, numbered, run_here

N = 60


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project that is complete but for a failure, with stages of three kinds."""
    path = tmp_path_factory.mktemp("finished") / "run.lw"
    project = lw.create(path, numbered((6, 10))[0])
    project.add(steps.fail_at, bad=[7])
    project.add(steps.total, after="fail_at")
    project.add(steps.table, after="source")
    project.set_parameters(exposure_ms=30)
    run_here(project)
    return path


@pytest.fixture
def copy(finished, folder):
    """A copy that a test may damage, with the times of the files."""
    return shutil.copytree(finished, folder / "run.lw")


def published(path):
    return {
        file: (file.stat().st_mtime_ns, file.read_bytes())
        for file in sorted((path / "stages").rglob("*"))
        if file.is_file()
    }


def journal_of(path):
    return path / "journal.sqlite"


def flip_page(path, page, size=4096):
    with journal_of(path).open("r+b") as file:
        file.seek(page * size)
        file.write(random.Random(page).randbytes(size))


def pages(path):
    return journal_of(path).stat().st_size // 4096


GONE = {
    "missing": lambda file: file.unlink(),
    "is empty": lambda file: os.truncate(file, 0),
    "damaged: file is not a database": lambda file: file.write_bytes(b"no database" * 1000),
}


@pytest.mark.parametrize("what", GONE)
def test_a_journal_that_is_gone_is_made_anew_from_its_spare_and_the_outputs(copy, what):
    before = published(copy)
    GONE[what](journal_of(copy))
    with pytest.raises(StoreError, match=what) as caught:
        lw.open_project(copy)
    assert "latticework.recover(" in str(caught.value)
    assert str(journal_of(copy)) in str(caught.value)
    recovered = lw.recover(copy)
    assert published(copy) == before
    assert recovered.complete == {"fail_at": N - 1, "total": 0, "table": N}
    assert recovered.again == {"total": N - 1}  # records are in the journal alone
    project = lw.open_project(copy)
    assert project.settings.parameters == {"exposure_ms": 30}
    last = project.attempts_made()
    run_here(project)
    made = attempts_since(project, last)
    assert {stage for stage, _ in made} == {"total"}
    assert project.counts["total"]["complete"] == N - 1
    assert project.counts["fail_at"]["failed"] == 1


def test_a_healthy_journal_is_recovered_as_it_is(copy):
    before, counts = published(copy), lw.open_project(copy).counts
    recovered = lw.recover(copy)
    assert (recovered.lost, recovered.again) == ((), {})
    project = lw.open_project(copy)
    assert project.counts == counts
    assert published(copy) == before
    assert len(completions(project)) == 3 * N - 2
    assert recovered.aside.is_dir()


@pytest.mark.parametrize("seed", range(4))
def test_pages_that_make_no_sense_cost_what_is_on_them(copy, seed):
    before, chance = published(copy), random.Random(seed)
    for page in chance.sample(range(1, pages(copy)), 3):
        flip_page(copy, page)
    recovered = lw.recover(copy)
    assert published(copy) == before
    project = lw.open_project(copy)
    run_here(project)
    counts = project.counts
    assert counts["table"] == {"complete": N}
    assert counts["fail_at"] == {"complete": N - 1, "failed": 1}
    assert counts["total"] == {"complete": N - 1, "blocked": 1}
    assert str(recovered).startswith("recovered: ")
    assert not len(project.verify(thorough=True))


def test_a_run_does_not_begin_on_a_journal_with_damaged_pages(copy):
    for page in range(3, pages(copy), 2):
        flip_page(copy, page)
    with pytest.raises(StoreError, match=r"damaged|cannot be read") as caught:
        run_here(lw.open_project(copy))
    assert "recover" in str(caught.value)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_journal_that_was_cut_off_is_recovered(copy, share):
    before = published(copy)
    os.truncate(journal_of(copy), int(journal_of(copy).stat().st_size * share))
    with pytest.raises(LatticeworkError):
        run_here(lw.open_project(copy))
    lw.recover(copy)
    assert published(copy) == before
    project = lw.open_project(copy)
    run_here(project)
    assert project.counts["table"] == {"complete": N}
    assert len(project["total"].data) == N - 1


def test_what_is_younger_than_all_that_is_known_is_made_again(copy):
    """Rows may be lost that say that it was made by other code."""
    journal_of(copy).unlink()
    file = next((copy / "stages/table").rglob("5.parquet"))
    os.utime(file, (file.stat().st_atime + 100, file.stat().st_mtime + 100))
    assert lw.recover(copy).again == {"table": 1, "total": N - 1}


def test_what_is_missing_or_cut_off_is_made_again(copy):
    journal_of(copy).unlink()
    next((copy / "stages/table").rglob("5.parquet")).unlink()
    os.truncate(next((copy / "stages/table").rglob("6.parquet")), 5)
    recovered = lw.recover(copy)
    assert recovered.again["table"] in (1, 2)
    project = lw.open_project(copy)
    project.verify(thorough=True)
    run_here(project)
    assert project.counts["table"] == {"complete": N}
    assert not len(project.verify(thorough=True))


def test_without_journal_and_spare_outputs_are_set_aside_and_not_deleted(copy):
    journal_of(copy).unlink()
    (copy / "journal.spare.sqlite").unlink()
    recovered = lw.recover(copy)
    assert (recovered.aside, recovered.complete) == (None, {})
    project = lw.open_project(copy)
    project.add(steps.table, after="source")
    assert run_here(project)
    assert len(list((copy / "removed").rglob("*.parquet"))) == N


def test_a_project_that_is_run_is_not_recovered(copy):
    with lw.open_project(copy).lock().held(), pytest.raises(ProjectLockedError):
        lw.recover(copy)


def test_every_row_on_whole_pages_is_salvaged(tmp_path):
    """Against a journal of which it is known which pages hold which rows."""
    path = tmp_path / "journal.sqlite"
    journal = Journal.create(path)
    journal.write_many(
        "insert into errors (type, message, traceback) values (?, ?, ?)",
        (("ValueError", f"tile {k}", "x" * 300) for k in range(3000)),
    )
    journal.close()
    content = bytearray(path.read_bytes())
    damaged = [
        at for at in range(0, len(content), 4096) if b"tile 1500x" in content[at : at + 4096]
    ]
    lost = 0
    for at in damaged:
        if content[at] == 13:  # a leaf of a table
            lost += int.from_bytes(content[at + 3 : at + 5], "big")
            content[at : at + 4096] = bytes(4096)
    path.write_bytes(content)
    assert lost
    new = Journal.create(tmp_path / "new.sqlite")
    new.close()
    db = sqlite3.connect(tmp_path / "new.sqlite")
    found = salvage(path, db)
    assert found.rows["errors"] == 3000 - lost
    assert "errors" in found.lost
    db.close()


def test_a_damaged_status_array_is_made_anew(copy):
    project = lw.open_project(copy)
    for damage in (
        lambda: shutil.rmtree(copy / "status.zarr"),
        lambda: (copy / "status.zarr/zarr.json").write_text("{"),
        (copy / "status.zarr/state/zarr.json").unlink,
        lambda: (shutil.rmtree(copy / "status.zarr"), (copy / "status.zarr").mkdir()),
    ):
        damage()
        run_here(project)
        import xarray

        with xarray.open_zarr(copy / "status.zarr") as status:
            found = status.state.sel(stage="fail_at").values
            assert np.array_equal(found, project.status.state.sel(stage="fail_at").values)


def test_a_foreign_file_in_the_place_of_the_status_array_is_told_and_ends_nothing(
    copy, monkeypatch
):
    said = []
    monkeypatch.setattr(status_writer.log, "warning", lambda text, *a: said.append(text % a))
    shutil.rmtree(copy / "status.zarr")
    (copy / "status.zarr").write_text("mine")
    project = lw.open_project(copy)
    project.retry("table", 3, failed=False)
    run_here(project)
    assert project.counts["table"] == {"complete": N}
    [once] = said
    assert "remove what is there" in once
    assert "status.zarr" in once
    assert (copy / "status.zarr").read_text() == "mine"


def test_a_staging_folder_that_is_deleted_while_it_runs_costs_only_what_was_in_it(folder):
    from tests.project.disks import AfterStaging

    project = lw.create(folder / "run.lw", numbered((2, 3))[0])
    project.add(steps.same)

    def delete(batches):
        if batches == 1:
            shutil.rmtree(project.path / "staging")

    assert run_here(project, client=AfterStaging(delete))
    assert set(completions(project).values()) == {1}
    assert not project.pipeline["same"].units.tries.any()


def test_a_file_in_the_place_of_the_staging_folder_is_named(copy):
    shutil.rmtree(copy / "staging", ignore_errors=True)
    (copy / "staging").write_text("mine")
    project = lw.open_project(copy)
    with pytest.raises(LatticeworkError, match="remove the file that is in its way") as caught:
        run_here(project)
    assert str(copy / "staging") in str(caught.value)


def test_what_is_recovered_is_counted_in_words_and_nothing_says_what_to_do():
    one = Recovered(None, {"stages": 1, "batches": 1, "attempts": 1200}, (), {}, {})
    assert str(one) == "recovered: 1 stage, 1 batch, 1,200 attempts"
    nothing = Recovered(None, {}, ("attempts",), {}, {})
    assert str(nothing).startswith("recovered: nothing\nno stage is known: add the stages again")
    assert str(Recovered(None, {}, (), {}, {})) == "recovered: nothing"
