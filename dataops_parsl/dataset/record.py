"""The JSON files of a dataset: how they are named, written and read."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataops_parsl import __version__
from dataops_parsl.dataset.assemble import Assembled, Film
from dataops_parsl.dataset.description import DatasetDescription
from dataops_parsl.dataset.digest import file_digest
from dataops_parsl.dataset.readers import Source
from dataops_parsl.dataset.staging import make_read_only, write_synced
from dataops_parsl.errors import DatasetError

MANIFEST = "manifest.json"
FILES = "manifest_files.json"
FOLDER = "manifest"
FORMAT = 1
APPENDED_FORMAT = 2
"""Of a dataset to which frames were appended: its parts lie in several folders."""
APPENDED = "appended-"
"""What is appended lies whole in a folder of this name and a number, records and data alike."""

# of a frame: (position, channel, frame)
Digests = Mapping[tuple[str, str, int], str]


def fingerprint(
    pixel_size_um: tuple[float, float], channels: tuple[str, ...], positions: Mapping[str, Mapping[str, Any]]
) -> str:
    """Sha256 over what was acquired: frame checksums, time stamps, pixel size, channel names.

    Parameters
    ----------
    positions : mapping
        Position to its record (``time_s`` and ``channels`` are read).
    """
    said = {
        "pixel_size_um": [float(size) for size in pixel_size_um],
        "channels": sorted(channels),
        "positions": {
            name: {
                "time_s": [float(time) for time in record["time_s"]],
                "sha": {c: [f and f["sha"] for f in record["channels"][c]] for c in sorted(channels)},
            }
            for name, record in sorted(positions.items())
        },
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def is_own(file: str) -> bool:
    """Whether a file's path is one that the program gives to its own."""
    return (
        file in (MANIFEST, FILES)
        or file.startswith(f"{FOLDER}/")
        or re.match(rf"{APPENDED}\d+/", file) is not None
    )


def lost_manifest(root: Path) -> bool:
    """Whether the manifest of a folder is gone that was a dataset: other files of the program are there."""
    if os.path.lexists(root / MANIFEST):
        return False
    own = [root / FILES, root / FOLDER, *root.glob(f"{APPENDED}*")]
    return any(path.exists() and is_own(path.name + "/" * path.is_dir()) for path in own)


def record_of(row: Mapping[str, Any]) -> str:
    """The path of a position's own record."""
    return str(row.get("record", f"{FOLDER}/{row['id']}.json"))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    DatasetError
        It is gone or damaged.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}", "restore it from a copy, or add the data anew"
        ) from error
    return found


def write_manifest(
    staged: Path,
    name: str,
    reader: str,
    whole: Assembled,
    said: DatasetDescription,
    digests: Digests,
    files: Mapping[str, Mapping[str, Any]],
    link: Path | None,
    source: Path,
) -> None:
    """Write the manifest into a staged dataset, read-only.

    Parameters
    ----------
    digests : mapping
        Checksum of every frame that was acquired and not excluded.
    files : mapping
        Data file to its ``size`` and ``sha256``.
    link : Path or None
        Where the data files stay, when they were not copied.
    """
    rows, records = write_records(staged, whole.films, digests)
    own = [record_of(row) for row in rows]
    write_synced(staged / FILES, json.dumps({"files": files}, separators=(",", ":")))
    channels = tuple(said.channels)
    manifest = {
        "format": FORMAT,
        "name": name,
        "reader": reader,
        "fingerprint": fingerprint(said.pixel_size_um, channels, records),
        "pixel_size_um": said.pixel_size_um,
        "frame_interval_s": said.frame_interval_s,
        "z_projection": said.z_projection,
        "channels": channels,
        "positions": rows,
        "files": {"path": FILES, "n": len(files), "size": sum(f["size"] for f in files.values()),
                  "sha256": file_digest(staged / FILES)},
        "link": str(link) if link else None,
        "source": str(source),
        "first_number": whole.first_number,
        "renamed": whole.renamed,
        "notes": whole.notes,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "tool_version": __version__,
    }  # fmt: skip
    write_synced(staged / MANIFEST, json.dumps(manifest, indent=1))
    for file in (MANIFEST, FILES, *own):
        make_read_only(staged / file)


def write_records(
    folder: Path, films: Sequence[Film], digests: Digests
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Write the records of positions.

    Returns
    -------
    rows : list
        What the manifest says of each.
    records : dict
        By position.
    """
    rows, records = [], {}
    for film in films:
        records[film.name] = _record(film, digests)
        path = folder / FOLDER / f"{film.name}.json"
        write_synced(path, json.dumps(records[film.name], separators=(",", ":")))
        rows.append(
            {
                "id": film.name,
                "n_frames": film.n_frames,
                "shape_px": film.shape_px,
                "sha256": file_digest(path),
            }
        )
    return rows, records


def _record(film: Film, digests: Digests) -> dict[str, Any]:
    def entry(channel: str, frame: int, source: Source | None) -> dict[str, Any] | None:
        if source is None:
            return None
        said = {key: value for key, value in asdict(source).items() if value != ()}
        return {**said, "sha": digests[film.name, channel, frame]}

    return {
        "shape_px": film.shape_px,
        "n_frames": film.n_frames,
        "dtypes": dict(film.dtypes),
        "time_s": list(film.time_s),
        "sample_frames": film.sample_frames,
        "excluded": dict(film.excluded),
        "channels": {
            c: [entry(c, t, source) for t, source in enumerate(frames)] for c, frames in film.frames.items()
        },
    }
