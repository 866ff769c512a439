"""What each task costs when it is replayed: given in a file, taken from a run, or published by others."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
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

    def within(self, plan: Plan) -> tuple[Costs, list[str]]:
        """The costs of the plan's steps, and the names of the others."""
        known = {name for node in plan.nodes for name in (node.id, node.name)}
        tables = [{n: s for n, s in t.items() if n in known} for t in (self.a_frame, self.a_film)]
        others = [n for t in (self.a_frame, self.a_film) for n in t if n not in known]
        return replace(self, a_frame=tables[0], a_film=tables[1]), others

    def check(self, plan: Plan) -> None:
        """Refuse costs of steps that the workflow does not have, and a plan that costs nothing.

        Raises
        ------
        ConfigError
        """
        for what, table, per_frame in (("frame", self.a_frame, True), ("film", self.a_film, False)):
            nodes = [n for n in plan.nodes if (n.step.scope in PER_FRAME) == per_frame]
            known = {name for node in nodes for name in (node.id, node.name)}
            for name in table:
                if name not in known:
                    raise ConfigError(
                        f"costs a {what} of {name!r}: the workflow has no such step{nearest(name, known)}",
                        f"there are {', '.join(sorted(known))}",
                    )
        if not any(self.seconds(part) for node in plan.nodes for part in plan.parts(node)):
            raise ConfigError(f"{self.title}: no step costs anything", _HOW)


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
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {type(error).__name__}: {error}", _HOW) from error


_HOW = (
    'write frames = 80 and [seconds_a_frame] with lines like "cellpose.segment" = 2.5; see '
    "dataops_parsl/bench/pycyto.toml for a published table"
)


def _given(path: Path, table: Mapping[str, Any]) -> Costs:
    a_frame, a_film = (_seconds(table, name) for name in ("seconds_a_frame", "seconds_a_film"))
    return Costs(str(table.get("title", path.name)), table["frames"], a_frame, a_film, {})


def _seconds(table: Mapping[str, Any], name: str) -> dict[str, float]:
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"{name} must be a table, [{name}]")
    seconds = {step: float(s) for step, s in found.items()}
    for step, value in seconds.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name}.{step} is {value:g}: it must be a number of seconds, 0 or more")
    return seconds


def _published(path: Path, table: Mapping[str, Any]) -> Costs:
    if not all(isinstance(table.get(name), dict) for name in ("published", "steps")):
        raise ValueError("published and steps must be tables")
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
    facts = Bundle(bundle).facts
    batch, n_frames = int(facts["config"]["batch_frames"]), facts["n_frames"]
    spent: dict[str, float] = {}
    frames: dict[str, int] = {}
    per_film: dict[str, list[float]] = {}
    for row in rows:
        name = f"{row['stage']}.{row['step']}" + (f"[{row['population']}]" if row["population"] else "")
        took = row["ended"] - row["started"]
        if row["batch"] is None:
            per_film.setdefault(name, []).append(took)
            continue
        spent[name] = spent.get(name, 0.0) + took
        # The last batch of a film may be short.
        size = min(batch, n_frames[row["position_id"]] - batch * row["batch"])
        frames[name] = frames.get(name, 0) + size
    return Costs(
        f"measured in {bundle.name}",
        max(n_frames.values()),
        {name: s / frames[name] for name, s in spent.items()},
        {name: sum(s) / len(s) for name, s in per_film.items()},
        {},
    )
