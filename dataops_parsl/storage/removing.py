"""Taking folders away: by one rename in the same folder, then file by file, never through a link.

After the rename nothing half deleted stands under a name that a run reads. What a killed purge leaves is
found by its name, `TRASH`, and deleted by the next one. Neither needs space: purging is for full disks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

from dataops_parsl.errors import PlaceError
from dataops_parsl.storage.folders import MAX_DEPTH, Mount, OutsideError, Root, disk_bytes, open_inner

TRASH = ".trash."
"""Names of folders that were taken away begin with it."""
_TRASH_NAME = re.compile(re.escape(TRASH) + r".+\.[0-9a-f]{8}")


class ChangedError(OSError):
    """What lies there is no longer what was looked at."""


@dataclass
class Removed:
    """What became of a removal.

    Parameters
    ----------
    bytes, files : int
        What was deleted.
    problems : dict of path to reason
        What could not be, an entry a folder.
    """

    bytes: int = 0
    files: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def is_trash(name: str) -> bool:
    """Whether `take_away` gives such names."""
    return bool(_TRASH_NAME.fullmatch(name))


def take_away(root: Root, parents: Sequence[str], name: str, inode: int, to: Sequence[str] = ()) -> str:
    """Rename a folder or file to a name that nothing reads; returns that name.

    Parameters
    ----------
    parents : sequence of str
        Names that lead from the root to its folder.
    inode : int
        What was looked at: anything else under this name is left as it is.
    to : sequence of str
        Names that lead to the folder where it goes; by default it stays in its own, so that the rename
        needs neither a new folder nor another disk.

    Raises
    ------
    FileNotFoundError
        It is gone: another purge may have taken it.
    ChangedError
        Something else lies there now.
    OSError
        It cannot be renamed, as where it is a mount point.
    """
    trash = f"{TRASH}{name}.{secrets.token_hex(4)}"
    with root.open(*parents) as home, root.open(*(to or parents)) as target:
        if _inode(name, home) != inode:
            raise ChangedError("was replaced while it was looked at")
        os.rename(name, trash, src_dir_fd=home, dst_dir_fd=target)
        if _inode(trash, target) != inode:
            # Replaced in this very moment. Whatever it is, even a link, goes back to where it was.
            with contextlib.suppress(FileNotFoundError):
                _inode(name, home)
                raise ChangedError(f"was replaced while it was looked at; now it is called {trash}")
            os.rename(trash, name, src_dir_fd=target, dst_dir_fd=home)
            raise ChangedError("was replaced while it was looked at")
        # Else a crash of the machine could bring the name back with half of its files.
        os.fsync(target)
        if to:
            os.fsync(home)
    return trash


def _inode(name: str, folder: int) -> int:
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino


def delete(root: Root, parents: Sequence[str], name: str) -> Removed:
    """Delete what was taken away, or a lone file; what is left of it is named.

    Another purge that is at the same folder goes on with it alone.
    """
    removed = Removed()
    where = "/".join((*parents, name))
    try:
        with root.open(*parents) as home:
            _delete_entry(name, home, root.mount, where, removed, 0)
    except FileNotFoundError:
        pass
    except OSError as error:
        removed.problems[where] = reason(error)
    return removed


def reason(error: OSError) -> str:
    """The error in words."""
    if isinstance(error, PlaceError):
        return error.message
    return error.strerror or str(error)


def _delete_entry(name: str, home: int, mount: Mount, path: str, removed: Removed, depth: int) -> bool:
    """Whether it is gone; an OSError says why not."""
    facts = os.stat(name, dir_fd=home, follow_symlinks=False)
    if not stat.S_ISDIR(facts.st_mode):
        os.unlink(name, dir_fd=home)
        removed.bytes += disk_bytes(facts)
        removed.files += 1
        return True
    if depth == MAX_DEPTH:
        raise OutsideError("is deeper than anything that a run makes")
    inner = open_inner(name, home, mount)
    try:
        if depth == 0 and not _held(inner):
            return True
        whole = _delete_inside(inner, mount, path, removed, depth + 1)
    finally:
        os.close(inner)
    if whole:
        os.rmdir(name, dir_fd=home)
        removed.bytes += disk_bytes(facts)
    return whole


def _held(folder: int) -> bool:
    """Whether this purge may delete a folder: another one that is at it holds a lock until its end."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks on folders here: two purges at once then share the files, which is as well
        return True
    return True


def _delete_inside(folder: int, mount: Mount, path: str, removed: Removed, depth: int) -> bool:
    """Delete what is in an open folder, in as many passes as it takes; whether nothing is left.

    Nothing is listed beforehand, so that a folder may hold any number of files. A file system may pass
    over an entry when others are deleted meanwhile: hence passes, until one finds nothing to delete.
    """
    while True:
        gone, left, failed, first = 0, 0, 0, ""
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    whole = _delete_entry(entry.name, folder, mount, f"{path}/{entry.name}", removed, depth)
                except FileNotFoundError:
                    whole = True
                except OSError as error:
                    whole, failed = False, failed + 1
                    first = first or f"{entry.name}: {reason(error)}"
                gone, left = gone + whole, left + (not whole)
        if not gone:
            break
    removed.problems.pop(path, None)
    if first:
        removed.problems[path] = first + (f", and {failed - 1} more" if failed > 1 else "")
    return not left


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that the disk or the quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False
