"""Memory of a worker that segments many frames with cpsam: ``python -m tests.bench.cpsam_memory [FRAMES]``.

The real net with weights of a known answer, on the CPU or, with ``--device gpu``, on a card; one process,
batch after batch of one population, as a worker computes them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import psutil

from tests.stages import known_answer, known_film


def main() -> None:
    """Print the memory after each batch, and how much it grew from the second batch to the last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", type=int, nargs="?", default=200)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--batch-frames", type=int, default=10)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), args.frames, args.device, args.batch_frames)


def measure(root: Path, n_frames: int, device: str, batch_frames: int) -> None:
    """Segment a film of so many frames in this process."""
    import shutil

    from dataops_parsl.dataset import ingest
    from tests import in_process
    from tests.helpers import PROJECT

    for name in ("configs", "apps"):
        shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("*.user.toml"))
    weights = known_answer.write(root / "known.pth")
    ingest.add(known_film.write(root / "film", n_frames), "known", root / "data" / "datasets")
    (root / "configs" / "config.user.toml").write_text(
        f'batch_frames = {batch_frames}\n[dataset]\nname = "known"\n'
        f'[stages.cellpose]\nbackend = "cpsam"\ndevice = "{device}"\n'
        f'cpsam_model = "{weights}"\n'
    )
    plan = in_process.planned(root, until="cellpose")
    print("frames  RSS MiB  peak MiB  GPU MiB  s", flush=True)
    seen: list[float] = []
    done = 0
    for part in in_process.in_turn(plan):
        if part.node.name == "cellpose.segment" and part.node.population != "effector":
            continue
        started = time.monotonic()
        outcome = in_process.compute(plan, part)
        if part.node.name != "cellpose.segment":
            continue
        done += len(part.frames)
        seen.append(psutil.Process().memory_info().rss / 2**20)
        gpu = outcome.get("gpu_mem_mb") or 0
        took_s = time.monotonic() - started
        print(
            f"{done:>6}  {seen[-1]:>7.0f}  {outcome['max_rss_mb']:>8.0f}  {gpu:>7.0f}  {took_s:.1f}",
            flush=True,
        )
    if len(seen) > 2:
        print(f"grown from batch 2 to the last: {seen[-1] - seen[1]:+.1f} MiB")


if __name__ == "__main__":
    main()
