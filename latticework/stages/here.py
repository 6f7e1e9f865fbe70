"""Where this process runs."""

import os
import socket
from collections.abc import Mapping


def host_name(environment: Mapping[str, str] = os.environ) -> str:
    """Name of this host: the one that SLURM knows it by within a job, else the system's.

    Parameters
    ----------
    environment
        The environment of the process.

    Examples
    --------
    >>> host_name({"SLURMD_NODENAME": "node017"})
    'node017'
    """
    return environment.get("SLURMD_NODENAME") or socket.gethostname()
