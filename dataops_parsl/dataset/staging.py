"""Taking files in so that a dataset is there whole or not at all, and read-only from then on."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dataops_parsl.errors import DatasetError, PlaceError
from dataops_parsl.storage.atomic import sync_folder
from dataops_parsl.storage.claims import Lease, is_live

_OWNER = ".owner"
_NEW = "new"
_BLOCK = 1 << 20
_ANY_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def walk(root: Path, *, inside: bool = False) -> list[str]:
    """All files below a folder, links followed, hidden folders not: sorted, relative, with ``/``.

    Parameters
    ----------
    inside : bool
        Links that lead out of the folder, or nowhere, are neither followed nor listed.
    """
    home = os.path.realpath(root)
    seen: set[str] = set()
    files: list[str] = []
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if inside:
            folders[:] = [name for name in folders if not _leads_out(Path(folder, name), home)]
            names = [name for name in names if not _leads_out(Path(folder, name), home)]
        files += [(Path(folder) / name).relative_to(root).as_posix() for name in names]
    return sorted(files)


def _leads_out(path: Path, home: str) -> bool:
    """Whether it is a link, and leads out of a folder or nowhere."""
    if not path.is_symlink():
        return False
    return not os.path.exists(path) or not Path(os.path.realpath(path)).is_relative_to(home)


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
    refuse_existing(data_root / name)
    with staging(data_root, name) as staged:
        yield staged
        settle(staged, data_root / name)


@contextmanager
def staging(parent: Path, name: str) -> Iterator[Path]:
    """A folder in a hidden one that says whose it is during the block; the caller renames it there.

    What killed processes left for this name is removed first, and at the end what was not renamed. The lease
    lies beside the folder, so that it holds until what was renamed is committed too.

    Raises
    ------
    PlaceError
        `parent` cannot be written to.
    """
    # Containers that share a place may have equal process ids.
    home = parent / f".{name}.incoming-{secrets.token_hex(4)}-{os.getpid()}"
    staged = home / _NEW
    with written(parent):
        parent.mkdir(parents=True, exist_ok=True)
        remove_dead(parent, name)
        home.mkdir()
    lease = Lease(home / _OWNER)
    try:
        with written(parent):
            lease.take()
            staged.mkdir()
        with lease:
            yield staged
    finally:
        _remove_quietly(home)


def remove_dead(parent: Path, name: str) -> None:
    """Remove what killed processes left that made something to get this name, as far as it can be removed."""
    for left in staged_for(parent, name):
        if not is_alive(left):
            _remove_quietly(left)  # it is in nobody's way, and another command may do the same


def staged_for(parent: Path, name: str) -> list[Path]:
    """Hidden folders in which something is made, or was, to get this name."""
    return sorted(parent.glob(f".{name}.incoming-*"))


def is_alive(home: Path) -> bool:
    """Whether the process lives that makes something there: by its lease, before that by its id."""
    if (home / _OWNER).is_file():
        return is_live(home / _OWNER)
    pid = home.name.rpartition("-")[2]
    return not pid.isdigit() or _runs(int(pid))


def _runs(pid: int) -> bool:
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


def settle(staged: Path, final: Path) -> None:
    """Wait until what is staged is on disk, and give it its name.

    Raises
    ------
    DatasetError
        The name is taken.
    PlaceError
        The disk says no.
    """
    with written(final):
        for folder, _, _ in os.walk(staged):
            sync_folder(Path(folder))
        refuse_existing(final)
        staged.rename(final)
        sync_folder(final.parent)


def refuse_existing(final: Path) -> None:
    """Raise DatasetError when something has this name already."""
    if os.path.lexists(final):
        raise DatasetError(
            f"there is a dataset {final.name!r} already, at {final}",
            "choose another name; a dataset is never overwritten (for frames acquired since: --append; to be "
            f"rid of it: chmod -R u+w {final}, then remove it)",
        )


def remove_tree(root: Path) -> None:
    """Remove a folder of the program's own, read-only or not; links in it are removed, not followed."""
    for folder, _, _ in os.walk(root):
        _allow_writing(Path(folder))
    shutil.rmtree(root)


def remove_file(path: Path, root: Path) -> None:
    """Remove a file of a snapshot at `root`, and the folders that become empty by it."""
    folder = path.parent
    with written(path):
        while not folder.is_dir():  # removed before
            folder = folder.parent
        if path.exists():
            if folder != root:
                _allow_writing(folder)
            path.unlink()
        while folder != root and not any(folder.iterdir()):
            above = folder.parent
            if above != root:
                _allow_writing(above)
            folder.rmdir()
            folder = above
        if folder != root:
            make_read_only(folder)


def _allow_writing(folder: Path) -> None:
    mode = folder.stat().st_mode
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        folder.chmod(mode | stat.S_IRWXU)


def _remove_quietly(home: Path) -> None:
    """After the work, or a failure whose own message matters more."""
    with suppress(OSError):
        remove_tree(home)


@contextmanager
def written(path: Path) -> Iterator[None]:
    try:
        yield
    except PlaceError as error:
        raise PlaceError(error.message, "free space there, then give the same command again") from error
    except OSError as error:
        raise PlaceError(
            f"{path} cannot be written to: {error}",
            "free space there or ask for rights, or give another folder in paths.data_root; "
            "then give the same command again",
        ) from error


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
    with written(target):
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
    """Write a text file and wait until it is on disk.

    Raises
    ------
    PlaceError
        It cannot be written, as when the disk is full.
    """
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def make_read_only(path: Path) -> None:
    """Take every write permission from a file or folder."""
    mode = path.stat().st_mode
    if mode & _ANY_WRITE:
        path.chmod(mode & ~_ANY_WRITE)


def close_folders(root: Path) -> None:
    """Take every write permission from the folders below `root`, so that nothing is deleted or added there.

    `root` itself stays writable: editors replace ``dataset.toml`` by renaming a file beside it.
    """
    for folder, _, _ in os.walk(root, topdown=False):
        if Path(folder) != root:
            make_read_only(Path(folder))


def is_writable(path: Path) -> bool:
    """Whether anybody may write to a file or folder, root aside."""
    return bool(path.stat().st_mode & _ANY_WRITE)
