"""The folder of a run: opened at its start, continued by the same command, sealed at its end.

``output/<workflow>/run_<id>/{run.json, tables/, figures/, record/, log/, provenance_manifest.json}``.
Only this module writes ``run.json``. Sealed means that the manifest is there; a sealed bundle never
changes: what is said about it later, `ADDED`, lies beside its files and is not sealed.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dataops_parsl.errors import UsageError
from dataops_parsl.provenance import file_sha256
from dataops_parsl.storage.atomic import sync_folder, write_bytes, write_json
from dataops_parsl.storage.claims import Lease, is_live
from dataops_parsl.storage.foreign import is_of_the_system

MANIFEST = "provenance_manifest.json"
LEASE = "lease.json"
RECORD = "run.json"
BENCHMARK_RECORD = "run_metadata.json"
"""The same of a benchmark."""
ADDED = ("acceptance_report.json", "acceptance_report.md", "report.html")
"""What may be added beside a sealed bundle: said about it, no part of it."""
_HALF = ".half"
"""How the name of a folder ends that is being opened, or removed."""
FORMAT = 2
"""Of run.json; since 2 runs seal what validation needs."""
TRACE = "trace"
"""The table about the run itself; see `dataops_parsl.trace`."""


def new_id() -> str:
    """UTC time like 20260317T114224Z and a short suffix, so that two runs of one second differ."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def now() -> str:
    """UTC time, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Bundle:
    """One run's folder.

    Parameters
    ----------
    root : Path
    record : str
        Name of the file of its facts.
    """

    root: Path
    record: str = RECORD

    @classmethod
    def at(cls, root: Path) -> Bundle:
        """The bundle in a folder, of whatever kind."""
        return cls(root, BENCHMARK_RECORD if (root / BENCHMARK_RECORD).is_file() else RECORD)

    @property
    def id(self) -> str:
        """The run's id."""
        return self.root.name.removeprefix("run_")

    @property
    def sealed(self) -> bool:
        """Whether it is finished and will never change."""
        return (self.root / MANIFEST).exists()

    @property
    def live(self) -> bool:
        """Whether a living run is writing it."""
        return is_live(self.root / LEASE)

    @property
    def lease(self) -> Path:
        """Path of the lease."""
        return self.root / LEASE

    @property
    def events(self) -> Path:
        """Path of the event log."""
        return self.root / "log" / "events.jsonl"

    @property
    def worker_logs(self) -> Path:
        """Folder of what the workers say of themselves."""
        return self.root / "log" / "workers"

    @property
    def facts(self) -> dict[str, Any]:
        """What its record says; empty when it is missing or damaged."""
        try:
            value = json.loads((self.root / self.record).read_bytes())
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def update(self, **facts: Any) -> None:
        """Change facts in its record."""
        write_json(self.root / self.record, {**self.facts, **facts}, indent=1)

    def write_table(self, name: str, data: bytes) -> None:
        """Write one table, already in parquet."""
        write_bytes(self.root / "tables" / f"{name}.parquet", data)

    def write_figure(self, name: str, data: bytes) -> None:
        """Write one figure, its name with suffix."""
        write_bytes(self.root / "figures" / name, data)

    def write_text(self, name: str, text: str) -> None:
        """Write one text file at the top."""
        self.write_file(name, text.encode())

    def write_file(self, name: str, data: bytes) -> None:
        """Write one file at the top."""
        write_bytes(self.root / name, data)

    def seal(self, beside: Mapping[str, Path] | None = None, **facts: Any) -> None:
        """Write the last facts, then the sha256 of every other file. Nothing is written afterwards.

        Parameters
        ----------
        beside : mapping of name to folder
            Folders elsewhere that belong to the run: their files are listed under their names.
        """
        self.update(status="sealed", sealed_at=now(), **facts)
        seal_files(self.root, self.id, beside)


def seal_files(root: Path, run: str, beside: Mapping[str, Path] | None = None) -> None:
    """Write the sha256 of every file of a bundle of any kind into its manifest: it is sealed by that.

    Parameters
    ----------
    beside : mapping of name to folder
        Folders elsewhere that belong to the run: their files are listed under their names.
    """
    manifest: dict[str, Any] = {"format": 1, "run": run, "files": _hashes(root)}
    if beside:
        manifest["beside"] = {name: _hashes(folder) for name, folder in beside.items()}
    write_json(root / MANIFEST, manifest, indent=1)


