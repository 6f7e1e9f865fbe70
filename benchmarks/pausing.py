"""How long a pause takes to hold while no-op units run as fast as they go."""

import statistics
import threading
import time
from pathlib import Path

from benchmarks.clock import Stopwatch
from benchmarks.cluster import local_cluster
from benchmarks.ours import project_of

TIMES = 5


def pause(scratch: Path, watch: Stopwatch, *, tiles: int, every_s: float = 1.0) -> dict[str, float]:
    """Median seconds from `project.pause` until nothing more is sent, and until nothing is out.

    Asked a few times from another thread of the coordinator's process, while it runs.
    """
    held: list[float] = []
    landed: list[float] = []
    with local_cluster(scratch, warm=("latticework",)) as client:
        project_of(scratch / "warm.lw", 4).run(client, progress="none")
        project = project_of(scratch / "noop.lw", tiles)

        def ask() -> None:
            while project.coordinator is None:
                time.sleep(0.001)
            for time_around in range(TIMES):
                time.sleep(every_s if time_around else every_s / 100)
                coordinator = project.coordinator
                if coordinator is None:
                    return  # it has ended
                begun = time.perf_counter()
                project.pause()
                held.append(time.perf_counter() - begun)
                while coordinator.flying:
                    time.sleep(0.005)
                landed.append(time.perf_counter() - begun)
                project.resume()
            if project.coordinator is not None:
                project.coordinator.stop()

        asking = threading.Thread(target=ask)
        with watch:
            asking.start()
            project.run(client, progress="none")
        asking.join()
    assert held, f"{tiles:,} units were done before a pause could be asked for"
    return {"held_s": statistics.median(held), "landed_s": statistics.median(landed)}
