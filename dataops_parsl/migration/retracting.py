"""Taking back what was written beside the files of an item."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from dataops_parsl.dataset.digest import file_digest
from dataops_parsl.dataset.record import FOLDER, MANIFEST
from dataops_parsl.errors import PartialError
from dataops_parsl.migration.copying import remove
from dataops_parsl.migration.journal import Journal
from dataops_parsl.migration.listing import SELF, at, some
from dataops_parsl.migration.taking_in import aside_of
from dataops_parsl.migration.ways import way_of
from dataops_parsl.storage.atomic import sync_folder


def retract(journal: Journal, item: str) -> None:
    """Leave nothing at an item's target but what was brought there, as it was brought.

    Raises
    ------
    PartialError
        What was written was changed since; it is all left as it is.
    """
    progress = journal.of(item)
    if progress.begun is None:
        return
    way = way_of(progress.begun)
    remove(aside_of(way.end, way.token))
    if progress.writing is None:
        return
    written: Mapping[str, str] = progress.writing["files"]
    if wrong := changed(way.end, written):
        raise PartialError(f"{way.end}: {some(wrong)}", "put that back as it was, or move the files by hand")
    _unwrite(way.end, written)
    for relative, entry in way.said.items():
        path = at(way.end, relative)
        if entry.kind == "file" and path.exists() and stat.S_IMODE(os.stat(path).st_mode) != entry.mode:
            path.chmod(entry.mode)
    if SELF in way.said and way.said[SELF].kind == "folder":
        os.utime(way.end, ns=(os.stat(way.end).st_atime_ns, way.said[SELF].mtime_ns))
    journal.write(item, "unwritten")


def changed(folder: Path, written: Mapping[str, str]) -> list[str]:
    """What of that which was written is another file by now, in words."""
    wrong = []
    for file, digest in written.items():
        path = folder / file
        if os.path.lexists(path) and file_digest(path) != digest:
            wrong.append(f"{file} was changed since")
    return wrong


def _unwrite(folder: Path, written: Mapping[str, str]) -> None:
    """Remove what was written beside the files, the manifest first."""
    for file in sorted(written, key=lambda f: f != MANIFEST):
        path = folder / file
        if os.path.lexists(path):
            path.unlink()
    inner = folder / FOLDER
    if any(file.startswith(f"{FOLDER}/") for file in written) and inner.is_dir() and not os.listdir(inner):
        inner.rmdir()
    sync_folder(folder)
