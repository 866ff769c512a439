"""What a run says of itself before it is sealed, so that others can judge it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from dataops_parsl import publish
from dataops_parsl.bundle import TRACE, Bundle
from dataops_parsl.config import differing
from dataops_parsl.engine.groups import groups
from dataops_parsl.estimate.history import described_steps
from dataops_parsl.plan import Plan
from dataops_parsl.stage import Pixels
from dataops_parsl.storage.parts import fingerprint, read_receipt
from dataops_parsl.trace import TRACE as TRACE_SCHEMA
from dataops_parsl.validate import record as sealed
from dataops_parsl.validate.checks import PURGED, Check
from dataops_parsl.validate.failures import Failures
from dataops_parsl.validate.inputs import recorded_inputs
from dataops_parsl.validate.pixels import LABELS, counted, recorded_image
from dataops_parsl.validate.tables import check_tables
from dataops_parsl.workflow import RAW


def describe(plan: Plan) -> dict[str, Any]:
    """What is known before anything is computed: the input, the configuration, the steps and their keys."""
    dataset, config = plan.dataset, plan.config
    return {
        "dataset": {"name": dataset.name, "root": str(dataset.root), "fingerprint": dataset.fingerprint},
        "config": config.effective(),
        "origins": config.origins,
        "differing": differing(config),
        "keys": {node.id: node.key for node in plan.nodes},
        # What the stages name beyond parameters, such as sha256 of weights; of each population its own.
        "identities": {node.id: dict(node.stage.identity(node.step.name)) for node in plan.nodes},
        "resources": {n: config.resources(n).model_dump(mode="json") for n in plan.workflow.nodes},
        # What each worker really asks for: not a card on one machine, nor for a stage that uses none.
        "executor_gres": {g.label: g.gres for g in groups(config, [node.stage for node in plan.nodes])},
        "graph": graph(plan),
        "n_frames": plan.n_frames,
        **described_steps(plan),
    }


def record(
    bundle: Bundle, plan: Plan, made: Mapping[str, pa.Table], failures: list[dict[str, Any]]
) -> list[Check]:
    """Write into the bundle what it takes to validate it later, and check its tables now.

    Parameters
    ----------
    made : mapping
        The published tables, and the trace.
    failures : list
        What the run lists as failed.
    """
    wanted = {**publish.schemas(plan), TRACE: TRACE_SCHEMA}
    counts = label_counts(plan, Failures(failures))
    for name, value in (
        (sealed.SCHEMAS, sealed.schemas_record(wanted)),
        (sealed.INPUTS, recorded_inputs(plan.dataset, _frames_read(plan))),
        (sealed.LABELS, counts),
    ):
        bundle.write_text(sealed.file_name(name), sealed.text(value))
    return check_tables(
        wanted,
        made,
        plan.n_frames,
        failures,
        counted(counts["images"]) if counts["images"] else None,
        {name: film.excluded for name, film in plan.positions.items()},
    )


def made_by(plan: Plan) -> list[dict[str, Any]]:
    """The versions of the workers that computed the parts, those of most parts first.

    Parts of an earlier run are taken as they are, also after an upgrade of a library.

    Returns
    -------
    list of dict
        ``versions`` as `worker_versions`, empty where a receipt says none; number of ``parts``; ``steps``;
        where a model computed also ``devices``: the device with its libraries → number of parts.
    """
    found: dict[str, dict[str, Any]] = {}
    for node in plan.nodes:
        for part in plan.parts(node):
            if (receipt := read_receipt(part.place.receipt)) is None:
                continue
            versions = receipt.figures.get("versions", {})
            made = found.setdefault(fingerprint(versions), {"versions": versions, "parts": 0, "steps": []})
            made["parts"] += 1
            if device := receipt.figures.get("device"):
                devices = made.setdefault("devices", {})
                devices[device] = devices.get(device, 0) + 1
            if node.id not in made["steps"]:
                made["steps"].append(node.id)
    return sorted(found.values(), key=lambda made: -made["parts"])


def noted(plan: Plan) -> dict[str, dict[str, list[Any]]]:
    """What the steps noted of how they computed, such as a program's own version and its settings.

    Returns
    -------
    dict
        Step → name of the fact → its values in the receipts, each once.
    """
    found: dict[str, dict[str, list[Any]]] = {}
    for node in plan.nodes:
        for part in plan.parts(node):
            receipt = read_receipt(part.place.receipt)
            for name, value in (receipt.figures.get("notes", {}) if receipt else {}).items():
                values = found.setdefault(node.id, {}).setdefault(name, [])
                if value not in values:
                    values.append(value)
    return found


def _frames_read(plan: Plan) -> dict[str, set[int]]:
    """Frames of each position that any step reads as they were acquired."""
    read: dict[str, set[int]] = {}
    for node in plan.nodes:
        for part in plan.parts(node):
            if part.raw_frames:
                read.setdefault(part.position, set()).update(part.raw_frames)
    return read


def label_counts(plan: Plan, failed: Failures) -> dict[str, Any]:
    """Labels of each label image as counted when it was written.

    Returns
    -------
    dict
        ``images``, see `recorded_image`; none, with the ``reason``, where a receipt is gone: part of
        the counts would look like the whole.
    """
    images: list[dict[str, Any]] = []
    for node in plan.nodes:
        given = node.step.gives.get(LABELS)
        if not isinstance(given, Pixels) or not given.labelled:
            continue
        films: dict[str, tuple[dict[int, int], dict[int, str]]] = {}
        for part in plan.parts(node):
            receipt = read_receipt(part.place.receipt)
            if receipt is None and all(failed.covers(part.position, f) for f in part.frames):
                continue
            if receipt is None:
                return {"format": 1, "images": [], "reason": PURGED}
            entry = receipt.outputs[LABELS]
            if "labels" not in entry:
                return {"format": 1, "images": [], "reason": "written by a version that did not count"}
            counts, digests = films.setdefault(part.position, ({}, {}))
            counts.update({int(f): n for f, n in entry["labels"].items()})
            digests.update({int(f): d for f, d in entry["frames"].get("", {}).items()})
        folder = str(node.folder.relative_to(plan.scratch.parent))
        images += [recorded_image(node.population, p, folder, *found) for p, found in films.items()]
    return {"format": 1, "images": images}


def graph(plan: Plan) -> list[dict[str, Any]]:
    """The steps of a run: id, stage, scope, number of parts, and the ids of the steps that each reads."""
    return [
        {
            "id": node.id,
            "stage": node.stage.name,
            "scope": node.step.scope,
            "parts": sum(1 for _ in plan.parts(node)),
            "reads": sorted(
                {s.node.id if s.node else RAW.name for many in node.sources.values() for s in many}
            ),
        }
        for node in plan.nodes
    ]
