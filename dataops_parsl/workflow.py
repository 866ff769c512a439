"""A workflow is wiring only: which stage, fed by what, for whom, and which tables are published.

::

    workflow = Workflow("cytotoxicity")
    film = workflow.add(RegisterDenoise, raw=workflow.raw)
    cells = workflow.add(Cellpose, raw=workflow.raw, film=film.denoised, each="population")
    workflow.publish(frames=film.frames)
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from dataops_parsl.bundle import TRACE
from dataops_parsl.errors import ConfigError, UsageError, nearest
from dataops_parsl.stage import Pixels, Stage, Step
from dataops_parsl.tables import Schema


@dataclass(frozen=True)
class Output:
    """One output of a node: what `Workflow.add` returns gives these as attributes."""

    node: str
    name: str


RAW = Output("", "raw")


@dataclass(frozen=True)
class Node:
    """A stage in a workflow; its attributes are its outputs.

    A step whose inputs are not fed is left out: `Contact` given labels alone finds pairs, and events
    only when it is given tracks too.
    """

    stage: type[Stage]
    wiring: dict[str, Output]
    each: Literal["population"] | None

    @property
    def steps(self) -> dict[str, Step]:
        """The steps that have all their inputs."""
        have, found = set(self.wiring), dict[str, Step]()
        for name, step in self.stage.steps().items():
            if have >= set(step.ports):
                have |= set(step.gives)
                found[name] = step
        return found

    @property
    def outputs(self) -> dict[str, Schema | Pixels]:
        """What those steps give."""
        return {name: out for step in self.steps.values() for name, out in step.gives.items()}

    def __getattr__(self, name: str) -> Output:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self.outputs:
            raise UsageError(
                f"stage {self.stage.name!r} gives no {name!r}{nearest(name, self.outputs)}",
                f"fed with {', '.join(self.wiring)} it gives {', '.join(self.outputs)}; "
                f"it can be fed with {', '.join(self.stage.ports())}",
            )
        return Output(self.stage.name, name)


@dataclass
class Workflow:
    """Stages, what feeds them, and what is published."""

    name: str
    nodes: dict[str, Node] = field(default_factory=dict)
    tables: dict[str, Output] = field(default_factory=dict)
    pictures: list[Output] = field(default_factory=list)
    goals: list[Output] = field(default_factory=list)
    kept: list[Output] = field(default_factory=list)
    """Label images that go into the bundle beside the result."""

    @property
    def raw(self) -> Output:
        """The acquired frames, one `Stack` per channel."""
        return RAW

    def add(self, stage: type[Stage], *, each: Literal["population"] | None = None, **wiring: Output) -> Node:
        """Add a stage, its ports given outputs of earlier stages, or `raw`."""
        ports = stage.ports()
        if unknown := [p for p in wiring if p not in ports]:
            raise UsageError(
                f"workflow {self.name!r}: stage {stage.name!r} reads no {unknown[0]!r}"
                f"{nearest(unknown[0], ports)}",
                f"it reads {', '.join(ports)}",
            )
        node = Node(stage, dict(wiring), each)
        if not node.steps:
            raise UsageError(
                f"workflow {self.name!r}: no step of stage {stage.name!r} has all its inputs",
                f"it can be fed with {', '.join(ports)}",
            )
        if stage.name in self.nodes:
            raise UsageError(f"workflow {self.name!r} has the stage {stage.name!r} twice")
        self.nodes[stage.name] = node
        return node

    def publish(self, **tables: Output) -> None:
        """Name the tables of the bundle and where each is made."""
        for name, output in tables.items():
            if not isinstance(self.gives(output), Schema):
                raise UsageError(f"{output.node}.{output.name} is pixels: only tables can be published")
            if name == TRACE:
                raise UsageError(
                    f"a workflow cannot publish a table {name!r}: that is the run's own", "name it otherwise"
                )
            self.tables[name] = output

    def illustrate(self, *outputs: Output) -> None:
        """Name tables of pictures (columns ``name`` and ``png``) that go into the bundle's figures."""
        self.pictures += outputs

    def gives(self, output: Output) -> Schema | Pixels:
        """What an output is."""
        return self.nodes[output.node].outputs[output.name]

    def schemas(self) -> dict[str, Schema]:
        """Schema of each published table."""
        out: dict[str, Schema] = {}
        for name, output in self.tables.items():
            given = self.gives(output)
            assert isinstance(given, Schema)
            out[name] = given
        return out

    def until(self, stage: str) -> Workflow:
        """The part of the workflow that the stage needs, it included; publishes what is left.

        All that the stage itself gives is computed, published or not.
        """
        return self.upto([stage])

    def upto(self, stages: Collection[str]) -> Workflow:
        """The same for several stages."""
        for stage in stages:
            if stage not in self.nodes:
                raise UsageError(
                    f"workflow {self.name!r} has no stage {stage!r}{nearest(stage, self.nodes)}",
                    f"its stages are {', '.join(self.nodes)}",
                )
        keep = self._above(stages)
        return Workflow(
            self.name,
            {k: v for k, v in self.nodes.items() if k in keep},
            {k: v for k, v in self.tables.items() if v.node in keep},
            [o for o in self.pictures if o.node in keep],
            [Output(stage, name) for stage in stages for name in self.nodes[stage].outputs],
        )

    def keeping_labels(self) -> Workflow:
        """The same workflow, its label images computed where they are not there, and kept in the bundle.

        Raises
        ------
        UsageError
            It makes none.
        """
        found = [
            Output(stage, name)
            for stage, node in self.nodes.items()
            for name, given in node.outputs.items()
            if isinstance(given, Pixels) and given.labelled
        ]
        if not found:
            raise UsageError(f"workflow {self.name!r} makes no label images", "leave out --keep-labels")
        return replace(self, kept=found)

    def feeding(self, stages: Collection[str]) -> Workflow:
        """The part of the workflow that makes what these stages read, and computes just that."""
        wanted = [o for stage in stages for o in self.nodes[stage].wiring.values() if o.node]
        keep = self._above(o.node for o in wanted)
        nodes = {k: v for k, v in self.nodes.items() if k in keep}
        return Workflow(self.name, nodes, {}, [], list(dict.fromkeys(wanted)))

    def _above(self, stages: Iterable[str]) -> set[str]:
        """These stages and all that they read from, at any distance."""
        keep, todo = set[str](), list(stages)
        while todo:
            name = todo.pop()
            if name and name not in keep:
                keep.add(name)
                todo += [o.node for o in self.nodes[name].wiring.values()]
        return keep


