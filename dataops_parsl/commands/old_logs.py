"""Logs of runs that died and were never sealed: they go by a rule of their own, the tables beside them stay.

Logs of sealed runs are part of what is sealed, and stay.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dataops_parsl.bench.record import FOLDER, MASTER
from dataops_parsl.bundle import Bundle
from dataops_parsl.commands.which import all_runs
from dataops_parsl.storage.folders import Root, disk_bytes, walk
from dataops_parsl.storage.purging import Purged, noting
from dataops_parsl.storage.removing import delete, is_trash, take_away

LOG = "log"
KEPT = ("events.jsonl", "measurements.jsonl")
"""What a run goes on from: the table of its attempts, the results of its benchmark."""


@dataclass(frozen=True)
class OldLog:
    """One entry of the folder of logs of a bundle, or the trash of an earlier purge.

    Parameters
    ----------
    home : tuple of str
        Names that lead from the output root to the folder of the workflow's bundles.
    folder : tuple of str
        From there to the folder that it is in; empty for trash.
    name : str
    bytes, files : int
    written_s : float
        Its newest line, s since 1970.
    inode : int
    bundle : Bundle or None
        Whose lease says whether the run lives; None for trash.
    """

    home: tuple[str, ...]
    folder: tuple[str, ...]
    name: str
    bytes: int
    files: int
    written_s: float
    inode: int
    bundle: Bundle | None

    @property
    def path(self) -> str:
        """Below the output root."""
        return "/".join((*self.home, *self.folder, self.name))


def old_logs(root: Root, older_than_s: float, now: float, skipped: dict[str, str]) -> list[OldLog]:
    """The logs that may go.

    Parameters
    ----------
    root : Root
        Of the bundles.
    older_than_s : float
        Since the newest line of all logs of the run; 0: none is old.
    skipped : dict
        Takes what cannot be looked at, by its path, with the reason.
    """
    found: list[OldLog] = []
    homes: set[tuple[str, ...]] = set()
    for bundle in all_runs(root.path):
        for home, run in _folders(root.path, bundle):
            if home not in homes:
                homes.add(home)
                found += _entries(root, home, (), None, skipped)
            if not older_than_s or bundle.sealed or bundle.live or not _is_ours(bundle):
                continue
            logs = _entries(root, home, (run, LOG), bundle, skipped)
            if logs and now - max(log.written_s for log in logs) > older_than_s:
                found += [log for log in logs if log.name not in KEPT]
    return found


def _is_ours(bundle: Bundle) -> bool:
    """Whether a run of this program opened it: older results that were migrated lie beside, never sealed."""
    return bundle.facts.get("status") in ("open", "abandoned")


def _folders(output_root: Path, bundle: Bundle) -> Iterator[tuple[tuple[str, ...], str]]:
    """Where a bundle's logs are: in its own folder, and in those of a benchmark's stages."""
    home = bundle.root.parent.relative_to(output_root).parts
    yield home, bundle.root.name
    if "/".join(home) == MASTER:
        for stage in sorted((output_root / FOLDER).glob(f"*/{bundle.root.name}")):
            if stage.parent.name != home[-1]:
                yield (FOLDER, stage.parent.name), stage.name


def _entries(
    root: Root, home: tuple[str, ...], folder: tuple[str, ...], bundle: Bundle | None, skipped: dict[str, str]
) -> list[OldLog]:
    """What is in a folder of logs; without a bundle the trash in the folder of the workflow."""
    found = []
    with (
        noting((*home, *folder), skipped),
        root.open(*home, *folder) as opened,
        os.scandir(opened) as entries,
    ):
        for entry in entries:
            if bundle is not None or is_trash(entry.name):
                with noting((*home, *folder, entry.name), skipped):
                    facts = entry.stat(follow_symlinks=False)
                    measured = _measured(root, (*home, *folder, entry.name), facts)
                    found.append(OldLog(home, folder, entry.name, *measured, facts.st_ino, bundle))
    return found


def _measured(root: Root, names: tuple[str, ...], facts: os.stat_result) -> tuple[int, int, float]:
    """Bytes, files and newest time of a file, or of a folder and what is in it."""
    size, written = disk_bytes(facts), facts.st_mtime
    if not stat.S_ISDIR(facts.st_mode):
        return size, 1, written
    files = 0
    with root.open(*names) as inner:
        for entry in walk(inner, root.mount):
            size, files = size + entry.bytes, files + (not entry.is_folder)
            written = max(written, entry.facts.st_mtime)
    return size, files, written


def remove(root: Root, log: OldLog, purged: Purged) -> None:
    """Delete an old log, unless its run goes on by now."""
    with purged.noting(log.path):
        name = log.name
        if log.bundle is not None:
            with _no_run_begins(root, log.bundle):
                if log.bundle.sealed or log.bundle.live:
                    purged.kept[log.path] = "its run goes on since a moment ago"
                    return
                name = take_away(root, (*log.home, *log.folder), log.name, log.inode, to=log.home)
        purged.add(delete(root, log.home, name))


@contextlib.contextmanager
def _no_run_begins(root: Root, bundle: Bundle) -> Iterator[None]:
    """Hold the lock under which runs of a workflow open their bundles."""
    home = bundle.root.parent.relative_to(root.path).parts
    with root.open(*home) as folder:
        try:
            lock = os.open(
                ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder
            )
        except OSError as error:
            raise OSError(
                error.errno or errno.EIO, f"its .lock cannot be opened: {error.strerror}"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
