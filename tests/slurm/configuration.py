"""What the daemons of a testbed are told, as values."""

import random
import re
import socket
from dataclasses import dataclass
from pathlib import Path

LONGEST_FOLDER = 60
"""Characters; sockets of a job's steps lie deeper and have 107 in all."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where what lies in the folder of a testbed."""

    folder: Path

    @property
    def conf(self):
        return self.folder / "slurm.conf"

    @property
    def logs(self):
        return self.folder / "logs"

    @property
    def socket(self):
        return self.folder / "run" / "munge.socket"

    @property
    def key(self):
        return self.folder / "run" / "munge.key"

    def run(self, name):
        return self.folder / "run" / name


def slurm_conf(layout, *, host, user, nodes, cpus, memory_mib, ports, loopback):
    """Text of slurm.conf.

    Parameters
    ----------
    layout
        Where what lies.
    host
        Name of this machine, as it calls itself.
    user
        Who the daemons run as.
    nodes
        Names of the nodes; none is a machine of its own. The last has a graphics card.
    cpus, memory_mib
        What each node claims to have.
    ports
        One for the controller, then one for each node.
    loopback
        Whether to listen on the loopback interface only.
    """
    lines = [
        "ClusterName=testbed",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={ports[0]}",
        f"SlurmUser={user}",
        f"SlurmdUser={user}",
        "AuthType=auth/munge",
        f"AuthInfo=socket={layout.socket}",
        f"StateSaveLocation={layout.folder / 'state'}",
        f"SlurmdSpoolDir={layout.folder / 'spool' / '%n'}",
        f"SlurmctldPidFile={layout.run('slurmctld.pid')}",
        f"SlurmdPidFile={layout.run('slurmd-%n.pid')}",
        # Nothing that a bare container refuses: no cgroups, no binding to cores.
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "MpiDefault=none",
        "PropagateResourceLimits=NONE",
        # Nodes are believed, whatever the machine has.
        "SlurmdParameters=config_overrides",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU_Memory",
        "GresTypes=gpu",
        "DefMemPerCPU=512",
        # Jobs that take more memory than they asked for are ended.
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=task=1",
        "JobAcctGatherParams=OverMemoryKill",
        # Quick to schedule, to end and to forgive.
        "SchedulerType=sched/backfill",
        "SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1",
        "KillWait=2",
        "ReturnToService=2",
        "MinJobAge=3600",
        "JobRequeue=1",
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
    ]
    if loopback:
        lines.append("CommunicationParameters=NoInAddrAny,NoCtldInAddrAny")
    for name, port in zip(nodes, ports[1:], strict=True):
        lines.append(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs={cpus} RealMemory={memory_mib} State=UNKNOWN"
            + (" Gres=gpu:1" if name == nodes[-1] else "")
        )
    lines += [
        "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1",
        "PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=10",
    ]
    return "\n".join(lines) + "\n"


def gres_conf(nodes):
    """Text of gres.conf: the last node claims to have a graphics card, which is none."""
    return f"NodeName={nodes[-1]} Name=gpu File=/dev/null\n"


def cgroup_conf(version):
    """Text of cgroup.conf for a version such as ``"slurm-wlm 22.05.8"``.

    slurmd looks for cgroups although nothing here uses them, and ends where it may not have them;
    the name of the plugin that does not look has changed.
    """
    major, minor = map(int, re.search(r"(\d+)\.(\d+)", version).groups())
    return f"CgroupPlugin={'disabled' if (major, minor) >= (23, 11) else 'cgroup/v1'}\n"


def leads_to_loopback(host):
    """Whether the name of this machine leads to 127.0.0.1.

    SLURM can be told not to listen on all interfaces, and then takes the one that the machine's
    name leads to, while everyone looks for it on 127.0.0.1. So it can be told so only here.
    """
    try:
        return socket.gethostbyname(host) == "127.0.0.1"
    except OSError:
        return False


def free_ports(count, generator=None):
    """Ports of the loopback interface that nobody listens on, below those the system gives out."""
    generator = generator or random.Random()
    found, held = [], []
    try:
        while len(found) < count:
            port = generator.randrange(20_000, 30_000)
            probe = socket.socket()
            held.append(probe)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    finally:
        for probe in held:
            probe.close()
    return found
