"""The folders of a benchmark: one a stage, and the master's, which is opened, continued and sealed.

``output/benchmark/<stage>/run_<ID>/{log,tables}/`` and ``output/benchmark/master/run_<ID>/``, one ID for all.
What is measured goes into the stage's log at once, so that an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.csv

from dataops_parsl.bench.results import AGGREGATED, RESULTS
from dataops_parsl.bundle import BENCHMARK_RECORD, Bundle, open_bundle
from dataops_parsl.storage.atomic import place_errors, write_bytes
from dataops_parsl.storage.parts import parquet_bytes
from dataops_parsl.tables import Column, Schema

Row = dict[str, Any]
FOLDER = "benchmark"
MASTER, REPLAY = f"{FOLDER}/master", f"{FOLDER}/replay"
NAME = "benchmark_results_aggregated"
FIGURES = ("benchmark_results", "benchmark_speedup")
ANALYSIS = "scaling_analysis.md"
FILES = (
    f"{NAME}.parquet",
    f"{NAME}.csv",
    *(f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg")),
    ANALYSIS,
)
"""What lies in the master's folder beside its record and its manifest."""
TASKS = Schema(
    "tasks",
    "a task of a measurement",
    (
        Column("workers", "int64", "number of workers", key=True),
        Column("repeat", "int64", "number of the repeat", key=True),
        Column("task", "string", "stage, step, population, position and batch", key=True),
        Column("attempt", "int64", "number of the attempt, from 1", key=True),
        Column("executor", "string", "executor that computed it"),
        Column("host", "string", "its worker's host"),
        Column("pid", "int64", "its worker's process id"),
        Column("started", "float64", "start, UTC since 1970", "s"),
        Column("ended", "float64", "end, UTC since 1970", "s"),
        Column("cpu_s", "float64", "CPU time", "s"),
        Column("max_rss_mb", "float64", "peak memory", "MB"),
    ),
)


class Record:
    """One benchmark on disk.

    Parameters
    ----------
    master : Bundle
    stages : sequence of str
    """

    def __init__(self, master: Bundle, stages: Sequence[str]) -> None:
        self.master, self.stages = master, tuple(stages)
        self._measured = {stage: list(_read(self._log(stage))) for stage in stages}

    @classmethod
    def open(cls, output_root: Path, recipe: str, stages: Sequence[str]) -> tuple[Record, bool]:
        """Continue the benchmark of this recipe that was interrupted, or open a new one."""
        master, continued = open_bundle(output_root, MASTER, recipe, BENCHMARK_RECORD)
        return cls(master, stages), continued

    def stage_folder(self, stage: str) -> Path:
        """Folder of a stage."""
        return stage_folder(self.master.root, stage)

    def _log(self, stage: str) -> Path:
        return self.stage_folder(stage) / "log" / "measurements.jsonl"

    def add(self, row: Row, tasks: Sequence[Row]) -> None:
        """Keep a measurement."""
        path = self._log(row["stage"])
        with place_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            cut_short = path.exists() and not path.read_bytes().endswith(b"\n")
            with open(path, "a") as file:
                line = json.dumps({"row": row, "tasks": list(tasks)})
                file.write(f"{chr(10) * cut_short}{line}\n")
        self._measured[row["stage"]].append((row, list(tasks)))

    def rows(self) -> list[Row]:
        """All measurements, as `RESULTS`."""
        return [row for many in self._measured.values() for row, _ in many]

    def tasks(self, workers: int) -> dict[str, list[Row]]:
        """The tasks of each stage at a number of workers in its first repeat, as `TASKS`."""
        return {
            stage: next((tasks for row, tasks in many if row["workers"] == workers), [])
            for stage, many in self._measured.items()
        }

    def missing(self, stage: str, workers: int, repeats: int) -> list[int]:
        """The repeats of a case that are not measured yet."""
        have = {row["repeat"] for row, _ in self._measured[stage] if row["workers"] == workers}
        return [repeat for repeat in range(repeats) if repeat not in have]

    def write_tables(self, aggregated: Sequence[Row]) -> None:
        """The tables of the stages, and the master's."""
        for stage, many in self._measured.items():
            tables = self.stage_folder(stage) / "tables"
            keys = [{"workers": row["workers"], "repeat": row["repeat"]} for row, _ in many]
            tasks = [key | task for key, (_, some) in zip(keys, many, strict=True) for task in some]
            write_bytes(tables / "results.parquet", _parquet(RESULTS, [row for row, _ in many]))
            write_bytes(tables / "tasks.parquet", _parquet(TASKS, tasks))
        table = AGGREGATED.table(_columns(AGGREGATED, aggregated))
        write_bytes(self.master.root / f"{NAME}.parquet", parquet_bytes(table))
        sink = pyarrow.BufferOutputStream()
        pyarrow.csv.write_csv(table, sink)
        write_bytes(self.master.root / f"{NAME}.csv", sink.getvalue().to_pybytes())

    def seal(self, **facts: Any) -> None:
        """Write the last facts and the hashes of all files, the stages' too."""
        self.master.seal({stage: self.stage_folder(stage) for stage in self.stages}, **facts)


def stage_folder(master: Path, stage: str) -> Path:
    """Folder of a stage, beside the master's."""
    return master.parents[1] / stage / master.name


def _columns(schema: Schema, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in schema.names}


def _parquet(schema: Schema, rows: Sequence[Mapping[str, Any]]) -> bytes:
    return parquet_bytes(schema.table(_columns(schema, rows)))


def _read(path: Path) -> list[tuple[Row, list[Row]]]:
    """The measurements of a stage; a line that a kill cut short is measured again."""
    found = []
    if path.exists():
        for line in path.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                both = json.loads(line)
                found.append((both["row"], both["tasks"]))
    return found
