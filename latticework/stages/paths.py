"""Where things lie in a project folder; the one place that knows.

::

    brain.lw/
        project.json          format and name
        journal.sqlite        the truth: attempts, transitions, commands
        journal.spare.sqlite  stages, settings and states, should the journal be lost
        coordinator.lock      held by the one coordinator
        lattice/              the lattice (Zarr)
        source/               how to read the acquisition (JSON, Arrow)
        status.zarr/          the state of every tile in every stage, derived from the journal
        status-of/<key>.zarr/ the same of stages whose units are planes, blocks, or just one
        stages/<name>/data.zarr   arrays;  stages/<name>/tables  Parquet files
        stages/<name>/files/<tile folder>/   what commands made of a tile
        previews/<name>/      small pictures of what stages made (Zarr), derived from that
        logs/<name>/<tile folder>/<attempt>.out, .err, .log
        staging/<session>/    what attempts write before it is published
        growth/<version>/     tiles that joined since lattice/ and source/ were written
        lattices/<hash>/      lattices of stages' own units (Zarr)
        commands/             what other processes ask of the one that runs the project
        outage.json           why a run cannot write, and since when
        scheduler-<pool>.json where the scheduler of a SLURM pool is, while there is one
        removed/<name>-<id>/  outputs of stages that were removed
"""

import re
from pathlib import Path
from urllib.parse import quote


def project_file(project: Path) -> Path:
    """Format and name of the project."""
    return project / "project.json"


def journal_file(project: Path) -> Path:
    """The journal."""
    return project / "journal.sqlite"


def lock_file(project: Path) -> Path:
    """Held by the coordinator."""
    return project / "coordinator.lock"


def lattice_folder(project: Path) -> Path:
    """The lattice."""
    return project / "lattice"


def source_folder(project: Path) -> Path:
    """How to read the acquisition."""
    return project / "source"


def status_folder(project: Path, key: str = "tiles") -> Path:
    """The states of all units on the lattice with this key, derived.

    Examples
    --------
    >>> status_folder(Path("brain.lw")).name
    'status.zarr'
    >>> status_folder(Path("brain.lw"), "planes:tile_z:tiles").as_posix()
    'brain.lw/status-of/planes%3Atile_z%3Atiles.zarr'
    """
    if key == "tiles":
        return project / "status.zarr"
    return project / "status-of" / f"{quote(key, safe='')}.zarr"


def stage_folder(project: Path, stage: str) -> Path:
    """Outputs of one stage."""
    return project / "stages" / stage


def array_folder(project: Path, stage: str) -> Path:
    """Array output of one stage."""
    return stage_folder(project, stage) / "data.zarr"


def table_folder(project: Path, stage: str) -> Path:
    """Table output of one stage."""
    return stage_folder(project, stage) / "tables"


def previews_folder(project: Path, stage: str) -> Path:
    """Previews of what one stage has made, or of the tiles of the source; derived."""
    return project / "previews" / stage


def staging_folder(project: Path, session: int) -> Path:
    """What the attempts of one session of the coordinator write."""
    return project / "staging" / str(session)


def own_folders(staging: Path) -> tuple[Path, Path]:
    """Where workers write: a session's staging folder, and the logs.

    Examples
    --------
    >>> own_folders(Path("/data/brain.lw/staging/3"))
    (PosixPath('/data/brain.lw/staging/3'), PosixPath('/data/brain.lw/logs'))
    """
    return staging, staging.parent.parent / "logs"


def outage_file(project: Path) -> Path:
    """What a run says of itself while it cannot write; it has its place before that."""
    return project / "outage.json"


def files_folder(project: Path, stage: str) -> Path:
    """Files of one stage, a tile folder for each unit."""
    return stage_folder(project, stage) / "files"


def tile_folder(unit: int, name: str) -> str:
    """Folder of a unit's files, relative to all those of its stage: unique, and safe everywhere.

    The unit's id makes it unique; its name, as far as that is plain, is there for people. Folders
    lie in folders of a thousand.

    Examples
    --------
    >>> tile_folder(12034, "2020-12-01/00/00123"), tile_folder(7, "'")
    ('12/12034-2020-12-01_00_00123', '0/7')
    """
    plain = re.sub(r"[^A-Za-z0-9.\-]+", "_", name)[:80].strip("_.-")
    return f"{unit // 1000}/{unit}-{plain}" if plain else f"{unit // 1000}/{unit}"


def attempt_log(project: Path, stage: str, folder: str, attempt: int, stream: str = "out") -> Path:
    """What an attempt printed.

    Parameters
    ----------
    project, stage
        The project folder and the stage.
    folder
        The unit's `tile_folder`.
    attempt
        Number of the attempt.
    stream
        ``"out"`` and ``"err"`` for the two streams, ``"log"`` for what it logged itself.
    """
    return project / "logs" / stage / folder / f"{attempt}.{stream}"


def own_lattice_folder(project: Path, key: str) -> Path:
    """The lattice of a stage's own units, by its key (``own:...``)."""
    return project / "lattices" / key.partition(":")[2]


def commands_folder(project: Path) -> Path:
    """What other processes ask of the one that runs the project."""
    return project / "commands"


def scheduler_file(project: Path, pool: str) -> Path:
    """Where the scheduler of a pool is, if that outlives its coordinator.

    Examples
    --------
    >>> scheduler_file(Path("brain.lw"), "big/1").name
    'scheduler-big%2F1.json'
    """
    return project / f"scheduler-{quote(pool, safe='')}.json"


def removed_folder(project: Path, stage: str, number: int) -> Path:
    """Outputs of a stage that was removed."""
    return project / "removed" / f"{stage}-{number}"
