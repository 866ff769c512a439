"""The shipped table of costs: coarse, and the shape by which what was measured is carried to other sizes."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataops_parsl.nodes import StepNode
from dataops_parsl.stage import Pixels

PATH = Path(__file__).with_name("costs.toml")
OTHER = "other"
"""The entry of a step that has none."""
FACTOR = 3
"""What comes from the table alone may be wrong by so much."""


@dataclass(frozen=True)
class Curve:
    """A cost by size: ``fixed + rate × size``."""

    fixed: float
    rate: float

    def __call__(self, size: float) -> float:
        return self.fixed + self.rate * size


@dataclass(frozen=True)
class StepCosts:
    """What a task of a step costs.

    Parameters
    ----------
    seconds : Curve
        Of one core (or card), by Mpx·frames.
    memory_mb : Curve
        Largest resident memory, MiB, by what the task holds at a time; see `Extent.held`.
    table_bytes : Curve
        Of its tables, by Mpx·frames.
    listed : bool
        Whether the step was measured for the table; else it is a guess.
    """

    seconds: Curve
    memory_mb: Curve
    table_bytes: Curve
    listed: bool = True


@functools.cache
def _read() -> dict[str, Any]:
    return tomllib.loads(PATH.read_text(encoding="utf-8"))


def _curve(entry: Mapping[str, Any], name: str) -> Curve:
    fixed, rate = entry.get(name, _read()["steps"][OTHER][name])
    return Curve(float(fixed), float(rate))


def backend(parameters: Mapping[str, Any]) -> str:
    """The backend among a step's parameters; empty where it has none."""
    return str(parameters.get("backend", ""))


def shipped(node: StepNode) -> StepCosts:
    """The table's entry for a step: with its backend's name first, ``cellpose.segment@cpsam``."""
    steps = _read()["steps"]
    named = f"{node.name}@{backend(node.stage.keyed(node.step.name))}"
    entry = steps.get(named, steps.get(node.name))
    found = steps[OTHER] if entry is None else entry
    return StepCosts(
        _curve(found, "seconds"),
        _curve(found, "memory_mb"),
        _curve(found, "table_bytes"),
        listed=entry is not None and not entry.get("guess", False),
    )


def pixel_bytes(given: Pixels, dtype: str, n_channels: int) -> Curve:
    """Bytes of an image on scratch, compressed, by Mpx·frames."""
    fractions = _read()["compressed_frac"]
    name = "labels" if given.labelled else dtype
    size = int("".join(filter(str.isdigit, dtype)) or 32) // 8
    return Curve(0.0, 1e6 * size * float(fractions.get(name, fractions[OTHER])) * n_channels)


def bundle_bytes() -> Curve:
    """Bytes of a run bundle, by Mpx·frames of the dataset."""
    fixed, rate = _read()["bundle_bytes"]
    return Curve(float(fixed), float(rate))


def start_s() -> float:
    """From the command to the first task on one machine, s."""
    return float(_read()["start_s"])
