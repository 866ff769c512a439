"""``dataset add --append``: frames that were acquired since are taken in, all of them or none.

What is new is made ready in a hidden folder of the dataset, which becomes ``appended-<n>`` whole; it is no
part of the dataset until ``manifest.json`` is replaced, by one rename. Killed before it, the dataset is as it
was, and killed after it, as it will be; what is left over is removed when frames are appended again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataops_parsl import __version__
from dataops_parsl.dataset.digest import file_digest
from dataops_parsl.dataset.growth import Growth, Survey
from dataops_parsl.dataset.listing import find
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.plate import PlateRow, read_plate
from dataops_parsl.dataset.proposal import SourceFiles, source_files
from dataops_parsl.dataset.readers import READERS
from dataops_parsl.dataset.record import (
    APPENDED,
    APPENDED_FORMAT,
    FILES,
    MANIFEST,
    fingerprint,
    read_json,
    record_of,
    write_records,
)
from dataops_parsl.dataset.staging import (
    close_folders,
    copy_file,
    is_alive,
    is_writable,
    make_read_only,
    remove_file,
    remove_tree,
    settle,
    staged_for,
    staging,
    write_synced,
    written,
)
from dataops_parsl.dataset.taking import Check, Steps, check_all, checks, look_at, refuse_full
from dataops_parsl.errors import DatasetError
from dataops_parsl.storage.atomic import sync_folder

_STAGED = "append"


@dataclass(frozen=True)
class Appended:
    """What was taken in.

    Attributes
    ----------
    dataset : Dataset
        As it is now.
    frames : mapping
        New frames by position.
    new : tuple of str
        Positions that were not there before.
    replaced : int
        Files in whose place others came that show the same and, most often, more.
    notes : tuple of str
        What the user should know.
    """

    dataset: Dataset
    frames: Mapping[str, int]
    new: tuple[str, ...] = ()
    replaced: int = 0
    notes: tuple[str, ...] = ()


def append(
    source: Path | Sequence[Path],
    name: str,
    data_root: Path,
    *,
    exclude: Mapping[tuple[str, int], str] | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Appended:
    """Take in the frames and positions of a source that a dataset does not have yet.

    Parameters
    ----------
    source : Path or sequence of Path
        The folder that was taken in, which has grown; or one with the new files alone, numbered on. Files
        that hold whole films have to be there whole. A linked dataset grows in its own folder.
    name : str
        Of the dataset, a folder below `data_root`.
    exclude : mapping, optional
        (position, frame) to the reason for leaving that new frame out.
    workers : int, optional
        Threads; by default one a core, at most 8.
    progress : callable, optional
        Called with (steps done, steps in all), from this thread: first of what is compared, then of what is
        taken in.

    Raises
    ------
    DatasetError
        What was taken in shows something else now, or what is new is not what it should be; the message names
        file and frame.
    PlaceError
        No room, or no right to write.
    """
    root = _own_place(data_root, name)
    dataset = Dataset.open(root)
    listed = source_files(source)
    _refuse_source(dataset, listed)

    def steps(total: int) -> Steps:
        return Steps(progress, total, workers)

    growth = Survey(dataset, listed, exclude or {}, steps).growth()
    if growth is None and not leftovers(dataset) and not _left_open(dataset):
        return Appended(dataset, {})
    with staging(root, _STAGED) as staged:
        _refuse_company(root, staged)
        if read_json(root / MANIFEST) != dataset.record:
            raise DatasetError(f"{dataset.name} was appended to meanwhile", "append again")
        _tidy(dataset)
        if growth is not None:
            plate, notes = _plate(dataset, listed, growth)
            _take_in(dataset, listed, growth, plate, staged, steps)
    if growth is None:
        remove_tree(staged)
        return Appended(dataset, {})
    _commit(root, staged, root / f"{APPENDED}{dataset.n_appended + 1}")
    now = Dataset.open(root)
    _tidy(now)
    new = tuple(film.name for film in growth.films if film.name not in dataset.positions)
    return Appended(
        now, _new_frames(dataset, growth), new, len(growth.outdated), (*growth.whole.notes, *notes)
    )


def _own_place(data_root: Path, name: str) -> Path:
    """The folder of the dataset; nothing is written through a link that leads elsewhere."""
    root = find(name, data_root)
    if root.resolve() != data_root.resolve() / name:
        raise DatasetError(
            f"{root} leads to {root.resolve()}, and nothing is written through a link",
            f"take it in under another name: dataset add {root} --link --name NAME",
        )
    return root


def _new_frames(dataset: Dataset, growth: Growth) -> dict[str, int]:
    """How many there are, by position."""
    before = {film.id: film.n_frames for film in dataset.positions.values()}
    more = {film.name: film.n_frames - before.get(film.name, 0) for film in growth.films}
    return {name: n for name, n in more.items() if n}


def _refuse_source(dataset: Dataset, listed: SourceFiles) -> None:
    at, root = listed.root.resolve(), dataset.root.resolve()
    if at.is_relative_to(root) or root.is_relative_to(at):
        raise DatasetError(
            f"{listed.root} and the dataset {dataset.root} lie in each other",
            "give the folder that the microscope writes",
        )
    if dataset.link is not None and at != dataset.link.resolve():
        raise DatasetError(
            f"{dataset.name} is linked to {dataset.link}, and {listed.root} is another folder",
            f"put the new files into {dataset.link}, and append that",
        )


def _refuse_company(root: Path, staged: Path) -> None:
    """Two that append at once: at least one of them sees the other, since each says so before it looks."""
    for other in staged_for(root, _STAGED):
        if other != staged and is_alive(other):
            raise DatasetError(
                f"another command appends to {root}: {other.name} is its folder",
                "wait for it; if it runs on another machine that is gone, in two minutes it counts as dead",
            )


# --- what is staged


def _plate(
    dataset: Dataset, listed: SourceFiles, growth: Growth
) -> tuple[dict[str, PlateRow], tuple[str, ...]]:
    """The rows of new positions in the source's plate.csv; ours is the user's, and stays as it is."""
    new = [film.name for film in growth.films if film.name not in dataset.positions]
    plate = dataset.description.plate
    if not new or plate is None:
        return {}, ()
    path = listed.root / plate
    rows = read_plate(path, {*dataset.positions, *new}) if path.is_file() else {}
    lacking = [name for name in new if name not in rows]
    note = f"no row in {plate} for {', '.join(lacking)}: add it to {dataset.root / plate}"
    return {name: rows[name] for name in new if name in rows}, (note,) if lacking else ()


def _take_in(
    dataset: Dataset,
    listed: SourceFiles,
    growth: Growth,
    plate: Mapping[str, PlateRow],
    staged: Path,
    steps: Callable[[int], Steps],
) -> None:
    """Copy, check, and write what the manifest will be."""
    items = [check for check in checks(growth.films) if check.source.file in growth.carried]
    work = steps(len(growth.files) + len(items))
    folder = f"{APPENDED}{dataset.n_appended + 1}/"
    linked = dataset.link is not None

    def place(file: str) -> Path:
        return staged / file.removeprefix(folder)

    def take(item: tuple[str, str]) -> dict[str, Any]:
        file, final = item
        if linked:
            return look_at(listed.root / file)
        twin = growth.same.get(final)
        if twin is not None and _linked_to(dataset.data / twin, place(final)):
            return dataset.files[twin]
        return copy_file(listed.root / file, place(final))

    if not linked:
        refuse_full(
            staged, [listed.root / f for f, final in growth.files.items() if final not in growth.same]
        )
    pairs = list(growth.files.items())
    files = dict(zip(growth.files.values(), work.map(take, pairs), strict=True))
    reader = READERS[dataset.reader]
    at = dataset.data
    if not linked:  # named as they will lie
        at = staged
        items = [_moved(item, item.source.file.removeprefix(folder)) for item in items]
    digests = check_all(at, reader, items, dataset.description, work, growth.known)
    _write(dataset, listed, growth, plate, staged, {**growth.known, **digests}, files)
    for file in files if not linked else ():
        make_read_only(place(file))
    close_folders(staged)


def _moved(item: Check, file: str) -> Check:
    return replace(item, source=replace(item.source, file=file))


def _linked_to(twin: Path, path: Path) -> bool:
    """Give bytes that the dataset has a second name, where the file system can."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(twin, path)
    except OSError:
        return False
    return True


