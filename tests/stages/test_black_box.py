"""What a worker had done of its batch is known when the worker is dead."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np

from latticework.stages.black_box import REPORT, BlackBox, read_box

COSTS = (1, 10.0, 11.5, 0.25, 1000, 20, 30, 7)
WORKER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from latticework.stages.black_box import REPORT, BlackBox
rows = np.zeros(5, REPORT)
rows["unit"], rows["attempt"] = range(40, 45), 3
box = BlackBox(Path(sys.argv[1]), rows)
for row in range(3):
    box.begin(row)
    if row == 2:
        box.saw(2**30, 2**31)
        os.kill(os.getpid(), signal.SIGKILL)
    box.end(row, 1, 10.0, 11.5, 0.25, 1000, 20, 30, 7)
"""


def rows(n=3):
    made = np.zeros(n, REPORT)
    made["unit"] = np.arange(n)
    return made


def test_it_outlives_a_process_that_is_killed(tmp_path):
    killed = subprocess.run([sys.executable, "-c", WORKER, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    found = read_box(tmp_path)
    assert (found.running, found.resident, found.limit) == (2, 2**30, 2**31)
    assert found.done.tolist() == [(40, 3, *COSTS), (41, 3, *COSTS)]
    assert found.host


def test_where_no_file_can_be_written_the_rows_are_kept_all_the_same(tmp_path):
    box = BlackBox(tmp_path / "gone", rows())
    box.begin(0)
    box.end(0, *COSTS)
    assert box.rows().tolist() == [(0, 0, *COSTS)]
    assert read_box(tmp_path / "gone") is None


def test_a_file_that_is_cut_or_foreign_is_none(tmp_path):
    BlackBox(tmp_path, rows()).close()
    whole = (tmp_path / "box").read_bytes()
    for content in (b"", whole[:20], b"\xff" * len(whole)):
        (tmp_path / "box").write_bytes(content)
        assert read_box(tmp_path) is None


def test_who_looks_at_the_memory_never_writes_into_another_file(tmp_path):
    """The number of a file that was closed belongs to the next one that is opened."""
    box, over = BlackBox(tmp_path, rows()), threading.Event()

    def look():
        while not over.is_set():
            box.saw(1, 2)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        for _ in range(50):
            box.close()
            with (tmp_path / "other").open("w+b") as other:
                other.write(b"x" * 64)
                other.flush()
                assert os.pread(other.fileno(), 64, 0) == b"x" * 64
            box = BlackBox(tmp_path, rows())
    finally:
        over.set()
        watching.join()
