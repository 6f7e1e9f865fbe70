"""Janelia's daisy 2 with its tracking store: the fastest durable block scheduler there is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.clock import Stopwatch
from benchmarks.functions import nothing


def noop(scratch: Path, watch: Stopwatch, *, tiles: int, workers: int = 2) -> dict[str, float]:
    """`run_blockwise` over a 2-D grid of blocks; starting its workers is part of the call."""
    with watch:
        done = run_blocks(scratch, tiles, nothing, workers=workers)
    assert done == tiles, f"{done:,} of {tiles:,} complete"
    return {}


def run_blocks(scratch: Path, tiles: int, step: Callable[[Any], None], *, workers: int = 2) -> int:
    """Run the blocks that are not done yet; how many are done now."""
    import daisy.v2 as daisy
    from daisy.logging import set_log_basedir

    set_log_basedir(str(scratch / "logs"))
    rows = max(k for k in range(1, int(tiles**0.5) + 1) if tiles % k == 0)
    block = daisy.Roi((0, 0), (10, 10))
    task = daisy.Task(
        "noop",
        total_roi=daisy.Roi((0, 0), (10 * rows, 10 * (tiles // rows))),
        read_roi=block,
        write_roi=block,
        process_function=step,
        read_write_conflict=False,
        max_workers=workers,
        tracking_path=str(scratch / "tracking"),
    )
    states = daisy.run_blockwise(
        task, progress=False, summary=False, return_states=True, host="127.0.0.1"
    )
    (state,) = states.values()
    return int(state.completed_count)
