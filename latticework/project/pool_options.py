"""Options of pools by their names: what is no option is said, with what was probably meant."""

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from latticework.errors import ProjectError

_OURS = frozenset(
    {"self", "scheduler", "job_cls", "job_kwargs", "base_class_kwargs", "loop", "asynchronous"}
    | {"silence_logs", "scheduler_cls", "config_name", "name"}
)
"""Arguments of dask-jobqueue that a pool sets itself."""


def check_options(given: Iterable[str], known: Iterable[str]) -> None:
    """See whether all options are known.

    Raises
    ------
    ProjectError
        Naming the first that is not, the one that was probably meant, and all that there are.

    Examples
    --------
    >>> check_options(["wall_time"], ["cores", "memory", "walltime"])
    Traceback (most recent call last):
        ...
    latticework.errors.ProjectError: there is no 'wall_time'; did you mean 'walltime'? There is ...
    """
    names = sorted(set(known))
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            meant = f"did you mean {near[0]!r}? There" if near else "there"
            raise ProjectError(f"there is no {name!r}; {meant} is {', '.join(names)}")


def named_options(function: Callable[..., Any]) -> list[str]:
    """Names of the options that a function takes.

    Examples
    --------
    >>> named_options(lambda cores, *, memory=1, **options: None)
    ['cores', 'memory']
    """
    many = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    found = inspect.signature(function).parameters.values()
    return [one.name for one in found if one.kind not in many]


def jobqueue_options() -> list[str]:
    """Names of the arguments of `dask_jobqueue.SLURMCluster` that a user may give."""
    from dask_jobqueue.core import Job, JobQueueCluster
    from dask_jobqueue.slurm import SLURMJob

    found = {
        name for kind in (JobQueueCluster, Job, SLURMJob) for name in named_options(kind.__init__)
    }
    return sorted(found - _OURS)


__all__ = ["check_options", "jobqueue_options", "named_options"]
