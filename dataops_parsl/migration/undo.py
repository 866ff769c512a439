"""The way back of one item."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from dataops_parsl.dataset.record import FOLDER, MANIFEST
from dataops_parsl.errors import PartialError
from dataops_parsl.migration import copies, transfer
from dataops_parsl.migration.copying import Ticks, remove
from dataops_parsl.migration.journal import Journal, Progress
from dataops_parsl.migration.listing import differences, listing, some, wrong_digests
from dataops_parsl.migration.retracting import changed, retract
from dataops_parsl.migration.taking_in import aside_of
from dataops_parsl.migration.transfer import (
    OtherDiskError,
    Transfer,
    make_folders,
    missing_folders,
    remove_empty,
    untouched,
)
from dataops_parsl.migration.ways import folders_of, one_disk, way_of

_BY_HAND = "look at it, then put it back as it was, or move it by hand"


def go_back(journal: Journal, item: str, ticks: Ticks) -> str:
    """Bring an item back to where it came from; returns what is to be said of it.

    Raises
    ------
    PartialError
        It was changed since, or something else stands where it came from: it is left as it is.
    PlaceError
        The disk is full; nothing is lost.
    """
    progress = journal.of(item)
    assert progress.begun is not None
    way = way_of(progress.begun)
    if progress.begun["action"] == "link":
        said = _unlink(progress, way)
    elif progress.returning is None and untouched(way):
        copies.drop_copies(way)
        said = "is where it came from"
    else:
        said = _bring_back(journal, item, way, ticks)
    remove_empty(folders_of(progress.begun))
    journal.write(item, "undone")
    return said


def _unlink(progress: Progress, way: Transfer) -> str:
    assert progress.begun is not None
    if progress.begun["film"]:
        written: Mapping[str, str] = progress.writing["files"] if progress.writing else {}
        there = listing(way.end) if os.path.lexists(way.end) else {}
        new = [f"{r} is new" for r, e in there.items() if written and e.kind != "folder" and r not in written]
        if wrong := changed(way.end, written) + new:
            raise PartialError(f"{way.end}: {some(wrong)}", _BY_HAND)
        hidden = aside_of(way.end, way.token)
        if (way.end / MANIFEST).is_file():
            os.rename(way.end, hidden)
        remove(hidden)
        return "the dataset is gone; its films stayed where they are"
    for pair in way.pairs:
        if pair.end.is_symlink() and os.readlink(pair.end) == str(pair.start):
            pair.end.unlink()
    return "the link is gone"


def _bring_back(journal: Journal, item: str, way: Transfer, ticks: Ticks) -> str:
    progress = journal.of(item)
    assert progress.begun is not None
    renamed = progress.begun["how"] == "rename"
    digests: Mapping[str, str] = progress.placed["sha256"] if progress.placed else {}
    if any(os.path.lexists(pair.moving) for pair in way.pairs):
        transfer.by_rename(way)  # a kill came between two renames
    _end_removal(way, digests)
    if progress.returning is None:
        written = progress.writing["files"] if progress.writing else {}
        _refuse_changed(way, digests, {*written, FOLDER}, times=renamed)
        retract(journal, item)
        journal.write(item, "returning")
    make_folders(missing_folders(way.start.parent if way.names is None else way.start))
    back = Transfer(
        way.end,
        way.start,
        way.names,
        {r: replace(entry, text=way.texts.get(r, entry.text)) for r, entry in way.said.items()},
        {r: way.said[r].text for r in way.texts},
        way.token,
    )
    if renamed and one_disk(back):
        try:
            transfer.by_rename(back)
            return "moved back"
        except OtherDiskError:
            pass
    copies.drop_copies(way)
    there = all(os.path.lexists(pair.start) for pair in way.pairs)
    again = progress.returned is not None
    if progress.returned is None:
        journal.write(item, "returned", sha256=copies.by_copy(back, ticks))
    assert progress.returned is not None
    if kept := copies.remove_start(back, progress.returned["sha256"], again=again, times=False):
        raise PartialError(f"{way.end} stays, beside its source: {kept}", _BY_HAND)
    return "the copy is gone; its source was there" if there else "copied back"


def _end_removal(way: Transfer, digests: Mapping[str, str]) -> None:
    """Finish what a kill left of a source that was being removed after its copy."""
    leaving = [pair for pair in way.pairs if os.path.lexists(pair.leaving)]
    if leaving and (wrong := wrong_digests(way.end, digests)):
        raise PartialError(f"{way.end} is not whole any more: {some(wrong)}", _BY_HAND)
    for pair in leaving:  # all are compared before one is removed: a kill may have come before they ever were
        if wrong := differences(way.below(pair), listing(pair.leaving), partly=True):
            raise PartialError(f"{pair.leaving} was changed since it was copied: {some(wrong)}", _BY_HAND)
    for pair in leaving:
        remove(pair.leaving)


def _refuse_changed(way: Transfer, digests: Mapping[str, str], beside: set[str], *, times: bool) -> None:
    """Raise when what stands at the target, or at the source, is not what was brought.

    Parameters
    ----------
    beside : set of str
        What the program wrote beside it.
    """
    for pair in way.pairs:
        entries, texts = way.below(pair), way.texts_below(pair)
        for place, said, timed in ((pair.end, texts, times), (pair.start, {}, False)):
            if os.path.lexists(place):
                found = {r: e for r, e in listing(place).items() if r in entries or r not in beside}
                if wrong := differences(entries, found, texts=said, times=timed):
                    raise PartialError(f"{place} is not what was brought: {some(wrong)}", _BY_HAND)
    there = {r: d for r, d in digests.items() if os.path.lexists(way.end / r if r != "." else way.end)}
    if wrong := wrong_digests(way.end, there):
        raise PartialError(f"{way.end} is not what was brought: {some(wrong)}", _BY_HAND)
