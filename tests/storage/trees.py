"""Scratch as runs leave it, made by hand: step folders, leases, bundles that name their steps."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl.bundle import Bundle, seal_files
from dataops_parsl.storage.parts import fingerprint

DAY_S = 86400.0


def key(word: str) -> str:
    """A key of a step, the same for the same word."""
    return fingerprint(word)[:12]


def make_step(
    scratch: Path,
    name: str,
    word: str = "",
    *,
    age_days: float = 0,
    parts: int = 3,
    part_bytes: int = 500,
    pixels: bool = False,
) -> Path:
    """A step folder ``<stage>/<step>-<key>`` with its parts.

    Parameters
    ----------
    scratch : Path
        Of the dataset.
    name : str
        Such as ``contact.pairs`` or ``cellpose.segment.target``.
    word : str
        Of its key.
    """
    stage, _, step = name.partition(".")
    bare, _, population = step.partition(".")
    folder = scratch / stage / f"{step}-{key(word or name)}"
    said = {"dataset": scratch.name, "stage": stage, "step": bare, "population": population, "word": word}
    (folder / "receipts").mkdir(parents=True, exist_ok=True)
    (folder / "step.json").write_text(json.dumps(said))
    for i in range(parts):
        recipe = fingerprint([word, i])[:16]
        (folder / f"P1.{i:05d}.rows.{recipe}.parquet").write_bytes(os.urandom(part_bytes))
        (folder / "receipts" / f"P1.{i:05d}.{recipe}.json").write_text("{}")
    if pixels:
        array = folder / "P1.labels.zarr"
        array.mkdir()
        (array / "zarr.json").write_text("{}")
        (array / "c.0.0.0").write_bytes(os.urandom(20 * part_bytes))
    age(folder, age_days)
    return folder


def age(folder: Path, days: float) -> None:
    """Make everything in a folder so old."""
    then = time.time() - days * DAY_S
    for at, _, files in os.walk(folder):
        for file in files:
            os.utime(Path(at, file), (then, then), follow_symlinks=False)


def make_run(
    output: Path,
    run: str,
    steps: Sequence[Path],
    *,
    workflow: str = "cytotoxicity",
    dataset: str = "one",
    days: float = 0,
    sealed: bool = True,
    **facts: Any,
) -> Bundle:
    """A bundle that is made of these steps, with a table and a log."""
    bundle = Bundle(output / workflow / f"run_{run}")
    then = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - days * DAY_S))
    keys = {f"{s.parent.name}.{s.name.rpartition('-')[0]}": s.name.rpartition("-")[2] for s in steps}
    said: dict[str, Any] = {
        "dataset": {"name": dataset},
        "keys": keys,
        "opened_at": then,
        "status": "open",
    }
    bundle.update(**{**said, **facts})
    bundle.write_table("cells", b"rows")
    for name in ("events.jsonl", "parsl/000/parsl.log", "workers/host-1.jsonl"):
        bundle.write_file(f"log/{name}", b"a line\n")
    if sealed:
        bundle.update(status="sealed", sealed_at=then)
        seal_files(bundle.root, bundle.id)
    return bundle


def run_id(day: int) -> str:
    """An id of a run of a day in March."""
    return f"202603{day:02d}T120000Z-{day:04x}"


def protect(folder: Path) -> None:
    """Make that nothing in a folder can be deleted, for root too; `release` undoes it."""
    if os.geteuid():
        folder.chmod(0o555)
        return
    done = subprocess.run(["chattr", "+i", str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("root may delete everything here")


def release(folder: Path) -> None:
    """Undo `protect`."""
    if os.geteuid():
        folder.chmod(0o755)
    else:
        subprocess.run(["chattr", "-i", str(folder)], check=True)


def steps_of(scratch: Path) -> set[str]:
    """The step folders that are there, as ``<dataset>/<stage>/<step>``, without their keys."""
    return {str(p.parent.relative_to(scratch)).rpartition("-")[0] for p in scratch.glob("*/*/*/step.json")}


def read_json(path: Path) -> Any:
    """What a file says."""
    return json.loads(path.read_bytes())
