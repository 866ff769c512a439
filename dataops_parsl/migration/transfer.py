"""Bringing an item to another place so that at every moment each of its bytes is whole in one of the two.

On one file system it is renamed. Else it is copied beside its target under a hidden name, compared, renamed
into place, and only then removed at its source. Every function can be called again after a kill and goes on.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from dataops_parsl.errors import PartialError
from dataops_parsl.migration.listing import (
    SELF,
    Listing,
    at,
)
from dataops_parsl.storage.atomic import place_errors, sync_folder

_OTHER_DISK = (errno.EXDEV, errno.EBUSY)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


class OtherDiskError(Exception):
    """It cannot be renamed to there: the target is on another file system."""


@dataclass(frozen=True)
class Pair:
    """A file or folder that is brought as one.

    Parameters
    ----------
    name : str
        Its path below the item; ``.`` is the item itself.
    """

    name: str
    start: Path
    end: Path
    token: str

    def _beside(self, place: Path, word: str) -> Path:
        return place.with_name(f".{place.name}.{self.token}.{word}")

    @property
    def moving(self) -> Path:
        """Where it stands between two renames: the only one there is."""
        return self._beside(self.end, "moving")

    @property
    def copying(self) -> Path:
        """Where it is copied to; its source is still whole."""
        return self._beside(self.end, "copying")

    @property
    def leaving(self) -> Path:
        """Where the source stands while it is removed; its copy is whole."""
        return self._beside(self.start, "leaving")


@dataclass(frozen=True)
class Transfer:
    """An item on its way.

    Parameters
    ----------
    start, end : Path
        Where it comes from and where it goes.
    names : sequence of str, optional
        Only these of the folder `start`, into the folder `end`; without them the whole.
    said : mapping
        The listing of the item at its start.
    texts : mapping
        Link to what it says at its end, where that is something else.
    token : str
        Tells the hidden names of this item from those of others.
    """

    start: Path
    end: Path
    names: Sequence[str] | None
    said: Listing
    texts: Mapping[str, str]
    token: str

    @property
    def pairs(self) -> list[Pair]:
        """What is brought, one after the other."""
        names = [SELF] if self.names is None else self.names
        return [Pair(n, at(self.start, n), at(self.end, n), self.token) for n in names]

    @cached_property
    def _parts(self) -> dict[str, Listing]:
        """The listing of each pair, by paths below it."""
        if self.names is None:
            return {SELF: self.said}
        parts: dict[str, Listing] = {name: {} for name in self.names}
        for relative, entry in self.said.items():
            name, _, rest = relative.partition("/")
            first = entry.same.partition("/")
            same = (first[2] or SELF) if entry.same and first[0] == name else ""
            parts[name][rest or SELF] = replace(entry, same=same)
        return parts

    def below(self, pair: Pair) -> Listing:
        """The part of the listing that belongs to a pair, by paths below it."""
        return self._parts[pair.name]

    def texts_below(self, pair: Pair) -> dict[str, str]:
        """The texts of links that belong to a pair, by paths below it."""
        if self.names is None:
            return dict(self.texts)
        found = {}
        for relative, text in self.texts.items():
            name, _, rest = relative.partition("/")
            if name == pair.name:
                found[rest or SELF] = text
        return found


def untouched(way: Transfer) -> bool:
    """Whether all of an item is where it comes from, and nothing of it, nor a whole copy, where it goes."""
    return all(
        os.path.lexists(pair.start) and not any(map(os.path.lexists, (pair.end, pair.moving, pair.leaving)))
        for pair in way.pairs
    )


def missing_folders(folder: Path) -> list[Path]:
    """The folders that have to be made for this one to be there, outermost first."""
    wanted = []
    while not os.path.lexists(folder):
        wanted.append(folder)
        folder = folder.parent
    return wanted[::-1]


def make_folders(folders: Sequence[Path]) -> None:
    """Make folders that are not there, durably.

    Raises
    ------
    PlaceError
    """
    for folder in folders:
        with place_errors(folder):
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that were made, innermost first, unless something is in them."""
    for folder in reversed(folders):
        try:
            folder.rmdir()
        except OSError:  # something is in it, or it is gone
            continue


