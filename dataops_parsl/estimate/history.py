"""What past runs say: their traces, with what their records say of steps, frames and configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_parsl.bundle import TRACE, Bundle, bundles
from dataops_parsl.estimate.measured import ENOUGH, Measured, of_one_core
from dataops_parsl.estimate.table import backend
from dataops_parsl.estimate.work import Extent
from dataops_parsl.exports.labels import KEPT
from dataops_parsl.nodes import StepNode
from dataops_parsl.plan import Plan
from dataops_parsl.storage.parts import read_receipt

NEWEST = 20
"""So many past runs are looked at, the newest."""
_COLUMNS = [
    *("stage", "step", "population", "position_id", "batch", "job_id"),
    *("started", "ended", "cpu_s", "max_rss_mb", "outcome"),
]


def described_steps(plan: Plan) -> dict[str, Any]:
    """What a run writes of its steps and frames, so that later runs can be estimated from its trace."""
    return {
        "steps": {
            node.id: {
                "version": node.stage.version,
                "parameters": node.stage.keyed(node.step.name),
                "gpu": node.stage.on_gpu,
            }
            for node in plan.nodes
        },
        "frame_px": {name: list(p.shape_px) for name, p in plan.positions.items()},
    }


def scratch_sizes(plan: Plan) -> dict[str, dict[str, float]]:
    """Bytes on scratch of each step, and the Mpx·frames that they hold, as the receipts say."""
    extent, found = Extent.of(plan), dict[str, dict[str, float]]()
    for node in plan.nodes:
        total = {"parts": 0, "bytes": 0, "mpx_frames": 0.0}
        for part in plan.parts(node):
            size = extent.work(node.step.scope, part.position, part.index)
            receipt = read_receipt(part.place.receipt) if size else None
            if receipt is not None and not receipt.unavailable():
                total["parts"] += 1
                total["bytes"] += sum(n for out in receipt.outputs.values() for n in out["files"].values())
                total["mpx_frames"] = round(total["mpx_frames"] + (size or 0.0), 6)
        if total["parts"]:
            found[node.id] = total
    return found


@dataclass
class PastRun:
    """A sealed run whose record says what its steps were."""

    bundle: Bundle
    facts: Mapping[str, Any]

    @cached_property
    def extent(self) -> Extent:
        """Its frames."""
        return Extent.of_run(self.facts)

    @cached_property
    def scopes(self) -> dict[str, str]:
        """Scope of each of its steps."""
        return {node["id"]: node["scope"] for node in self.facts["graph"]}

    @cached_property
    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """The attempts that computed each step, by its id."""
        found: dict[str, list[dict[str, Any]]] = {}
        try:
            table = pq.read_table(_trace_of(self.bundle), columns=_COLUMNS)
        except (OSError, pa.ArrowException):  # damaged since: it says nothing here, and `validate` tells
            return found
        for row in table.to_pylist():
            name = f"{row['stage']}.{row['step']}" + (f"[{row['population']}]" if row["population"] else "")
            if row["outcome"] in ("done", "partial") and None not in (row["started"], row["ended"]):
                found.setdefault(name, []).append(row)
        return found

    def measured(self, step: str, source: str) -> Measured | None:
        """What a step cost in it; None where it computed none of it."""
        found, gpu = Measured(source), bool(self.facts["steps"][step]["gpu"])
        scope = self.scopes.get(step, "")
        for row in self.rows.get(step, []):
            position, batch = row["position_id"] or "", row["batch"] or 0
            size, held = self.extent.work(scope, position, batch), self.extent.held(scope, position)
            if not size or not held:
                continue
            wall_s = max(0.0, row["ended"] - row["started"])
            alone = gpu or bool(row["job_id"])
            found.seconds.append((size, of_one_core(wall_s, row["cpu_s"], alone=alone)))
            if row["max_rss_mb"]:
                found.memory_mb.append((held, float(row["max_rss_mb"])))
        sizes = self.facts.get("scratch_sizes", {}).get(step)
        if sizes:
            each = sizes["mpx_frames"] / sizes["parts"], sizes["bytes"] / sizes["parts"]
            found.byte_sizes += [each] * int(sizes["parts"])
        return found if found.seconds else None


class History:
    """The past runs of an output root.

    Parameters
    ----------
    output_root : Path
    """

    def __init__(self, output_root: Path) -> None:
        self._root = output_root

    @cached_property
    def runs(self) -> list[PastRun]:
        """Sealed runs of all workflows, the newest first; those that say too little are left out."""
        try:
            folders = [p for p in self._root.iterdir() if p.is_dir()]
        except OSError:  # none yet, or not to be read: the run says so when it writes there
            return []
        found = [b for folder in folders for b in bundles(self._root, folder.name)]
        return list(_whole(sorted(found, key=lambda b: b.id, reverse=True)[:NEWEST]))

    def of(self, node: StepNode, extent: Extent, site: str) -> Measured | None:
        """What the run that is most like it says of a step.

        Those of the same version go first, then those of the same key, frames of the most similar size, equal
        parameters, the same population, the same site, enough tasks, and the newest. Another backend, or a
        GPU instead of a CPU, is no comparison.
        """
        ranked = []
        for age, run in enumerate(self.runs):
            for step, said in run.facts["steps"].items():
                if step.partition("[")[0] == node.name and step in run.rows and _comparable(node, said):
                    ranked.append((_unlike(node, extent, site, run, step), age, step, run))
        for unlike, _, step, run in sorted(ranked, key=lambda r: r[:3]):
            if found := run.measured(step, f"run {run.bundle.id}{_apart(node, unlike, run, step)}"):
                return found
        return None

    def bundle_bytes(self, workflow: str) -> list[tuple[float, float]]:
        """(Mpx·frames, bytes) of the newest bundle of a workflow, without label images that it keeps."""
        for run in self.runs:
            if run.facts.get("workflow") == workflow and run.extent.total:
                root = run.bundle.root
                files = (p for p in root.rglob("*") if p.relative_to(root).parts[0] != KEPT and p.is_file())
                return [(run.extent.total, float(sum(p.stat().st_size for p in files)))]
        return []


def _trace_of(bundle: Bundle) -> Path:
    return bundle.root / "tables" / f"{TRACE}.parquet"


def _whole(found: Iterable[Bundle]) -> Iterator[PastRun]:
    for bundle in found:
        if not bundle.sealed or not _trace_of(bundle).exists():
            continue
        facts = bundle.facts
        if all(facts.get(key) for key in ("steps", "frame_px", "n_frames", "graph", "config", "keys")):
            yield PastRun(bundle, facts)


def _comparable(node: StepNode, said: Mapping[str, Any]) -> bool:
    mine = node.stage.keyed(node.step.name)
    return backend(said["parameters"]) == backend(mine) and bool(said["gpu"]) == node.stage.on_gpu


def _unlike(node: StepNode, extent: Extent, site: str, run: PastRun, step: str) -> tuple[int, ...]:
    """How much a past step differs, what matters most first; zeros are alike."""
    said = run.facts["steps"][step]
    ratio = run.extent.mean_mpx / extent.mean_mpx if extent.mean_mpx and run.extent.mean_mpx else 1.0
    return (
        int(said["version"] != node.stage.version),
        int(run.facts["keys"].get(step) != node.key),
        abs(round(math.log2(ratio))),
        int(said["parameters"] != node.stage.keyed(node.step.name)),
        int(step != node.id),
        int(run.facts["config"]["site"]["name"] != site),
        int(len(run.rows[step]) < ENOUGH),
    )


def _apart(node: StepNode, unlike: tuple[int, ...], run: PastRun, step: str) -> str:
    """In words what differs."""
    version, _, size, parameters, population, site, _ = unlike
    side = round(math.sqrt(run.extent.mean_mpx * 1e6))
    words = [
        f"version {run.facts['steps'][step]['version']}, now {node.stage.version}" if version else "",
        f"frames of {side}²" if size else "",
        "other parameters" if parameters else "",
        f"of {step}" if population else "",
        f"site {run.facts['config']['site']['name']}" if site else "",
    ]
    said = ", ".join(filter(None, words))
    return f" ({said})" if said else ""
