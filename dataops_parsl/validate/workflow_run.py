"""The checks of a workflow's run: seal, provenance, failures, tables, input, label images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_parsl.bundle import Bundle
from dataops_parsl.tables import Schema
from dataops_parsl.validate import record
from dataops_parsl.validate.checks import Check, check, some
from dataops_parsl.validate.failures import Failures
from dataops_parsl.validate.inputs import BYTES, RECORDED, check_inputs, locate
from dataops_parsl.validate.pixels import check_pixels, counted
from dataops_parsl.validate.seal import check_seal
from dataops_parsl.validate.subject import Kind, Subject
from dataops_parsl.validate.tables import check_tables
from dataops_parsl.validate.versions import check_versions

_FACTS = ("versions", "git", "host", "cpu", "gpus", "command", "at")
"""What each start of a run says of itself."""


def _fits(root: Path) -> bool:
    return (root / "run.json").is_file()


def _checks(subject: Subject) -> Iterator[Check]:
    yield from check_seal(subject.root)
    facts = Bundle(subject.root).facts
    yield _provenance(facts)
    yield check_versions(facts)
    yield from _own_verdict(facts)
    yield from _tables(subject.root, facts)
    inputs = record.read(subject.root, record.INPUTS)
    if inputs is None:
        yield from (_not_recorded(what, "frames as they were read", facts) for what in (RECORDED, BYTES))
    else:
        yield from check_inputs(
            inputs,
            locate(facts, subject.data_root, subject.legacy_root),
            Failures(facts.get("failures", [])).frames,
            str(facts.get("dataset", {}).get("root", "")),
        )
    labels = record.read(subject.root, record.LABELS)
    if labels is not None and labels["images"]:
        yield check_pixels(labels["images"], subject.scratch_root)


KIND = Kind("workflow", _fits, _checks)


def _not_recorded(what: str, expected: str, facts: Mapping[str, Any]) -> Check:
    """Part of the record is not there: an older version wrote none, of a later one it was taken away."""
    if facts.get("format") == 1:
        return Check(what, expected, "sealed by a version that recorded none", "not checked")
    return Check(what, expected, f"what the run recorded of it in {record.FOLDER}/ is not there", "failed")


def _provenance(facts: Mapping[str, Any]) -> Check:
    wanted = {
        "dataset": ("name", "fingerprint"),
        "config": (),
        "origins": (),
        "keys": (),
        "identities": (),
        "slurm_jobs": (),
        "opened_at": (),
        "sealed_at": (),
    }
    lacking = [name for name in wanted if name not in facts]
    lacking += [f"{n}.{k}" for n, keys in wanted.items() for k in keys if n in facts and not facts[n].get(k)]
    starts = facts.get("starts", [])
    lacking += (
        ["starts"] if not starts else [f"starts.{k}" for k in _FACTS if any(k not in s for s in starts)]
    )
    problems = [f"run.json does not say: {', '.join(lacking)}"] if lacking else []
    what = "provenance"
    expected = "versions, commit, configuration with origins, dataset, host, GPU, jobs, command, times"
    if lacking and facts.get("format") == 1:
        return Check(what, expected, f"sealed by an older version: {problems[0]}", "not checked")
    return check(
        what,
        expected,
        problems,
        f"{len(starts)} start{'s' * (len(starts) != 1)}, all said",
    )


def _own_verdict(facts: Mapping[str, Any]) -> Iterator[Check]:
    failures = Failures(facts.get("failures", []))
    what, expected = "failures", "none"
    if failures:
        n = len(failures.listed)
        found = f"{n} listed: {some(failures.words())}"
        yield Check(what, expected, found, "partial")
    else:
        yield Check(what, expected, "none", "ok")
    said = facts.get("verdict")
    if said == "rejected":
        yield Check("verdict of the run itself", "accepted or partial", "rejected", "failed")


def _tables(root: Path, facts: Mapping[str, Any]) -> Iterator[Check]:
    schemas = record.read_schemas(root)
    if schemas is None:
        yield _not_recorded("tables", "as in the schemas that they were written with", facts)
        return
    tables, unreadable = _read(root, schemas)
    yield from unreadable
    rows = facts.get("rows", {})
    problems = [
        f"{n}: {t.num_rows}, was {rows[n]}"
        for n, t in tables.items()
        if rows.get(n, t.num_rows) != t.num_rows
    ]
    yield check("tables: rows", "as many as were written", problems, f"{sum(rows.values())} in all")
    labels = record.read(root, record.LABELS)
    images = labels["images"] if labels else []
    what, expected = "label images: every frame", "labels counted when written = rows"
    if labels is None:
        yield _not_recorded(what, expected, facts)
    elif not images and "reason" in labels:
        yield Check(what, expected, labels["reason"], "not checked")
    inputs = record.read(root, record.INPUTS) or {"positions": {}}
    yield from check_tables(
        {n: s for n, s in schemas.items() if not any(c.what.startswith(f"{n}:") for c in unreadable)},
        tables,
        facts.get("n_frames", {}),
        facts.get("failures", []),
        counted(images) if images else None,
        {name: map(int, said["excluded"]) for name, said in inputs["positions"].items()},
    )


def _read(root: Path, schemas: Mapping[str, Schema]) -> tuple[dict[str, pa.Table], list[Check]]:
    """The tables that can be read, and a check for each that cannot; missing ones are left to others."""
    tables: dict[str, pa.Table] = {}
    unreadable = []
    for name in schemas:
        path = root / "tables" / f"{name}.parquet"
        if not path.is_file():
            continue
        try:
            tables[name] = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            first = str(error).partition("\n")[0].rstrip(".")
            unreadable.append(
                Check(f"{name}: readable", "a parquet file", f"cannot be read: {first}", "failed")
            )
    return tables, unreadable
