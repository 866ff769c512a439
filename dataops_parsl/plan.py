"""Workflow × dataset × config → parts, with their recipes: computed from the manifest, without scratch.

A step node is a step of a stage, for one population where the stage is repeated. A part is one of its
batches, films, or its one dataset-wide result. Keys and recipes name everything that a result depends
on, and nothing else: workers, site and resources are in none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from dataops_parsl.config import Loaded
from dataops_parsl.dataset.manifest import Dataset, Position
from dataops_parsl.errors import ConfigError, nearest
from dataops_parsl.film import Film, population_facts
from dataops_parsl.nodes import DATASET_FACTS, Part, Source, StepNode
from dataops_parsl.stage import PER_FRAME, Pixels
from dataops_parsl.storage.parts import fingerprint
from dataops_parsl.tables import Schema
from dataops_parsl.workflow import RAW, Workflow


class Plan:
    """All step nodes and parts of a run.

    Parameters
    ----------
    workflow : Workflow
    dataset : Dataset
    config : Loaded
    """

    def __init__(self, workflow: Workflow, dataset: Dataset, config: Loaded) -> None:
        self.workflow, self.dataset, self.config = workflow, dataset, config
        self.batch_frames = config.config.batch_frames
        self.populations = list(config.config.populations)
        self.scratch = config.paths.scratch_root / dataset.name
        self.positions: dict[str, Position] = dict(dataset.positions)
        self.n_frames = {name: self._limited(p.n_frames) for name, p in self.positions.items()}
        self.nodes: list[StepNode] = []
        self._outputs: dict[tuple[str, str, str], StepNode] = {}
        self._parts: dict[StepNode, dict[tuple[str, int], Part]] = {}
        for stage_name in workflow.nodes:
            self._add_stage(stage_name)
        for node in self.nodes:
            self._parts[node] = {(p.position, p.index): p for p in self._parts_of(node)}

    # --- nodes

    def _limited(self, n_frames: int) -> int:
        limit = self.config.config.dataset.total_frames
        if limit is None:
            return n_frames
        # Whole batches, so that a longer run later finds them done.
        return min(n_frames, -(-limit // self.batch_frames) * self.batch_frames)

    def _add_stage(self, name: str) -> None:
        node = self.workflow.nodes[name]
        for population in [] if node.each else self.populations:
            if self.config.stage(node.stage, population) != self.config.stage(node.stage):
                raise ConfigError(
                    f"stages.{name}.{population} is set, but {name} works on all populations at once",
                    f"set stages.{name} without a population",
                )
        repeated = self.populations if node.each else [""]
        stages = {population: self.config.stage(node.stage, population or None) for population in repeated}
        node.stage.check_each(stages)
        for population, stage in stages.items():
            stage.check(Film("", (), population, self._dataset_facts(DATASET_FACTS, population)))
            for step in node.steps.values():
                sources = {port: self._sources(name, population, port) for port in step.ports}
                above = [s.node.depth for many in sources.values() for s in many if s.node]
                made = StepNode(
                    stage,
                    step,
                    population,
                    sources,
                    self._dataset_facts(step.facts, population),
                    self.batch_frames,
                    1 + max(above, default=0),
                    self.scratch,
                )
                self.nodes.append(made)
                for output in step.gives:
                    self._outputs[name, population, output] = made

    def _sources(self, stage: str, population: str, port: str) -> tuple[Source, ...]:
        node = self.workflow.nodes[stage]
        if port in node.outputs:
            return (Source(self._outputs[stage, population, port], port, population),)
        output = node.wiring[port]
        if output == RAW:
            return (Source(None, "raw", ""),)
        if not self.workflow.nodes[output.node].each:
            return (Source(self._outputs[output.node, "", output.name], output.name, ""),)
        wanted = [population] if population else self.populations
        return tuple(Source(self._outputs[output.node, p, output.name], output.name, p) for p in wanted)

    def _dataset_facts(self, names: Iterable[str], population: str) -> dict[str, Any]:
        described = {n: p.model_dump(mode="json") for n, p in self.config.config.populations.items()}
        channels = {
            n: c.model_dump(mode="json", exclude={"found_as", "stain"})
            for n, c in self.dataset.description.channels.items()
        }
        known: dict[str, Any] = {
            "pixel_size_um": list(self.dataset.pixel_size_um),
            "channels": channels,
            **population_facts(described, population),
        }
        return {name: known[name] for name in names if name in known}

    # --- parts

    def parts(self, node: StepNode) -> Iterable[Part]:
        """The parts of a node, positions in order."""
        return self._parts[node].values()

    def wanted(self) -> list[Part]:
        """The parts that must be there: those of the result, and those that are kept beside it."""
        found = {id(p): p for o in self.workflow.kept for p in self.published(o.node, o.name)}
        return list({**{id(p): p for p in self.results()}, **found}.values())

    def results(self) -> list[Part]:
        """The parts that published tables and pictures are made of, and the goals."""
        outputs = [*self.workflow.tables.values(), *self.workflow.pictures, *self.workflow.goals]
        found = {id(p): p for o in outputs for p in self.published(o.node, o.name)}
        return list(found.values())

    def published(self, stage: str, output: str) -> list[Part]:
        """The parts of one output, all populations."""
        each = self.workflow.nodes[stage].each
        nodes = [self._outputs[stage, p, output] for p in (self.populations if each else [""])]
        return [part for node in nodes for part in self.parts(node)]

    @cached_property
    def recipe(self) -> str:
        """Identity of the whole result, whatever is kept beside it."""
        return fingerprint([self.workflow.name, sorted((p.id, p.recipe) for p in self.results())])

    def facts(self, part: Part) -> dict[str, Any]:
        """The facts that the part's step declared: of its position, or of each."""
        if part.node.step.scope == "dataset":
            return {p: self._position_facts(part.node, p, range(n)) for p, n in self.n_frames.items()}
        return self._position_facts(part.node, part.position, part.frames)

    def _position_facts(self, node: StepNode, position: str, frames: Sequence[int]) -> dict[str, Any]:
        film, known = self.positions[position], dict(node.facts)
        for fact in node.step.facts:
            if fact == "shape_px":
                known[fact] = list(film.shape_px)
            elif fact == "time_s":
                known[fact] = {str(f): film.times[f] for f in frames}
            elif fact == "plate":
                known[fact] = asdict(film.plate)
            elif fact == "excluded":
                known[fact] = {str(f): film.excluded[f] for f in frames if f in film.excluded}
            elif fact == "n_frames":
                known[fact] = self.n_frames[position]
        return known

    def _parts_of(self, node: StepNode) -> Iterable[Part]:
        scope = node.step.scope
        if scope == "dataset":
            yield self._finish(Part(node, "", 0, ()))
            return
        for position, n_frames in self.n_frames.items():
            if scope not in PER_FRAME:
                frames = self.positions[position].sample_frames if scope == "sample" else range(n_frames)
                yield self._finish(Part(node, position, 0, tuple(frames)))
                continue
            previous = None
            for index, start in enumerate(range(0, n_frames, self.batch_frames)):
                frames = tuple(range(start, min(start + self.batch_frames, n_frames)))
                previous = self._finish(
                    Part(node, position, index, frames, previous=previous if scope == "prefix" else None)
                )
                yield previous

    def _finish(self, part: Part) -> Part:
        node = part.node
        raw: set[int] = set()
        for port, sources in node.sources.items():
            part.reads[port] = []
            for source in sources:
                frames = self._read_frames(part, port)
                if source.node is None:
                    raw |= frames
                else:
                    parts = self._covering(source.node, part.position, frames)
                    part.reads[port].append((source.population, source.output, parts))
        part.raw_frames = tuple(sorted(raw))
        part.recipe = fingerprint(
            {
                "key": node.key,
                "position": part.position,
                "frames": part.frames,
                "facts": self.facts(part),
                "raw": self._raw_digests(part.position, part.raw_frames),
                "reads": {
                    port: [(pop, out, [p.recipe for p in parts]) for pop, out, parts in sources]
                    for port, sources in part.reads.items()
                },
                "previous": part.previous.recipe if part.previous else "",
            }
        )
        return part

    def _read_frames(self, part: Part, port: str) -> set[int]:
        step = part.node.step
        if step.scope in PER_FRAME:
            n = self.n_frames[part.position]
            return {w for f in part.frames for w in part.node.window(port, f, n)}
        if step.scope == "film" and port in step.window:
            return set(getattr(part.node.stage, step.window[port])(len(part.frames)))
        return set(part.frames)

    def _covering(self, source: StepNode, position: str, frames: set[int]) -> list[Part]:
        scope, parts = source.step.scope, self._parts[source]
        if scope == "dataset":
            return list(parts.values())
        if not position:
            return list(parts.values())
        if scope in PER_FRAME:
            return [parts[position, i] for i in sorted({f // self.batch_frames for f in frames})]
        return [parts[position, 0]]

    def _raw_digests(self, position: str, frames: Iterable[int]) -> dict[str, Any]:
        film = self.positions[position] if position else None
        return {
            str(f): [film.excluded.get(f, ""), *(film.raw_digest(c, f) for c in film.channels)]
            for f in frames
            if film is not None
        }

    # --- what the nodes write

    def arrays(self, node: StepNode) -> list[tuple[str, str, str, str]]:
        """(position, output, channel or "", dtype) of each zarr array of a node."""
        out = []
        for name, given in node.step.gives.items():
            if isinstance(given, Pixels):
                for position in self.positions:
                    for channel in self.segment_channels if given.per_channel else [""]:
                        out.append((position, name, channel, self.dtype(position, channel, given.dtype)))
        return out

    @cached_property
    def image_channels(self) -> list[str]:
        """The channels that hold images, not given masks: they are measured."""
        return [n for n, c in self.dataset.description.channels.items() if not c.labels]

    @cached_property
    def segment_channels(self) -> list[str]:
        """The channels that populations are segmented from: they are registered and denoised as images."""
        used = {c for p in self.config.config.populations.values() for c in (*p.segment, *p.exclude)}
        return [c for c in self.image_channels if c in used]

    def dtype(self, position: str, channel: str, declared: str) -> str:
        """Stored dtype: ``raw`` keeps 16-bit counts and makes everything else float32."""
        if declared != "raw":
            return declared
        return "uint16" if self.positions[position].dtype(channel) == "uint16" else "float32"

    def schema(self, node: StepNode, output: str) -> Schema:
        """Schema of a table output, its per-channel columns written out."""
        given = node.step.gives[output]
        assert isinstance(given, Schema)
        return given.for_channels(self.image_channels)


def check_populations(config: Loaded, dataset: Dataset) -> None:
    """Refuse populations whose channels the dataset does not have, before anything starts.

    Raises
    ------
    ConfigError
    """
    channels = dataset.description.channels
    if not config.config.populations:
        raise ConfigError(
            f"dataset {dataset.name!r} has no population, so nothing can be segmented",
            "write [populations.target] with segment, mask and diameter_um into "
            f"{dataset.root / 'dataset.toml'}",
        )
    for name, population in config.config.populations.items():
        for channel in [*population.segment, *population.exclude]:
            if channel not in channels:
                raise ConfigError(
                    f"populations.{name} uses the channel {channel!r}, which dataset {dataset.name!r} "
                    f"does not have{nearest(channel, channels)}",
                    f"its channels are {', '.join(channels)}",
                )
        sparse = [c for c in population.segment if channels[c].every > 1]
        if sparse:
            raise ConfigError(
                f"populations.{name} is segmented from {sparse[0]!r}, which was acquired only every "
                f"{channels[sparse[0]].every} frames",
                "segment it from a channel that every frame has; sparse channels are still measured",
            )
