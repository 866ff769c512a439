"""Tracking against laptrack 0.17.1 at 5,000 objects a frame: the same films, the same distances, in turns.

    python -m tests.bench.stages linking

laptrack cannot share the project's environment: it refuses scipy 1.15, and ANTs holds scipy below 1.16. So it
has one of its own and is asked over a pipe; timed is its ``predict`` alone, in a process that has all loaded:

    python -m venv .venv-laptrack && .venv-laptrack/bin/pip install laptrack==0.17.1

LAPTRACK_PYTHON names another interpreter that has it.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from dataops_parsl.algorithms.lineage import build
from tests.algorithms.trackmate import Link, link_film, track
from tests.bench import films
from tests.bench.measure import Row, in_turns, peak_mb, row, seconds
from tests.helpers import PROJECT

REPEATS = 3
N_SPOTS, SIDE_PX, N_FRAMES = 5000, 2048, 4
# Largest distance and usual step, px: 2.3, 3.5 and 7 candidates a spot.
FIELDS = ((20.0, 6.0), (27.0, 8.0), (42.0, 12.0))
BAR = 20.0


class Laptrack:
    """laptrack in its own interpreter."""

    def __init__(self, python: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="laptrack-")
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name("laptrack_side.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Laptrack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._folder.cleanup()

    def predict(self, film: list[films.Points], **settings: Any) -> dict[str, Any]:
        """Its answer: ``seconds``, ``edges`` as ((frame, index), (frame, index)), ``peak_mb``."""
        path = Path(self._folder.name) / "film.npz"
        np.savez(path, *film)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"film": str(path), "settings": settings}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def python() -> Path | None:
    """The interpreter that has laptrack, if there is one."""
    path = Path(os.environ.get("LAPTRACK_PYTHON", PROJECT / ".venv-laptrack" / "bin" / "python"))
    return path if path.exists() else None


def _shared(theirs: list[Any], frame: Any, first: Any, source: Any, target: Any) -> tuple[float, int]:
    """Fraction of all links that both have, and how many are ours."""
    place = [(int(frame[r]), int(r - first[frame[r]])) for r in range(len(frame))]
    ours: set[tuple[Link, Link]] = {
        (place[a], place[b]) for a, b in zip(source.tolist(), target.tolist(), strict=True)
    }
    others = {(tuple(a), tuple(b)) for a, b in theirs}
    return len(ours & others) / len(ours | others), len(ours)


def rows() -> Iterator[Row]:
    """Linking alone, and the whole way to lineages with gap closing."""
    interpreter = python()
    if interpreter is None:
        yield row(
            "laptrack", 0, unit="", note="not measured: make .venv-laptrack, see tests/bench/linking.py"
        )
        return
    with Laptrack(interpreter) as laptrack:
        laptrack.predict(films.spots(50, 3, 200, 2.0), cutoff=100.0)  # loads what it loads late
        for reach_px, step_px in FIELDS:
            film = films.spots(N_SPOTS, N_FRAMES, SIDE_PX, step_px)
            yield from _field(laptrack, film, reach_px)


def _field(laptrack: Laptrack, film: list[films.Points], reach_px: float) -> Iterator[Row]:
    counts = [len(points) for points in film]
    frame = np.repeat(np.arange(len(film)), counts)
    first = np.cumsum(counts) - counts
    yx = np.concatenate(film)
    dense = f"{films.per_spot(film, reach_px):.1f} candidates a spot"
    for words, closes in (("linking", False), ("tracking with gap closing", True)):
        settings = {"cutoff": reach_px**2, "gap_closing_cutoff": reach_px**2 if closes else False}
        found: dict[str, Any] = {}

        def ours(closes: bool = closes, found: dict[str, Any] = found) -> None:
            if closes:
                source, target, _ = track(
                    frame, yx, reach_px, gap_closing_max_distance=reach_px, max_frame_gap=2
                )
                build(frame, np.arange(len(frame)), source, target)
            else:
                source, target = link_film(frame, yx, reach_px)
            found["ours"] = source, target

        def theirs(settings: dict[str, Any] = settings, found: dict[str, Any] = found) -> float:
            found["theirs"] = laptrack.predict(film, **settings)
            return float(found["theirs"]["seconds"])

        mine, other = in_turns(REPEATS, lambda ours=ours: seconds(ours), theirs)  # type: ignore[misc]
        shared, n = _shared(found["theirs"]["edges"], frame, first, *found["ours"])
        pairs = len(film) - 1
        yield row(
            f"{words}, {N_SPOTS:,} spots, {dense}",
            mine / pairs,
            other / pairs,
            unit="CPU s a pair",
            ratio=other / mine,
            bar=f">= {BAR:.0f}x",
            met=other / mine >= BAR,
            note=f"{100 * shared:.1f} % of all links shared ({n:,} ours); "
            f"peak {peak_mb():.0f} MB against {found['theirs']['peak_mb']:.0f}",
        )
