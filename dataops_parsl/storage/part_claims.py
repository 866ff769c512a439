"""Claims: which living run computes a part just now, so that two runs on one tree do not do it twice.

A claim is a small file beside the part's receipt, made only if it is not there, that names the lease of its
run. It is made right before a task is submitted and dropped when the task has ended: whoever waits holds
none but those of tasks that are under way, so no two runs wait for each other for ever. That of a dead run is
taken over.

It is a hard link to one file of its run: a new file for each task costs ten times as much on ext4, which
looks for an inode that was not freed just before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dataops_parsl.storage.atomic import place_errors, write_bytes
from dataops_parsl.storage.claims import SILENCE_S, Watch, age_s
from dataops_parsl.storage.parts import PartPlace
from dataops_parsl.storage.users import RUNS, Use, User, exclusive, read_user

LOOK_EVERY_S = 1.0
"""So often the leases of other runs are read, however many parts they hold."""
NAMED = ".claim"
"""Beside its lease: the file of a run that its claims are links to."""
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK)
_WRITTEN_S = 0.005
"""Within which a new claim says whose it is."""


@dataclass(frozen=True)
class Holder:
    """Who is waited for.

    Parameters
    ----------
    run : str
        Id of the run.
    what : str
        What it has: ``part``, which it computes just now, or ``place``, where it keeps other pixels.
    """

    run: str
    what: str = "part"


class Claims(Protocol):
    """What an engine asks before it computes a part, and tells afterwards."""

    def take(self, place: PartPlace) -> Holder | None:
        """Claim a part; who holds it otherwise."""

    def held(self, place: PartPlace) -> Holder | None:
        """Who holds a part, without claiming it."""

    def drop(self, place: PartPlace) -> None:
        """Let go of a part."""


class Alone:
    """Claims of a run that shares its scratch with nobody."""

    def take(self, place: PartPlace) -> None:
        """Nobody else holds anything."""

    held = drop = take


class PartClaims:
    """The claims of one run.

    Two runs may want other pixels in the same place: of a film's last batch before and after frames were
    appended. Then the one that began later waits for the other's end, so that neither spoils what the other
    reads, and overwrites it only then.

    Parameters
    ----------
    use : Use
        The run's lease.
    """

    def __init__(self, use: Use) -> None:
        self._use = use
        self._name = use.path.stem
        self._named = use.path.with_suffix(NAMED)
        self._links = True
        self._mine: set[str] = set()
        self._watch = Watch()
        self._looked: dict[str, tuple[float, str]] = {}

    def __enter__(self) -> PartClaims:
        self._write_name()
        return self

    def __exit__(self, *_: object) -> None:
        for path in list(self._mine):
            self._unlink(path)
        self._unlink(str(self._named))

    def _write_name(self) -> None:
        write_bytes(self._named, self._name.encode())

    def take(self, place: PartPlace) -> Holder | None:
        """Claim a part, taking it over from a dead run.

        Returns
        -------
        Holder or None
            The living run that is waited for; None when the part is ours now.

        Raises
        ------
        PlaceError
            Where no file can be written.
        """
        if self._use.elders and (elder := self._elder(place)):
            return Holder(elder, "place")
        path = place.claim
        while not self._create(path):
            if run := self._holder(path):
                return Holder(run)
            self._clear(path)
        self._mine.add(path)
        return None

    def held(self, place: PartPlace) -> Holder | None:
        """The living run that is waited for, without claiming anything."""
        if elder := self._elder(place):
            return Holder(elder, "place")
        run = self._holder(place.claim)
        return Holder(run) if run else None

    def drop(self, place: PartPlace) -> None:
        """Let go of a part, whether or not it was computed."""
        path = place.claim
        if path in self._mine:
            self._unlink(path)

    def _create(self, path: str) -> bool:
        """Make a claim; False when there is one."""
        while True:
            try:
                return self._link(path) if self._links else self._write(path)
            except FileExistsError:
                return False
            except FileNotFoundError:  # the first of its step, or someone cleared the scratch
                with place_errors(Path(path)):
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                if not self._named.exists():
                    self._write_name()

    def _link(self, path: str) -> bool:
        try:
            os.link(self._named, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                with place_errors(Path(path)):
                    raise
            self._links = False
            return self._write(path)
        return True

    def _write(self, path: str) -> bool:
        """On a file system without links between folders."""
        with place_errors(Path(path)):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                os.write(handle, self._name.encode())
            finally:
                os.close(handle)
        return True

    def _unlink(self, path: str) -> None:
        self._mine.discard(path)
        with contextlib.suppress(OSError):  # gone with its folder; else it is stale as soon as the run ends
            os.unlink(path)

    def _elder(self, place: PartPlace) -> str:
        """The run that began before this one and keeps other pixels in this place; "" when there is none."""
        for user in self._use.elders:
            recipe = _recipe_of(user, place, self._use.scratch)
            if recipe not in ("", place.recipe[:16]) and (run := self._living(user.lease.stem)):
                return run
        return ""

    def _holder(self, path: str) -> str | None:
        """Id of the other living run that holds a claim; "" when its run is dead, None when there is none."""
        name = _read(path)
        if name == "":  # made, and not yet written: by one that lives, or that was killed in between
            time.sleep(_WRITTEN_S)
            name = _read(path)
            if name == "" and age_s(Path(path)) < SILENCE_S:
                return "another"
        if not name or name == self._name:  # ours: a network file system may answer a second time
            return None if name is None else ""
        return self._living(name)

    def _living(self, lease: str) -> str:
        """Id of the run of a lease as others know it, "" when it is dead."""
        looked, run = self._looked.get(lease, (-LOOK_EVERY_S, ""))
        if time.monotonic() - looked > LOOK_EVERY_S:
            path = self._use.scratch / RUNS / f"{lease}.json"
            user = read_user(path) if self._watch.is_live(path) else None
            run = user.run if user else ""
            self._looked[lease] = (time.monotonic(), run)
        return run

    def _clear(self, path: str) -> None:
        """Remove the claim of a dead run: under a lock, else that of who was quicker would go instead."""
        with exclusive(self._use.scratch):
            # Not where there is none: another run may make one just now.
            if self._holder(path) == "":
                with place_errors(Path(path)), contextlib.suppress(FileNotFoundError):
                    os.unlink(path)


def _read(path: str) -> str | None:
    """What a claim says; None when there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return None


def _recipe_of(user: User, place: PartPlace, scratch: Path) -> str:
    if not user.pixels:
        return ""
    stems = user.pixels.get(str(place.folder.relative_to(scratch)), {})
    return stems.get(place.stem, "")
