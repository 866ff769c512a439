"""A part as the small JSON-like dict that a worker needs to compute it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dataops_parsl.nodes import Part, Source, StepNode
from dataops_parsl.plan import Plan
from dataops_parsl.provenance import worker_versions
from dataops_parsl.stage import Pixels


class Specs:
    """Describes the parts of a plan for `task.execute`; what is the same for a step's parts is made once.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._common: dict[StepNode, dict[str, Any]] = {}

    def of(self, part: Part, *, attempt: int = 1, deadly: Collection[int] = ()) -> dict[str, Any]:
        """Describe a part.

        Parameters
        ----------
        attempt : int
            From the second on, the worker notes which frame it is at.
        deadly : collection of int
            Frames on which workers died: they are marked failed, not tried.
        """
        node, plan = part.node, self.plan
        if node not in self._common:
            self._common[node] = _common(plan, node)
        film = plan.positions.get(part.position)
        return {
            **self._common[node],
            "id": part.id,
            "position": part.position,
            "index": part.index,
            "frames": list(part.frames),
            "n_frames": len(part.frames) or sum(plan.n_frames.values()),
            "excluded": {str(f): film.excluded[f] for f in part.frames if f in film.excluded}
            if film and film.excluded
            else {},
            "facts": plan.facts(part),
            "raw_frames": list(part.raw_frames),
            "reads": {
                port: [_source(plan, s, given) for s, given in zip(node.sources[port], sources, strict=True)]
                for port, sources in part.reads.items()
                if sources
            },
            "previous": _place(part.previous) if part.previous else None,
            "stem": part.stem,
            "recipe": part.recipe,
            "attempt": attempt,
            "deadly": sorted(deadly),
        }


def _common(plan: Plan, node: StepNode) -> dict[str, Any]:
    """What all parts of a step share."""
    return {
        "stage": f"{type(node.stage).__module__}:{type(node.stage).__qualname__}",
        "step": node.step.name,
        "parameters": node.stage.model_dump(mode="json"),
        "identity": node.described["identity"],
        "population": node.population,
        "mem_gb": plan.config.resources(node.stage.name).mem_gb,
        "raw": [p for p, sources in node.sources.items() if any(s.node is None for s in sources)],
        "dataset_root": str(plan.dataset.root),
        "by_population": {
            port: any(s.population for s in sources) and not node.population
            for port, sources in node.sources.items()
        },
        "scratch": str(plan.scratch),
        "folder": str(node.folder),
        "schemas": {n: plan.image_channels for n, g in node.step.gives.items() if not isinstance(g, Pixels)},
        "arrays": {
            n: plan.segment_channels if g.per_channel else [""]
            for n, g in node.step.gives.items()
            if isinstance(g, Pixels)
        },
        "versions": worker_versions(),
    }


def _source(plan: Plan, source: Source, given: tuple[str, str, list[Part]]) -> dict[str, Any]:
    population, output, parts = given
    assert source.node is not None
    kind, channels = "table", list[str]()
    what = source.node.step.gives[output]
    if isinstance(what, Pixels):
        kind = "channels" if what.per_channel else "image"
        channels = plan.segment_channels if what.per_channel else [""]
    return {
        "population": population,
        "output": output,
        "kind": kind,
        "channels": channels,
        "parts": [_place(p) for p in parts],
    }


def _place(part: Part) -> list[str]:
    return [str(part.node.folder), part.stem, part.recipe]
