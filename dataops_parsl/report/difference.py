"""What differs between two runs: settings, versions, input, steps, results. Empty lists mean: nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_parsl.bundle import MANIFEST, Bundle, RunTables
from dataops_parsl.report.table_difference import counts, key_of, table_difference
from dataops_parsl.report.words import UNKNOWN, many, number, toml
from dataops_parsl.validate import record
from dataops_parsl.validate.ranges import ranges

Facts = Mapping[str, Any]
Row = tuple[str, ...]
_NO_RESULT = ("workers", "site.", "paths.", "resources.", "engine.")
"""Beginnings of keys that no result depends on."""


def settings(a: Facts, b: Facts) -> list[Row]:
    """Keys of the configuration that differ: key, value and origin in A, value and origin in B."""
    flat_a, flat_b = dict(_flat(a.get("config", {}))), dict(_flat(b.get("config", {})))
    rows: list[Row] = []
    for key in dict.fromkeys([*flat_a, *flat_b]):
        if flat_a.get(key, UNKNOWN) == flat_b.get(key, UNKNOWN):
            continue
        words = f"{key} (no result depends on it)" if key.startswith(_NO_RESULT) else key
        rows.append((words, _value(flat_a, a, key), _value(flat_b, b, key)))
    return rows


def _flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{at}.{name}" if at else name)
    else:
        yield at, value


def _value(flat: Mapping[str, Any], facts: Facts, key: str) -> str:
    if key not in flat:
        return UNKNOWN
    origin = facts.get("origins", {}).get(key, "")
    return toml(flat[key]) + (f" ({origin})" if origin else "")


def versions(a: Facts, b: Facts) -> list[Row]:
    """Versions, commits and hosts of the last starts that differ."""
    one, other = (_versions(f) for f in (a, b))
    names = dict.fromkeys([*one, *other])
    return [(n, one.get(n, UNKNOWN), other.get(n, UNKNOWN)) for n in names if one.get(n) != other.get(n)]


def _versions(facts: Facts) -> dict[str, str]:
    last = (facts.get("starts") or [{}])[-1]
    found = {
        {"code": "its source files"}.get(name, name): str(v) for name, v in last.get("versions", {}).items()
    }
    for name, words in (("package_git", "commit of the package"), ("git", "commit of the project")):
        if git := last.get(name):
            found[words] = f"{git['commit'][:12]}{' and changes' if git['dirty'] else ''}"
    for made in facts.get("made_by", []):
        if (code := made["versions"].get("code")) != last.get("versions", {}).get("code"):
            found[f"parts made by source files {code}"] = many(made["parts"], "part")
    return found


def dataset(a: Bundle, b: Bundle) -> list[Row]:
    """What differs in what was read: name, fingerprint, then frames by position."""
    said_a, said_b = (bundle.facts.get("dataset", {}) for bundle in (a, b))
    rows: list[Row] = [
        (name, str(said_a.get(name, UNKNOWN)), str(said_b.get(name, UNKNOWN)))
        for name in ("name", "fingerprint")
        if said_a.get(name) != said_b.get(name)
    ]
    one, other = (record.read(bundle.root, record.INPUTS) for bundle in (a, b))
    if one is None or other is None:
        return rows
    for position in dict.fromkeys([*one["positions"], *other["positions"]]):
        frames = [said["positions"].get(position) for said in (one, other)]
        if None in frames:
            rows.append((f"position {position}", *("read" if f else "not there" for f in frames)))
            continue
        rows += _frames(position, frames[0]["frames"], frames[1]["frames"])
    return rows


def _frames(position: str, a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[Row]:
    only_a, only_b = ([int(f) for f in one if f not in other] for one, other in ((a, b), (b, a)))
    if only_a or only_b:
        yield (f"frames of {position} read only there", *(_ranges(f) for f in (only_a, only_b)))
    changed = [int(f) for f in a if f in b and a[f] != b[f]]
    if changed:
        yield f"frames of {position} with other pixels or times", _ranges(changed), _ranges(changed)


def _ranges(frames: list[int]) -> str:
    return ranges(frames) if frames else "none"


def steps(a: Facts, b: Facts) -> list[str]:
    """The first steps whose results differ, why, and how many follow, by the keys that both recorded."""
    keys_a, keys_b = a.get("keys", {}), b.get("keys", {})
    graph = {step["id"]: step for facts in (b, a) for step in facts.get("graph", [])}
    other = [i for i in dict.fromkeys([*keys_a, *keys_b]) if keys_a.get(i) != keys_b.get(i)]
    first = [i for i in other if not set(graph.get(i, {}).get("reads", [])) & set(other)]
    lines = [f"{i}: {_why(i, a, b)}" for i in first]
    if len(other) > len(first):
        lines.append(f"and {len(other) - len(first)} steps that read from them")
    return lines


def _why(step: str, a: Facts, b: Facts) -> str:
    for facts, side in ((a, "A"), (b, "B")):
        if step not in facts.get("keys", {}):
            return f"is not in {side}"
    stage, _, rest = step.partition(".")
    population = rest.partition("[")[2].rstrip("]")
    reasons = []
    one, other = (facts.get("identities", {}).get(step) for facts in (a, b))
    if None not in (one, other) and one != other:
        reasons.append("other libraries or weights, see its identity in run.json")
    differ = [key.partition(" ")[0] for key, *_ in settings(a, b)]
    read = _parameters(step, a, b)
    reasons += [
        k
        for k in differ
        if k.startswith(f"stages.{stage}.")
        and _is_for(k, population, a)
        and (read is None or not read.isdisjoint(k.split(".")[2:]))
    ]
    reasons += [k for k in differ if k == "batch_frames" or k.startswith("populations.")]
    if reasons:
        return ", ".join(reasons)
    if a.get("dataset", {}).get("name") != b.get("dataset", {}).get("name"):
        return "another dataset"
    return "another version of the stage, or something else known of the dataset"


def _parameters(step: str, a: Facts, b: Facts) -> set[str] | None:
    """The fields of its stage that are in a step's key; None where neither run recorded them."""
    recorded = [said for facts in (a, b) if (said := facts.get("steps", {}).get(step))]
    return {name for said in recorded for name in said["parameters"]} if recorded else None