def _hashes(folder: Path) -> dict[str, dict[str, Any]]:
    """sha256 and size of every file of a folder that belongs to it; one that goes meanwhile is left out."""
    found = {}
    for name in files_of(folder):
        path = folder / name
        try:
            found[name] = {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        except (FileNotFoundError, IsADirectoryError):
            continue
    return found


def files_of(root: Path) -> list[str]:
    """Files of a bundle as paths below it: what is sealed, and what is compared with the seal later."""
    found: list[Path] = []
    # Unlike a glob it does not end at a folder that goes meanwhile.
    for folder, inner, files in os.walk(root):
        paths = (Path(folder, name) for name in (*files, *inner))
        found += (path for path in paths if path.is_file() or path.is_symlink())
    names = (str(path.relative_to(root)) for path in sorted(found))
    return [name for name in names if not may_come_and_go(name)]


def may_come_and_go(name: str) -> bool:
    """Whether a file says nothing about a bundle, so that it may be there or not.

    The seal itself and what is added beside it; what file browsers and network file systems leave behind;
    hidden temporary names of files that a kill left half written.
    """
    last = name.rpartition("/")[2]
    return (
        name in (MANIFEST, LEASE, *ADDED)
        or is_of_the_system(name)
        or (last.startswith(".") and last.endswith(".tmp"))
    )


def bundles(output_root: Path, workflow: str) -> Iterator[Bundle]:
    """All bundles of a workflow, newest first."""
    for path in sorted((output_root / workflow).glob("run_*"), reverse=True):
        if path.is_dir():
            yield Bundle.at(path)


def find_sealed(output_root: Path, workflow: str, recipe: str, labels: bool = False) -> Bundle | None:
    """The newest sealed bundle of exactly this result; with `labels` one that keeps its label images."""
    for bundle in bundles(output_root, workflow):
        facts = bundle.facts
        if bundle.sealed and facts.get("recipe") == recipe and (facts.get("keeps_labels") or not labels):
            return bundle
    return None


def open_bundle(
    output_root: Path, workflow: str, recipe: str, record: str = RECORD, run: str = ""
) -> tuple[Bundle, bool]:
    """Continue the open bundle of a run that died, or open a new one.

    Parameters
    ----------
    run : str
        Id of a new one.

    Returns
    -------
    Bundle, bool
        The bundle, and whether it is continued.
    """
    folder = output_root / workflow
    folder.mkdir(parents=True, exist_ok=True)
    # Under a lock, with the lease taken before it is given up: two runs never continue one bundle.
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(f".run_*{_HALF}"):
            shutil.rmtree(left, ignore_errors=True)
        for bundle in bundles(output_root, workflow):
            if not bundle.sealed and not bundle.live and bundle.facts.get("recipe") == recipe:
                Lease(bundle.lease).take()
                return bundle, True
        bundle = Bundle(folder / f"run_{run or new_id()}", record)
        # Under its name only with a record and a lease, so that nothing is left that nobody goes on with.
        new = Bundle(folder / f".{bundle.root.name}{_HALF}", record)
        new.update(
            format=FORMAT, run=bundle.id, workflow=workflow, recipe=recipe, status="open", opened_at=now()
        )
        Lease(new.lease).take()
        new.root.rename(bundle.root)
        sync_folder(folder)
    return bundle, False


def remove(bundle: Bundle) -> None:
    """Remove an open bundle of a run that has nothing to say."""
    # Renamed first: half removed it would look like a run that died.
    gone = bundle.root.with_name(f".{bundle.root.name}{_HALF}")
    bundle.root.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)  # blocks that end just now may still write their logs


def abandon_stale(output_root: Path, workflow: str, recipe: str) -> None:
    """Mark open bundles of the same result whose run is dead: another one was sealed."""
    for bundle in bundles(output_root, workflow):
        facts = bundle.facts
        if facts.get("recipe") == recipe and facts.get("status") == "open" and not bundle.live:
            bundle.update(status="abandoned")


class RunTables:
    """The tables of a bundle, as pandas frames: ``open_run(path).cells``."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @property
    def names(self) -> list[str]:
        """Names of the tables that are there."""
        return sorted(p.stem for p in (self.bundle.root / "tables").glob("*.parquet"))

    @property
    def results(self) -> list[str]:
        """Names of those that the workflow gives: not `TRACE`, which differs from run to run."""
        return [name for name in self.names if name != TRACE]

    def arrow(self, name: str) -> Any:
        """One table as Arrow, with units and meanings in its schema."""
        if name not in self.names:
            raise UsageError(f"{self.bundle.root} has no table {name!r}", f"it has {', '.join(self.names)}")
        return pq.read_table(self.bundle.root / "tables" / f"{name}.parquet")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.arrow(name).to_pandas()

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.names]

    def __repr__(self) -> str:
        return f"<run {self.bundle.id}: {', '.join(self.names) or 'no tables yet'}>"


def open_run(path: str | Path) -> RunTables:
    """Open a bundle for a notebook.

    Parameters
    ----------
    path : str or Path
        The bundle's folder.

    Raises
    ------
    UsageError
        When there is no bundle.
    """
    root = Path(path)
    if not (root / RECORD).exists():
        raise UsageError(
            f"{root} is no run bundle: it has no run.json", "give a folder output/<workflow>/run_<id>"
        )
    return RunTables(Bundle(root))
