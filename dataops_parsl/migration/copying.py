"""Verified copies: every file is read back from the disk and compared by its sha256."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dataops_parsl.dataset.digest import file_digest
from dataops_parsl.errors import PartialError
from dataops_parsl.migration.listing import Entry, Listing, at
from dataops_parsl.storage.atomic import place_errors, sync_folder

_BLOCK = 1 << 20
Ticks = Callable[[int], None]
"""Called with the bytes of each file that was copied."""


def copy_entries(
    base: Path, staged: Path, entries: Listing, texts: Mapping[str, str], ticks: Ticks
) -> dict[str, str]:
    """Copy a tree to a place where nothing is, or where an earlier try left a part of it.

    Parameters
    ----------
    base, staged : Path
        The same place of the listing here and there.
    entries : mapping
        What to copy, by paths below them.
    texts : mapping
        What links say there, where it is something else.

    Returns
    -------
    dict
        File to its sha256.

    Raises
    ------
    PartialError
        A file cannot be read, changed meanwhile, or does not read back as it was written.
    PlaceError
        The disk is full, or cannot be written.
    """
    folders = [relative for relative, entry in entries.items() if entry.kind == "folder"]
    with place_errors(staged):
        for relative in folders:
            at(staged, relative).mkdir(exist_ok=True)
            at(staged, relative).chmod(stat.S_IRWXU)
    files = {r: e for r, e in entries.items() if e.kind == "file" and not e.same}

    def copy(relative: str) -> str:
        digest = _copy_file(at(base, relative), at(staged, relative), entries[relative])
        ticks(entries[relative].size)
        return digest

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            digests = dict(zip(files, pool.map(copy, files), strict=True))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    with place_errors(staged):
        for relative, entry in entries.items():
            if entry.same:
                _again(at(staged, entry.same), at(staged, relative))
                digests[relative] = digests[entry.same]
            elif entry.kind == "link":
                _link(texts.get(relative, entry.text), at(staged, relative))
                shutil.copystat(at(base, relative), at(staged, relative), follow_symlinks=False)
        for relative in reversed(folders):
            _like(at(base, relative), at(staged, relative))
            sync_folder(at(staged, relative))
    return digests


def _copy_file(source: Path, target: Path, said: Entry) -> str:
    if _is_there(target, said.size):  # by an earlier try: the bytes are compared, not written again
        digest = _digest(source)
        if file_digest(target) == digest:
            with place_errors(target):
                _like(source, target)
            return digest
    digest = _write(source, target)
    now = os.stat(source)
    if (now.st_size, now.st_mtime_ns) != (said.size, said.mtime_ns):
        raise PartialError(f"{source} was changed while it was copied", "give the same command again")
    if file_digest(target) != digest:
        raise PartialError(
            f"{target} does not read back as it was written",
            "look after that disk, then give the command again",
        )
    return digest


def _is_there(target: Path, size: int) -> bool:
    try:
        return target.stat().st_size == size
    except FileNotFoundError:
        return False


def _digest(source: Path) -> str:
    try:
        return file_digest(source)
    except OSError as error:
        raise _unreadable(source, error) from error


def _unreadable(source: Path, error: OSError) -> PartialError:
    return PartialError(f"{source} cannot be read: {error.strerror}", "mend its rights or its disk")


def _write(source: Path, target: Path) -> str:
    total = hashlib.sha256()
    try:
        file = open(source, "rb")  # noqa: SIM115  (its errors must be told from the target's)
    except OSError as error:
        raise _unreadable(source, error) from error
    with file, place_errors(target):
        if os.path.lexists(target):
            target.unlink()
        with open(target, "wb") as out:
            while True:
                try:
                    block = file.read(_BLOCK)
                except OSError as error:
                    raise _unreadable(source, error) from error
                if not block:
                    break
                total.update(block)
                out.write(block)
            out.flush()
            _like(source, target)
            os.fsync(out.fileno())
            if hasattr(os, "posix_fadvise"):  # so that it is read back from the disk, not from memory
                os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return total.hexdigest()


def _like(source: Path, target: Path) -> None:
    """Give a copy the mode, times and, where that is allowed, the owner of its source."""
    if os.geteuid() == 0:
        said = os.lstat(source)
        os.chown(target, said.st_uid, said.st_gid, follow_symlinks=False)
    shutil.copystat(source, target, follow_symlinks=False)


def _again(first: Path, other: Path) -> None:
    if not other.exists():
        os.link(first, other)


def _link(text: str, path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    os.symlink(text, path)


def remove(path: Path) -> None:
    """Remove a file or a tree, folders included that are read-only; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(path):
        if os.stat(folder).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(folder, stat.S_IRWXU)
    shutil.rmtree(path)
