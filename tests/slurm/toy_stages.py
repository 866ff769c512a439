"""Stages that do little, slowly, and come to grief where they are told to; `toy` copies this file into a
package of its own, as ``dataops_parsl/stages/toy.py``.

Faults happen at a frame of the position `VICTIM`. Each frame's start and end are appended to the file
``$TOY_LOG``, so that a test can tell what was under way when it struck.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from dataops_parsl.film import Film
from dataops_parsl.stage import Stack, Stage, step
from dataops_parsl.tables import Column, Rows, Schema

VICTIM = "coculture"
HOLD_S = 1.0

POSITION = Column("position_id", "string", "field of view", key=True)
FRAME = Column("frame", "int64", "0-based frame", key=True, low=0)
NAPS = Schema("naps", "a frame", (POSITION, FRAME, Column("mean_count", "float64", "mean count", "count")))
GLOWS = Schema("glows", "a frame", (POSITION, FRAME, Column("glow_count", "float64", "its half", "count")))
COUNTS = Schema(
    "counts",
    "a field of view",
    (
        POSITION,
        Column("n_naps", "int64", "frames in naps", low=0),
        Column("n_glows", "int64", "frames in glows", low=0),
        Column("glow_count", "float64", "sum over frames", "count"),
    ),
)


@contextmanager
def logged(stage: str, film: Film, frame: int) -> Iterator[None]:
    """Say before and after what is computed where; a frame that raises ends too."""
    facts = {
        "stage": stage,
        "position": film.position_id,
        "frame": frame,
        "pid": os.getpid(),
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "node": os.environ.get("SLURMD_NODENAME", ""),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    }
    _append({"event": "start", **facts})
    try:
        yield
    finally:
        _append({"event": "end", **facts})


def _append(facts: Mapping[str, Any]) -> None:
    # One write, so that lines of several workers do not mix.
    log = os.open(os.environ["TOY_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(log, (json.dumps({**facts, "time": time.time()}) + "\n").encode())
    finally:
        os.close(log)


class Nap(Stage):
    """Sleeps, and takes the mean count of a frame."""

    name: ClassVar[str] = "nap"
    version: ClassVar[int] = 1

    seconds: float = 0.0
    """Sleep at each frame, s."""
    deadly_frame: int = -1
    """Frame that kills its worker."""
    poisoned_frame: int = -1
    """Frame that raises an exception."""
    hungry_frame: int = -1
    """Frame that needs `hungry_mb`."""
    hungry_mb: int = 0
    """Memory that is held for a moment, MB."""

    @step(scope="batch", gives={"naps": NAPS})
    def nap(self, film: Film, frame: int, raw: Mapping[str, Stack]) -> dict[str, Any]:
        """Mean count in gfp."""
        faulty = frame if film.position_id == VICTIM else -2
        with logged(self.name, film, frame):
            if faulty == self.deadly_frame:
                os.kill(os.getpid(), signal.SIGKILL)
            if faulty == self.poisoned_frame:
                raise ValueError("this frame is poisoned")
            if faulty == self.hungry_frame:
                held = np.ones(self.hungry_mb << 20, np.uint8)  # ones: zeros would not be resident
                time.sleep(HOLD_S)
                del held
            time.sleep(self.seconds)
            image = raw["gfp"][frame]
            assert image is not None
            return {"mean_count": [float(image.mean())]}


class Glow(Stage):
    """Sleeps where a GPU is, as far as the configuration says so: ``resources.glow.gres``."""

    name: ClassVar[str] = "glow"
    version: ClassVar[int] = 1

    seconds: float = 0.0
    """Sleep at each frame, s."""

    @step(scope="batch", gives={"glows": GLOWS})
    def glow(self, film: Film, frame: int, naps: Rows) -> dict[str, Any]:
        """Half of the mean count."""
        with logged(self.name, film, frame):
            time.sleep(self.seconds)
            return {"glow_count": naps.at(frame)["mean_count"] / 2}


class Count(Stage):
    """Counts the frames that came through."""

    name: ClassVar[str] = "count"
    version: ClassVar[int] = 1

    @step(scope="film", gives={"counts": COUNTS})
    def count(self, film: Film, naps: Rows, glows: Rows) -> dict[str, Any]:
        """Frames of a position."""
        del film
        return {
            "n_naps": [len(naps)],
            "n_glows": [len(glows)],
            "glow_count": [float(np.sum(glows["glow_count"]))],
        }
