"""What the parts of a step cost that lie on scratch already: of the same key, or of an earlier one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dataops_parsl.estimate.measured import Measured, of_one_core
from dataops_parsl.estimate.table import backend
from dataops_parsl.estimate.work import Extent, place_of
from dataops_parsl.nodes import StepNode
from dataops_parsl.storage.parts import Receipt, read_receipt

SAMPLED = 64
"""So many receipts of a step are read, spread over all: thousands say no more, and take seconds."""
_EARLIER = 3
"""So many earlier keys of a step are looked at, the newest first."""


def on_scratch(node: StepNode, extent: Extent) -> tuple[Measured | None, Measured | None]:
    """What is there of a step: of the same key, and of an earlier one of the same version and backend."""
    same = _measured(node, node.folder, extent, "its parts on scratch")
    found = (_measured(node, f, extent, "its parts on scratch, computed otherwise") for f in _earlier(node))
    return same, next(filter(None, found), None)


def _earlier(node: StepNode) -> Iterator[Path]:
    """Folders of the step's other keys, the newest first."""
    name = node.folder.name.rpartition("-")[0]
    files = [p for p in node.folder.parent.glob(f"{name}-*/step.json") if p.parent != node.folder]
    now = node.described
    for path in sorted(files, key=lambda p: p.stat().st_mtime, reverse=True)[:_EARLIER]:
        try:
            before = json.loads(path.read_bytes())
            alike = backend(before["parameters"]) == backend(now["parameters"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if alike and before.get("version") == now["version"]:
            yield path.parent


def _measured(node: StepNode, folder: Path, extent: Extent, source: str) -> Measured | None:
    try:
        paths = sorted((folder / "receipts").glob("*.json"))
    except OSError:
        return None
    found = Measured(source)
    for path in paths[:: max(1, -(-len(paths) // SAMPLED))]:
        if (receipt := read_receipt(path)) is not None:
            _add(found, node, receipt, extent)
    return found if found.seconds else None


def _add(found: Measured, node: StepNode, receipt: Receipt, extent: Extent) -> None:
    position, _ = place_of(receipt.part)
    # As many frames as it had then: the film may have been shorter, or cut by --frames.
    size = extent.size(node.step.scope, position, receipt.figures.get("frames", 0))
    wall_s = receipt.figures.get("wall_s")
    if not size or wall_s is None or receipt.unavailable():  # frames that were not computed cost nothing
        return
    alone = bool(receipt.figures.get("job_id")) or node.stage.on_gpu
    found.seconds.append((size, of_one_core(wall_s, receipt.figures.get("cpu_s"), alone=alone)))
    files = [n for out in receipt.outputs.values() for n in out["files"].values()]
    found.byte_sizes.append((size, float(sum(files))))
