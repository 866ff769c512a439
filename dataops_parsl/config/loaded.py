"""The effective configuration, as it is handed out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dataops_parsl.config.benchmark import Bench
from dataops_parsl.config.layers import tree
from dataops_parsl.config.models import Config, Resources
from dataops_parsl.config.words import Key
from dataops_parsl.errors import UsageError, nearest
from dataops_parsl.stage import Stage

S = TypeVar("S", bound=Stage)


@dataclass(frozen=True)
class Roots:
    """The roots of storage as absolute paths; see `Paths` for what they hold."""

    data_root: Path
    scratch_root: Path
    output_root: Path
    legacy_root: Path | None


@dataclass(frozen=True)
class Loaded:
    """The effective configuration.

    Parameters
    ----------
    project : Path
        The project root.
    config : Config
    paths : Roots
    origins : mapping of str to str
        Dotted key of every effective value → the file it came from (relative to the project where it
        lies in it), ``--set``, the flag, or ``default`` for what no file lists.
    overrides : mapping of (stage name, population) to Stage
        The stages that have parameters of their own for a population.
    values : mapping of key to value
        The effective values, as TOML has them; None is "not set".
    bench : Bench or None
        What a benchmark measures; None for anything else.
    """

    project: Path
    config: Config
    paths: Roots
    origins: Mapping[str, str]
    overrides: Mapping[tuple[str, str], Stage]
    values: Mapping[Key, Any]
    bench: Bench | None = None

    def stage(self, cls: type[S], population: str | None = None) -> S:
        """The stage with its parameters, for one population or (None) for all.

        Raises
        ------
        UsageError
            When there is no such stage or population.
        """
        stages, populations = self.config.stages, self.config.populations
        if cls.name not in stages:
            raise UsageError(
                f"the configuration has no stage {cls.name!r}{nearest(cls.name, stages)}",
                f"its stages are {', '.join(stages)}",
            )
        if population is not None and population not in populations:
            raise UsageError(
                f"there is no population {population!r}{nearest(population, populations)}",
                f"the dataset's populations are {', '.join(populations)}"
                if populations
                else "load the configuration with the populations of a dataset",
            )
        stage = self.overrides.get((cls.name, population or ""), stages[cls.name])
        if not isinstance(stage, cls):
            raise TypeError(f"stage {cls.name!r} was loaded as {type(stage)}, not {cls}")
        return stage

    def resources(self, stage_name: str) -> Resources:
        """What one worker of a stage needs.

        Key by key, what ``[resources.<stage>]`` says in any layer goes before what
        ``[resources.default]`` says in any layer.

        Raises
        ------
        UsageError
            When there is no such stage.
        """
        if stage_name not in self.config.resources:
            known = self.config.resources
            raise UsageError(
                f"there are no resources for {stage_name!r}{nearest(stage_name, known)}",
                f"the stages are {', '.join(self.config.stages)}",
            )
        return self.config.resources[stage_name]

    def effective(self) -> dict[str, Any]:
        """Every effective value in nested plain tables; a new copy."""
        return tree(self.values)
