"""What parts cost that were computed, and what that says of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

ENOUGH = 5
"""From so many on the outermost are left out."""


@dataclass
class Measured:
    """Costs of a step, each with the size that it belongs to, and where they are from.

    Parameters
    ----------
    source : str
        In words, as they are printed.
    seconds, memory_mb, byte_sizes : list of (size, cost)
    """

    source: str
    seconds: list[tuple[float, float]] = field(default_factory=list)
    memory_mb: list[tuple[float, float]] = field(default_factory=list)
    byte_sizes: list[tuple[float, float]] = field(default_factory=list)


def level(measured: list[tuple[float, float]], shape: Callable[[float], float]) -> float | None:
    """How many times the shape's costs the measured ones are, over all; None without any.

    The shape says how costs grow from the sizes that were measured to others, this how high they are. Of many
    the outermost are left out: a worker's first task imports libraries, an empty frame costs nothing.
    """
    pairs = [(shape(size), cost) for size, cost in measured]
    kept = sorted((p for p in pairs if p[0] > 0), key=lambda p: p[1] / p[0])
    if len(kept) >= ENOUGH:
        cut = max(1, len(kept) // 10)
        kept = kept[cut:-cut]
    return sum(cost for _, cost in kept) / sum(expected for expected, _ in kept) if kept else None


def peak(measured: list[tuple[float, float]], shape: Callable[[float], float]) -> float | None:
    """How many times the shape's costs the largest of the measured ones is; None without any."""
    return max((cost / shape(size) for size, cost in measured if shape(size) > 0), default=None)


def of_one_core(wall_s: float, cpu_s: float | None, *, alone: bool) -> float:
    """Seconds that a task takes on a core of its own.

    On a single machine workers may share cores with each other and with other programs, and a task's time
    says how busy it was; its processor time does not. In a SLURM job, and where a card computes, it is
    the time that counts, waits for the disk included.
    """
    return wall_s if alone or cpu_s is None else min(wall_s, cpu_s)
