"""A storm: random faults over one run every few seconds, and in the end the tables of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dataops_parsl import open_run
from dataops_parsl.events import read
from tests.helpers import Driver, same_tables
from tests.slurm.cluster import Cluster, ClusterError
from tests.slurm.faults import FAST, leaves_nothing
from tests.slurm.report import record
from tests.slurm.toy import Toy, toy_project

pytestmark = pytest.mark.faults

SEED = int(os.environ.get("STORM_SEED", "20261124"))
"""The order of the faults; whom they hit depends on what is under way."""
KINDS = ("scancel", "kill worker", "kill manager", "node down", "controller")
ROUNDS, PAUSE_S = 3, (1.0, 4.0)
MOST_STARTS, MOST_S = 10, 420
RUN = (
    *FAST,
    "--workers=4",
    "--set=site.slurm.workers_per_block=2",
    "--set=batch_frames=1",
    "--set=stages.nap.seconds=2",
    "--set=stages.glow.seconds=2",
)


class Storm:
    """Faults for a run, in a seeded order in which every kind comes once a round."""

    def __init__(self, cluster: Cluster, toy: Toy) -> None:
        self.cluster, self.toy = cluster, toy
        self.random = random.Random(SEED)
        self.struck: list[tuple[str, dict[str, Any]]] = []
        self.first = 0.0
        self._to_come = [kind for _ in range(ROUNDS) for kind in self.random.sample(KINDS, len(KINDS))]

    @property
    def is_over(self) -> bool:
        """Whether all faults have struck."""
        return not self._to_come

    def pause(self) -> float:
        """Until the next fault, s."""
        return self.random.uniform(*PAUSE_S)

    def strike(self) -> None:
        """Strike at a frame that is under way; nothing happens where there is none."""
        self.calm()
        frames = self.toy.under_way()
        if not frames:
            return
        kind, victim = self._to_come.pop(0), self.random.choice(frames)
        self.first = self.first or time.time()
        self.struck.append((kind, victim))
        if kind == "scancel":
            self.cluster.command("scancel", victim["job"])
        elif kind == "node down":
            self.cluster.set_node(victim["node"], "down")
        elif kind == "controller":
            self.cluster.restart_controller(crash=self.random.random() < 0.5)
        else:
            _kill(victim["pid"], manager=kind == "kill manager")

    def calm(self) -> None:
        """Bring back the nodes that are not at work."""
        # Asked, not remembered: a controller that crashed may have forgotten that it brought one back, and
        # SLURM drains nodes of which it knows no more what runs there.
        for line in self.cluster.command("sinfo", "--noheader", "--Node", "--format=%N %t").splitlines():
            node, state = line.split()
            if state.startswith(("down", "dr")):
                with contextlib.suppress(ClusterError):  # refused for a while after a restart: next time
                    self.cluster.set_node(node, "resume")


def _kill(pid: int, *, manager: bool) -> None:
    try:
        worker = psutil.Process(pid)
        if manager:
            above = worker.parents()
            worker = next(p for p in above if any("process_worker_pool.py" in w for w in p.cmdline()))
        worker.send_signal(signal.SIGKILL)
    except (psutil.NoSuchProcess, StopIteration):
        pass  # it ended just now


def _ended(driver: Driver, seconds: float) -> int | None:
    """The exit code, if the run ends meanwhile."""
    try:
        return driver.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


@pytest.fixture
def toy(tmp_path: Path, small_films: Path, cluster: Cluster) -> Iterator[Toy]:
    """A project; the cluster is clean again after it."""
    yield toy_project(tmp_path, small_films, cluster.environment)
    cluster.reset()


def test_a_storm_of_faults(toy: Toy, cluster: Cluster, undisturbed) -> None:
    storm, codes, end = Storm(cluster, toy), [], time.monotonic() + MOST_S
    driver = toy.start_toy(*RUN)
    while (code := _ended(driver, storm.pause())) != 0:
        assert time.monotonic() < end, f"{storm.struck}\n{driver.output}"
        if code is not None:
            # A fault may end a run in words only: the place is not fit, or the result is partial.
            codes.append(code)
            assert code in (3, 4), driver.output
            assert "Traceback" not in driver.output
            assert len(codes) < MOST_STARTS, f"{codes}\n{driver.output}"
            driver = toy.start_toy(*RUN)
        elif storm.is_over:
            storm.calm()
        else:
            storm.strike()
    kinds = Counter(kind for kind, _ in storm.struck)
    words = f"seed {SEED}: {dict(kinds)}, earlier starts ended with {codes}\n{driver.output}"
    assert "Traceback" not in driver.output
    assert set(kinds) == set(KINDS), words
    assert any(cut_short(toy, victim) for _, victim in storm.struck), words
    assert same_tables(toy.toy_tables(), undisturbed)
    assert leaves_nothing(cluster, toy)
    done = ", ".join(f"{n} × {kind}" for kind, n in kinds.items())
    note = f"seed {SEED}; " + (f"started again after exit {codes}" if codes else "one start was enough")
    # A partial result is a bundle of its own: the figures are of all of them.
    events = [e for bundle in toy.bundles("toy") for e in read(bundle / "log" / "events.jsonl")]
    ends = [e["time"] for e in events if e["event"] == "ended" and e["time"] > storm.first]
    lost = sum(e["event"] == "lost" for e in events)
    begun = Counter(r["task"] for bundle in toy.bundles("toy") for r in _begun(bundle))
    record("storm", done, min(ends) - storm.first, lost, sum(n > 1 for n in begun.values()), note)


def _begun(bundle: Path) -> list[dict[str, Any]]:
    """The attempts of a run that a worker began."""
    return [row for row in open_run(bundle).arrow("trace").to_pylist() if row["started"] is not None]


def cut_short(toy: Toy, victim: dict[str, Any]) -> bool:
    """Whether a frame that was under way never ended."""
    facts = {k: v for k, v in victim.items() if k not in ("event", "time")}
    return not any(facts.items() <= line.items() for line in toy.said("end"))
