"""Memory of a worker that computes a film of 100 and of 1,000 frames of 512², all stages but pictures.

    python -m tests.bench.stages worker_memory              # 20 minutes of CPU
    python -m tests.bench.worker_memory FOLDER 1000 tables  # film-wide steps, where all is there

Each film in a process of its own, which takes the parts of the plan one after the other through the shell
that workers run. A task's peak is the kernel's VmHWM, reset before it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from dataops_parsl.dataset import ingest, writers
from dataops_parsl.stage import PER_FRAME
from dataops_parsl.truth.render import CHANNELS, render
from dataops_parsl.truth.scene import Scene
from dataops_parsl.truth.simulate import simulate
from tests.bench.measure import Row, alone, row
from tests.helpers import DESCRIPTION, PROJECT
from tests.in_process import compute, in_turn, planned

FRAMES = 100, 1000
BAR_FRAC = 0.05
SCENE = Scene(height_px=512, width_px=512, n_frames=FRAMES[1], n_targets=60, n_effectors=120)


def film(root: Path) -> None:
    """A project with a simulated film in it."""
    shutil.copytree(PROJECT / "configs", root / "configs", ignore=shutil.ignore_patterns("*.user.toml"))
    shutil.copytree(PROJECT / "apps", root / "apps")
    simulated, source, size = simulate(SCENE, 1), root / "acquired", SCENE.pixel_size_um
    rendered = lru_cache(1)(lambda frame: render(simulated, frame))
    writers.write(
        "tiff-frames",
        source,
        {"coculture": SCENE.n_frames},
        CHANNELS,
        lambda position, channel, frame: rendered(frame)[channel],
        (size, size),
        SCENE.frame_interval_s,
    )
    text = DESCRIPTION.format(
        name="film", size=size, interval=SCENE.frame_interval_s, pattern=f'pattern = "{writers.PATTERN}"\n'
    )
    (source / "dataset.toml").write_text(text)
    (source / "plate.csv").write_text("position,well,condition,control,replicate\ncoculture,A1,both,,1\n")
    ingest.add(source, "film", root / "data" / "datasets")


def worker(root: str, n_frames: int, only_tables: bool = False) -> dict[str, Any]:
    """Peaks of a worker's tasks, MB, by step, with what kind of step it is; CPU time of all.

    Parameters
    ----------
    only_tables : bool
        Of steps that see frames take the first batch only: the others are there.
    """
    peaks: dict[str, float] = {}
    scopes: dict[str, str] = {}
    rows: dict[str, int] = {}
    cpu_s = 0.0
    scratch = Path(root) / f"scratch-{n_frames}"
    flags = "--dataset", "film", "--frames", str(n_frames), "--set", f"paths.scratch_root={scratch}"
    plan = planned(Path(root), *flags, until="outcome")
    for part in in_turn(plan):
        step = part.node.id
        if only_tables and step in peaks:
            continue
        outcome = compute(plan, part)
        peaks[step] = max(peaks.get(step, 0.0), outcome["max_rss_mb"])
        scopes[step] = part.node.step.scope
        rows[step] = max(rows.get(step, 0), *outcome["rows"].values(), 0)
        cpu_s += outcome["cpu_s"]
    return {"peaks": peaks, "scopes": scopes, "rows": rows, "cpu_s": cpu_s}


def rows() -> Iterator[Row]:
    """What works frame by frame, as a whole; then step by step, those that read a film's tables too."""
    with tempfile.TemporaryDirectory(prefix="worker-memory-") as folder:
        film(Path(folder))
        few, many = (alone("tests.bench.worker_memory", folder, n) for n in FRAMES)
    by_frame = [step for step, scope in many["scopes"].items() if scope in (*PER_FRAME, "sample")]
    yield _row(
        f"any step that works frame by frame, {FRAMES[1]:,} and {FRAMES[0]} frames",
        *(max(side["peaks"][step] for step in by_frame) for side in (many, few)),
        note=f"{many['cpu_s']:.0f} CPU s for {FRAMES[1]:,} frames",
    )
    for step, scope in many["scopes"].items():
        note = scope if step in by_frame else f"{scope}; up to {many['rows'][step]:,} rows"
        yield _row(step, many["peaks"][step], few["peaks"][step], note=note, bar=step in by_frame)


def _row(what: str, many: float, few: float, *, note: str, bar: bool = True) -> Row:
    growth = many / few - 1
    return row(
        what,
        many,
        few,
        unit="MB peak",
        bar=f"grows by <= {BAR_FRAC:.0%}" if bar else "",
        met=growth <= BAR_FRAC if bar else None,
        note=f"{growth:+.1%}; {note}",
    )


if __name__ == "__main__":
    print(json.dumps(worker(sys.argv[1], int(sys.argv[2]), sys.argv[3:] == ["tables"])))
