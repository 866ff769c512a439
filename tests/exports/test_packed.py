"""``runs export --zip``: what was sealed, whole and checked, with an RO-Crate that names all of it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dataops_parsl.bundle import MANIFEST, Bundle
from dataops_parsl.cli import main
from tests.helpers import Project

METADATA = "ro-crate-metadata.json"


def _read(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        return {name: packed.read(name) for name in packed.namelist()}


def _export(project: Project, root: Path, target: Path) -> int:
    return main(["runs", "export", str(root), "--zip", "--to", str(target), "--project", str(project.root)])


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def _links(value: Any) -> Iterator[str]:
    """All that an entity points at."""
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(inner, dict) and set(inner) == {"@id"}:
            yield inner["@id"]
        else:
            yield from _links(inner)


def test_a_zip_holds_what_was_sealed_and_is_the_same_each_time(
    killing: Bundle, export: Callable[..., Path]
) -> None:
    one, other = (export(killing.id, "--zip", f"{n}.zip") for n in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
    files = _read(one)
    sealed = json.loads((killing.root / MANIFEST).read_bytes())["files"]
    assert set(files) == {*sealed, MANIFEST, METADATA}
    assert next(iter(files)) == METADATA
    for name, said in sealed.items():
        assert hashlib.sha256(files[name]).hexdigest() == said["sha256"]


def test_the_crate_describes_every_file_and_the_run(killing: Bundle, export: Callable[..., Path]) -> None:
    files = _read(export(killing.id, "--zip", "run.zip"))
    crate = json.loads(files.pop(METADATA))
    assert crate["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    graph = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(graph) == len(crate["@graph"]), "no entity stands there twice"
    assert graph[METADATA]["about"] == {"@id": "./"}
    assert graph[METADATA]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = graph["./"]
    assert root["@type"] == "Dataset"
    assert all(root[name] for name in ("name", "description", "datePublished", "license"))
    assert "author" not in root
    assert {unquote(part["@id"]) for part in root["hasPart"]} == set(files)
    for name, data in files.items():
        entity = graph[name]
        assert entity["@type"] == "File"
        assert entity["contentSize"] == str(len(data))
        assert entity["sha256"] == hashlib.sha256(data).hexdigest()
        assert "/" in entity["encodingFormat"]
    outside = {"https://w3id.org/ro/crate/1.1"}
    assert {link for e in graph.values() for link in _links(e)} <= set(graph) | outside

    facts = killing.facts
    (action,) = (e for e in graph.values() if e["@type"] == "CreateAction")
    assert root["mentions"] == {"@id": action["@id"]}
    assert "agent" not in action
    assert (action["startTime"], action["endTime"]) == (facts["starts"][0]["at"], facts["sealed_at"])
    assert {r["@id"] for r in action["result"]} >= {"tables/cells.parquet", "figures/drift.png"}
    tool = graph[action["instrument"]["@id"]]
    assert tool["version"] == facts["starts"][0]["versions"]["dataops_parsl"]
    assert tool.get("identifier", "") == facts["starts"][0]["package_git"].get("commit", "")
    assert graph[action["object"]["@id"]]["identifier"] == facts["dataset"]["fingerprint"]


def test_a_partial_run_says_so_in_its_crate(
    export: Callable[..., Path], sealed_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    files = _read(export(str(sealed_project.bundles("stills")[-1]), "--zip", "run.zip"))
    assert "coculture, frame 2" in capsys.readouterr().out
    crate = json.loads(files[METADATA])["@graph"]
    (action,) = (e for e in crate if e["@type"] == "CreateAction")
    assert "coculture, frame 2" in action["error"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: (root / "tables" / "cells.parquet").write_bytes(b"other"), "cells.parquet was changed"),
        (lambda root: (root / "tables" / "cells.parquet").unlink(), "cells.parquet is missing"),
        (
            lambda root: (root / "run.json").write_bytes((root / "run.json").read_bytes() + b" "),
            "run.json was changed",
        ),
        (lambda root: (root / MANIFEST).write_text("{"), "cannot be read"),
        (
            lambda root: (root / MANIFEST).write_text(
                json.dumps({"files": {"../../escaped": {"sha256": "", "bytes": 0}}})
            ),
            "names ../../escaped",
        ),
    ],
)
def test_a_run_that_is_not_as_sealed_is_refused(
    copied: Project, change: Callable[[Path], Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied.bundles()[-1]
    change(root)
    target = copied.root / "out.zip"
    assert (
        main(["runs", "export", str(root), "--zip", "--to", str(target), "--project", str(copied.root)]) == 5
    )
    assert words in capsys.readouterr().err
    assert [p.name for p in copied.root.iterdir() if p.name.endswith((".zip", ".tmp"))] == []


def test_of_logs_that_grew_the_sealed_part_is_packed(copied: Project) -> None:
    root = copied.bundles()[-1]
    (log,) = sorted((root / "log" / "workers").glob("*.jsonl"))[:1]
    sealed = log.read_bytes()
    log.write_bytes(sealed + b"{}\n")
    target = copied.root / "out.zip"
    assert (
        main(["runs", "export", str(root), "--zip", "--to", str(target), "--project", str(copied.root)]) == 0
    )
    assert _read(target)[str(log.relative_to(root))] == sealed


def test_what_was_added_beside_the_seal_is_not_packed(copied: Project) -> None:
    root = copied.bundles()[-1]
    (root / "report.html").write_text("a page")
    target = copied.root / "out.zip"
    assert (
        main(["runs", "export", str(root), "--zip", "--to", str(target), "--project", str(copied.root)]) == 0
    )
    assert "report.html" not in _read(target)


def test_an_open_run_is_refused(copied: Project, capsys: pytest.CaptureFixture[str]) -> None:
    root = copied.bundles()[-1]
    (root / MANIFEST).unlink()
    assert main(["runs", "export", str(root), "--zip", "--project", str(copied.root)]) == 2
    assert "never finished" in capsys.readouterr().err
