"""Folders opened below an open folder, name by name: no link is followed and no mount is crossed.

A path that was checked may lead elsewhere a moment later; an open folder stays what it is. So whatever
deletes looks, renames and unlinks through open folders only.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_BYTES = 512
"""Unit of `st_blocks`, whatever the file system."""
MAX_DEPTH = 50
"""Scratch is four folders deep; what is deeper than this was not made by the program."""

Mount = tuple[int, int]


class OutsideError(OSError):
    """What lies there is no folder below the root: a link, another mount, or something else."""


@dataclass(frozen=True)
class Entry:
    """Something below a folder.

    Parameters
    ----------
    path : str
        Below the folder that was walked.
    facts : os.stat_result
        Of itself, not of what a link leads to.
    """

    path: str
    facts: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, not a link to one."""
        return stat.S_ISDIR(self.facts.st_mode)

    @property
    def bytes(self) -> int:
        """What it takes on disk."""
        return disk_bytes(self.facts)


def disk_bytes(facts: os.stat_result) -> int:
    """What a file takes on disk, as `du` counts."""
    return facts.st_blocks * _BLOCK_BYTES


def mount_of(folder: int) -> Mount:
    """Device, and where the system tells it the mount: a bind mount has the device of its source."""
    number = 0
    with contextlib.suppress(OSError, ValueError), open(f"/proc/self/fdinfo/{folder}") as file:
        number = next((int(line.split()[1]) for line in file if line.startswith("mnt_id:")), 0)
    return os.fstat(folder).st_dev, number


def open_inner(name: str, within: int, mount: Mount) -> int:
    """Open a folder by its name in an open folder.

    Raises
    ------
    OutsideError
        It is a link, no folder, or another file system is mounted there.
    OSError
        It is not there or must not be read.
    """
    facts = os.stat(name, dir_fd=within, follow_symlinks=False)
    if stat.S_ISLNK(facts.st_mode):
        raise OutsideError(f"is a link to {os.readlink(name, dir_fd=within)}")
    if not stat.S_ISDIR(facts.st_mode):
        raise OutsideError("is no folder")
    try:
        inner = os.open(name, _FLAGS, dir_fd=within)
    except NotADirectoryError as error:  # what O_NOFOLLOW and O_DIRECTORY say of a link that came just now
        raise OutsideError("was replaced while it was looked at") from error
    if mount_of(inner) != mount:
        os.close(inner)
        raise OutsideError("is a mount point: it lies on another disk")
    return inner


class Root:
    """A root folder, resolved and opened once.

    Parameters
    ----------
    path : Path
        May be a link itself, such as to a larger disk; what lies in it may not.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self._fd = os.open(self.path, _FLAGS)
        self.mount = mount_of(self._fd)

    def __enter__(self) -> Root:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    @contextlib.contextmanager
    def open(self, *names: str) -> Iterator[int]:
        """A folder below the root, by the names that lead there.

        Raises
        ------
        OutsideError
            One of them does not lead down.
        OSError
            One of them is not there or must not be read.
        """
        at = os.dup(self._fd)
        try:
            for name in names:
                if name in ("", ".", "..") or "/" in name:
                    raise OutsideError(f"{name!r} is no name of a folder")
                inner = open_inner(name, at, self.mount)
                os.close(at)
                at = inner
            yield at
        finally:
            os.close(at)


def as_path(folder: int, otherwise: Path) -> Path:
    """A path to an open folder, whatever its name leads to by now; `otherwise` where no such paths exist."""
    return Path(f"/proc/self/fd/{folder}") if sys.platform == "linux" else otherwise


def walk(folder: int, mount: Mount, path: str = "", depth: int = 0) -> Iterator[Entry]:
    """Everything below an open folder; what goes meanwhile is left out.

    Raises
    ------
    OutsideError
        Something else is mounted in it, or it is too deep; the message begins with its path.
    OSError
        A folder must not be read.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            inner = f"{path}{entry.name}"
            try:
                facts = entry.stat(follow_symlinks=False)
                yield Entry(inner, facts)
                if not stat.S_ISDIR(facts.st_mode):
                    continue
                opened = open_inner(entry.name, folder, mount)
            except FileNotFoundError:
                continue
            except OutsideError as error:
                raise OutsideError(f"{inner} in it {error}") from error
            try:
                if depth == MAX_DEPTH:
                    raise OutsideError(f"{inner} in it is deeper than anything that a run makes")
                yield from walk(opened, mount, f"{inner}/", depth + 1)
            finally:
                os.close(opened)
