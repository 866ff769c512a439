"""An older tree as it lies on disk: folders, files, links; no link is followed, nothing is read but names."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from dataops_parsl.errors import UsageError
from dataops_parsl.migration.listing import special

_DEEPEST = 100
ZARR = ("zarr.json", ".zgroup", ".zarray")


@dataclass
class Folder:
    """A folder and what is in it.

    Parameters
    ----------
    files : dict
        Name to size in bytes.
    links : dict
        Name to what the link says.
    odd : dict
        Name to why it can be neither moved nor copied, or was not looked into.
    shared : list
        Names of files that have another name too, by a hard link.
    """

    path: Path
    files: dict[str, int] = field(default_factory=dict)
    folders: dict[str, Folder] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its own name."""
        return self.path.name

    @cached_property
    def n_files(self) -> int:
        """Files and links in it and below."""
        return len(self.files) + len(self.links) + sum(f.n_files for f in self.folders.values())

    @cached_property
    def size(self) -> int:
        """Bytes of all files in it and below."""
        return sum(self.files.values()) + sum(f.size for f in self.folders.values())

    @property
    def is_zarr(self) -> bool:
        """Whether it is a zarr group or array."""
        return any(name in self.files for name in ZARR)

    @cached_property
    def kinds(self) -> Counter[str]:
        """How many files end how, below too; a zarr folder counts as one."""
        if self.is_zarr:
            return Counter({"zarr": 1})
        found = Counter(name.rpartition(".")[2].lower() if "." in name else "" for name in self.files)
        for inner in self.folders.values():
            found += inner.kinds
        return found

    def has(self, parts: Sequence[str]) -> bool:
        """Whether there is something of that path below it, with ``*`` for any letters."""
        first, rest = parts[0], parts[1:]
        if not rest:
            return any(fnmatch(name, first) for name in (*self.files, *self.folders))
        return any(fnmatch(n, first) and f.has(rest) for n, f in self.folders.items())

    def walk(self) -> Iterator[Folder]:
        """It and all folders below."""
        yield self
        for inner in self.folders.values():
            yield from inner.walk()


def scan(root: Path, skip: Sequence[Path] = ()) -> Folder:
    """Look at a tree.

    Parameters
    ----------
    root : Path
        Without links in it.
    skip : sequence of Path
        Folders that are not looked into.

    Raises
    ------
    UsageError
        `root` is no folder, or cannot be read.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is no folder", "give the folder of the older tree")
    top = Folder(root)
    device = os.stat(root).st_dev
    waiting = [(top, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            entries = sorted(os.scandir(folder.path), key=lambda e: e.name)
        except OSError as error:
            if folder is top:
                raise UsageError(f"{root} cannot be read: {error.strerror}", "mend its rights") from error
            folder.odd["."] = f"cannot be read: {error.strerror}"
            continue
        for entry in entries:
            inner = _take(folder, entry, device, depth, skip)
            if inner is not None:
                waiting.append((inner, depth + 1))
    return top


def _take(
    folder: Folder, entry: os.DirEntry[str], device: int, depth: int, skip: Sequence[Path]
) -> Folder | None:
    """Note an entry; returns it when it is a folder to look into."""
    name, path = entry.name, Path(entry.path)
    try:
        said = entry.stat(follow_symlinks=False)
        if entry.is_symlink():
            folder.links[name] = os.readlink(path)
            return None
    except OSError as error:
        folder.odd[name] = f"cannot be read: {error.strerror}"
        return None
    if what := special(said.st_mode):
        folder.odd[name] = f"is {what}"
    elif not stat.S_ISDIR(said.st_mode):
        folder.files[name] = said.st_size
        if said.st_nlink > 1:
            folder.shared.append(name)
    elif path in skip:
        folder.odd[name] = "belongs to the project"
    elif said.st_dev != device:
        folder.odd[name] = "is another file system"
    elif depth >= _DEEPEST:
        folder.odd[name] = f"lies more than {_DEEPEST} folders deep"
    else:
        inner = folder.folders[name] = Folder(path)
        return inner
    return None
