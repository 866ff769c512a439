"""An estimate as it is printed: never more digits than it knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dataops_parsl.estimate.predict import Estimate, StepEstimate
from dataops_parsl.estimate.table import FACTOR
from dataops_parsl.report.words import UNKNOWN, many, number

LITTLE_FRAC = 0.05
"""Where less than this share of a stage's time is from is not told."""
HEAD = ("stage", "tasks", "frames", "CPU", "GPU", "scratch", "memory", "from")


def about(seconds: float) -> str:
    """A duration with two digits: ``12 s``, ``4.5 min``, ``31 h``."""
    for unit, size in (("s", 1.0), ("min", 60.0)):
        if seconds < 99.5 * size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds / 3600)} h"


def size(n_bytes: float) -> str:
    """Bytes with two digits: ``3.1 MB``, ``120 GB``."""
    for unit, one in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if n_bytes < 999.5 * one:
            return f"{_digits(n_bytes / one)} {unit}"
    return f"{_digits(n_bytes / 1e12)} TB"


def _digits(value: float) -> str:
    if value < 0.05:
        return "0" if value == 0 else "< 0.1"
    return f"{value:.1f}" if value < 9.95 else f"{float(f'{value:.3g}'):.0f}"


def text(found: Estimate) -> str:
    """The whole estimate: a table of stages and what it comes to; empty where nothing is to be computed."""
    if not found.steps:
        return ""
    table = rows(found)
    widths = [max(len(row[i]) for row in table) for i in range(len(HEAD))]
    left = (0, len(HEAD) - 1)
    lines = [
        "  ".join(
            cell.ljust(w) if i in left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join(
        ["", *(f"  {line}".rstrip() for line in lines), "", *totals(found), *filter(None, [coarse(found)])]
    )


def rows(found: Estimate) -> list[tuple[str, ...]]:
    """A line for each stage under `HEAD`, and their sum where there are several."""
    stages: dict[str, list[StepEstimate]] = {}
    for step in found.steps:
        stages.setdefault(step.node.stage.name, []).append(step)
    out = [HEAD, *(_row(name, steps, _sources(steps)) for name, steps in stages.items())]
    if len(stages) > 1:
        out.append(_row("all", found.steps, ""))
    return out


def _row(name: str, steps: Sequence[StepEstimate], source: str) -> tuple[str, ...]:
    gpu_s = sum(s.seconds for s in steps if s.gpu)
    frames = _frames(steps)
    return (
        name,
        number(sum(s.tasks for s in steps)),
        number(frames) if frames and name != "all" else UNKNOWN,
        about(sum(s.seconds * s.cores for s in steps)),
        about(gpu_s) if gpu_s else UNKNOWN,
        size(sum(s.bytes for s in steps)),
        size(max(s.memory_mb for s in steps) * 2**20),
        source,
    )


def _frames(steps: Iterable[StepEstimate]) -> int:
    """Frames of a stage, of all its populations: those of its largest step."""
    by_step: dict[str, int] = {}
    for step in steps:
        by_step[step.node.step.name] = by_step.get(step.node.step.name, 0) + step.frames
    return max(by_step.values(), default=0)


def _sources(steps: Sequence[StepEstimate]) -> str:
    """Where the times are from, that of the most time first; where the bytes are, if that is elsewhere."""
    seconds: dict[str, float] = {}
    for step in steps:
        seconds[step.source] = seconds.get(step.source, 0.0) + step.seconds
    worth = LITTLE_FRAC * sum(seconds.values())
    told = [source for source, took in seconds.items() if took >= worth]
    words = "; ".join(sorted(told, key=lambda source: -seconds[source]))
    others = dict.fromkeys(s.sizes for s in steps if s.bytes and s.sizes not in seconds)
    return words + (f"; sizes: {', '.join(others)}" if others else "")


def totals(found: Estimate) -> list[str]:
    """What it comes to: time, and bytes."""
    if not found.steps:
        return []
    several = len(found.workers) > 1
    workers = " and ".join(
        f"{many(n, 'worker')}{f' of {label}' if several else ''}" for label, n in found.workers.items()
    )
    gpu = f", {about(found.gpu_s)} of GPUs" if found.gpu_s else ""
    replaced = (
        f", of which {size(found.replaced_bytes)} replace what is there" if found.replaced_bytes else ""
    )
    return [
        f"about {about(found.wall_s)} with {workers}, each on a core of its own; "
        f"{about(found.cpu_s)} of CPU cores{gpu}",
        f"about {size(found.bytes)} in {number(found.files)} files on scratch{replaced}; "
        f"a bundle of {size(found.bundle_bytes)}",
    ]


def coarse(found: Estimate) -> str:
    """A warning where most of the time is from no measurement here; else empty."""
    shipped = sum(s.seconds for s in found.steps if s.source.startswith(("the shipped", "a guess")))
    if shipped < 0.5 * sum(s.seconds for s in found.steps):
        return ""
    return (
        f"nothing like it was run here yet: from the shipped table, expect a factor of {FACTOR}; "
        "run --frames 20 first, then this again, and it knows better"
    )
