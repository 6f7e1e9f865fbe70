"""What attempts printed: the logs that there are, for tables of attempts."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latticework.stages.paths import attempt_log, tile_folder

if TYPE_CHECKING:
    from latticework.project.stage_history import KnownStages

STREAMS = ("out", "err")


def log_paths(
    known: "KnownStages", stages: np.ndarray, units: np.ndarray, attempts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Files with what attempts wrote to stdout and stderr; None where there is none.

    Parameters
    ----------
    known
        Stages of the project.
    stages, units, attempts
        For every attempt the id of its stage, its unit and its number.
    """
    found = {stream: np.full(len(units), None, dtype=object) for stream in STREAMS}
    names = {stage.name for stage in known.by_id.values() if stage.removed is None}
    for number in np.unique(stages).tolist():
        stage = known.by_id[number]
        if stage.removed is not None and stage.name in names:
            continue  # what lies there is of the stage that has that name now
        if not (known.project.path / "logs" / stage.name).is_dir():
            continue
        files: dict[int, dict[str, str]] = {}
        for row in np.flatnonzero(stages == number).tolist():
            unit = int(units[row])
            if unit not in files:
                files[unit] = logs_of_unit(known, number, unit)
            for stream in STREAMS:
                found[stream][row] = files[unit].get(f"{attempts[row]}.{stream}")
    return found["out"], found["err"]


def logs_of_unit(known: "KnownStages", stage: int, unit: int) -> dict[str, str]:
    """Paths of all logs of a unit, by file name."""
    lattice = known.lattice_of(stage)
    if unit >= len(lattice):
        return {}
    folder = tile_folder(unit, lattice.tile(unit).name)
    first = attempt_log(known.project.path, known.by_id[stage].name, folder, 1)
    try:
        return {file.name: str(file) for file in Path(first).parent.iterdir()}
    except OSError:
        return {}