def by_rename(way: Transfer) -> None:
    """Rename every pair to where it goes.

    Raises
    ------
    OtherDiskError
        It has to be copied; nothing was done to that pair.
    PartialError
        Something else stands at the target, or the source is gone.
    """
    _refuse_names_of_links(way)
    for pair in way.pairs:
        texts = way.texts_below(pair)
        if os.path.lexists(pair.moving):
            _write_links(pair, texts, way.below(pair))
            rename(pair.moving, pair.end)
        elif not os.path.lexists(pair.end):
            refuse_gone(pair)
            _make_movable(pair.start)
            rename(pair.start, pair.moving if texts else pair.end)
            if texts:
                _write_links(pair, texts, way.below(pair))
                rename(pair.moving, pair.end)
        elif os.path.lexists(pair.start):
            raise taken(pair.end)
        first = way.below(pair)[SELF]
        if first.kind == "folder" and stat.S_IMODE(os.stat(pair.end).st_mode) != first.mode:
            pair.end.chmod(first.mode)
    for folder in {pair.start.parent for pair in way.pairs} | {pair.end.parent for pair in way.pairs}:
        if folder.is_dir():  # else all was brought before, and the folder that was made for it is gone too
            sync_folder(folder)


def refuse_gone(pair: Pair) -> None:
    """Raise when there is nothing to bring."""
    if not os.path.lexists(pair.start):
        raise PartialError(f"{pair.start} is gone", "put it back, or take its item out of the plan")


def taken(place: Path) -> PartialError:
    """The error for a place where something else stands."""
    return PartialError(
        f"there is something at {place} already; it is never overwritten",
        "move it away, or change the target in the plan",
    )


def _make_movable(folder: Path) -> None:
    """Some systems move a folder only when its owner may write into it; its mode is mended afterwards."""
    if not folder.is_symlink() and folder.is_dir() and not os.access(folder, os.W_OK):
        folder.chmod(stat.S_IMODE(os.stat(folder).st_mode) | stat.S_IWUSR)


def rename(start: Path, end: Path) -> None:
    """Rename, but never over something else.

    Raises
    ------
    OtherDiskError, PartialError, PlaceError
    """
    if os.path.lexists(end):
        raise taken(end)
    try:
        os.rename(start, end)
    except OSError as error:
        if error.errno in _OTHER_DISK:
            raise OtherDiskError from error
        if error.errno in _DENIED:
            raise PartialError(
                f"{start} cannot be renamed to {end}: {error.strerror}", "mend the rights"
            ) from error
        with place_errors(end):
            raise


def _aside(link: Path, token: str) -> Path:
    """Where a link is written anew before it takes the place of the old one."""
    return link.with_name(f".{link.name}.{token}.link")


def _refuse_names_of_links(way: Transfer) -> None:
    """Raise, before anything is moved, when an entry has the name under which a link is written anew."""
    for relative in way.texts:
        if relative != SELF and str(_aside(Path(relative), way.token)) in way.said:
            raise PartialError(
                f"{_aside(at(way.start, relative), way.token)} has a name that the program needs", "rename it"
            )


def _write_links(pair: Pair, texts: Mapping[str, str], said: Listing) -> None:
    """Make links say what they say at the end; the folders that they lie in keep their times and modes."""
    base = pair.moving
    folders = {str(Path(relative).parent) for relative in texts if relative != SELF}
    for folder in folders:
        at(base, folder).chmod(stat.S_IRWXU)
    for relative, text in texts.items():
        link = at(base, relative)
        if os.readlink(link) == text:
            continue
        new = _aside(link, pair.token)
        if os.path.lexists(new):  # left by a kill: no entry of the item is called so
            new.unlink()
        with place_errors(link):
            os.symlink(text, new)
        os.utime(new, ns=(said[relative].mtime_ns,) * 2, follow_symlinks=False)
        os.replace(new, link)
    for folder in folders:
        at(base, folder).chmod(said[folder].mode)
        os.utime(at(base, folder), ns=(said[folder].mtime_ns,) * 2)
