import sys
import threading
import time

import pytest

from latticework.errors import LatticeError
from latticework.io.wake_up import WakeUp, file_system


def test_a_change_ends_the_wait(tmp_path):
    pytest.importorskip("watchfiles")
    wake_up = WakeUp(tmp_path, "inotify")
    try:
        assert wake_up.notified
        deadline = time.monotonic() + 30
        while not wake_up.wait(0.2) and time.monotonic() < deadline:
            (tmp_path / "a.tif").write_bytes(b"1" * (1 + int(time.monotonic()) % 7))
        assert time.monotonic() < deadline
    finally:
        wake_up.close()


def test_a_list_is_listened_to_and_not_all_that_lies_beside_it(tmp_path):
    pytest.importorskip("watchfiles")
    assert not WakeUp(tmp_path / "later", "inotify").notified
    wake_up = WakeUp(tmp_path / "list.json", "inotify", deep=False)
    try:
        deadline = time.monotonic() + 30
        while not wake_up.wait(0.2) and time.monotonic() < deadline:
            (tmp_path / "list.json").write_text(str(time.monotonic()))
        assert time.monotonic() < deadline
    finally:
        wake_up.close()


def test_waiting_by_the_clock_can_be_ended(tmp_path):
    wake_up = WakeUp(tmp_path, "poll")
    assert not wake_up.notified
    assert not wake_up.wait(0.0)
    threading.Timer(0.05, wake_up.wake).start()
    assert wake_up.wait(30.0)
    wake_up.close()


def test_without_the_library_the_clock_is_used(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert not WakeUp(tmp_path, "auto").notified
    with pytest.raises(LatticeError, match=r"latticework\[watch\]"):
        WakeUp(tmp_path, "inotify")


def test_network_file_systems_are_looked_at_by_the_clock(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "rootfs / ext4 rw 0 0\n"
        f"server:/data {tmp_path}/far\\040away nfs4 rw 0 0\n"
        f"tmpfs {tmp_path}/far\\040away/cache tmpfs rw 0 0\n"
    )
    assert file_system(tmp_path, mounts) == "ext4"
    assert file_system(tmp_path / "far away" / "scan", mounts) == "nfs4"
    assert file_system(tmp_path / "far away" / "cache" / "x", mounts) == "tmpfs"
    assert file_system(tmp_path, tmp_path / "none") is None
    monkeypatch.setattr("latticework.io.wake_up.file_system", lambda _: "nfs4")
    assert not WakeUp(tmp_path, "auto").notified
