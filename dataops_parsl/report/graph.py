"""The stages of a run as a graph: what is computed from what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataops_parsl.report.html import Html, details, join, table, tag
from dataops_parsl.report.view import RunView
from dataops_parsl.report.words import many

RAW = "raw"
BOX_W, BOX_H, GAP_X, GAP_Y = 142, 46, 34, 20
PER_LINE = 6
"""Columns of boxes beside each other, before the graph goes on below."""
Reads = dict[str, set[str]]


def graph(view: RunView) -> Html:
    """The picture, and the same as a table."""
    steps = view.facts.get("graph")
    if not steps:
        return tag("p", "This run did not record its graph.")
    reads = stage_reads(steps)
    return join([_picture(view, steps, reads), _table(steps, reads)])


def stage_reads(steps: list[Mapping[str, Any]]) -> Reads:
    """Stage → the stages that it reads from, and ``raw``."""
    stage_of = {step["id"]: step["stage"] for step in steps}
    reads: Reads = {}
    for step in steps:
        own = reads.setdefault(step["stage"], set())
        own |= {stage_of.get(name, RAW) for name in step["reads"]} - {step["stage"]}
    return reads


def direct(reads: Reads) -> Reads:
    """Only those edges that no longer way says too: the picture stays readable."""

    def above(stage: str) -> set[str]:
        found = set(reads.get(stage, ()))
        return found | {a for s in found for a in above(s)}

    return {
        s: {r for r in own if not any(r in above(other) for other in own if other != r)}
        for s, own in reads.items()
    }


def depths(reads: Reads) -> dict[str, int]:
    """Longest way from the acquired frames."""
    out: dict[str, int] = {RAW: 0}

    def of(stage: str) -> int:
        if stage not in out:
            out[stage] = 1 + max((of(s) for s in reads.get(stage, ())), default=0)
        return out[stage]

    for stage in reads:
        of(stage)
    return out


def _places(reads: Reads) -> dict[str, tuple[float, float]]:
    """Upper left corners: a column a depth, lines of `PER_LINE` columns."""
    columns: dict[int, list[str]] = {}
    for stage, depth in depths(reads).items():
        columns.setdefault(depth, []).append(stage)
    places, top = {}, 6.0
    for first in range(0, len(columns), PER_LINE):
        line = range(first, min(first + PER_LINE, len(columns)))
        rows = max(len(columns[d]) for d in line)
        for d in line:
            for i, stage in enumerate(columns[d]):
                x = 4.0 + (d - first) * (BOX_W + GAP_X)
                places[stage] = (x, top + i * (BOX_H + GAP_Y))
        top += rows * (BOX_H + GAP_Y) + GAP_Y
    return places


def _picture(view: RunView, steps: list[Mapping[str, Any]], reads: Reads) -> Html:
    places = _places(reads)
    parts = {s: sum(step["parts"] for step in steps if step["stage"] == s) for s in reads}
    width = max(x for x, _ in places.values()) + BOX_W + 12
    height = max(y for _, y in places.values()) + BOX_H + 8
    edges = [_edge(places[r], places[s]) for s, own in direct(reads).items() for r in sorted(own)]
    boxes = [
        _box(view, s, places[s], "acquired frames" if s == RAW else many(parts[s], "task")) for s in places
    ]
    head = tag("path", d="M0 0 L8 4 L0 8 z")
    size: dict[str, str] = {"refX": "7", "refY": "4", "markerWidth": "7", "markerHeight": "7"}
    arrow = tag("marker", head, id="arrow", viewBox="0 0 8 8", orient="auto", **size)
    words = "; ".join(f"{s} reads {', '.join(sorted(own))}" for s, own in direct(reads).items())
    return tag(
        "figure",
        tag(
            "div",
            tag(
                "svg",
                tag("title", "Stages of the workflow, from the acquired frames on", id="graph-name"),
                tag("desc", words, id="graph-told"),
                tag("defs", arrow),
                *edges,
                *boxes,
                role="img",
                aria_labelledby="graph-name graph-told",
                viewBox=f"0 0 {width:.0f} {height:.0f}",
                width=f"{width:.0f}",
                class_="graph",
            ),
            class_="wide",
        ),
        tag("figcaption", "What is computed from what. An arrow that a longer way implies is left out."),
    )


def _box(view: RunView, stage: str, at: tuple[float, float], words: str) -> Html:
    x, y = at
    raw = stage == RAW
    return tag(
        "g",
        tag("rect", x=x, y=y, width=BOX_W, height=BOX_H, rx=5, class_="node raw" if raw else "node"),
        None if raw else tag("rect", x=x, y=y, width=7, height=BOX_H, rx=3, fill=view.colour(stage)),
        tag("text", "raw" if raw else stage, x=x + 15, y=y + 20, class_="name"),
        tag("text", words, x=x + 15, y=y + 36, class_="small"),
    )


def _edge(start: tuple[float, float], end: tuple[float, float]) -> Html:
    x1, y1 = start[0] + BOX_W, start[1] + BOX_H / 2
    x2, y2 = end[0], end[1] + BOX_H / 2
    if x2 > x1:
        bend = (x2 - x1) / 2
        path = f"M{x1:.0f} {y1:.0f} C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2 - 2:.0f} {y2:.0f}"
    else:  # on to the next line: down from below, along between the lines, in from above
        x1, y1 = start[0] + BOX_W / 2, start[1] + BOX_H
        x2, y2 = end[0] + BOX_W / 2, end[1] - 2
        half = y2 - GAP_Y * 0.75
        path = f"M{x1:.0f} {y1:.0f} L{x1:.0f} {half:.0f} L{x2:.0f} {half:.0f} L{x2:.0f} {y2:.0f}"
    return tag("path", d=path, class_="edge", marker_end="url(#arrow)")


def _table(steps: list[Mapping[str, Any]], reads: Reads) -> Html:
    rows = []
    for stage, own in reads.items():
        mine = [s for s in steps if s["stage"] == stage]
        names = ", ".join(str(s["id"]).removeprefix(f"{stage}.") for s in mine)
        rows.append((stage, ", ".join(sorted(own)), names, str(sum(s["parts"] for s in mine))))
    return details(
        "The same as a table, with all that a stage reads",
        table("Stages, what they read, their steps", ("stage", "reads", "steps", "tasks"), rows, (0, 1, 2)),
    )
