"""What a sealed run is as an RO-Crate 1.1 of the profile Process Run Crate: ``ro-crate-metadata.json``.

https://www.researchobject.org/ro-crate/specification/1.1/ and https://w3id.org/ro/wfrun/process/0.5. Nothing
is said that the run does not know: no author, no agent, no licence.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from dataops_parsl.bundle import MANIFEST

METADATA = "ro-crate-metadata.json"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_CRATE = "https://w3id.org/ro/crate/1.1"
# The context of 1.1 is of a schema.org that had no sha256 yet.
_CONTEXT = [f"{_CRATE}/context", {"sha256": "http://schema.org/sha256"}]
_SOFTWARE, _DATASET = "#dataops_parsl", "#dataset"
_FORMATS = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".toml": "application/toml",
    ".html": "text/html",
}
_FOLDERS = {
    "tables": "table of results, with units and meanings in its schema",
    "figures": "figure",
    "record": "what validation judges the run by",
    "dataset": "description of the input, as it was then",
    "log": "log of the run",
    "labels": "label images, OME-Zarr 0.5",
}
_FILES = {
    "run.json": "what the run says of itself: versions, configuration with origins, graph, command, times",
    MANIFEST: "the seal: sha256 and size of every file",
    "truth.txt": "what was found against the truth of a simulated dataset",
    "truth.csv": "the same as a table",
}


def crate(facts: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The metadata of a run.

    Parameters
    ----------
    facts : mapping
        Its ``run.json``.
    files : mapping of path to {"sha256", "bytes"}
        What is packed, the seal among them.
    """
    run = str(facts.get("run", ""))
    action = f"#run-{run}"
    starts = facts.get("starts") or [{}]
    entities = [_file(name, said) for name, said in sorted(files.items())]
    parts = [{"@id": e["@id"]} for e in entities]
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _CRATE},
        "about": {"@id": "./"},
    }
    results = [p for p in parts if p["@id"].startswith(("tables/", "figures/", "labels/"))]
    graph = [
        descriptor,
        _root(facts, run, action, parts),
        {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        _action(facts, run, action, starts, results or parts),
        *_software(starts[-1]),
        _dataset(facts),
        *entities,
    ]
    return {"@context": _CONTEXT, "@graph": graph}


def _root(facts: Mapping[str, Any], run: str, action: str, parts: list[dict[str, str]]) -> dict[str, Any]:
    dataset = facts.get("dataset", {}).get("name", "unknown")
    workflow = facts.get("workflow", "unknown")
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Run {run}: {workflow} on {dataset}",
        "description": f"The sealed result of the workflow {workflow} on the dataset {dataset}; "
        f"verdict: {facts.get('verdict', 'unknown')}. {MANIFEST} has the sha256 of every file.",
        "identifier": run,
        "datePublished": facts.get("sealed_at", ""),
        "license": "Not stated by the run: ask those who acquired the data.",
        "conformsTo": {"@id": PROFILE},
        "mentions": {"@id": action},
        "hasPart": parts,
    }


def _action(
    facts: Mapping[str, Any],
    run: str,
    action: str,
    starts: list[dict[str, Any]],
    results: list[dict[str, str]],
) -> dict[str, Any]:
    rejected = facts.get("verdict") == "rejected"
    said: dict[str, Any] = {
        "@id": action,
        "@type": "CreateAction",
        "name": f"Run {run} of the workflow {facts.get('workflow', 'unknown')}",
        "description": "; then ".join(shlex.join(s.get("command", [])) for s in starts),
        "startTime": starts[0].get("at", facts.get("opened_at", "")),
        "endTime": facts.get("sealed_at", ""),
        "instrument": {"@id": _SOFTWARE},
        "object": {"@id": _DATASET},
        "result": results,
        "actionStatus": f"http://schema.org/{'Failed' if rejected else 'Completed'}ActionStatus",
    }
    failures = facts.get("failures", [])
    if rejected or failures:
        listed = [f"{f['position']}, frame {f['frame']}, {f['stage']}: {f['reason']}" for f in failures]
        said["error"] = "; ".join(listed) or "the tables do not hold together, see run.json"
    return said


def _software(start: Mapping[str, Any]) -> list[dict[str, Any]]:
    versions = dict(start.get("versions", {}))
    version, code = versions.pop("dataops_parsl", ""), versions.pop("code", "")
    git = start.get("package_git", {})
    changed = {True: ", with changes that were not committed", None: ", changes since then not known"}
    commit = f"commit {git['commit']}{changed.get(git.get('dirty'), '')}" if git else "no commit known"
    libraries = [
        {"@id": f"#library-{quote(name)}", "@type": "SoftwareApplication", "name": name, "version": number}
        for name, number in versions.items()
        if number
    ]
    tool = {
        "@id": _SOFTWARE,
        "@type": "SoftwareApplication",
        "name": "dataops_parsl",
        "version": version,
        "description": f"{commit}; hash of its source files {code}",
        "softwareRequirements": [{"@id": library["@id"]} for library in libraries],
    }
    if git:
        tool["identifier"] = git["commit"]
    return [tool, *libraries]


def _dataset(facts: Mapping[str, Any]) -> dict[str, Any]:
    said = facts.get("dataset", {})
    frames = facts.get("n_frames", {})
    return {
        "@id": _DATASET,
        "@type": "CreativeWork",
        "name": f"dataset {said.get('name', 'unknown')}",
        "identifier": said.get("fingerprint", ""),
        "description": f"Input films, not in this crate, known by their fingerprint (sha256): "
        f"{len(frames)} positions, {sum(frames.values())} frames. record/inputs.json has a digest a frame.",
    }


def _file(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    path = PurePosixPath(name)
    what = _FILES.get(name) or _FOLDERS.get(path.parts[0], "file of the run")
    return {
        "@id": quote(name),
        "@type": "File",
        "name": path.name,
        "description": what,
        "encodingFormat": _FORMATS.get(path.suffix, "application/octet-stream"),
        "contentSize": str(said["bytes"]),
        "sha256": said["sha256"],
    }
