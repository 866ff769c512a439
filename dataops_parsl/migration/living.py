"""Scratch and datasets of this program's layout in an older tree are not taken from under a living run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from dataops_parsl.dataset.record import MANIFEST
from dataops_parsl.migration.tree import Folder
from dataops_parsl.storage.users import RUNS, live_users

_SCRATCH = "scratch"
"""Where the scratch of datasets lies beside their folder, when the configuration does not say otherwise."""


def scratches_in(top: Folder) -> list[Path]:
    """The scratch of datasets in a tree that runs have worked on."""
    return [folder.path for folder in top.walk() if RUNS in folder.folders]


def why_in_use(place: Path, scratches: Iterable[Path], *, whole: bool) -> str:
    """Why a living run needs something where it is, or nothing.

    Parameters
    ----------
    place : Path
        Of scratch, of a part of it, or of a dataset, which is in use by the runs on the scratch of its name.
    scratches : iterable of Path
        What else may be scratch.
    whole : bool
        All of `place` is meant, not some of its children.
    """
    for scratch in (place, *place.parents):
        for user in live_users(scratch):
            return f"the living run {user.run} works in {scratch}"
    for scratch in _of(place, scratches) if whole else ():
        for user in live_users(scratch):
            return f"the living run {user.run} needs it, and works in {scratch}"
    return ""


def _of(place: Path, scratches: Iterable[Path]) -> Iterator[Path]:
    is_dataset = (place / MANIFEST).is_file()
    for scratch in scratches:
        if scratch.is_relative_to(place) or (is_dataset and scratch.name == place.name):
            yield scratch
    if is_dataset:
        yield place.parent.parent / _SCRATCH / place.name
