"""Files on a slow server: reading and writing take a while, or fail, as told for each unit."""

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from latticework.stages import batch_run, execute
from latticework.stages.bench import Bench
from latticework.stages.overlap import Waiting


@dataclass
class SlowFiles:
    """How long it takes to read and to write each unit, and what comes of it."""

    read_s: dict[int, float] = field(default_factory=dict)
    write_s: dict[int, float] = field(default_factory=dict)
    read_errors: dict[int, BaseException] = field(default_factory=dict)
    write_errors: dict[int, BaseException] = field(default_factory=dict)
    usual_s: float = 0.01
    aside: list[tuple[str, int]] = field(default_factory=list)
    """What was read or written by which unit in a thread of its own."""
    done: list[tuple[str, int]] = field(default_factory=list)
    """What was read or written at all, in the order in which it ended."""

    def install(self, monkeypatch, *, always=None):
        """Work like that from now on; `always` says whether threads pay, whatever they gain."""
        read_unit, stage = batch_run.read_unit, execute.Pixels.stage

        def read(bench: Bench, unit, *more):
            given = read_unit(bench, unit, *more)
            self._take("read", unit, self.read_s, self.read_errors)
            return given

        def write(pixels):
            unit = int(np.ravel_multi_index(pixels.index, (2, 3)))
            self._take("write", unit, self.write_s, self.write_errors)
            return stage(pixels)

        monkeypatch.setattr(batch_run, "read_unit", read)
        monkeypatch.setattr(execute.Pixels, "stage", write)
        if always is not None:
            monkeypatch.setattr(Waiting, "pays", lambda _waiting, _unit_s: always)
        return self

    def _take(self, what, unit, seconds, errors):
        if threading.current_thread().name.startswith("latticework-"):
            self.aside.append((what, unit))
        end = time.monotonic() + seconds.get(unit, self.usual_s)
        while time.monotonic() < end:
            time.sleep(0.001)  # so that it can be ended, which C cannot
        self.done.append((what, unit))
        if unit in errors:
            raise errors[unit]
