"""Parallel efficiency of the engine on a real SLURM: equal sleeping tasks at N = 1, 2, 4, 8.

    python -m tests.bench.efficiency [--site slurm] [--tasks 80] [--seconds 0.25]

Efficiency is T1 / (N TN), counted from when every worker has run one task; the time from the first sbatch
until then stands beside it. Without SLURM_CONF in the environment a private cluster is started for it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path

from dataops_parsl.bench.tasks import meet, nap
from dataops_parsl.config import Loaded, load
from dataops_parsl.engine.executors import Pool
from dataops_parsl.engine.groups import Group, groups
from dataops_parsl.stages import discover
from tests.helpers import PROJECT
from tests.slurm.cluster import Cluster


def measure(
    config: Loaded, group: Group, folder: Path, tasks: int, seconds: float
) -> tuple[float, float, int]:
    """Start-up and run time, s, and how many workers there were."""
    n = group.workers
    lease = folder / "lease"
    folder.mkdir(parents=True)
    lease.touch()
    asked = time.monotonic()
    with Pool(config, [group], f"efficiency{n}", folder, lease, lambda *_, **__: None) as pool:
        pool.demand(group.label, n, True)
        first = {"folder": str(folder / "meeting"), "workers": n, "patience_s": 120.0}
        met = [pool.submit(group.label, "meet", meet, first) for _ in range(n)]
        workers = {(f.result()["host"], f.result()["pid"]) for f in met}
        started = time.monotonic()
        for future in [pool.submit(group.label, "nap", nap, {"seconds": seconds}) for _ in range(tasks)]:
            future.result()
        return started - asked, time.monotonic() - started, len(workers)


def main() -> None:
    """Measure and print one line a number of workers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--site", default="slurm")
    parser.add_argument("--tasks", type=int, default=80)
    parser.add_argument("--seconds", type=float, default=0.25)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--set", dest="sets", action="append", default=[])
    args = parser.parse_args()
    print(f"{args.tasks} tasks of {args.seconds:g} s on site {args.site}")
    head = f"{'N':>3} {'workers':>8} {'blocks':>7} {'start-up s':>11} {'run s':>8} {'ideal s':>8}"
    print(f"{head} {'efficiency':>11}")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="efficiency-")))
        if args.site != "laptop" and "SLURM_CONF" not in os.environ:
            cluster = Cluster(folder / "cluster")
            cluster.start()
            stack.callback(cluster.stop)
            os.environ.update(cluster.environment)
        base = 0.0
        for n in args.workers:
            config = load(
                PROJECT,
                stage_classes=discover(),
                site=args.site,
                flags={"--workers": n},
                sets=["site.slurm.poll_s=1", *args.sets],
            )
            (group, *_) = groups(config, config.config.stages.values())
            startup, took, workers = measure(config, group, folder / str(n), args.tasks, args.seconds)
            base = base or took * n
            print(
                f"{n:>3} {workers:>8} {group.max_blocks:>7} {startup:>11.1f} {took:>8.2f} "
                f"{args.tasks * args.seconds / n:>8.2f} {base / (n * took):>11.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
