"""From one file system to another: copy, compare, rename into place, and only then remove the source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dataops_parsl.dataset.digest import file_digest
from dataops_parsl.errors import InterruptedRunError, PartialError
from dataops_parsl.migration.copying import Ticks, copy_entries, remove
from dataops_parsl.migration.listing import SELF, at, differences, listing, size_of, some, wrong_digests
from dataops_parsl.migration.transfer import Pair, Transfer, refuse_gone, rename, taken
from dataops_parsl.storage.atomic import sync_folder


def by_copy(way: Transfer, ticks: Ticks) -> dict[str, str]:
    """Copy every pair, compare, and rename it into place; returns each file's sha256.

    What was copied of the pair at hand is removed again when the disk is full or the source cannot be read.

    Raises
    ------
    PartialError
        The source cannot be read or changes, or something else stands at the target.
    PlaceError
        The disk is full, or cannot be written.
    """
    digests: dict[str, str] = {}
    for pair in way.pairs:
        entries = way.below(pair)
        if os.path.lexists(pair.end):
            found = _as_copied(way, pair)
        else:
            refuse_gone(pair)
            try:
                found = copy_entries(pair.start, pair.copying, entries, way.texts_below(pair), ticks)
                if wrong := differences(entries, listing(pair.start)):
                    raise PartialError(
                        f"{pair.start} was changed while it was copied: {some(wrong)}",
                        "give the same command again when nothing writes there any more",
                    )
            except InterruptedRunError:  # what was copied is taken up again by the same command
                raise
            except Exception:
                remove(pair.copying)
                raise
            rename(pair.copying, pair.end)
            sync_folder(pair.end.parent)
        prefix = "" if pair.name == SELF else f"{pair.name}/"
        digests |= {pair.name if r == SELF else prefix + r: digest for r, digest in found.items()}
    return digests


def _as_copied(way: Transfer, pair: Pair) -> dict[str, str]:
    """The digests of a pair that stands at its target; a kill came before it could be noted."""
    entries, found = way.below(pair), listing(pair.end)
    if differences(entries, found, texts=way.texts_below(pair), times=False):
        raise taken(pair.end)
    digests = {r: file_digest(at(pair.end, r)) for r, e in entries.items() if e.kind == "file"}
    if os.path.lexists(pair.start) and wrong_digests(pair.start, digests):
        raise taken(pair.end)
    return digests


def drop_copies(way: Transfer) -> None:
    """Remove what was copied under hidden names and never came to stand under its own."""
    for pair in way.pairs:
        remove(pair.copying)


def bytes_there(way: Transfer) -> int:
    """How much of it an earlier try has copied."""
    there = 0
    for pair in way.pairs:
        place = pair.copying if os.path.lexists(pair.copying) else pair.end
        if os.path.lexists(place):
            there += size_of(listing(place))
    return there


def remove_start(way: Transfer, digests: Mapping[str, str], *, again: bool, times: bool = True) -> str:
    """Remove what was copied at where it came from; returns why it stays, or nothing.

    Parameters
    ----------
    digests : mapping
        File to the sha256 of its copy.
    again : bool
        The copies were compared by a process that is gone: they are read once more first.
    times : bool
        Whether a file that was changed last at another moment than then counts as changed.
    """
    if why := locked(way, inner=True):
        return why
    if again and (wrong := wrong_digests(way.end, digests)):
        return f"its copy is not whole: {some(wrong)}"
    for pair in way.pairs:
        partly = os.path.lexists(pair.leaving)
        if not partly:
            if not os.path.lexists(pair.start):
                continue
            try:
                os.rename(pair.start, pair.leaving)
            except OSError as error:
                return f"{pair.start} cannot be removed: {error.strerror}"
        if wrong := differences(way.below(pair), listing(pair.leaving), times=times, partly=partly):
            if not os.path.lexists(pair.start):
                os.rename(pair.leaving, pair.start)
            return f"it was changed since it was copied: {some(wrong)}"
        remove(pair.leaving)
        sync_folder(pair.start.parent)
    return ""


def locked(way: Transfer, *, inner: bool) -> str:
    """Why an item cannot be taken from where it is, or nothing.

    Parameters
    ----------
    inner : bool
        Its files are to be removed one by one, so that its own folders matter too.
    """
    for pair in way.pairs:
        places = [pair.start.parent]
        if inner and os.path.lexists(pair.start):
            places += [at(pair.start, r) for r, e in way.below(pair).items() if e.kind == "folder"]
        for place in places:
            if os.path.lexists(place) and not _may_write(place, own=place != pair.start.parent):
                return f"{place} is read-only"
    return ""


def _may_write(folder: Path, own: bool) -> bool:
    if os.access(folder, os.W_OK):
        return True
    changeable = own and os.lstat(folder).st_uid == os.geteuid()  # a mode that its owner can change
    return changeable and not os.statvfs(folder).f_flag & os.ST_RDONLY
