"""What a run read of its dataset: recorded frame by frame, and compared with the dataset as it is now."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dataops_parsl.dataset.digest import file_digest
from dataops_parsl.dataset.listing import find
from dataops_parsl.dataset.manifest import Dataset, Position
from dataops_parsl.dataset.record import MANIFEST
from dataops_parsl.errors import DatasetError
from dataops_parsl.storage.parts import fingerprint
from dataops_parsl.validate.checks import Check, check
from dataops_parsl.validate.ranges import ranges

_DIGITS = 16
RECORDED, BYTES = "input: frames", "input: bytes"
_UNCHANGED = "as this run read them"
_UNREADABLE = (DatasetError, OSError, KeyError, IndexError, TypeError, ValueError, AttributeError)
"""What a dataset raises whose record is gone, or is not what was written."""


def recorded_inputs(dataset: Dataset, frames: Mapping[str, Iterable[int]]) -> dict[str, Any]:
    """What a run read, small enough for thousands of frames.

    Parameters
    ----------
    dataset : Dataset
    frames : mapping of position to frames
        That were read.

    Returns
    -------
    dict
        JSON-like: a digest of 16 digits a frame, over its time stamp and the checksums of its channels.
        So frames that are appended later change nothing that is recorded here.
    """
    positions = {}
    for name, numbers in frames.items():
        film = dataset.position(name)
        positions[name] = {
            "shape_px": list(film.shape_px),
            "n_frames": film.n_frames,
            "excluded": {str(f): film.excluded[f] for f in sorted(numbers) if f in film.excluded},
            "frames": {
                str(f): _digest(film, f, film.channels) for f in sorted(numbers) if f not in film.excluded
            },
        }
    return {
        "format": 1,
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "pixel_size_um": list(dataset.pixel_size_um),
        "channels": list(dataset.channels),
        "positions": positions,
    }


def _digest(film: Position, frame: int, channels: Iterable[str]) -> str:
    sums = [[c, film.raw_digest(c, frame)] for c in sorted(channels)]
    return fingerprint([film.times[frame], sums])[:_DIGITS]


def locate(facts: Mapping[str, Any], data_root: Path, legacy_root: Path | None) -> Path | str:
    """The folder of the dataset that a run read, or why there is none.

    It is looked for where the run read it, then under this project's data root by its name.
    """
    said = facts.get("dataset", {})
    if (root := Path(said.get("root", ""))).is_absolute() and (root / MANIFEST).is_file():
        return root
    try:
        return find(str(said.get("name", "")), data_root, legacy_root)
    except DatasetError as error:
        return error.message


def check_inputs(
    record: Mapping[str, Any],
    place: Path | str,
    failed: Collection[tuple[str, int]] = (),
    read_at: str = "",
) -> list[Check]:
    """Compare the dataset with what a run read of it; frames appended since are no fault.

    Parameters
    ----------
    record : mapping
        From `recorded_inputs`.
    place : Path or str
        The dataset's folder, or why there is none.
    failed : collection of (position, frame)
        Frames that the run lists as failed: it may not have been able to read them.
    read_at : str
        Where the run read the dataset. One that lies elsewhere was found by its name alone, and may be
        another.
    """
    n = sum(len(p["frames"]) for p in record["positions"].values())
    expected = f"{n} frames {_UNCHANGED}"
    if isinstance(place, str):
        return [Check(what, expected, place, "not checked") for what in (RECORDED, BYTES)]
    try:
        dataset = Dataset.open(place)
        problems, todo, left_out = _compare(record, dataset)
    except _UNREADABLE as error:
        return [Check(RECORDED, expected, _said(error, place), "failed")]
    if n and not todo and _is_another(record, dataset, read_at):
        found = f"{place} is another dataset of the name {dataset.name}: it has none of these frames"
        return [Check(what, expected, found, "not checked") for what in (RECORDED, BYTES)]
    found = f"{len(todo)} frames of {dataset.name} are {_UNCHANGED}"
    whole = [at for at in todo if at not in failed]
    passed = f"; {len(todo) - len(whole)} that the run lists as failed are passed over" if failed else ""
    if left_out:
        found += f"; {left_out} were excluded since and are not compared"
    if more := _appended(record, dataset):
        found += f"; {more} more are there now"
    try:
        damaged = _damaged(dataset, whole, record["channels"])
    except _UNREADABLE as error:
        damaged = [_said(error, place)]
    return [
        check(RECORDED, expected, problems, found),
        check(BYTES, expected, damaged, f"{len(whole)} frames{passed}"),
    ]


def _said(error: Exception, place: Path) -> str:
    """Why a dataset cannot be compared; its record is input, of which anything may be gone or damaged."""
    if isinstance(error, DatasetError):
        return error.message
    return f"the record of {place} is damaged: {type(error).__name__}: {error}"


def _is_another(record: Mapping[str, Any], dataset: Dataset, read_at: str) -> bool:
    """Whether a dataset is only called like the one that was read, in which frames that match are none."""
    return bool(read_at) and Path(read_at) != dataset.root and dataset.fingerprint != record["fingerprint"]


def _appended(record: Mapping[str, Any], dataset: Dataset) -> int:
    """Frames that films have more than when they were read; 0 where that was not recorded."""
    said = {p: entry["n_frames"] for p, entry in record["positions"].items() if "n_frames" in entry}
    return sum(max(0, film.n_frames - said.get(p, film.n_frames)) for p, film in dataset.positions.items())


def _compare(record: Mapping[str, Any], dataset: Dataset) -> tuple[list[str], list[tuple[str, int]], int]:
    """What the dataset's own record says otherwise; the frames to be read; how many are excluded now."""
    problems: list[str] = []
    todo: list[tuple[str, int]] = []
    left_out = 0
    if list(dataset.pixel_size_um) != record["pixel_size_um"]:
        problems.append(f"the pixel size is {list(dataset.pixel_size_um)} µm, was {record['pixel_size_um']}")
    for name, said in record["positions"].items():
        if name not in dataset.positions:
            problems.append(f"position {name} is gone")
            continue
        film, other = dataset.position(name), []
        if list(film.shape_px) != said["shape_px"]:
            problems.append(f"{name} has frames of {film.shape_px} px, had {tuple(said['shape_px'])}")
        for frame, digest in ((int(f), d) for f, d in said["frames"].items()):
            if frame in film.excluded:
                left_out += 1
            elif frame >= film.n_frames or _digest(film, frame, record["channels"]) != digest:
                other.append(frame)
            else:
                todo.append((name, frame))
        if other:
            problems.append(f"{name}, frame {ranges(other)}: not what this run read")
    return problems, todo, left_out


