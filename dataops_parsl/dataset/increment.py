"""What an append makes ready: new files, checked, the records of what has grown, the next manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataops_parsl import __version__
from dataops_parsl.dataset.digest import file_digest
from dataops_parsl.dataset.growth import Growth
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.plate import PlateRow
from dataops_parsl.dataset.proposal import SourceFiles
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
from dataops_parsl.dataset.staging import close_folders, copy_file, make_read_only, write_synced
from dataops_parsl.dataset.taking import Check, Steps, check_all, checks, look_at, refuse_full


def new_frames(dataset: Dataset, growth: Growth) -> dict[str, int]:
    """How many there are, by position."""
    before = {film.id: film.n_frames for film in dataset.positions.values()}
    more = {film.name: film.n_frames - before.get(film.name, 0) for film in growth.films}
    return {name: n for name, n in more.items() if n}


def take_in(
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
    gone = set(growth.outdated)
    files = {f: entry for f, entry in dataset.files.items() if f not in gone} | dict(taken)
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
            "frames": new_frames(dataset, growth), "tool_version": __version__}],
        "outdated": outdated,
    }  # fmt: skip
    write_synced(staged / MANIFEST, json.dumps(manifest, indent=1))
    for file in (MANIFEST, FILES, *(record_of(row) for row in made)):
        make_read_only(staged / file)
