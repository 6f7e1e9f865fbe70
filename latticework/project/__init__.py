"""The run: project, pipeline, coordinator, clusters."""

from latticework.project.creating import create, open_project
from latticework.project.project import Project
from latticework.project.summary import RunSummary

__all__ = ["Project", "RunSummary", "create", "open_project"]
