"""From parts to a bundle: the published tables in full, the pictures, the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dataops_parsl.bundle import Bundle
from dataops_parsl.errors import InputMissingError
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.stage import Pixels
from dataops_parsl.stages.death_rules import NEGATIVE
from dataops_parsl.storage.parts import PartPlace, Receipt, parquet_bytes, read_receipt, read_tables
from dataops_parsl.storage.pixels import StoredStack
from dataops_parsl.tables import Schema
from dataops_parsl.validate.pixels import LABELS
from dataops_parsl.workflow import Output


def digests(plan: Plan) -> dict[str, str]:
    """Digest of each part that the tables are made of, as it lies on scratch now."""
    found = {p.id: read_receipt(p.place.receipt) for p in plan.results()}
    return {name: receipt.digest for name, receipt in found.items() if receipt is not None}


def schemas(plan: Plan) -> dict[str, Schema]:
    """Schema of each published table, per-channel columns written out."""
    return {name: s.for_channels(plan.image_channels) for name, s in plan.workflow.schemas().items()}


def tables(plan: Plan) -> dict[str, pa.Table]:
    """The published tables, rows in order of their keys; parts that are not there are left out.

    Raises
    ------
    InputMissingError
        When a part is not what its receipt says: plan again.
    """
    wanted = schemas(plan)
    return {name: _table(plan, output, wanted[name]) for name, output in plan.workflow.tables.items()}


def _table(plan: Plan, output: Output, schema: Schema) -> pa.Table:
    parts = [
        (p.place, r) for p in plan.published(output.node, output.name) if (r := read_receipt(p.place.receipt))
    ]
    table = read_tables(parts, output.name, schema.arrow())
    if schema.key and table.num_rows:
        table = table.take(pc.sort_indices(table, sort_keys=[(k, "ascending") for k in schema.key]))
    return table.replace_schema_metadata(schema.arrow().metadata)


def readable(plan: Plan) -> bool:
    """Whether every published part is what its receipt says; one that is not loses its receipt."""
    try:
        tables(plan)
    except InputMissingError:
        return False
    return True


def label_parts(plan: Plan) -> list[Part]:
    """The parts that `label_images` reads."""
    return [part for node in plan.nodes if LABELS in node.step.gives for part in plan.parts(node)]


def label_stacks(plan: Plan) -> dict[tuple[str, str], StoredStack]:
    """The label images of each position and population, by frame, drift-corrected; those that are there."""
    found: dict[tuple[str, str], list[tuple[PartPlace, Receipt]]] = {}
    for node in plan.nodes:
        given = node.step.gives.get(LABELS)
        if not isinstance(given, Pixels) or not given.labelled:
            continue
        for part in plan.parts(node):
            parts = found.setdefault((part.position, node.population), [])
            if receipt := read_receipt(part.place.receipt):
                parts.append((part.place, receipt))
    return {key: StoredStack(parts, key[0], LABELS, "") for key, parts in found.items()}


def label_images(plan: Plan) -> Callable[[str, str, int], NDArray[np.uint32] | None]:
    """Found label images (Y, X) of position, population and frame, registered; None where there is none."""
    stacks = cache(lambda: label_stacks(plan))

    def image(position: str, population: str, frame: int) -> NDArray[np.uint32] | None:
        found = stacks().get((position, population))
        try:
            return None if found is None else found[frame]
        except InputMissingError:
            return None

    return image


def notes(plan: Plan, tables: Mapping[str, pa.Table]) -> list[str]:
    """What a user should be told of a result that is whole and yet says little."""
    out = []
    if "cells" in tables and "population" in tables["cells"].column_names:
        found = set(tables["cells"]["population"].unique().to_pylist())
        out += [f"no {p} was found in any frame" for p in plan.populations if p not in found]
    out += registration_notes(tables["frames"]) if "frames" in tables else []
    for row in tables["thresholds"].to_pylist() if "thresholds" in tables else []:
        if row["threshold"] is None:
            out.append(row["source"])
        if row["warning"]:
            out.append(row["warning"])
    return out + (_single_replicates(tables["summary"]) if "summary" in tables else [])


_EVENTS = {"jump": "the stage jumped", "refocused": "the focus changed"}
_MOST_NAMED = 5


def registration_notes(frames: pa.Table) -> list[str]:
    """Jumps, changes of focus and frames that could not be registered, a line a position and kind."""
    out = []
    rows = frames.select(["position_id", "frame", "valid", "reason", "confidence", *_EVENTS]).to_pylist()
    films: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        films.setdefault(row["position_id"], []).append(row)
    for position, own in films.items():
        # Excluded and failed frames have no confidence and are told of elsewhere.
        lost = [row["frame"] for row in own if not row["valid"] and row["confidence"] is not None]
        if lost:
            out.append(
                f"{position}: {len(lost)} of {len(own)} frames could not be registered and keep the drift of "
                f"the frame before ({_named(lost)}; the table frames says why)"
            )
        for name, words in _EVENTS.items():
            if at := [row["frame"] for row in own if row[name]]:
                out.append(f"{position}: {words} at {_named(at)}")
    return out


def _named(frames: list[int]) -> str:
    more = f" and {len(frames) - _MOST_NAMED} more" if len(frames) > _MOST_NAMED else ""
    return f"frame {', '.join(map(str, frames[:_MOST_NAMED]))}{more}"


def _single_replicates(summary: pa.Table) -> list[str]:
    alone = [
        row["name"]
        for row in summary.to_pylist()
        if row["level"] == "condition" and row["n_replicates"] == 1 and row["control"] != NEGATIVE
    ]
    if not alone:
        return []
    return [
        f"one replicate of {', '.join(map(repr, alone))}: no standard error (positions or wells are the unit)"
    ]


def roots(plan: Plan) -> list[dict[str, Any]]:
    """The failures that the published tables inherit: position, frame, stage, reason."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for part in plan.wanted():
        receipt = read_receipt(part.place.receipt)
        for root in receipt.roots if receipt else []:
            found[root["position"], root["frame"], root["stage"]] = root
        for frame, reason in {**receipt.failed, **receipt.halo}.items() if receipt else ():
            found[part.position, frame, part.node.id] = {
                "position": part.position,
                "frame": frame,
                "stage": part.node.id,
                "reason": reason,
            }
    return [found[k] for k in sorted(found)]


def fill(bundle: Bundle, plan: Plan) -> dict[str, pa.Table]:
    """Write tables and pictures into the bundle; returns the tables."""
    made = tables(plan)
    for name, table in made.items():
        bundle.write_table(name, parquet_bytes(table))
    for output in plan.workflow.pictures:
        parts = [
            (p.place, r)
            for p in plan.published(output.node, output.name)
            if (r := read_receipt(p.place.receipt))
        ]
        for row in read_tables(parts, output.name, None).to_pylist():
            bundle.write_figure(row["file"], row["data"])
    return made
