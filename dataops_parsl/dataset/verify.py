"""``dataset verify``: are the bytes still those that were taken in?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dataops_parsl.dataset.description import FILE_NAME
from dataops_parsl.dataset.digest import file_digest
from dataops_parsl.dataset.leftovers import leftovers
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.record import MANIFEST, fingerprint, read_json, record_of
from dataops_parsl.dataset.staging import is_writable, walk
from dataops_parsl.errors import DatasetError
from dataops_parsl.storage.foreign import is_of_the_system

WAKE_S = 1.0
"""Progress is told this often, however long a file takes."""
_NAMED = 5


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

    Where the data are linked, files beside them are not looked at: that folder is not the program's.

    Parameters
    ----------
    progress : callable, optional
        Called with (bytes read, bytes in all), from this thread.
    workers : int, optional
        Threads that read; by default one a core, at most 8.

    Returns
    -------
    list of Finding
        Sorted by path; empty when all is as it was.
    """
    findings = _own_files(dataset)
    if any(finding.path == dataset.record["files"]["path"] for finding in findings):
        return sorted(findings)  # what should be there is not known
    tell = progress or (lambda done, total: None)
    total = sum(said["size"] for said in dataset.files.values())
    read = _Counter()
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        jobs = {
            file: pool.submit(_compare, dataset.data / file, said, read)
            for file, said in sorted(dataset.files.items())
        }
        try:
            for file, job in jobs.items():
                while not job.done():
                    wait([job], WAKE_S)
                    tell(min(read.n, total), total)
                if (finding := job.result()) is not None:
                    shown = file if dataset.link is None else str(dataset.data / file)
                    findings.append(Finding(shown, *finding))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    tell(total, total)
    return sorted(findings + _extra(dataset))


def notes(dataset: Dataset) -> list[str]:
    """What is no fault, but should be known: what can be written to again, what a killed command left."""
    said = dataset.description
    words = {FILE_NAME, *(file for file in (said.plate, said.times) if file)}
    left = leftovers(dataset)
    open_ = []
    for folder, folders, files in os.walk(dataset.root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        own = (Path(folder, file) for file in files if not is_of_the_system(file))
        paths = [Path(folder), *(path for path in own if not path.is_symlink())]
        names = [path.relative_to(dataset.root).as_posix() for path in paths]
        open_ += [
            name
            for path, name in zip(paths, names, strict=True)
            if name not in words and name != "." and is_writable(path) and not _below(name, left)
        ]
    out = []
    if open_:
        more = f" and {len(open_) - _NAMED} more" if len(open_) > _NAMED else ""
        out.append(
            f"can be written to again: {', '.join(sorted(open_)[:_NAMED])}{more}; "
            f"chmod a-w protects a file or folder"
        )
    if left:
        out.append(
            f"left by a command that was killed: {', '.join(left[:_NAMED])}; it counts for nothing, and the "
            "next 'dataset add --append' removes it"
        )
    return out


class _Counter:
    """Bytes read by all threads; a lost increment now and then would only show in the progress."""

    n = 0

    def __call__(self, more: int) -> None:
        self.n += more


def _compare(
    path: Path, said: dict[str, Any], read: Callable[[int], None] | None = None
) -> tuple[Literal["changed", "missing"], str] | None:
    try:
        size = path.stat().st_size
        if "size" in said and size != said["size"]:
            return "changed", f"{size} bytes, {said['size']} were taken in"
        digest = file_digest(path, read)
    except FileNotFoundError:
        return "missing", "the file is gone"
    except OSError as error:
        return "changed", f"cannot be read: {error}"
    return None if digest == said["sha256"] else ("changed", "another content (sha256)")


def _own_files(dataset: Dataset) -> list[Finding]:
    """The manifest's own files, and whether they still make the fingerprint."""
    own = {record_of(row): row for row in dataset.record["positions"]}
    own[dataset.record["files"]["path"]] = dataset.record["files"]
    findings = []
    for file, row in own.items():
        finding = _compare(dataset.root / file, {"sha256": row["sha256"]})
        if finding is not None:
            findings.append(Finding(file, *finding))
    if findings:
        return findings
    try:
        records = {film.id: read_json(dataset.root / film.record) for film in dataset.positions.values()}
        now = fingerprint(dataset.pixel_size_um, dataset.channels, records)
    except (DatasetError, KeyError) as error:
        return [Finding(MANIFEST, "changed", f"does not fit its positions: {error}")]
    if now != dataset.fingerprint:
        return [Finding(MANIFEST, "changed", "its fingerprint is not that of the positions")]
    return []


def _extra(dataset: Dataset) -> list[Finding]:
    said = dataset.description
    known = {MANIFEST, FILE_NAME, *(file for file in (said.plate, said.times) if file)}
    known |= {dataset.record["files"]["path"], *(film.record for film in dataset.positions.values())}
    if dataset.link is None:
        known |= set(dataset.files)
    left = leftovers(dataset)
    return [
        Finding(file, "extra", "was not taken in")
        for file in walk(dataset.root, inside=True)
        if file not in known and not is_of_the_system(file) and not _below(file, left)
    ]


def _below(file: str, places: Iterable[str]) -> bool:
    return any(file == place or file.startswith(f"{place}/") for place in places)