def _damaged(dataset: Dataset, frames: list[tuple[str, int]], channels: Iterable[str]) -> list[str]:
    """What of the bytes that hold these frames is not as it was taken in.

    A file of another content is decoded, and so is what is no single file: frames may have been appended
    to it, which changes neither what was read of it nor how long it is at least.
    """
    holds: dict[str, list[tuple[str, int, str]]] = {}
    for position, frame in frames:
        for channel in channels:
            if (file := dataset.position(position).file(channel, frame)) is not None:
                holds.setdefault(file, []).append((position, frame, channel))

    def look(item: tuple[str, list[tuple[str, int, str]]]) -> list[str]:
        file, held = item
        said = dataset.files.get(file)
        if said is not None and _same(dataset.data / file, said["sha256"]):
            return []
        wrong = [words for at in held if (words := _unreadable(dataset, *at))]
        if not wrong and said is not None and (dataset.data / file).stat().st_size <= said["size"]:
            wrong = [f"{dataset.data / file} was changed since it was taken in, though it shows the same"]
        return wrong

    dataset.files  # noqa: B018 - read once, before threads ask for it
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return [words for many in pool.map(look, holds.items()) for words in many]


def _same(path: Path, sha256: str) -> bool:
    try:
        return file_digest(path) == sha256
    except OSError:
        return False


def _unreadable(dataset: Dataset, position: str, frame: int, channel: str) -> str:
    try:
        dataset.position(position).read(channel, frame)
    except DatasetError as error:
        return error.message
    return ""
