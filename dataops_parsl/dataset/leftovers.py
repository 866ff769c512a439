"""What a command that appended left behind when it was killed, and how it is cleaned up."""

from __future__ import annotations

from pathlib import Path

from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.record import APPENDED
from dataops_parsl.dataset.staging import (
    is_alive,
    is_writable,
    make_read_only,
    remove_file,
    remove_tree,
    staged_for,
)

STAGED = "append"
"""Names the hidden folder in which an append makes ready what it takes in."""


def leftovers(dataset: Dataset) -> list[str]:
    """What commands left in a dataset's folder when they were killed, below it; it counts for nothing."""
    root = dataset.root
    found = [path for path in staged_for(root, STAGED) if not is_alive(path)] + _uncommitted(dataset)
    found += [root / file for file in dataset.record.get("outdated", ()) if (root / file).exists()]
    return sorted(path.relative_to(root).as_posix() for path in found)


def left_open(dataset: Dataset) -> bool:
    """Whether a folder was left writable or empty."""
    root = dataset.root
    outdated = {(root / file).parent for file in dataset.record.get("outdated", ())} - {root}
    folders = [folder for folder in {*outdated, *_folders(dataset)} if folder.is_dir()]
    return any(is_writable(folder) or not any(folder.iterdir()) for folder in folders)


def _folders(dataset: Dataset) -> list[Path]:
    """The folders with what was appended; one is gone when nothing in it is needed any more."""
    numbered = (dataset.root / f"{APPENDED}{i + 1}" for i in range(dataset.n_appended))
    return [folder for folder in numbered if folder.is_dir()]


def _uncommitted(dataset: Dataset) -> list[Path]:
    """Such folders that did not become part of the dataset."""
    numbers = {path: path.name.removeprefix(APPENDED) for path in dataset.root.glob(f"{APPENDED}*")}
    return [path for path, n in numbers.items() if n.isdigit() and int(n) > dataset.n_appended]


def tidy(dataset: Dataset) -> None:
    """Remove what is left over, and make read-only what was not yet."""
    for folder in _folders(dataset):
        make_read_only(folder)
    for path in _uncommitted(dataset):
        remove_tree(path)
    for file in dataset.record.get("outdated", ()):
        remove_file(dataset.root / file, dataset.root)
