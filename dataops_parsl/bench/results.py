"""What a benchmark measured: its tables, efficiency, and a fit of Amdahl's law."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataops_parsl.tables import Column, Schema

Row = dict[str, Any]
FILM_FRAC = 0.5
"""A stage that spends more of its time than this in tasks that take a whole film cannot be shared out."""

_CASE = (
    Column("stage", "string", "stage that was measured, with all its steps", key=True),
    Column("workers", "int64", "number of workers, all of them connected before the clock started", key=True),
)
_STARTING = (
    Column("startup_s", "float64", "from the first request for a block until all workers had met", "s"),
    Column("queue_s", "float64", "longest wait of a block in the queue, part of startup_s", "s"),
)
_COST = (
    Column("cpu_s", "float64", "CPU time of all tasks", "s"),
    Column("max_rss_mb", "float64", "largest peak memory of one task", "MB"),
    Column("tasks", "int64", "number of tasks"),
    Column("frames", "int64", "number of frames, all positions"),
)
RESULTS = Schema(
    "results",
    "one measurement: a stage at a number of workers, once",
    (
        *_CASE,
        Column("repeat", "int64", "number of the repeat, from 0", key=True),
        Column("wall_s", "float64", "from the first submission to the last result, workers warm", "s"),
        Column("busy_s", "float64", "sum of what the tasks took on their workers", "s"),
        *_COST,
        *_STARTING,
        Column("first_batch_cold_s", "float64", "a worker's first batch, libraries and models loaded", "s"),
        Column("first_batch_warm_s", "float64", "the same batch once more", "s"),
        Column("lost", "int64", "attempts whose worker died: the measurement was disturbed"),
        Column("film_tasks", "int64", "number of tasks that take a whole film"),
        Column("film_frac", "float64", "share of busy_s in tasks that take a whole film"),
        Column("digest", "string", "identity of everything that the stage computed"),
        Column("site", "string", "site"),
        Column("executors", "string", "executors that computed it"),
        Column("jobs", "string", "SLURM jobs of its blocks; empty on a single machine"),
    ),
)
AGGREGATED = Schema(
    "benchmark_results_aggregated",
    "a stage at a number of workers",
    (
        *_CASE,
        Column("repeats", "int64", "number of measurements"),
        Column("wall_s", "float64", "median of the measurements", "s"),
        Column("wall_min_s", "float64", "smallest of them", "s"),
        Column("wall_max_s", "float64", "largest of them", "s"),
        Column(
            "speedup",
            "float64",
            "wall time at the fewest workers, times their number, over wall_s; null with one number only",
        ),
        Column("efficiency_frac", "float64", "speedup / workers; null where a film is one task, too"),
        Column("busy_s", "float64", "sum of what the tasks took on their workers", "s"),
        Column("busy_frac", "float64", "share of the workers' time in which they computed"),
        *_STARTING,
        Column("load_s", "float64", "libraries and models, once a worker: first batch cold less warm", "s"),
        *_COST,
        Column("exceeds_cores", "bool", "whether there were more workers than cores on this host"),
        Column("lost", "int64", "attempts whose worker died, in all measurements"),
        Column(
            "film_as_one_task",
            "bool",
            "whether most of the work is in tasks that take a film, and they are fewer than the workers",
        ),
        Column("same_result", "bool", "whether the result equals that of every other number of workers"),
    ),
)


def aggregate(rows: Sequence[Row], cores: int | None) -> list[Row]:
    """One row a stage and number of workers, in the order of the measurements.

    Parameters
    ----------
    rows : sequence of mapping
        As `RESULTS`.
    cores : int or None
        Of the host, where the workers are its processes; None on a cluster.
    """
    out = []
    for stage in dict.fromkeys(row["stage"] for row in rows):
        mine = [row for row in rows if row["stage"] == stage]
        digests = {row["digest"] for row in mine}
        counts = sorted({row["workers"] for row in mine})
        whole = (
            statistics.median(row["film_frac"] for row in mine) > FILM_FRAC
            and mine[0]["film_tasks"] < counts[-1]
        )
        alone = len(counts) == 1
        base = counts[0] * statistics.median(r["wall_s"] for r in mine if r["workers"] == counts[0])
        for n in counts:
            some = [row for row in mine if row["workers"] == n]
            middle = {
                key: statistics.median(row[key] for row in some)
                for key, value in some[0].items()
                if isinstance(value, int | float)
            }
            walls = [row["wall_s"] for row in some]
            out.append(
                {
                    **{key: middle[key] for key in ("startup_s", "queue_s", "busy_s", "cpu_s", "max_rss_mb")},
                    "stage": stage,
                    "workers": n,
                    "repeats": len(some),
                    "wall_s": middle["wall_s"],
                    "wall_min_s": min(walls),
                    "wall_max_s": max(walls),
                    "speedup": None if alone else base / middle["wall_s"],
                    "efficiency_frac": None if whole or alone else base / (n * middle["wall_s"]),
                    "busy_frac": min(1.0, middle["busy_s"] / (n * middle["wall_s"])),
                    "load_s": max(0.0, middle["first_batch_cold_s"] - middle["first_batch_warm_s"]),
                    "tasks": some[0]["tasks"],
                    "frames": some[0]["frames"],
                    "lost": sum(row["lost"] for row in some),
                    "exceeds_cores": cores is not None and n > cores,
                    "film_as_one_task": whole,
                    "same_result": len(digests) == 1,
                }
            )
    return out


@dataclass(frozen=True)
class Amdahl:
    """T(N) = fixed_s + work_s / N, by least squares of the relative error (Amdahl 1967).

    Parameters
    ----------
    fixed_s : float
        What no number of workers shares out.
    work_s : float
        What they do.
    error_frac : float
        Largest relative deviation of a point from the fit.
    """

    fixed_s: float
    work_s: float
    error_frac: float

    @property
    def serial_frac(self) -> float:
        """Share of one worker's time that is fixed."""
        return self.fixed_s / (self.fixed_s + self.work_s) if self.fixed_s + self.work_s else 0.0

    def at(self, workers: float) -> float:
        """Time at a number of workers, s."""
        return self.fixed_s + self.work_s / workers


def fit(points: Mapping[int, float]) -> Amdahl | None:
    """Fit times by numbers of workers; None with fewer than two numbers.

    Neither part can be negative: where the best fit is, the other part alone is fitted.
    """
    if len(points) < 2:
        return None
    n = np.array(list(points), dtype=np.float64)
    t = np.array(list(points.values()), dtype=np.float64)
    columns = np.stack([1 / t, 1 / (n * t)], axis=1)
    (fixed, work), *_ = np.linalg.lstsq(columns, np.ones_like(t), rcond=None)
    if fixed < 0 or work < 0:
        only = columns[:, 1] if fixed < 0 else columns[:, 0]
        alone = float(only.sum() / (only @ only))
        fixed, work = (0.0, alone) if fixed < 0 else (alone, 0.0)
    errors = np.abs((fixed + work / n) / t - 1)
    return Amdahl(float(fixed), float(work), float(errors.max()))


def fits(rows: Iterable[Row]) -> dict[str, Amdahl]:
    """A fit for each stage of `AGGREGATED` rows that has two numbers of workers on cores of their own."""
    points: dict[str, dict[int, float]] = {}
    for row in rows:
        if not row["exceeds_cores"] and not row["film_as_one_task"]:
            points.setdefault(row["stage"], {})[row["workers"]] = row["wall_s"]
    found = {stage: fit(times) for stage, times in points.items()}
    return {stage: law for stage, law in found.items() if law is not None}
