"""``dataset verify``: are the bytes still those that were taken in?"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dataops_parsl.dataset.description import FILE_NAME
from dataops_parsl.dataset.digest import file_digest
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.record import FILES, FOLDER, MANIFEST, fingerprint, read_json
from dataops_parsl.dataset.staging import walk
from dataops_parsl.errors import DatasetError


@dataclass(frozen=True, order=True)
class Finding:
    """One file that is not as it was.

    Attributes
    ----------
    path : str
        Below the dataset's folder, or absolute where the data are linked.
    kind : "changed", "missing" or "extra"
    detail : str
        What differs.
    """

    path: str
    kind: Literal["changed", "missing", "extra"]
    detail: str


def verify(
    dataset: Dataset, progress: Callable[[int, int], None] | None = None, workers: int | None = None
) -> list[Finding]:
    """Compare every file of a dataset with the manifest; ``dataset.toml`` and its CSV files may change.

    Parameters
    ----------
    progress : callable, optional
        Called with (files done, files in all).
    workers : int, optional
        Threads that read; by default one a core, at most 8.

    Returns
    -------
    list of Finding
        Sorted by path; empty when all is as it was.

    Raises
    ------
    DatasetError
        The manifest's list of files is itself unreadable.
    """
    findings = _own_files(dataset)
    files = sorted(dataset.files.items())
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        jobs = pool.map(lambda item: _compare(dataset.data / item[0], item[1]), files)
        for done, ((file, _), finding) in enumerate(zip(files, jobs, strict=True), start=1):
            if finding is not None:
                shown = file if dataset.link is None else str(dataset.data / file)
                findings.append(Finding(shown, *finding))
            if progress is not None:
                progress(done, len(files))
    return sorted(findings + _extra(dataset))


def _compare(path: Path, said: dict[str, Any]) -> tuple[Literal["changed", "missing"], str] | None:
    try:
        size = path.stat().st_size
        if "size" in said and size != said["size"]:
            return "changed", f"{size} bytes, {said['size']} were taken in"
        digest = file_digest(path)
    except FileNotFoundError:
        return "missing", "the file is gone"
    except OSError as error:
        return "changed", f"cannot be read: {error}"
    return None if digest == said["sha256"] else ("changed", "another content (sha256)")


def _own_files(dataset: Dataset) -> list[Finding]:
    """The manifest's own files, and whether they still make the fingerprint."""
    own = {f"{FOLDER}/{row['id']}.json": row for row in dataset.record["positions"]}
    own[FILES] = dataset.record["files"]
    findings = []
    for file, row in own.items():
        finding = _compare(dataset.root / file, {"sha256": row["sha256"]})
        if finding is not None:
            findings.append(Finding(file, *finding))
    if findings:
        return findings
    try:
        records = {name: read_json(dataset.root / FOLDER / f"{name}.json") for name in dataset.positions}
        now = fingerprint(dataset.pixel_size_um, dataset.channels, records)
    except (DatasetError, KeyError) as error:
        return [Finding(MANIFEST, "changed", f"does not fit its positions: {error}")]
    if now != dataset.fingerprint:
        return [Finding(MANIFEST, "changed", "its fingerprint is not that of the positions")]
    return []


def _extra(dataset: Dataset) -> list[Finding]:
    said = dataset.description
    known = {MANIFEST, FILES, FILE_NAME, *(file for file in (said.plate, said.times) if file)}
    known |= {f"{FOLDER}/{name}.json" for name in dataset.positions}
    if dataset.link is None:
        known |= set(dataset.files)
    return [Finding(file, "extra", "was not taken in") for file in walk(dataset.root) if file not in known]
