"""Step nodes and parts: what a plan is made of, where each lies, and what its key holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dataops_parsl.dataset.names import FOR_ALL
from dataops_parsl.stage import PER_FRAME, Stage, Step
from dataops_parsl.storage.parts import PartPlace, fingerprint

DATASET_FACTS = ("pixel_size_um", "channels", "populations", "segments", "excludes", "marked_um")


@dataclass(frozen=True)
class Source:
    """Where a port reads from: an output of a node, or the acquired frames (`node` None)."""

    node: StepNode | None
    output: str
    population: str


@dataclass(frozen=True, eq=False)
class StepNode:
    """One step of one stage, for one population or for all."""

    stage: Stage
    step: Step
    population: str
    sources: Mapping[str, tuple[Source, ...]]
    facts: Mapping[str, Any]
    batch_frames: int
    depth: int
    scratch: Path

    @property
    def id(self) -> str:
        """Such as ``trackmate.link[target]``."""
        return f"{self.stage.name}.{self.step.name}" + (f"[{self.population}]" if self.population else "")

    @cached_property
    def described(self) -> dict[str, Any]:
        """Everything that the key is made of, to say in words what changed."""
        return {
            "dataset": self.scratch.name,
            "stage": self.stage.name,
            "step": self.step.name,
            "population": self.population,
            "version": self.stage.version,
            "parameters": self.stage.keyed(self.step.name),
            "identity": dict(self.stage.identity(self.step.name)),
            "batch_frames": self.batch_frames,
            "facts": dict(self.facts),
            "reads": sorted(
                f"{port} = {s.node.id}.{s.output} {s.node.key}" if s.node else f"{port} = raw"
                for port, sources in self.sources.items()
                for s in sources
            ),
        }

    @cached_property
    def key(self) -> str:
        """Identity of the step: stage, version, parameters, and the keys of what it reads."""
        return fingerprint(self.described)[:12]

    @cached_property
    def folder(self) -> Path:
        """Where its parts lie."""
        name = self.step.name + (f".{self.population}" if self.population else "")
        return self.scratch / self.stage.name / f"{name}-{self.key}"

    @property
    def name(self) -> str:
        """``stage.step``, the name of its Parsl app."""
        return f"{self.stage.name}.{self.step.name}"

    def window(self, port: str, frame: int, n_frames: int) -> list[int]:
        """Frames at which a port is read to compute `frame`."""
        if port not in self.step.window:
            return [frame]
        frames = getattr(self.stage, self.step.window[port])(frame)
        return [f for f in frames if 0 <= f < n_frames]


@dataclass(eq=False)
class Part:
    """What one task computes."""

    node: StepNode
    position: str
    index: int
    frames: tuple[int, ...]
    recipe: str = ""
    reads: dict[str, list[tuple[str, str, list[Part]]]] = field(default_factory=dict)
    raw_frames: tuple[int, ...] = ()
    previous: Part | None = None

    @property
    def id(self) -> str:
        """Such as ``trackmate.link[target]/P1/00003``."""
        batch = f"/{self.index:05d}" if self.node.step.scope in PER_FRAME else ""
        return f"{self.node.id}/{self.position or FOR_ALL}{batch}"

    @cached_property
    def stem(self) -> str:
        """Its files' name."""
        if not self.position:
            return FOR_ALL
        return f"{self.position}.{self.index:05d}" if self.node.step.scope in PER_FRAME else self.position

    @property
    def place(self) -> PartPlace:
        """Where it lies."""
        return PartPlace(self.node.folder, self.stem, self.recipe)

    def inputs(self) -> Iterable[Part]:
        """All parts that it reads, each once."""
        seen: dict[int, Part] = {}
        for sources in self.reads.values():
            for _, _, parts in sources:
                seen.update((id(p), p) for p in parts)
        if self.previous is not None:
            seen[id(self.previous)] = self.previous
        return seen.values()

    def reads_files_of(self, source: Part) -> bool:
        """Whether it reads what an input wrote, and not its receipt alone, as of the batch before."""
        return source is not self.previous or any(
            source in parts for sources in self.reads.values() for _, _, parts in sources
        )
