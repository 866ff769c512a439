"""Ways as the journal holds them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from dataops_parsl.migration.journal import Line
from dataops_parsl.migration.listing import from_json
from dataops_parsl.migration.transfer import Transfer, missing_folders


def token(key: str, plan: Path) -> str:
    """Tells the hidden names of an item from those of other items and plans."""
    return hashlib.blake2b(f"{plan}\n{key}".encode(), digest_size=4).hexdigest()


def one_disk(way: Transfer) -> bool:
    """Whether start and end are on one file system, as far as its number tells."""
    return os.stat(existing(way.start.parent)).st_dev == os.stat(existing(way.end.parent)).st_dev


def to_json(way: Transfer) -> Line:
    """What the journal says of a way, with the folders that are made for it."""
    made = missing_folders(way.end.parent if way.names is None else way.end)
    return {
        "source": str(way.start),
        "target": str(way.end),
        "names": way.names,
        "said": {relative: entry.to_json() for relative, entry in way.said.items()},
        "texts": dict(way.texts),
        "token": way.token,
        "folders": [str(folder) for folder in made],
    }


def way_of(line: Line) -> Transfer:
    """From what the journal says."""
    names = None if line["names"] is None else tuple(line["names"])
    start, end = Path(line["source"]), Path(line["target"])
    return Transfer(start, end, names, from_json(line["said"]), line["texts"], line["token"])


def folders_of(line: Line) -> list[Path]:
    """The folders that are made for an item, outermost first."""
    return [Path(folder) for folder in line["folders"]]


def existing(folder: Path) -> Path:
    """The nearest folder upwards that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder
