"""What each stage cost, and how well the workers were used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from statistics import median
from typing import Any

from dataops_parsl.report.html import Html, join, table, tag
from dataops_parsl.report.view import GOOD, RunView
from dataops_parsl.report.words import UNKNOWN, duration, number, percent, short_duration

_HEAD = (
    "stage",
    "tasks",
    "failed or lost",
    "worker time",
    "share",
    "CPU time",
    "CPU used",
    "core-hours",
    "GPU-hours",
    "median task",
    "longest task",
)


def costs(view: RunView) -> Html:
    """A table of stages and one of executors."""
    if not view.attempts:
        return tag("p", "Nothing was computed in this run, so that it cost nothing.")
    return join([_stages(view), _executors(view)])


def _stages(view: RunView) -> Html:
    resources = view.facts.get("resources", {})
    gpu = any(cards(gres) for gres in view.facts.get("executor_gres", {}).values())
    all_s = sum(_took(a) for a in view.ran)
    rows, total = [], dict.fromkeys(("tasks", "again", "wall", "cpu", "core_h", "gpu_h"), 0.0)
    for stage in view.stages:
        mine = [a for a in view.ran if a["stage"] == stage]
        if not mine:
            continue
        wall, cpu = sum(map(_took, mine)), sum(a["cpu_s"] or 0.0 for a in mine)
        asked = resources.get(stage, {})
        tasks = len({a["task"] for a in mine})
        again = sum(1 for a in view.attempts if a["stage"] == stage and a["outcome"] not in GOOD)
        own = {
            "tasks": tasks,
            "again": again,
            "wall": wall,
            "cpu": cpu,
            "core_h": wall * asked.get("cores", 1) / 3600,
            "gpu_h": sum(_took(a) * _cards_of(view, a["executor"] or "") for a in mine) / 3600,
        }
        total = {k: total[k] + v for k, v in own.items()}
        longest = max(map(_took, mine))
        times = (short_duration(median(map(_took, mine))), short_duration(longest))
        rows.append((stage, *_cells(own, all_s, asked.get("cores", 1)), *times))
    cores = max((r.get("cores", 1) for r in resources.values()), default=1)
    rows.append(("all", *_cells(total, all_s, cores), UNKNOWN, UNKNOWN))
    head = list(_HEAD)
    if not gpu:
        rows = [row[:8] + row[9:] for row in rows]
        head.remove("GPU-hours")
    return table(
        "Cost of each stage",
        head,
        rows,
        note="Worker time: of all attempts, those that were lost too. CPU used: CPU time over worker "
        "time times cores; below 100 % a worker waits for the disk, or for a core that it shares.",
    )


def _took(attempt: Mapping[str, Any]) -> float:
    return max(0.0, float(attempt["ended"]) - float(attempt["started"]))


def _cells(own: Mapping[str, float], all_s: float, cores: int) -> tuple[str, ...]:
    wall = own["wall"]
    return (
        number(int(own["tasks"])),
        number(int(own["again"])),
        duration(wall),
        percent(wall / all_s if all_s else None),
        duration(own["cpu"]),
        percent(own["cpu"] / (wall * cores) if wall else None),
        hours(own["core_h"]),
        hours(own["gpu_h"]),
    )


def hours(value: float) -> str:
    """Hours as they are charged."""
    if value == 0:
        return "0"
    return "< 0.001" if 0 < value < 0.001 else f"{value:.3f}" if value < 1 else number(value, 3)


def cards(gres: str) -> int:
    """Cards of one worker, by its generic resources: ``gpu:a100:2`` is 2, ``gpu`` is 1."""
    if not gres.startswith("gpu"):
        return 0
    found = re.search(r":(\d+)$", gres)
    return int(found.group(1)) if found else 1


def _cards_of(view: RunView, executor: str) -> int:
    """Cards that a worker asked for; an executor with more memory asks for those of the one it came from."""
    asked = view.facts.get("executor_gres", {})
    return cards(asked.get(executor, asked.get(executor.rpartition("_with_")[0], "")))


def _executors(view: RunView) -> Html:
    rows = [
        (
            row["executor"] or UNKNOWN,
            number(row["blocks"]),
            number(row["attempts"]),
            number(row["lost"]),
            duration(row["waiting_s"]),
            duration(row["worker_s"]),
            duration(row["busy_s"]),
            percent(None if row["idle_frac"] is None else 1 - row["idle_frac"]),
        )
        for row in view.facts.get("executors", [])
    ]
    return table(
        "Executors: workers of one kind",
        ("executor", "blocks", "attempts", "lost", "in the queue", "paid", "computing", "efficiency"),
        rows,
        note="Paid: time of blocks times their workers, start and idling included. Efficiency: computing "
        "over paid.",
    )
