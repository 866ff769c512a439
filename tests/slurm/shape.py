"""What a private cluster consists of, and its configuration files in SLURM's words."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FIRST_PORTS = range(20000, 30000)  # below those that the system hands out to clients


@dataclass(frozen=True)
class Partition:
    """A partition of nodes that are alike: processes of this host.

    Parameters
    ----------
    name : str
    prefix : str
        Its nodes are ``<prefix>1``, ``<prefix>2``...; partitions with the same prefix share nodes.
    n_nodes : int
    max_time_min : int
        Longest walltime, minutes.
    card : str
        Type of the GPUs, as in ``gpu:a100-pcie-40gb``; empty: none.
    n_gpus : int
        GPUs of each node. They are character devices without any GPU behind them.
    """

    name: str
    prefix: str
    n_nodes: int = 1
    max_time_min: int = 240
    card: str = ""
    n_gpus: int = 0

    @property
    def nodes(self) -> list[str]:
        """Names of its nodes."""
        return [f"{self.prefix}{i + 1}" for i in range(self.n_nodes)]


_CPU = Partition("short", "c", 8)
_BRIEF = Partition("brief", "c", 8, max_time_min=5)
_SMALL_CARD = Partition("gpu_v100", "v", card="v100", n_gpus=2)
ONE_GPU_NODE = (_CPU, _BRIEF, Partition("gpu_short", "g", 1, 240, "a100-pcie-40gb", 8), _SMALL_CARD)
"""Eight CPU nodes (``brief`` allows five minutes only), one with eight A100, one with two V100."""
EIGHT_GPU_NODES = (_CPU, _BRIEF, Partition("gpu_short", "g", 8, 240, "a100-pcie-40gb", 1), _SMALL_CARD)
"""The same with eight nodes of one A100."""


def node_names(shape: Sequence[Partition]) -> list[str]:
    """All nodes, each once."""
    return list(dict.fromkeys(node for partition in shape for node in partition.nodes))


def write(root: Path, shape: Sequence[Partition]) -> None:
    """Write ``slurm.conf`` and ``gres.conf`` and the folders and devices that they name.

    Parameters
    ----------
    root : Path
        Of the cluster; short, since it holds a socket.
    """
    for folder in ("gpu", "log", "munge", "run", "spool", "state"):
        (root / folder).mkdir()
    for i in range(max(partition.n_gpus for partition in shape)):
        (root / "gpu" / f"gpu{i}").symlink_to("/dev/null")
    host = socket.gethostname().partition(".")[0]
    nodes = {node: partition for partition in reversed(shape) for node in partition.nodes}
    port, *node_ports = _free_ports(1 + len(nodes))
    lines = [*_head(root, host, port)]
    gres = ["AutoDetect=off"]
    for node_port, (node, partition) in zip(node_ports, nodes.items(), strict=True):
        card = f" Gres=gpu:{partition.card}:{partition.n_gpus}" if partition.n_gpus else ""
        lines.append(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} "
            f"CPUs=16 RealMemory=65536 State=UNKNOWN{card}"
        )
        if card:
            devices = f"{root}/gpu/gpu[0-{partition.n_gpus - 1}]"
            gres.append(f"NodeName={node} Name=gpu Type={partition.card} File={devices}")
    for partition in shape:
        lines.append(
            f"PartitionName={partition.name} Nodes={','.join(partition.nodes)} State=UP DefaultTime=5 "
            f"MaxTime={partition.max_time_min} Default={'YES' if partition is shape[0] else 'NO'}"
        )
    (root / "gres.conf").write_text("\n".join(gres) + "\n")
    (root / "slurm.conf").write_text("\n".join(lines) + "\n")


def _head(root: Path, host: str, port: int) -> list[str]:
    return f"""\
ClusterName=dataops
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge/sock
CredType=cred/munge
MpiDefault=none
# Nothing enforces memory, as on a cluster without cgroups: workers have to watch themselves.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# Nodes say that they have more cores and memory than this host.
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
# Else a walltime that no partition allows waits for ever.
EnforcePartLimits=ALL
# A node that was set down stays so until it is resumed.
ReturnToService=1
DefMemPerCPU=1024
MinJobAge=300
KillWait=5
PropagateResourceLimits=NONE
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
""".splitlines()


def _free_ports(n: int) -> list[int]:
    """So many TCP ports in a row that nothing listens on."""
    starts = random.sample(FIRST_PORTS, 50)
    return next(list(range(s, s + n)) for s in starts if all(map(_is_free, range(s, s + n))))


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind(("", port))
        except OSError:
            return False
    return True
