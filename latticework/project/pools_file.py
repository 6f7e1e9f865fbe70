"""Pools in a file: what a site has is written once, and used from the command line and notebooks.

::

    pools:
      cpu:   {slurm: {cores: 8, memory: 32GiB, walltime: 4h, maximum: 40}}
      big:   {slurm: {cores: 1, memory: 256GiB, maximum: 4, queue: bigmem}}
      here:  {local: {workers: 2}}
      lab:   {scheduler: "tcp://head-node:8786"}
    jobqueue:                      # dask-jobqueue's own settings, for all slurm pools
      slurm: {account: lab, interface: ib0}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latticework.errors import LatticeworkError, ProjectError
from latticework.project.pool_kinds import local
from latticework.project.pool_options import check_options, named_options
from latticework.project.slurm_pool import slurm

KINDS = ("slurm", "local", "scheduler")


def read_pools_file(path: Path | str) -> dict[str, Any]:
    """The pools that a file describes, by name: what `Project.run` takes.

    Parameters
    ----------
    path
        A YAML file, as above.

    Raises
    ------
    ProjectError
        If it cannot be read, or something in it makes no sense; names the pool.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "site.yaml")
    >>> _ = file.write_text("pools: {here: {local: {workers: 2, memory: 4GiB}}}")
    >>> read_pools_file(file)
    {'here': LocalPool(name='here', workers=2, memory='4GiB', gpus=0)}
    """
    import yaml

    path = Path(path).expanduser()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProjectError(f"the pools file {path} cannot be read: {error}") from error
    given = content.get("pools") if isinstance(content, Mapping) else None
    if not isinstance(given, Mapping) or not given:
        raise ProjectError(
            f"{path} describes no pools: write them as pools: {{cpu: {{slurm: {{cores: 8}}}}}}"
        )
    site = content.get("jobqueue") or {}
    return {str(name): _pool(path, str(name), pool, site) for name, pool in given.items()}


def _pool(path: Path, name: str, given: Any, site: Any) -> Any:
    if not isinstance(given, Mapping) or len(given) != 1 or next(iter(given)) not in KINDS:
        raise ProjectError(
            f"{path}, pool {name!r}: {given!r} is none of "
            f"{', '.join(f'{{{kind}: ...}}' for kind in KINDS)}"
        )
    ((kind, options),) = given.items()
    if kind == "scheduler":
        return str(options)
    if not isinstance(options, Mapping | None):
        raise ProjectError(f"{path}, pool {name!r}: {kind}: {options!r} are no options")
    chosen = {str(key).replace("-", "_"): value for key, value in (options or {}).items()}
    try:
        if kind == "local":
            check_options(chosen, named_options(local))
            return local(name=name, **chosen)
        return slurm(name=name, site=site, **chosen)
    except (LatticeworkError, TypeError) as error:
        raise ProjectError(f"{path}, pool {name!r}: {error}") from error


__all__ = ["read_pools_file"]
