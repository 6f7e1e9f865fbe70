"""The run: project, pipeline, coordinator, clusters."""

from latticework.project.background import Run
from latticework.project.changes import Changes
from latticework.project.creating import create, open_project
from latticework.project.project import Project
from latticework.project.summary import RunSummary
from latticework.project.watching import create_watched

__all__ = ["Changes", "Project", "Run", "RunSummary", "create", "create_watched", "open_project"]