def workflow_files(project: Path) -> dict[str, Path]:
    """Workflows by name: ``apps/*.py`` of the project, and those that came with the package."""
    packaged = Path(__file__).parent / "_project" / "apps"
    return {p.stem: p for p in [*_apps(packaged), *_apps(project / "apps")]}


def _apps(folder: Path) -> Iterator[Path]:
    yield from sorted(p for p in folder.glob("*.py") if not p.name.startswith("_"))


def load(project: Path, name: str) -> Workflow:
    """Load ``apps/<name>.py`` and return its ``workflow``.

    Raises
    ------
    UsageError
        For an unknown name, naming those there are.
    ConfigError
        When the file does not define `workflow` or cannot be run.
    """
    files = workflow_files(project)
    if name not in files:
        raise UsageError(
            f"there is no workflow {name!r}{nearest(name, files)}",
            f"there are {', '.join(files) or 'none'} in {project / 'apps'}",
        )
    spec = importlib.util.spec_from_file_location(f"dataops_parsl_app_{name}", files[name])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UsageError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{files[name]} cannot be loaded: {type(error).__name__}: {error}", "mend the workflow file"
        ) from error
    workflow = getattr(module, "workflow", None)
    if not isinstance(workflow, Workflow):
        raise ConfigError(f"{files[name]} defines no `workflow`", "write: workflow = Workflow(...)")
    return workflow
