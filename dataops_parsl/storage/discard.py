"""Deletes single files below a folder, through open folders: never through a link, never outside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def discard(root: Path, folder: str, names: Iterable[str]) -> int:
    """Delete files; returns how many bytes they had. Those that are gone are passed over.

    Parameters
    ----------
    root : Path
        Nothing outside it is deleted, wherever it lies itself.
    folder : str
        Relative to `root`.
    names : iterable of str
        Of the files, relative to `folder`.

    Raises
    ------
    OSError
        Where something on the way is no folder of its own, such as a link, or cannot be written.
    """
    freed = 0
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(_opened(root))
        inner: dict[PurePosixPath, int | None] = {}
        for name in names:
            path = PurePosixPath(folder, name)
            if path.is_absolute() or ".." in path.parts:
                raise OSError(f"{path} leads outside {root}")
            if path.parent not in inner:
                inner[path.parent] = stack.enter_context(_below(home, path.parent))
            within = inner[path.parent]
            if within is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                size = os.stat(path.name, dir_fd=within, follow_symlinks=False).st_size
                os.unlink(path.name, dir_fd=within)
                freed += size
    return freed


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def _below(home: int, path: PurePosixPath) -> Iterator[int | None]:
    """A folder below an open one, name by name; None where there is none."""
    handles: list[int] = []
    try:
        for name in path.parts:
            handles.append(os.open(name, _FLAGS, dir_fd=handles[-1] if handles else home))
        yield handles[-1] if handles else home
    except FileNotFoundError:
        yield None
    finally:
        for handle in handles:
            os.close(handle)
