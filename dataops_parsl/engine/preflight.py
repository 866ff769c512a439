"""Is this machine or cluster fit for the work: asked before anything starts, in seconds, at no cost."""

from __future__ import annotations

import os
from collections.abc import Sequence

import psutil

from dataops_parsl.config import Loaded
from dataops_parsl.engine import fitness, globus
from dataops_parsl.engine.finding import Finding, require
from dataops_parsl.engine.groups import Group
from dataops_parsl.engine.places import GB, roots

__all__ = ["Finding", "findings", "require", "roots", "site"]


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
