"""What a run is at a glance: its state, time, cost and size, also where a bundle is damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_parsl.bundle import MANIFEST, TRACE, Bundle
from dataops_parsl.report.costs import charged_hours
from dataops_parsl.report.words import UNKNOWN

MOST_FILES = 20_000
"""Of an open run that are counted."""


@dataclass(frozen=True)
class Overview:
    """A line of ``runs list``; null where it is not known.

    Attributes
    ----------
    id, workflow, dataset, state : str
        The state is the verdict of a sealed run, else running, open (it died, and the same command goes on),
        abandoned (another was sealed in its place) or damaged.
    sealed : bool
    opened_at : str
        UTC, ISO 8601.
    wall_s, cpu_h, gpu_h : float or None
        Of its last start; core-hours and GPU-hours of all attempts.
    size_bytes : int or None
        Of its files, as sealed.
    root : Path
    """

    id: str
    workflow: str
    dataset: str
    state: str
    sealed: bool
    opened_at: str
    wall_s: float | None
    cpu_h: float | None
    gpu_h: float | None
    size_bytes: int | None
    root: Path

    @classmethod
    def of(cls, bundle: Bundle, output_root: Path) -> Overview:
        """Look at a bundle of any kind; nothing that is wrong with it raises."""
        facts = sound(bundle.facts)
        hours = _hours(bundle, facts)
        return cls(
            id=bundle.id,
            workflow=_below(bundle.root.parent, output_root),
            dataset=str(facts.get("dataset", {}).get("name", "")),
            state=state(bundle, facts),
            sealed=bundle.sealed,
            opened_at=str(facts.get("opened_at", "")),
            wall_s=facts.get("wall_s"),
            cpu_h=hours[0],
            gpu_h=hours[1],
            size_bytes=size_bytes(bundle),
            root=bundle.root,
        )


def _below(folder: Path, root: Path) -> str:
    return str(folder.relative_to(root)) if folder.is_relative_to(root) else folder.name


def sound(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The facts of a run, none where one of them is not of the kind that a run writes."""
    kinds = {
        dict: ("dataset", "config", "origins", "resources", "executor_gres", "n_frames", "keys", "rows"),
        list: ("starts", "failures", "notes", "graph", "differing", "made_by"),
        str: ("workflow", "verdict", "status", "opened_at", "sealed_at"),
        int | float: ("wall_s",),
    }
    whole = all(
        isinstance(facts[name], kind) for kind, names in kinds.items() for name in names if name in facts
    )
    return facts if whole and all(isinstance(s, dict) for s in facts.get("starts", [])) else {}


def state(bundle: Bundle, facts: Mapping[str, Any]) -> str:
    """The verdict of a sealed run, else what has become of it."""
    if bundle.sealed:
        return str(facts.get("verdict", "damaged"))
    return "running" if bundle.live else str(facts.get("status", "damaged"))


def size_bytes(bundle: Bundle) -> int | None:
    """Bytes of a bundle: what its seal says; of its files now while it is open, if they are not too many."""
    if bundle.sealed:
        try:
            said = json.loads((bundle.root / MANIFEST).read_bytes())
            groups = [said["files"], *said.get("beside", {}).values()]
            return sum(int(file["bytes"]) for files in groups for file in files.values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
    total = n = 0
    for folder, _, names in os.walk(bundle.root):
        for name in names:
            n += 1
            if n > MOST_FILES:
                return None
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:  # it went meanwhile
                continue
    return total


def _hours(bundle: Bundle, facts: Mapping[str, Any]) -> tuple[float | None, float | None]:
    path = bundle.root / "tables" / f"{TRACE}.parquet"
    try:
        return charged_hours(facts, pq.read_table(path, columns=["stage", "executor", "started", "ended"]))
    except (OSError, pa.ArrowException, KeyError, TypeError, AttributeError):
        return None, None


def size(n_bytes: int | None) -> str:
    """Such as ``340 kB`` or ``1.2 GB``."""
    if n_bytes is None:
        return UNKNOWN
    value, units = float(n_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if value >= 10 or units[0] == "B" else f"{value:.1f} {units[0]}"
