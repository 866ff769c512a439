"""What `add` and `append` share: work in threads on the files to take, and on the frames in them."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dataops_parsl.dataset.assemble import Film, pixel_fault
from dataops_parsl.dataset.description import DatasetDescription
from dataops_parsl.dataset.digest import file_digest, pixels_digest
from dataops_parsl.dataset.proposal import SourceFiles
from dataops_parsl.dataset.readers import Reader, Source
from dataops_parsl.dataset.record import is_own
from dataops_parsl.errors import DatasetError, PlaceError

MAX_FAULTS = 20
"""So many frames are named in one message."""
_CHANGED = "shows another picture than the one that was taken in"
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Check:
    """One frame to decode; `empty` when it must hold nothing."""

    film: Film
    channel: str
    frame: int
    source: Source
    empty: bool


class Steps:
    """Runs a function over items in threads, in order, a bounded window at a time, and counts."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int, workers: int | None) -> None:
        self._progress = progress or (lambda done, total: None)
        self._total = total
        self._done = 0
        self._workers = workers or min(8, os.cpu_count() or 1)

    def map(self, work: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
        stop = threading.Event()

        def unless_stopped(item: _Item) -> _Result | None:
            return None if stop.is_set() else work(item)

        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for result in pool.map(unless_stopped, items):
                    self._done += 1
                    self._progress(self._done, self._total)
                    yield result  # type: ignore[misc]  # None only after the caller has gone
            finally:
                stop.set()


def files_to_take(listed: SourceFiles, films: Sequence[Film]) -> list[str]:
    """The files that films are made of: those of their frames, and folders that are theirs whole.

    Raises
    ------
    DatasetError
        One is called like a file of the program.
    """
    folders = tuple(f"{film.folder}/" for film in films if film.folder)
    used = {source.file for film in films for frames in film.frames.values() for source in frames if source}
    taken = [file for file in listed.files if file in used or (folders and file.startswith(folders))]
    for file in taken:
        if is_own(file):
            raise DatasetError(f"{listed.root / file} has the name of a file of the program", "rename it")
    return taken


def look_at(path: Path) -> dict[str, Any]:
    """Size and sha256 of a file that stays where it is.

    Raises
    ------
    DatasetError
        It cannot be read.
    """
    try:
        return {"size": path.stat().st_size, "sha256": file_digest(path)}
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}", "mend its rights") from error


def refuse_full(staged: Path, files: Sequence[Path]) -> None:
    """Refuse to copy what there is no room for.

    Raises
    ------
    PlaceError
    """
    need = sum(file.stat().st_size for file in files)
    free = shutil.disk_usage(staged).free
    if need > free:
        raise PlaceError(
            f"{staged.parent} has {free / 1e9:.2f} GB free, and {need / 1e9:.2f} GB are to be copied",
            "free space, or leave the files where they are: --link",
        )


def checks(films: Sequence[Film]) -> list[Check]:
    """All frames of films, and those that must be empty."""
    found = []
    for film in films:
        for channel, frames in film.frames.items():
            for frame, source in enumerate(frames):
                if source is not None:
                    found.append(Check(film, channel, frame, source, empty=False))
        for channel, empty in film.empty.items():
            for frame, source in empty.items():
                found.append(Check(film, channel, frame, source, empty=True))
    return found


def check_all(
    at: Path,
    reader: Reader,
    items: Sequence[Check],
    said: DatasetDescription,
    steps: Steps,
    known: Mapping[tuple[str, str, int], str] | None = None,
) -> dict[tuple[str, str, int], str]:
    """Decode frames, and return their digests by (position, channel, frame).

    Parameters
    ----------
    at : Path
        Folder that their sources lie in.
    known : mapping, optional
        Digests of frames that were taken in before, and must show the same.

    Raises
    ------
    DatasetError
        It names up to twenty frames that cannot be right.
    """
    before = known or {}

    def check(item: Check) -> tuple[str, str]:
        labels = bool(said.channels[item.channel].labels)
        try:
            pixels = reader.read(at, item.source, said.z_projection)
            lost = [] if labels or item.empty else reader.lost_chunks(at, item.source)
        except DatasetError as error:
            return "", error.message.replace(f"{at}{os.sep}", "")
        if item.empty:
            return "", "holds pixels, but dataset.toml says it was not acquired" if pixels.any() else ""
        if lost:
            return "", f"the chunk {lost[0]} is not there, and would be read as zeros"
        digest = pixels_digest(pixels)
        if digest != before.get((item.film.name, item.channel, item.frame), digest):
            return "", _CHANGED
        return digest, pixel_fault(pixels, item.film, item.channel, labels)

    digests: dict[tuple[str, str, int], str] = {}
    faults: list[str] = []
    changed = False
    for item, (digest, fault) in zip(items, steps.map(check, items), strict=False):
        if fault:
            where = (
                f"position {item.film.name}, channel {item.channel}, frame {item.frame} ({item.source.file})"
            )
            faults.append(f"  - {where}: {fault}")
            changed |= fault == _CHANGED
            if len(faults) == MAX_FAULTS:
                break
        elif not item.empty:
            digests[item.film.name, item.channel, item.frame] = digest
    if faults:
        raise DatasetError(
            "nothing was taken in, since these frames cannot be right:\n" + "\n".join(faults),
            "put back what was taken in before, or add the data anew under another name"
            if changed
            else "mend the files, or leave the frames out: --exclude position:frame",
        )
    return digests