def _write(
    dataset: Dataset,
    listed: SourceFiles,
    growth: Growth,
    plate: Mapping[str, PlateRow],
    staged: Path,
    digests: Mapping[tuple[str, str, int], str],
    taken: Mapping[str, Mapping[str, Any]],
) -> None:
    """The records of what has grown, the list of all files, and the manifest."""
    n = dataset.n_appended + 1
    folder = f"{APPENDED}{n}/"
    said = dataset.record
    made, records = write_records(staged, growth.films, digests)
    rows = {str(row["id"]): row for row in said["positions"]}
    # where the data are linked they are not ours to remove
    outdated = [*([] if dataset.link else growth.outdated), said["files"]["path"]]
    for row in made:
        name = str(row["id"])
        if name in rows:
            outdated.append(record_of(rows[name]))
        old = {"plate": rows[name]["plate"]} if "plate" in rows.get(name, {}) else {}
        own = {"plate": asdict(plate[name])} if name in plate else old
        rows[name] = {**row, "record": folder + record_of(row), **own}
    for name, row in rows.items():
        if name not in records:
            records[name] = read_json(dataset.root / record_of(row))
    files = {f: entry for f, entry in dataset.files.items() if f not in growth.outdated} | dict(taken)
    write_synced(staged / FILES, json.dumps({"files": files}, separators=(",", ":")))
    manifest = {
        **said,
        "format": APPENDED_FORMAT,
        "fingerprint": fingerprint(dataset.pixel_size_um, dataset.channels, records),
        "positions": [rows[name] for name in sorted(rows)],
        "files": {"path": folder + FILES, "n": len(files), "size": sum(f["size"] for f in files.values()),
                  "sha256": file_digest(staged / FILES)},
        "renamed": {**said["renamed"], **growth.whole.renamed},
        "notes": list(dict.fromkeys([*said["notes"], *growth.whole.notes])),
        "first_number": growth.whole.first_number,
        "appended": [*said.get("appended", ()), {
            "at": datetime.now(UTC).isoformat(timespec="seconds"), "source": str(listed.root),
            "frames": _new_frames(dataset, growth), "tool_version": __version__}],
        "outdated": outdated,
    }  # fmt: skip
    write_synced(staged / MANIFEST, json.dumps(manifest, indent=1))
    for file in (MANIFEST, FILES, *(record_of(row) for row in made)):
        make_read_only(staged / file)


# --- how it becomes part of the dataset


def _commit(root: Path, staged: Path, final: Path) -> None:
    try:
        settle(staged, final)
        with written(root / MANIFEST):
            os.replace(final / MANIFEST, root / MANIFEST)
            sync_folder(root)
            sync_folder(final)
    except BaseException:
        for left in (staged, final):
            if left.exists() and (left / MANIFEST).exists():
                remove_tree(left)
        raise


def leftovers(dataset: Dataset) -> list[str]:
    """What commands left in a dataset's folder when they were killed, below it; it counts for nothing."""
    root = dataset.root
    found = [path for path in staged_for(root, _STAGED) if not is_alive(path)] + _uncommitted(dataset)
    found += [root / file for file in dataset.record.get("outdated", ()) if (root / file).exists()]
    return sorted(path.relative_to(root).as_posix() for path in found)


def _left_open(dataset: Dataset) -> bool:
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


def _tidy(dataset: Dataset) -> None:
    """Remove what is left over, and make read-only what was not yet."""
    for folder in _folders(dataset):
        make_read_only(folder)
    for path in _uncommitted(dataset):
        remove_tree(path)
    for file in dataset.record.get("outdated", ()):
        remove_file(dataset.root / file, dataset.root)