def _is_for(key: str, population: str, facts: Facts) -> bool:
    """Whether a key of a stage concerns a step of this population."""
    parts = key.split(".")
    named = parts[2] if len(parts) == 4 else ""
    return (
        not named
        or not population
        or named not in facts.get("config", {}).get("populations", {})
        or (named == population)
    )


def summaries(a: Bundle, b: Bundle) -> list[Row]:
    """Numbers of the summary that differ, by condition and position: which, A, B, difference.

    Without a `summary`: objects and tracks by position and population.
    """
    tables = [_read(bundle, "summary") for bundle in (a, b)]
    if tables[0] is not None and tables[1] is not None:
        one, other = (_summary(t) for t in tables if t is not None)
    else:
        one, other = (_counted(bundle) for bundle in (a, b))
    return [
        (*key, *_pair(one.get(key), other.get(key)))
        for key in dict.fromkeys([*one, *other])
        if one.get(key) != other.get(key)
    ]


def _summary(table: pa.Table) -> dict[tuple[str, str], Any]:
    return {
        (f"{row['level']} {row['name']}", name): value
        for row in table.to_pylist()
        for name, value in row.items()
        if name not in ("level", "name")
    }


def _counted(bundle: Bundle) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for name in ("cells", "tracks"):
        table = _read(bundle, name)
        for key, n in (counts(table) if table is not None else {}).items():
            found[", ".join(key), f"rows of {name}"] = n
    return found


def _pair(a: Any, b: Any) -> Row:
    numbers = [v for v in (a, b) if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == 2:
        by = numbers[1] - numbers[0]
        return number(a, 4), number(b, 4), ("+" if by > 0 else "−") + number(abs(by), 3)
    words = (UNKNOWN if v is None else number(v, 4) if v in numbers else str(v) for v in (a, b))
    return (*words, "")


def results(a: Bundle, b: Bundle) -> tuple[list[Row], int]:
    """Tables that differ and how, and the number of those that are equal."""
    names = [set(RunTables(bundle).results) for bundle in (a, b)]
    digests = [_sealed(bundle) for bundle in (a, b)]
    rows: list[Row] = []
    equal = 0
    for name in sorted(names[0] | names[1]):
        missing = [side for side, there in zip("AB", names, strict=True) if name not in there]
        if missing:
            rows.append((name, f"not in {missing[0]}"))
            continue
        sealed = [said.get(f"tables/{name}.parquet") for said in digests]
        if sealed[0] is not None and sealed[0] == sealed[1]:
            equal += 1
            continue
        one, other = (_read(bundle, name) for bundle in (a, b))
        if one is None or other is None:
            rows.append((name, "cannot be read"))
        elif words := table_difference(one, other, key_of(one)):
            rows.append((name, words))
        else:
            equal += 1
    return rows, equal


def _sealed(bundle: Bundle) -> dict[str, str]:
    """sha256 of the files of a sealed run; none where it is open or its seal cannot be read."""
    try:
        files = json.loads((bundle.root / MANIFEST).read_bytes())["files"]
        return {name: str(said["sha256"]) for name, said in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _read(bundle: Bundle, name: str) -> pa.Table | None:
    try:
        return pq.read_table(bundle.root / "tables" / f"{name}.parquet")
    except (OSError, pa.ArrowException):
        return None
