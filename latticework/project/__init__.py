"""The run: project, pipeline, coordinator, clusters."""

from latticework.project.background import Run
from latticework.project.changes import Changes
from latticework.project.creating import create, open_project
from latticework.project.events import Event
from latticework.project.mailing import email
from latticework.project.pool_kinds import local
from latticework.project.project import Project
from latticework.project.recovering import Recovered, recover
from latticework.project.slurm_pool import slurm
from latticework.project.summary import RunSummary
from latticework.project.watching import create_watched
from latticework.project.webhooks import webhook

__all__ = [
    "Changes",
    "Event",
    "Project",
    "Recovered",
    "Run",
    "RunSummary",
    "create",
    "create_watched",
    "email",
    "local",
    "open_project",
    "recover",
    "slurm",
    "webhook",
]
