"""What lies below a folder at one moment, to be compared with what lies there later."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dataops_parsl.dataset.digest import file_digest
from dataops_parsl.errors import PartialError

SELF = "."
"""Stands for the item itself where a path below it would stand."""
_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_NAMED = 3


@dataclass(frozen=True)
class Entry:
    """A file, folder or symbolic link.

    Parameters
    ----------
    size : int
        Bytes of a file.
    mtime_ns : int
        When it was last changed, in ns.
    mode : int
        Its permissions.
    text : str
        Where a link leads, as it is written in it.
    same : str
        A path before it that is the same file, by a hard link.
    """

    kind: Literal["file", "folder", "link"]
    size: int
    mtime_ns: int
    mode: int
    text: str = ""
    same: str = ""

    def to_json(self) -> list[Any]:
        """As a JSON-like list."""
        return [self.kind, self.size, self.mtime_ns, self.mode, self.text, self.same]


Listing = dict[str, Entry]
"""By their paths below an item, ``/`` between folders, each folder before what it holds."""


def at(base: Path, relative: str) -> Path:
    """The path of an entry."""
    return base if relative == SELF else base / relative


def special(mode: int) -> str:
    """What kind of thing it is that is neither file nor folder nor link, or nothing."""
    return _SPECIAL.get(stat.S_IFMT(mode), "")


def listing(base: Path, names: Sequence[str] | None = None) -> Listing:
    """List an item.

    Parameters
    ----------
    names : sequence of str, optional
        Only these of the folder; without them the whole, which may be a file.

    Raises
    ------
    PartialError
        Something can be neither moved nor copied as it is: a pipe, a socket, a folder that cannot be read.
    """
    found: Listing = {}
    seen: dict[tuple[int, int], str] = {}
    for name in [SELF] if names is None else names:
        for relative, path in _walk(base, name):
            found[relative] = _entry(relative, path, seen)
    return found


def _walk(base: Path, start: str) -> Iterator[tuple[str, Path]]:
    waiting = [start]
    while waiting:
        relative = waiting.pop()
        path = at(base, relative)
        yield relative, path
        if path.is_symlink() or not path.is_dir():
            continue
        try:
            inner = sorted(os.listdir(path), reverse=True)
        except OSError as error:
            raise PartialError(f"{path} cannot be read: {error.strerror}", "mend its rights") from error
        waiting += [name if relative == SELF else f"{relative}/{name}" for name in inner]


def _entry(relative: str, path: Path, seen: dict[tuple[int, int], str]) -> Entry:
    try:
        said = os.lstat(path)
        kind: Literal["file", "folder", "link"] = "file"
        text = same = ""
        if stat.S_ISLNK(said.st_mode):
            kind, text = "link", os.readlink(path)
        elif stat.S_ISDIR(said.st_mode):
            kind = "folder"
        elif what := special(said.st_mode):
            raise PartialError(f"{path} is {what}", "remove it, or move it elsewhere")
        elif said.st_nlink > 1:
            same = seen.setdefault((said.st_dev, said.st_ino), relative)
    except FileNotFoundError as error:
        raise PartialError(f"{path} is gone", "put it back, or take its item out of the plan") from error
    size = said.st_size if kind == "file" else 0
    mode = stat.S_IMODE(said.st_mode)
    return Entry(kind, size, said.st_mtime_ns, mode, text, "" if same == relative else same)


def from_json(value: Mapping[str, Sequence[Any]]) -> Listing:
    """From what `Entry.to_json` gave of each entry."""
    return {relative: Entry(*entry) for relative, entry in value.items()}


def size_of(entries: Listing) -> int:
    """Bytes of all files; one that is there twice by a hard link counts once."""
    return sum(e.size for e in entries.values() if not e.same)


def counted(entries: Listing) -> int:
    """Bytes of all files, each under each of its names."""
    return sum(e.size for e in entries.values())


def n_files(entries: Listing) -> int:
    """Number of files and links."""
    return sum(e.kind != "folder" for e in entries.values())


def differences(
    said: Listing,
    found: Listing,
    *,
    texts: Mapping[str, str] | None = None,
    times: bool = True,
    partly: bool = False,
) -> list[str]:
    """What differs between two listings of an item, in words; empty when nothing does.

    Parameters
    ----------
    texts : mapping, optional
        What links say now that said something else then.
    times : bool
        Whether files must have been changed last at the same moment.
    partly : bool
        Entries may be gone: they were removed already.
    """
    wrong = []
    for relative, then in said.items():
        now = found.get(relative)
        if now is None:
            if not partly:
                wrong.append(f"{relative} is gone")
        elif now.kind != then.kind:
            wrong.append(f"{relative} is a {now.kind} now")
        elif now.text != (texts or {}).get(relative, then.text):
            wrong.append(f"{relative} leads to another place")
        elif now.size != then.size or (times and now.kind == "file" and now.mtime_ns != then.mtime_ns):
            wrong.append(f"{relative} was changed")
    return wrong + [f"{relative} is new" for relative in found if relative not in said]


def wrong_digests(base: Path, digests: Mapping[str, str]) -> list[str]:
    """Files whose sha256 is another one, in words."""
    wrong = []
    for relative, digest in digests.items():
        try:
            if file_digest(at(base, relative)) != digest:
                wrong.append(f"{relative} was changed")
        except OSError as error:
            wrong.append(f"{relative} cannot be read: {error.strerror}")
    return wrong


def some(words: Sequence[str]) -> str:
    """The first of several, and how many more there are."""
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return ", ".join(words[:_NAMED]) + more
