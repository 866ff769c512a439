"""What a cluster has, as sinfo tells it: partitions, their limits and their nodes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

QUESTION = ("sinfo", "--noheader", "--exact", "--format=%P|%a|%l|%G|%c|%m|%D|%T")
"""One line for each set of nodes of a partition that are alike."""
_AWAY = ("down", "drain", "fail", "maint", "inval", "error", "unknown", "future", "blocked")


@dataclass(frozen=True)
class Nodes:
    """Nodes of a partition that are alike.

    Parameters
    ----------
    count : int
        How many.
    cores, mem_mb : int
        Of each, as SLURM counts them.
    gres : mapping of (name, type) to int
        What each has; the type is empty where the cluster names none.
    state : str
        Such as ``idle``, ``mixed``, ``down*``.
    """

    count: int
    cores: int
    mem_mb: int
    gres: Mapping[tuple[str, str], int] = field(default_factory=dict)
    state: str = "idle"

    @property
    def at_work(self) -> bool:
        """Whether they take jobs now or after the ones that they run."""
        return not self.state.startswith(_AWAY) and "*" not in self.state

    @property
    def titles(self) -> list[str]:
        """Names of what it has, such as ``gpu:a100``."""
        return [":".join(filter(None, key)) for key in self.gres]

    def has(self, name: str, kind: str) -> int:
        """How many of a generic resource each has; with an empty type all types count."""
        return sum(
            n for (its_name, its_kind), n in self.gres.items() if its_name == name and kind in ("", its_kind)
        )


@dataclass(frozen=True)
class Partition:
    """A partition.

    Parameters
    ----------
    available : str
        ``up``, else why not.
    limit_min : float
        Longest walltime, minutes; infinite where there is no limit.
    default : bool
        Whether jobs that name none go there.
    """

    name: str
    available: str
    limit_min: float
    default: bool
    nodes: tuple[Nodes, ...]


def parse(text: str) -> dict[str, Partition]:
    """Partitions by name, from the answer to `QUESTION`.

    A line that is not understood is left out: it can only make a partition look smaller.
    """
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        words = line.strip().split("|")
        if len(words) != 8:
            continue
        title, available, limit, gres, cores, mem_mb, count, state = words
        name = title.removesuffix("*")
        known = found.get(name)
        nodes = () if known is None else known.nodes
        if _number(count):
            nodes += (Nodes(_number(count), _number(cores), _number(mem_mb), gres_of(gres), state),)
        found[name] = Partition(name, available, limit_min(limit), title.endswith("*"), nodes)
    return found


def _number(text: str) -> int:
    digits = re.match(r"\d+", text)
    return int(digits[0]) if digits else 0


def limit_min(text: str) -> float:
    """A time limit of SLURM (``1-06:00:00``, ``4:00:00``, ``30:00``, ``infinite``) in minutes."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(p.isdigit() for p in (*parts, days or "0")):
        return math.inf
    seconds = 0
    for part in parts:
        seconds = 60 * seconds + int(part)
    return int(days or 0) * 1440 + seconds / 60


def gres_of(text: str) -> dict[tuple[str, str], int]:
    """Generic resources of a node, such as ``gpu:a100:4(S:0-1),gpu:v100:2``, by name and type."""
    found: dict[tuple[str, str], int] = {}
    for entry in re.sub(r"\([^)]*\)", "", text).split(","):
        name, *rest = entry.split(":")
        numbers = [int(w) for w in rest if w.isdigit()]
        kinds = [w for w in rest if not w.isdigit() and w != "no_consume"]
        if name and name != "null":
            key = (name, kinds[0] if kinds else "")
            found[key] = found.get(key, 0) + (numbers[0] if numbers else 1)
    return found
