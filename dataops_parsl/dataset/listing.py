"""Which datasets there are, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.names import SAFE
from dataops_parsl.dataset.record import MANIFEST, lost_manifest
from dataops_parsl.errors import DataopsError, DatasetError, nearest


@dataclass(frozen=True)
class DatasetRow:
    """A line of ``dataset list``; null where the dataset cannot be opened.

    Attributes
    ----------
    positions, frames : int or None
        Fields of view; their frames together.
    size_bytes : int or None
        Of the data files, wherever they are.
    fingerprint : str or None
        Its first 12 digits.
    linked : bool
        The data files lie outside.
    legacy : bool
        It is only below the legacy root.
    problem : str
        Why it cannot be opened, or nothing.
    """

    name: str
    root: Path
    positions: int | None = None
    frames: int | None = None
    channels: tuple[str, ...] = ()
    size_bytes: int | None = None
    fingerprint: str | None = None
    linked: bool = False
    legacy: bool = False
    problem: str = ""


def list_datasets(data_root: Path, legacy_root: Path | None = None) -> list[DatasetRow]:
    """All datasets below `data_root`, then those that are only below `legacy_root`, each by name."""
    rows: dict[str, DatasetRow] = {}
    for root in _roots(data_root, legacy_root):
        for folder in sorted(root.iterdir()) if root.is_dir() else []:
            if folder.name not in rows and folder.is_dir() and SAFE.fullmatch(folder.name):
                rows[folder.name] = replace(_row(folder), legacy=root == legacy_root)
    return list(rows.values())


def find(name: str, data_root: Path, legacy_root: Path | None = None) -> Path:
    """The folder of a dataset.

    Parameters
    ----------
    legacy_root : Path, optional
        Looked in where `data_root` has no such dataset.

    Raises
    ------
    DatasetError
        There is none of that name; the message names those there are.
    """
    if SAFE.fullmatch(name):
        for root in _roots(data_root, legacy_root):
            if (root / name).is_dir():
                return root / name
    there = [row.name for row in list_datasets(data_root, legacy_root)]
    places = " or ".join(str(root) for root in _roots(data_root, legacy_root))
    known = f"there are {', '.join(there)}" if there else "there are none yet"
    raise DatasetError(
        f"there is no dataset {name!r} below {places}{nearest(name, there)}; {known}",
        "'dataset demo' writes a synthetic one, 'dataset add FOLDER --name NAME' takes in your own",
    )


def _roots(data_root: Path, legacy_root: Path | None) -> Iterator[Path]:
    yield data_root
    if legacy_root is not None:
        yield legacy_root


def _row(folder: Path) -> DatasetRow:
    if lost_manifest(folder):
        return DatasetRow(folder.name, folder, problem=f"its {MANIFEST} is gone: restore it from a copy")
    if not (folder / MANIFEST).is_file():
        return DatasetRow(folder.name, folder, problem="never taken in: 'dataset add'")
    try:
        dataset = Dataset.open(folder)
    except DataopsError as error:
        return DatasetRow(folder.name, folder, problem=error.message)
    return DatasetRow(
        name=folder.name,
        root=folder,
        positions=len(dataset.positions),
        frames=sum(position.n_frames for position in dataset.positions.values()),
        channels=dataset.channels,
        size_bytes=int(dataset.record["files"]["size"]),
        fingerprint=dataset.fingerprint[:12],
        linked=dataset.link is not None,
    )
