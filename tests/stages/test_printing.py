"""What Python stages print is kept for each attempt, and still goes where it went."""

import contextlib
import io
import sys
import threading
import time
import warnings

from latticework.stages.paths import attempt_log, tile_folder
from latticework.stages.printed import KEPT_BYTES
from latticework.stages.stage import as_stage
from tests.stages.benches import Place, array_tiles


def printed(place, unit, stream="out", attempt=1, stage="talk"):
    folder = tile_folder(unit, place.lattice.tile(unit).name)
    path = attempt_log(place.folder, stage, folder, attempt, stream)
    return path.read_text() if path.exists() else None


def talk(tile):
    number = int(tile.attrs["tile_id"])
    print("unit", number)
    sys.stdout.buffer.write(b"bytes\n")
    if number == 1:
        warnings.warn("dark", UserWarning, stacklevel=1)
    if number == 2:
        print("no newline", end="")
        raise ValueError("bright")
    return {"n": number}


def test_each_attempt_keeps_what_it_prints_failed_ones_too(tmp_path, capsys):
    place = Place(tmp_path / "p", array_tiles())
    before = sys.stdout, sys.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
        place.run(as_stage(talk), [0, 1, 2])
        place.run(as_stage(talk), [2], attempt=2)
    assert (sys.stdout, sys.stderr) == before
    assert [printed(place, unit) for unit in (0, 1)] == ["unit 0\nbytes\n", "unit 1\nbytes\n"]
    assert [printed(place, unit, "err") for unit in (0, 1)] == [None, "dark\n"]
    assert printed(place, 2) == printed(place, 2, attempt=2) == "unit 2\nbytes\nno newline"
    out, err = capsys.readouterr()
    assert out.replace("bytes\n", "") == "unit 0\nunit 1\nunit 2\nno newlineunit 2\nno newline"
    assert err == "dark\n"


def silent(tile):
    return {"n": tile.ndim}


def test_who_prints_nothing_has_no_files(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    place.run(as_stage(silent), [0, 1])
    assert not (place.folder / "logs").exists()


def much(tile):
    for k in range(40_000):
        print("line", k)
    with contextlib.redirect_stdout(io.StringIO()):
        print("elsewhere")
    print("end µ")
    return {"n": tile.ndim}


def test_of_much_the_end_is_kept(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    place.run(as_stage(much), [0])
    text = printed(place, 0, stage="much")
    first, second, *_ = text.splitlines()
    assert len(text.encode()) < KEPT_BYTES + 200
    assert text.endswith("line 39999\nend µ\n")
    assert second.startswith("line ")
    left_out = int(first.split()[2].replace(",", ""))
    everything = sum(len(f"line {k}\n") for k in range(40_000)) + len("end µ\n".encode())
    assert left_out + len(text.encode()) - len(first) - 1 == everything


def chat(tile):
    for k in range(20):
        time.sleep(0.005)
        print(f"{int(tile.attrs['tile_id'])} says", k)
    return {"n": 1}


def test_units_in_threads_of_one_process_are_told_apart(tmp_path, capsys):
    place = Place(tmp_path / "p", array_tiles())
    order = place.order(as_stage(chat))
    threads = [threading.Thread(target=place.run, args=(order, [unit])) for unit in (0, 1)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        time.sleep(0.005)
        print("somebody else")
    for thread in threads:
        thread.join(20)
    for unit in (0, 1):
        expected = [f"{unit} says {k}" for k in range(20)]
        assert printed(place, unit, stage="chat").splitlines() == expected
    assert capsys.readouterr().out.count("somebody else") == 20


def test_a_log_that_cannot_be_written_fails_no_unit(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    (place.folder / "logs").write_text("in the way")
    rows, _ = place.run(as_stage(talk), [0])
    assert rows["outcome"].tolist() == [1]
