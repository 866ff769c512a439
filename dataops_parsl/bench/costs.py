"""What each task costs when it is replayed: given in a file, taken from a run, or published by others."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dataops_parsl.bench.results import fit
from dataops_parsl.bundle import TRACE, Bundle
from dataops_parsl.errors import ConfigError, nearest
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.stage import PER_FRAME

KEYS = ("title", "frames", "seconds_a_frame", "seconds_a_film")
PUBLISHED_KEYS = ("title", "frames", "workers", "published", "lines", "steps")


@dataclass(frozen=True)
class Costs:
    """Seconds by step, before they are scaled.

    Parameters
    ----------
    title : str
        What they are and from where.
    frames : int
        Frames of the film that is replayed.
    a_frame, a_film : mapping of ``stage.step`` or ``stage.step[population]`` to s
        Of steps that go frame by frame, and of those that take a film; what is not there costs nothing.
    fixed : mapping of line to s
        What was left out of published times: start, loading, merging.
    """

    title: str
    frames: int
    a_frame: Mapping[str, float]
    a_film: Mapping[str, float]
    fixed: Mapping[str, float]

    def seconds(self, part: Part) -> float:
        """What a part costs, s."""
        node = part.node
        table = self.a_frame if node.step.scope in PER_FRAME else self.a_film
        each = table.get(node.id, table.get(node.name, 0.0))
        return each * (len(part.frames) if node.step.scope in PER_FRAME else 1)

    def check(self, plan: Plan) -> None:
        """Refuse costs of steps that the workflow does not have.

        Raises
        ------
        ConfigError
        """
        for what, table, per_frame in (("frame", self.a_frame, True), ("film", self.a_film, False)):
            nodes = [n for n in plan.nodes if (n.step.scope in PER_FRAME) == per_frame]
            known = {name for node in nodes for name in (node.id, node.name)}
            for name, value in table.items():
                if name not in known:
                    raise ConfigError(
                        f"costs a {what} of {name!r}: the workflow has no such step{nearest(name, known)}",
                        f"there are {', '.join(sorted(known))}",
                    )
                if value < 0:
                    raise ConfigError(f"the cost of {name!r} is {value:g} s", "give 0 or more")


def read_costs(path: Path) -> Costs:
    """Read a file of costs: ``[seconds_a_frame]`` and ``[seconds_a_film]``, or a published table.

    A published table gives seconds by number of workers; its fixed part, fitted as T(N) = fixed + work / N,
    is taken off and kept in `Costs.fixed`.

    Raises
    ------
    ConfigError
        The file cannot be read, or does not say what it must.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "name a file of costs") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", "correct it there") from error
    known = PUBLISHED_KEYS if "published" in table else KEYS
    for key in table:
        if key not in known:
            raise ConfigError(f"{path}: {key!r} is no key of costs{nearest(key, known)}", _HOW)
    if not isinstance(table.get("frames"), int) or table["frames"] < 1:
        raise ConfigError(f"{path}: frames must be a whole number above 0", _HOW)
    try:
        return _published(path, table) if "published" in table else _given(path, table)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {type(error).__name__}: {error}", _HOW) from error


_HOW = (
    'write frames = 80 and [seconds_a_frame] with lines like "cellpose.segment" = 2.5; see '
    "dataops_parsl/bench/pycyto.toml for a published table"
)


def _given(path: Path, table: Mapping[str, Any]) -> Costs:
    a_frame = {name: float(s) for name, s in table.get("seconds_a_frame", {}).items()}
    a_film = {name: float(s) for name, s in table.get("seconds_a_film", {}).items()}
    return Costs(str(table.get("title", path.name)), table["frames"], a_frame, a_film, {})


def _published(path: Path, table: Mapping[str, Any]) -> Costs:
    laws = {}
    for line, seconds in table["published"].items():
        law = fit(dict(zip(table["workers"], map(float, seconds), strict=True)))
        if law is None:
            raise ValueError(f"{line} needs times at two numbers of workers")
        laws[line] = law
    a_frame = {
        step: laws[what["line"]].work_s / table["frames"] * float(what.get("share", 1.0))
        for step, what in table["steps"].items()
    }
    fixed = {line: law.fixed_s for line, law in laws.items()}
    return Costs(str(table.get("title", path.name)), table["frames"], a_frame, {}, fixed)


def measured_costs(bundle: Path) -> Costs:
    """Mean seconds of each step in a run, from its trace.

    Raises
    ------
    ConfigError
        The run has no trace, or nothing was computed in it.
    """
    path = bundle / "tables" / f"{TRACE}.parquet"
    if not path.exists():
        raise ConfigError(f"{bundle} has no {path.name}", "name a run that is sealed, or a file of costs")
    rows = [r for r in pq.read_table(path).to_pylist() if r["outcome"] in ("done", "partial")]
    if not rows:
        raise ConfigError(f"nothing was computed in {bundle}", "name a run that computed all of its film")
    per_batch: dict[str, list[float]] = {}
    per_film: dict[str, list[float]] = {}
    for row in rows:
        name = f"{row['stage']}.{row['step']}" + (f"[{row['population']}]" if row["population"] else "")
        table = per_film if row["batch"] is None else per_batch
        table.setdefault(name, []).append(row["ended"] - row["started"])
    n_frames, batch = _frames(bundle)
    return Costs(
        f"measured in {bundle.name}",
        n_frames,
        {name: sum(s) / len(s) / batch for name, s in per_batch.items()},
        {name: sum(s) / len(s) for name, s in per_film.items()},
        {},
    )


def _frames(bundle: Path) -> tuple[int, int]:
    """Frames of the longest film of a run, and of a batch."""
    facts = Bundle(bundle).facts
    return max(facts["n_frames"].values()), int(facts["config"]["batch_frames"])
