"""Who works on a dataset's scratch: a lease for each run, with the folders of steps that it reads or writes.

``scratch/<dataset>/.runs/<id>.json`` is taken before anything is assessed and dropped at the end; the
leases of dead runs are no longer listed, and cleared away by the next run.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataops_parsl.errors import PlaceError
from dataops_parsl.storage.atomic import place_errors
from dataops_parsl.storage.claims import Lease, Watch

RUNS, LOCK = ".runs", ".lock"
"""What lies in a dataset's scratch beside the folders of stages."""
PATIENCE_S = 60.0
"""The lock is held for moments: who holds it for so long has stopped."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class User:
    """A living run that works on a dataset's scratch.

    Parameters
    ----------
    run : str
        Its id.
    host : str
    folders : frozenset of str
        The step folders ``<stage>/<step>-<key>`` that it reads or writes, relative to the dataset's scratch.
    lease : Path
    pixels : mapping
        Folder → stem → first 16 digits of the recipe, of the batches of pixels that it reads or writes: these
        lie where another recipe's would lie too.
    result : str
        Identity of what it makes in the end; runs of the same result need only one of them to publish it.
    """

    run: str
    host: str
    folders: frozenset[str]
    lease: Path
    pixels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    result: str = ""


@contextlib.contextmanager
def exclusive(scratch: Path) -> Iterator[None]:
    """Hold the lock under which runs take their leases: while it is held, no run begins.

    Held for moments only, by who looks at `live_users` and acts on it.

    Parameters
    ----------
    scratch : Path
        Of the dataset; made where it is not there.

    Raises
    ------
    PlaceError
        Where the folder cannot be written, its file system knows no locks, or the lock is never let go.
    """
    path = scratch / LOCK
    with contextlib.ExitStack() as stack:
        with place_errors(path):
            while True:
                scratch.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context(open(path, "w"))
                _lock(lock.fileno(), path)
                if _is(path, lock.fileno()):
                    break
                lock.close()  # cleared away while we waited for it: others lock another file by now
        yield


def _lock(handle: int, path: Path) -> None:
    until, wait_s = time.monotonic() + PATIENCE_S, 0.005
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise PlaceError(
                    f"{path} has been locked for {PATIENCE_S:.0f} s",
                    "end the process that hangs there (a run or a purge, maybe stopped or on another host), "
                    "or delete that file when there is none",
                ) from None
            time.sleep(wait_s)
            wait_s = min(0.2, 1.5 * wait_s)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise PlaceError(
                f"{path} cannot be locked: {error.strerror}",
                "set paths.scratch_root to a file system with locks (on Lustre: mounted with flock)",
            ) from error
        else:
            return


def _is(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def live_users(scratch: Path, watch: Watch | None = None) -> list[User]:
    """The living runs on a dataset's scratch, in order of their ids.

    Parameters
    ----------
    scratch : Path
        Of the dataset; may be missing.
    watch : Watch, optional
        What who asks again and again has learnt.
    """
    watch = watch or Watch()
    found = (user for path in _leases(scratch) if watch.is_live(path) and (user := read_user(path)))
    return sorted(found, key=lambda user: user.lease.name)


def _leases(scratch: Path) -> list[Path]:
    return sorted((scratch / RUNS).glob("[!.]*.json"))


def read_user(path: Path) -> User | None:
    """What a lease says, whether its run lives or not; None when there is none."""
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
        return User(
            value["run"],
            value["host"],
            frozenset(value["folders"]),
            path,
            value.get("pixels", {}),
            value.get("result", ""),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Use:
    """One run's use of a dataset's scratch: its lease, and who was there before it.

    Parameters
    ----------
    scratch : Path
        Of the dataset.
    run : str
        Id of the run.
    folders : iterable of str
    pixels : mapping
    result : str
        See `User`.

    Attributes
    ----------
    run : str
        Its id at first.
    elders : tuple of User
        The runs that lived when this one began. Of any two runs one is the other's elder, for good.
    began_ns : int
        When it began, by the clock of the file system, ns since 1970.
    """

    def __init__(
        self,
        scratch: Path,
        run: str,
        folders: Iterable[str],
        pixels: Mapping[str, Mapping[str, str]] | None = None,
        result: str = "",
    ) -> None:
        self.scratch, self.run = scratch, run
        self.path = scratch / RUNS / f"{run}.json"
        self.elders: tuple[User, ...] = ()
        self.began_ns = 0
        facts = {"run": run, "result": result, "folders": sorted(set(folders)), "pixels": pixels or {}}
        self._lease = Lease(self.path, facts)
        self._watch = Watch()

    def __enter__(self) -> Use:
        with contextlib.ExitStack() as stack:
            with exclusive(self.scratch):
                # Written first: a network file system then lists the folder anew.
                stack.enter_context(self._lease)
                self.began_ns = self.path.stat().st_mtime_ns
                self.elders = tuple(self.others())
                self._clear()
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._lease.__exit__()

    def called(self, run: str) -> None:
        """Say another id of the run: of the bundle that it goes on with."""
        self._lease.say(run=run)

    def others(self) -> list[User]:
        """The other living runs on the same scratch."""
        return [user for user in live_users(self.scratch, self._watch) if user.lease != self.path]

    def _clear(self) -> None:
        """Remove what dead runs left beside their leases, and these."""
        living = {self.path.stem, *(user.lease.stem for user in self.elders)}
        for path in (self.scratch / RUNS).iterdir():
            if path.stem not in living and not path.name.startswith("."):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
