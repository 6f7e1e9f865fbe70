"""Progress in a real kernel of Jupyter: what is sent to a notebook, and to which cell."""

import queue
import re
import time

import pytest

pytest.importorskip("ipykernel")
manager = pytest.importorskip("jupyter_client")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client"),
]

PREPARE = """
import latticework as lw, numpy as np, time
def slow(tile, *, s=0.1):
    import time
    time.sleep(s)
    if tile.tile_x == 2 and tile.tile_y == 1:
        raise ValueError("a bubble <script>")
    return tile
tiles, truth = lw.simulate({"y": 4, "x": 5}, tile_shape={"y": 32, "x": 32}, seed=1)
project = lw.create("a.lw", tiles)
project.add(slow, retries=0)
where = lw.local(workers=2)
"""


class Notebook:
    """A kernel, and everything that it sent, by the cell that it belongs to."""

    def __init__(self, folder):
        self._kernel = manager.KernelManager(kernel_name="python3")
        self._kernel.start_kernel(cwd=str(folder))
        self._client = self._kernel.client()
        self._client.start_channels()
        self._client.wait_for_ready(60)
        self.sent = []

    def run(self, code, *, interrupt_when=None, timeout_s=120):
        """Run a cell to its end; its id. The button is pressed when such a text has been shown."""
        cell = self._client.execute(code)
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            message = self._next()
            if message is None:
                continue
            if interrupt_when and re.search(interrupt_when, str(message["content"])):
                self._kernel.interrupt_kernel()
                interrupt_when = None
            mine = message["parent_header"].get("msg_id") == cell
            if mine and message["content"].get("execution_state") == "idle":
                return cell
        raise TimeoutError(f"{code!r} did not end; sent so far: {self.sent[-5:]}")

    def _next(self):
        try:
            message = self._client.get_iopub_msg(timeout=1)
        except queue.Empty:
            return None
        if message["msg_type"] in (
            "display_data",
            "update_display_data",
            "execute_result",
            "error",
        ):
            self.sent.append(message)
        return message

    def of(self, cell, kind):
        """What belongs to a cell."""
        return [
            message["content"]
            for message in self.sent
            if message["parent_header"]["msg_id"] == cell and message["msg_type"] == kind
        ]

    def close(self):
        self._client.stop_channels()
        self._kernel.shutdown_kernel(now=True)


@pytest.fixture
def notebook(tmp_path):
    made = Notebook(tmp_path)
    try:
        made.run(PREPARE)
        yield made
    finally:
        made.close()


def html(content):
    return content["data"]["text/html"]


def test_a_cell_shows_bars_in_place_and_keeps_the_last_picture(notebook):
    cell = notebook.run("project.run(where)")
    (first,) = notebook.of(cell, "display_data")
    updates = notebook.of(cell, "update_display_data")
    name = first["transient"]["display_id"]
    assert {update["transient"]["display_id"] for update in updates} == {name}
    seen = "".join(map(html, updates))
    assert re.search(r'dashboard: <a href="http://127\.0\.0\.1:\d+/lattice', seen)
    assert "tiles/s" in seen
    assert " left" in seen
    last = html(updates[-1])
    assert "19 / 20" in last
    assert "1 failed" in last
    assert "ended after" in last
    assert "dashboard" not in last  # it is gone with the run's workers
    assert "<script" not in seen
    assert "19/20" in updates[-1]["data"]["text/plain"]
    (summary,) = notebook.of(cell, "execute_result")
    assert "a bubble &lt;script&gt;" in html(summary)
    assert "19 / 20" not in html(summary)  # the bars stand above it
    later = notebook.run("_")
    assert "19 / 20" in html(notebook.of(later, "execute_result")[0])


def test_a_run_in_the_background_shows_itself_where_it_was_started(notebook):
    started = notebook.run("run = project.start(where)")
    other = notebook.run("time.sleep(1.5); print(1)")
    ended = notebook.run("run.wait()")
    assert len(notebook.of(started, "display_data")) == 1
    assert len(notebook.of(started, "update_display_data")) > 2
    last = html(notebook.of(started, "update_display_data")[-1])
    assert notebook.of(other, "display_data") == notebook.of(ended, "display_data") == []
    # Sent to whichever cell is at work as well, for programs that run a notebook cell by cell.
    assert html(notebook.of(ended, "update_display_data")[-1]) == last
    pictures = [m["content"] for m in notebook.sent if m["msg_type"] == "update_display_data"]
    assert len({picture["transient"]["display_id"] for picture in pictures}) == 1
    assert "ended after" in last
    assert "a bubble" in last  # the summary is another cell's value
    assert "19 / 20" in html(notebook.of(ended, "execute_result")[0])


def test_the_interrupt_button_ends_a_run_in_good_order(notebook):
    notebook.run("project.add(slow, retries=0, s=0.5)")
    cell = notebook.run("project.run(where)", interrupt_when=r"[1-9] / 20")
    last = html(notebook.of(cell, "update_display_data")[-1])
    assert "interrupted after" in last
    assert "run again to go on" in last
    assert notebook.of(cell, "error") == []
    notebook.run("assert project.run(where).count(lw.State.COMPLETE) == 19")
    assert [m for m in notebook.sent if m["msg_type"] == "error"] == []


def test_watching_shows_itself_in_its_cell(notebook):
    notebook.run(
        "from latticework import testing\n"
        "testing.write_ome_tiff(tiles, 'acquisition')\n"
        "open('acquisition/FINISHED', 'w').close()\n"
        "options = {'settle_s': 0.1, 'end': 'FINISHED'}\n"
        "live = lw.create_watched('live.lw', 'acquisition', **options)\n"
        "live.add(slow, retries=0)"
    )
    cell = notebook.run("run = live.watch(where=where, interval_s=0.2, background=True)")
    notebook.run("summary = run.wait()")
    assert [m for m in notebook.sent if m["msg_type"] == "error"] == []
    seen = [html(content) for content in notebook.of(cell, "update_display_data")]
    assert any("so far" in page for page in seen)  # the gauge of what arrives
    assert "ended after" in seen[-1]
