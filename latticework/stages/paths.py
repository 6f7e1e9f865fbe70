"""Where things lie in a project folder; the one place that knows.

::

    brain.lw/
        project.json          format and name
        journal.sqlite        the truth: attempts, transitions, commands
        coordinator.lock      held by the one coordinator
        lattice/              the lattice (Zarr)
        source/               how to read the acquisition (JSON, Arrow)
        status.zarr/          the state of every unit, derived from the journal
        stages/<name>/data.zarr   arrays;  stages/<name>/tables  Parquet files
        staging/<session>/    what attempts write before it is published
"""

from pathlib import Path


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


def status_folder(project: Path) -> Path:
    """The state of every unit, derived."""
    return project / "status.zarr"


def stage_folder(project: Path, stage: str) -> Path:
    """Outputs of one stage."""
    return project / "stages" / stage


def array_folder(project: Path, stage: str) -> Path:
    """Array output of one stage."""
    return stage_folder(project, stage) / "data.zarr"


def table_folder(project: Path, stage: str) -> Path:
    """Table output of one stage."""
    return stage_folder(project, stage) / "tables"


def staging_folder(project: Path, session: int) -> Path:
    """What the attempts of one session of the coordinator write."""
    return project / "staging" / str(session)
