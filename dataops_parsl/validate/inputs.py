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
    record: Mapping[str, Any], place: Path | str, failed: Collection[tuple[str, int]] = ()
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
    """
    n = sum(len(p["frames"]) for p in record["positions"].values())
    expected = f"{n} frames {_UNCHANGED}"
    if isinstance(place, str):
        return [Check(what, expected, place, "not checked") for what in (RECORDED, BYTES)]
    try:
        dataset = Dataset.open(place)
        problems, todo, left_out = _compare(record, dataset)
    except DatasetError as error:
        return [Check(RECORDED, expected, error.message, "failed")]
    found = f"{len(todo)} frames of {dataset.name} are {_UNCHANGED}"
    whole = [at for at in todo if at not in failed]
    passed = f"; {len(todo) - len(whole)} that the run lists as failed are passed over" if failed else ""
    if left_out:
        found += f"; {left_out} were excluded since and are not compared"
    if (more := sum(p.n_frames for p in dataset.positions.values()) - n) > 0:
        found += f"; {more} more are there now"
    return [
        check(RECORDED, expected, problems, found),
        check(BYTES, expected, _damaged(dataset, whole, record["channels"]), f"{len(whole)} frames{passed}"),
    ]


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
