"""Taking files in so that a dataset is there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataops_parsl.errors import DatasetError, PlaceError
from dataops_parsl.storage.atomic import sync_folder

_OWNER = ".owner"
_BLOCK = 1 << 20


def walk(root: Path) -> list[str]:
    """All files below a folder, links followed, hidden folders not: sorted, relative, with ``/``."""
    seen: set[str] = set()
    files: list[str] = []
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [(Path(folder) / name).relative_to(root).as_posix() for name in names]
    return sorted(files)


@contextmanager
def incoming(data_root: Path, name: str) -> Iterator[Path]:
    """A folder beside the final one, renamed to it at the end of the block, removed when the block fails.

    Raises
    ------
    PlaceError
        `data_root` cannot be written to.
    DatasetError
        There is a dataset of this name.
    """
    final = data_root / name
    staged = data_root / f".{name}.incoming-{os.getpid()}"
    try:
        data_root.mkdir(parents=True, exist_ok=True)
        refuse_existing(final)
        _remove_dead(data_root, name)
        staged.mkdir()
        (staged / _OWNER).write_text(socket.gethostname())
    except OSError as error:
        raise PlaceError(
            f"{data_root} cannot be written to: {error}",
            "give another folder in paths.data_root, or ask for rights",
        ) from error
    try:
        yield staged
        (staged / _OWNER).unlink()
        for folder, _, _ in os.walk(staged):
            sync_folder(Path(folder))
        refuse_existing(final)
        staged.rename(final)
        sync_folder(data_root)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def refuse_existing(final: Path) -> None:
    """Raise DatasetError when something has this name already."""
    if os.path.lexists(final):
        raise DatasetError(
            f"there is a dataset {final.name!r} already, at {final}",
            "choose another name; a dataset is never overwritten (remove its folder to be rid of it)",
        )


def _remove_dead(data_root: Path, name: str) -> None:
    """Remove what killed processes of this host left behind."""
    for left in data_root.glob(f".{name}.incoming-*"):
        pid = left.name.rpartition("-")[2]
        owner = left / _OWNER
        host = owner.read_text() if owner.is_file() else socket.gethostname()
        if pid.isdigit() and host == socket.gethostname() and not _is_alive(int(pid)):
            shutil.rmtree(left)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a zombie answers to signals until its parent has read its exit status
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def copy_file(source: Path, target: Path) -> dict[str, Any]:
    """Copy bytes to disk (fsynced), and return their ``size`` and ``sha256``; links are followed.

    Raises
    ------
    DatasetError
        The source cannot be read.
    PlaceError
        The target cannot be written, as when the disk is full.
    """
    total = hashlib.sha256()
    size = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = open(source, "rb")  # noqa: SIM115  (its errors must be told from the target's)
    except OSError as error:
        raise DatasetError(
            f"{source} cannot be read: {error}", "put the file back or mend its rights"
        ) from error
    with file:
        try:
            with open(target, "wb") as out:
                while block := file.read(_BLOCK):
                    total.update(block)
                    size += len(block)
                    out.write(block)
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise PlaceError(
                f"copying {source} to {target} failed: {error}", "free space, then add again"
            ) from error
    return {"size": size, "sha256": total.hexdigest()}


def write_synced(path: Path, text: str) -> None:
    """Write a text file and wait until it is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def make_read_only(path: Path) -> None:
    """Take every write permission from a file."""
    path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
