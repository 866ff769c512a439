"""Takes away what may go, one unit at a time, each looked at again under the lock that runs begin under."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from dataops_parsl.errors import PlaceError
from dataops_parsl.storage.folders import OutsideError, Root, as_path
from dataops_parsl.storage.inventory import Unit
from dataops_parsl.storage.loose import loose_files
from dataops_parsl.storage.removing import ChangedError, Removed, delete, is_full, reason, take_away
from dataops_parsl.storage.step_folders import mark_at
from dataops_parsl.storage.users import LOCK, RUNS, exclusive, live_users


@dataclass
class Purged:
    """What became of a purge.

    Parameters
    ----------
    bytes, files : int
        What was deleted.
    kept : dict of path to reason
        What was to go, and came into use or was changed meanwhile.
    failed : dict of path to reason
        What could not be deleted.
    gone : list of str
        What someone else had taken already.
    """

    bytes: int = 0
    files: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)

    def add(self, removed: Removed) -> None:
        """Count what was deleted, and note what was not."""
        self.bytes += removed.bytes
        self.files += removed.files
        self.failed |= removed.problems

    @contextlib.contextmanager
    def noting(self, path: str) -> Iterator[None]:
        """Note what prevents a removal, and go on."""
        try:
            yield
        except FileNotFoundError:
            self.gone.append(path)
        except ChangedError as error:
            self.kept[path] = str(error)
        except OSError as error:
            self.failed[path] = reason(error)


@contextlib.contextmanager
def noting(names: Iterable[str], skipped: dict[str, str]) -> Iterator[None]:
    """Note what cannot be looked at, and go on; what is gone is no matter."""
    try:
        yield
    except FileNotFoundError:
        return
    except OSError as error:
        skipped["/".join(names)] = reason(error)


class Purger:
    """Deletes on scratch.

    Parameters
    ----------
    root : Root
        Of scratch.
    """

    def __init__(self, root: Root) -> None:
        self.root = root
        self.purged = Purged()

    def users(self, dataset: str) -> dict[str, str]:
        """The step folders ``<stage>/<step>-<key>`` that living runs use, each with its run in words.

        Raises
        ------
        OSError
            It cannot be told.
        """
        with self.root.open(dataset) as folder:
            return self._users(folder, dataset)

    def runs(self, dataset: str) -> set[str]:
        """Ids of the living runs on a dataset's scratch; none where that cannot be told."""
        with contextlib.suppress(OSError), self.root.open(dataset) as folder:
            _check_marks(folder)
            return {user.run for user in live_users(as_path(folder, self.root.path / dataset))}
        return set()

    def _users(self, folder: int, dataset: str) -> dict[str, str]:
        _check_marks(folder)
        here = as_path(folder, self.root.path / dataset)
        return {f: f"run {user.run} on {user.host}" for user in live_users(here) for f in user.folders}

    @contextlib.contextmanager
    def _alone(self, dataset: str) -> Iterator[dict[str, str]]:
        """While no run can begin on a dataset; gives `users`."""
        with self.root.open(dataset) as folder, contextlib.ExitStack() as stack:
            _check_marks(folder)
            here = as_path(folder, self.root.path / dataset)
            try:
                stack.enter_context(exclusive(here))
            except PlaceError as error:
                # On a full disk there may be no lock yet, and none can be made: by no run either.
                if not is_full(error):
                    words = error.message.replace(str(here), str(self.root.path / dataset))
                    raise OSError(errno.EACCES, words) from error
            yield self._users(folder, dataset)

    # --- what goes

    def step(self, unit: Unit) -> None:
        """Take a step folder away, unless a run uses it by now, and delete it."""
        with self.purged.noting(unit.path):
            with self._alone(unit.dataset) as users:
                if by := users.get(unit.folder):
                    self.purged.kept[unit.path] = f"in use by {by} since a moment ago"
                    return
                if mark_at(self.root, (*unit.parents, unit.name)) != unit.mark:
                    raise ChangedError("a run wrote into it meanwhile")
                trash = take_away(self.root, unit.parents, unit.name, unit.inode)
            self._delete(unit.parents, trash)

    def left_behind(self, unit: Unit) -> None:
        """Delete the trash of an earlier purge, or a temporary file."""
        self._delete(unit.parents, unit.name)

    def benchmark(self, unit: Unit, still: Callable[[], bool]) -> None:
        """Delete a benchmark's cases, if `still` says that it is dead."""
        with self.purged.noting(unit.path):
            if not still():
                self.purged.kept[unit.path] = "its benchmark goes on since a moment ago"
                return
            self._delete(unit.parents, take_away(self.root, unit.parents, unit.name, unit.inode))

    def loose(self, unit: Unit, *, tables: bool) -> None:
        """Delete the loose files of a step folder that no living run uses."""
        with self.purged.noting(unit.path), self._alone(unit.dataset) as users:
            if unit.folder in users:
                return
            for path in loose_files(self.root, (*unit.parents, unit.name), tables=tables):
                *folders, name = path.split("/")
                self._delete((*unit.parents, unit.name, *folders), name)

    def empty_stages(self, stages: Iterable[tuple[str, str]]) -> None:
        """Remove folders of stages in which nothing is left, where no run is at work."""
        for dataset, stage in stages:
            with contextlib.suppress(OSError), self._alone(dataset) as users, self.root.open(dataset) as home:
                if not users:
                    os.rmdir(stage, dir_fd=home)

    def _delete(self, parents: tuple[str, ...], name: str) -> None:
        self.purged.add(delete(self.root, parents, name))


def _check_marks(folder: int) -> None:
    """Refuse a dataset's folder whose lock or leases are not what runs make: a lock opened through a link
    would empty what the link leads to."""
    for name, fits in ((LOCK, stat.S_ISREG), (RUNS, stat.S_ISDIR)):
        with contextlib.suppress(FileNotFoundError):
            if not fits(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise OutsideError(f"{name} in it is not what runs write")
