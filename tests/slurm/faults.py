"""What tests of faults share: striking a run in mid-task, and what must be left afterwards: nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.helpers import processes_of, wait_for
from tests.slurm.cluster import Cluster
from tests.slurm.toy import Toy

FAST = (
    "--site=slurm",
    "--workers=2",
    "--set=site.slurm.gpu_workers_per_block=2",
    "--set=engine.heartbeat_s=1",
    "--set=engine.lost_after_s=4",
)
"""Two workers in one block, CPU or GPU; losses are noticed within seconds."""
GONE_S = 20
"""Jobs that were cancelled may take SLURM's KillWait."""


@dataclass(frozen=True)
class Strike:
    """A fault that was provoked.

    Parameters
    ----------
    victim : mapping
        The frame that was under way, as its worker logged it: ``stage, position, frame, pid, job, node...``
    at, over : float
        Just before and after it was, s since 1970.
    """

    victim: dict[str, Any]
    at: float
    over: float

    @property
    def job(self) -> str:
        """SLURM job of the victim."""
        return str(self.victim["job"])

    def in_mid_task(self, toy: Toy) -> bool:
        """Whether the victim's frame had not ended when it was struck; its worker may have lived on."""
        return all(x["time"] > self.over for x in self._ends(toy))

    def cut_short(self, toy: Toy) -> bool:
        """Whether the victim's frame never ended: for what kills its worker."""
        return not self._ends(toy)

    def _ends(self, toy: Toy) -> list[dict[str, Any]]:
        facts = {k: v for k, v in self.victim.items() if k not in ("event", "time")}
        return [x for x in toy.said("end") if facts.items() <= x.items()]


def strike(toy: Toy, stage: str, blow: Callable[[dict[str, Any]], object], seconds: float = 120) -> Strike:
    """Wait until a worker is in mid-task, and strike.

    Parameters
    ----------
    stage : str
    blow : callable
        Given the frame that is under way.
    """
    victim = toy.wait_until_under_way(stage, seconds)
    at = time.time()
    blow(victim)
    return Strike(victim, at, time.time())


def jobs_of(cluster: Cluster, toy: Toy) -> list[dict[str, str]]:
    """Jobs of the toy's runs that are not over: their names say the run."""
    runs = tuple(f"dataops-{b.name.removeprefix('run_')}-" for b in toy.bundles("toy"))
    return [job for job in cluster.jobs() if job["name"].startswith(runs)]


def block_jobs(toy: Toy) -> list[str]:
    """Job ids of all blocks of the newest run, in the order in which they were submitted."""
    return [e["job_id"] for e in toy.events("block") if e["state"] == "submitted"]


def leaves_nothing(cluster: Cluster, toy: Toy) -> bool:
    """No job in the cluster, no process of the run or of its blocks, no half-written file."""
    wait_for(lambda: not jobs_of(cluster, toy), GONE_S, f"no job of {toy.root} is left")

    def processes() -> list[int]:
        blocks = [pid for job in block_jobs(toy) for pid in cluster.node_pids(job)]
        return [*blocks, *(p.pid for p in processes_of(toy.root))]

    wait_for(lambda: not processes(), GONE_S, f"no process of {toy.root} is left")
    assert not list(toy.root.rglob("*.tmp")), "no half-written file is left"
    return True


def one_sealed_bundle(toy: Toy) -> bool:
    """Whether all starts of the run ended in one bundle, which is sealed."""
    (bundle,) = toy.bundles("toy")
    return (bundle / "provenance_manifest.json").exists() and not (bundle / "lease.json").exists()
