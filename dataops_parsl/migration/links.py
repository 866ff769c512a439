"""What symbolic links inside an item say at its new place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dataops_parsl.migration.listing import Listing, at


def new_texts(
    source: Path, names: tuple[str, ...] | None, said: Listing, moved: Mapping[Path, Path]
) -> dict[str, str]:
    """Texts of those links that have to say something else to lead where they led.

    A link that leads inside its item is relative afterwards; one that leads outside is absolute, and follows
    what it leads to where that is moved too.

    Parameters
    ----------
    source : Path
        Of the item, without links in it.
    names : tuple of str, optional
        Only these of the folder belong to the item.
    moved : mapping
        Where else files and folders go.
    """
    texts = {}
    for relative, entry in said.items():
        if entry.kind != "link":
            continue
        folder = at(source, relative).parent
        leads = destination(folder, entry.text)
        if _inside(leads, source, names):
            stays = not os.path.isabs(entry.text) and _steps_up(entry.text) <= relative.count("/")
            text = entry.text if stays else os.path.relpath(leads, folder)
        else:
            text = str(follow(leads, moved))
        if text != entry.text:
            texts[relative] = text
    return texts


def destination(folder: Path, text: str) -> Path:
    """Where a link that lies in a folder leads; the links on the way to it are followed, it itself is not."""
    place = os.path.normpath(folder / text)
    try:
        return Path(os.path.realpath(os.path.dirname(place)), os.path.basename(place))
    except OSError:
        return Path(place)


def follow(place: Path, moved: Mapping[Path, Path]) -> Path:
    """Where a path is when all that moves has moved."""
    for start, end in moved.items():
        if place == start or place.is_relative_to(start):
            return end / place.relative_to(start)
    return place


def _steps_up(text: str) -> int:
    return os.path.normpath(text).split(os.sep).count(os.pardir)


def _inside(place: Path, source: Path, names: tuple[str, ...] | None) -> bool:
    if place == source or not place.is_relative_to(source):
        return place == source and names is None
    return names is None or place.relative_to(source).parts[0] in names
