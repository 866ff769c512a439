"""Is this machine or cluster fit for the work: asked before anything starts, in seconds, at no cost."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil

from dataops_parsl.config import Loaded
from dataops_parsl.engine import fitness, globus
from dataops_parsl.engine.finding import Finding, require
from dataops_parsl.engine.groups import Group

__all__ = ["Finding", "findings", "require", "roots", "site"]

GB = 1e9
LITTLE_GB = 5.0


def findings(config: Loaded, groups: Sequence[Group]) -> list[Finding]:
    """All that can be known of a site before a run: its roots, and its machine or its cluster.

    Parameters
    ----------
    groups : sequence of Group
        The executors that the run would have.
    """
    return [*roots(config), *site(config, groups)]


def site(config: Loaded, groups: Sequence[Group]) -> list[Finding]:
    """What there is to say of the workers' place."""
    if config.config.site.kind == "globus":
        return globus.findings(config, groups)
    return _machine(config) if config.config.site.kind == "local" else fitness.cluster(config, groups)


def roots(config: Loaded) -> list[Finding]:
    """Whether the folders of storage can be used; nothing is made, and nothing left in them."""
    paths = config.paths
    found = [
        _readable("data_root", paths.data_root),
        _writable("scratch_root", paths.scratch_root),
        _writable("output_root", paths.output_root),
    ]
    if config.config.site.kind != "local":
        found.append(
            Finding(
                "shared folders",
                True,
                "the workers must see these three and their environment under the same paths, which cannot "
                "be told from here: the first worker will",
            )
        )
    return found


def _readable(key: str, folder: Path) -> Finding:
    if not folder.is_dir():
        return Finding(key, True, f"{folder} is not there yet; the first dataset makes it")
    if os.access(folder, os.R_OK | os.X_OK):
        return Finding(key, True, f"{folder} is readable")
    return Finding(
        key,
        False,
        f"{folder} cannot be read",
        f"ask its owner for access, or set paths.{key} to another folder",
    )


def _writable(key: str, folder: Path) -> Finding:
    """Try it in the folder, or where it would be made."""
    try:
        place = next(p for p in (folder, *folder.parents) if p.exists())
        # Has no name on Linux, so that it is gone whatever happens.
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"x" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
        free_gb = shutil.disk_usage(place).free / GB
    except OSError as error:
        return Finding(
            key,
            False,
            f"{folder} cannot be written: {error.strerror}",
            f"free some space there or make it writable, or set paths.{key} to another folder",
        )
    there = "" if place == folder else " (made by the first run)"
    found = f"{folder} is writable{there}, {_size(free_gb)} free"
    if free_gb < LITTLE_GB:
        return Finding(key, True, found, f"that is little: set paths.{key} to a larger disk")
    return Finding(key, True, found)


def _size(gb: float) -> str:
    return f"{gb / 1000:.1f} TB" if gb >= 1000 else f"{gb:.0f} GB" if gb >= 10 else f"{gb:.1f} GB"


def _machine(config: Loaded) -> list[Finding]:
    workers = config.config.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory_gb = psutil.virtual_memory().total / GB
    many = ["s" * (n != 1) for n in (workers, cores)]
    found = f"{workers} worker{many[0]} on {cores} core{many[1]}, {memory_gb:.0f} GB memory"
    if workers > cores:
        return [
            Finding(
                "workers", True, found, f"more than {cores} share cores and gain nothing: --workers {cores}"
            )
        ]
    return [Finding("workers", True, found)]
