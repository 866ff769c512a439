"""Whether what a run would write fits where it would be written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil

from dataops_parsl.config import Loaded
from dataops_parsl.engine.finding import Finding
from dataops_parsl.engine.places import nearest
from dataops_parsl.estimate.predict import Estimate
from dataops_parsl.estimate.words import size
from dataops_parsl.report.words import many, number

TIGHT = 0.8
"""An estimate above this share of what is free is said to be tight."""
_MB = 2**20


def room(config: Loaded, found: Estimate) -> list[Finding]:
    """The free space and files of scratch and output against the estimate.

    An estimate is coarse: what does not fit is a note. Not fit is only a disk that cannot take a single part.
    """
    paths = config.paths
    more = max(0.0, found.bytes - found.replaced_bytes)
    try:
        scratch, output = nearest(paths.scratch_root), nearest(paths.output_root)
        shared = os.stat(scratch).st_dev == os.stat(output).st_dev
    except OSError:  # that the roots cannot be used is told where they are tried
        return []
    return [
        _space("scratch_root", paths.scratch_root, scratch, more, found.largest_bytes, found.files),
        _space(
            "output_root",
            paths.output_root,
            output,
            found.bundle_bytes + more * shared,
            0.0,
            0,
            " with what scratch takes of the same disk" * (shared and more > 0),
        ),
    ]


def memory(config: Loaded, found: Estimate) -> list[Finding]:
    """Stages whose tasks would need more memory than there is, as far as is known.

    In a SLURM job a worker is held to its share; on one machine all of them share what it has.
    """
    kind = config.config.site.kind
    stages: dict[str, float] = {}
    for step in found.steps:
        name = step.node.stage.name
        stages[name] = max(stages.get(name, 0.0), step.memory_mb)
    out = []
    for name, mb in stages.items():
        share_mb = config.resources(name).mem_gb * 1024
        if kind == "slurm" and mb > share_mb:
            out.append(
                Finding(
                    "memory",
                    True,
                    f"a task of {name} would take about {size(mb * _MB)}, the share of a worker is "
                    f"{size(share_mb * _MB)}",
                    f"set resources.{name}.mem_gb to {-(-mb * 1.3 // 1024):.0f}; else such tasks fail first "
                    "and go again with twice their share",
                )
            )
    largest, workers = max(stages.values(), default=0.0), sum(found.workers.values())
    there = psutil.virtual_memory().total
    if kind == "local" and workers * largest * _MB > there:
        out.append(
            Finding(
                "memory",
                True,
                f"{many(workers, 'worker')} would take up to {size(largest * _MB)} each, this machine has "
                f"{size(there)}",
                f"take fewer: --workers {max(1, int(there / (largest * _MB)))}",
            )
        )
    return out


def _space(
    key: str, folder: Path, place: Path, wanted: float, least: float, files: int, also: str = ""
) -> Finding:
    subject = f"room in {key}"
    free, inodes = shutil.disk_usage(place).free, os.statvfs(place)
    words = f"about {size(wanted)} would be written{also}, {size(free)} are free in {folder}"
    remedy = f"free some space, set paths.{key} to a larger disk, or start with fewer frames: --frames 20"
    if least > free:
        return Finding(subject, False, f"{words}: not even one part of {size(least)} fits", remedy)
    if wanted > free:
        return Finding(subject, True, f"{words}: it would run full, as far as can be told before", remedy)
    if wanted > TIGHT * free:
        return Finding(subject, True, f"{words}: that is tight", remedy)
    # No number of files is told where the file system makes room for them as it goes.
    if inodes.f_files and files > inodes.f_favail:
        return Finding(
            subject,
            True,
            f"about {number(files)} files would be written, {number(inodes.f_favail)} are free in {folder}",
            f"larger batches make fewer files (batch_frames), or set paths.{key} to another disk",
        )
    return Finding(subject, True, words)
