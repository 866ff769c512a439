"""Deletes single files of a step folder, through open folders: never through a link, never outside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import PurePosixPath

from dataops_parsl.storage.folders import OutsideError, Root, disk_bytes


def discard(root: Root, folder: str, names: Iterable[str]) -> int:
    """Delete files; returns how many bytes they took on disk. Those that are gone are passed over.

    Parameters
    ----------
    folder : str
        Relative to the root.
    names : iterable of str
        Of the files, relative to `folder`.

    Raises
    ------
    OSError
        Where something on the way is no folder of its own, such as a link, or cannot be written.
    """
    by_folder: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or path.name in ("", ".."):
            raise OutsideError(f"a receipt names {name!r}, which is no file of its step")
        by_folder.setdefault((*PurePosixPath(folder).parts, *path.parts[:-1]), []).append(path.name)
    freed = 0
    for parents, files in by_folder.items():
        # Gone with its folder, or one by one.
        with contextlib.suppress(FileNotFoundError), root.open(*parents) as home:
            for name in files:
                with contextlib.suppress(FileNotFoundError):
                    freed += _unlink(name, home)
    return freed


def _unlink(name: str, home: int) -> int:
    facts = os.stat(name, dir_fd=home, follow_symlinks=False)
    os.unlink(name, dir_fd=home)
    return disk_bytes(facts)
