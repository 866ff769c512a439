"""What is written beside files at their new place: the manifest of a dataset, the record of older results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from dataops_parsl.bundle import FORMAT as RUN_FORMAT
from dataops_parsl.bundle import MANIFEST as SEAL
from dataops_parsl.bundle import RECORD, now
from dataops_parsl.dataset import ingest
from dataops_parsl.dataset.description import FILE_NAME
from dataops_parsl.dataset.digest import file_digest
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.record import FILES, FOLDER, MANIFEST, read_json
from dataops_parsl.dataset.staging import make_read_only, walk, write_synced
from dataops_parsl.errors import DatasetError
from dataops_parsl.migration.copying import remove
from dataops_parsl.storage.atomic import place_errors, sync_folder

MIGRATED = "migrated"
"""Status of older results in the record that is written for them."""
Note = Callable[[Mapping[str, str]], None]
"""Called with what is about to be written, file to sha256, before anything is."""


def take_in(folder: Path, description: Path | None, source: Path, token: str, note: Note) -> Dataset:
    """Make a dataset of the films in a folder of the data root, where they lie.

    They are taken in as by ``dataset add --link``, under a hidden name; what that wrote is then moved beside
    them, the manifest last and saying that the data are its own.

    Parameters
    ----------
    folder : Path
        Holds the films under the name that the dataset gets.
    description : Path, optional
        A ``dataset.toml``; without it the one in the folder counts.
    source : Path
        Where they lay; the manifest says so.

    Raises
    ------
    DatasetError
        The films are not what they should be, or what only the experimenter knows was not said.
    """
    for name in (MANIFEST, FILES, FOLDER):
        if os.path.lexists(folder / name):
            raise DatasetError(f"{folder / name} has the name of a file of the program", "rename it")
    aside = aside_of(folder, token)
    remove(aside)
    try:
        with place_errors(aside):
            aside.mkdir()
        made = ingest.add(folder, folder.name, aside, link=True, description=description)
        _own(made, folder, source)
        new = [
            file
            for file in walk(made.root)
            if file not in (MANIFEST,) and _is_new(made.root / file, folder / file)
        ]
        files = [*new, MANIFEST]
        note({file: file_digest(made.root / file) for file in files})
        with place_errors(folder):
            for file in files:
                (folder / file).parent.mkdir(exist_ok=True)
                os.rename(made.root / file, folder / file)
            for place in (folder / FOLDER, folder):
                sync_folder(place)
    finally:
        remove(aside)
    dataset = Dataset.open(folder)
    home = os.path.realpath(folder)
    for file in dataset.files:
        path = Path(os.path.realpath(folder / file))
        # Else a file elsewhere would change too: by a link, or by its other name.
        if path.is_relative_to(home) and os.stat(path).st_nlink == 1:
            make_read_only(path)
    return dataset


def aside_of(folder: Path, token: str) -> Path:
    """Where a dataset is made before its files are moved beside its data."""
    return folder.with_name(f".{folder.name}.{token}.taking-in")


def _own(made: Dataset, folder: Path, source: Path) -> None:
    """Let the manifest say that the data lie beside it, with every file that came along.

    What links out of the folder lead to, or links that lead nowhere, did not come along.
    """
    files = dict(made.files)
    words = {FILE_NAME, made.description.plate, made.description.times}
    for file in walk(folder, inside=True):
        if file not in files and file not in words:
            files[file] = {"size": (folder / file).stat().st_size, "sha256": file_digest(folder / file)}
    listed, manifest = made.root / FILES, made.root / MANIFEST
    for path in (listed, manifest):
        path.chmod(0o644)
    write_synced(listed, json.dumps({"files": files}, separators=(",", ":")))
    said = read_json(manifest)
    said["files"] |= {
        "n": len(files),
        "size": sum(f["size"] for f in files.values()),
        "sha256": file_digest(listed),
    }
    write_synced(manifest, json.dumps(said | {"link": None, "source": str(source)}, indent=1))
    for path in (listed, manifest):
        make_read_only(path)


def _is_new(made: Path, there: Path) -> bool:
    """Whether a file is not there yet; another one of its name is never overwritten."""
    if not os.path.lexists(there):
        return True
    if file_digest(made) == file_digest(there):
        return False
    raise DatasetError(
        f"{there} is another file than the {there.name} beside the description", "keep one of the two"
    )


def digests_of(folder: Path) -> dict[str, str]:
    """The sha256 of every file of a folder."""
    return {file: file_digest(folder / file) for file in walk(folder)}


def record_results(folder: Path, source: Path, token: str, note: Note) -> None:
    """Let ``runs`` show older results for what they are; a record of their own is left as it is."""
    if not folder.is_dir() or any((folder / name).exists() for name in (RECORD, SEAL)):
        return
    said = {
        "format": RUN_FORMAT,
        "run": folder.name.removeprefix("run_"),
        "workflow": folder.parent.name,
        "status": MIGRATED,
        "migrated_from": str(source),
        "migrated_at": now(),
    }
    text = json.dumps(said, indent=1, ensure_ascii=False) + "\n"
    aside = aside_of(folder, token)
    with place_errors(folder):
        write_synced(aside, text)
        note({RECORD: file_digest(aside)})
        os.rename(aside, folder / RECORD)
        sync_folder(folder)
