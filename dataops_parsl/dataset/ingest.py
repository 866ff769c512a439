"""``dataset add``: take a film in, checked frame by frame, whole or not at all."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from dataops_parsl.dataset.assemble import Film, assemble, pixel_fault
from dataops_parsl.dataset.description import (
    FILE_NAME,
    DatasetDescription,
    Projection,
    load_description,
    parse_description,
)
from dataops_parsl.dataset.digest import file_digest, pixels_digest
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.names import check_name
from dataops_parsl.dataset.plate import read_plate, read_times
from dataops_parsl.dataset.proposal import Proposal, SourceFiles, propose, propose_for, source_files
from dataops_parsl.dataset.readers import Hints, Reader, Source, detect
from dataops_parsl.dataset.record import FILES, FOLDER, MANIFEST, write_manifest
from dataops_parsl.dataset.staging import copy_file, incoming, make_read_only, refuse_existing, write_synced
from dataops_parsl.errors import DatasetError, PlaceError

__all__ = ["Proposal", "add", "propose"]

_MAX_FAULTS = 20
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Description:
    text: str
    said: DatasetDescription
    folder: Path


@dataclass(frozen=True)
class _Check:
    """One frame to decode; `empty` when it must hold nothing."""

    film: Film
    channel: str
    frame: int
    source: Source
    empty: bool


def add(
    source: Path | Sequence[Path],
    name: str,
    data_root: Path,
    *,
    link: bool = False,
    description: Path | None = None,
    exclude: Mapping[tuple[str, int], str] | None = None,
    z_projection: Projection | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Take a film in as a dataset.

    Parameters
    ----------
    source : Path or sequence of Path
        A folder, an OME-Zarr image, or files.
    name : str
        Of the dataset; its folder below `data_root`.
    link : bool
        Leave the data files where they are; they are never written to.
    description : Path, optional
        A ``dataset.toml``; without it the one in the source folder counts.
    exclude : mapping, optional
        (position, frame) to the reason for leaving that frame out.
    z_projection : "max" or "mean", optional
        How Z stacks become images, where ``dataset.toml`` does not say.
    workers : int, optional
        Threads that copy, decode and checksum; by default one a core, at most 8.
    progress : callable, optional
        Called with (steps done, steps in all), from this thread.

    Raises
    ------
    DatasetError
        The data are not what they should be, the name is taken, or what only the experimenter knows was
        not said; the message names the file and frame, or holds a ``dataset.toml`` to complete.
    PlaceError
        No room, or no right to write.
    """
    check_name(name, "dataset")
    refuse_existing(data_root / name)
    listed = source_files(source)
    if Path(os.path.abspath(data_root)).is_relative_to(listed.root):
        raise DatasetError(f"{data_root} lies inside {listed.root}", "take in the folder of one film")
    given = _description(description, listed, z_projection)
    declared = tuple(channel.found_as or name for name, channel in given.said.channels.items())
    hints = Hints(given.said.pattern, given.said.axes, declared)
    reader = detect(listed.root, listed.files, hints)
    found = reader.scan(listed.root, listed.files, hints)
    times = read_times(given.folder / given.said.times, given.said.channels) if given.said.times else None
    whole = assemble(found, given.said, exclude or {}, times, str(listed.root))
    if given.said.plate:
        read_plate(given.folder / given.said.plate, {film.name for film in whole.films})
    taken = _files_to_take(listed, whole.films)
    steps = _Steps(progress, len(taken) + sum(1 for _ in _checks(whole.films)), workers)
    with incoming(data_root, name) as staged:
        if not link:
            _refuse_full(staged, listed, taken)
        files = _take_files(listed.root, staged, taken, link, steps)
        at = listed.root if link else staged
        digests = _check_all(at, reader, whole.films, given.said, steps)
        at_link = listed.root if link else None
        write_manifest(staged, name, reader.NAME, whole, given.said, digests, files, at_link, listed.root)
        _write(staged, given, {} if link else files)
    return Dataset.open(data_root / name)


class _Steps:
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


def _description(path: Path | None, listed: SourceFiles, z_projection: Projection | None) -> _Description:
    """The description that counts, with the projection from the command line written into it."""
    own = listed.root / FILE_NAME
    if path is None and not own.is_file():
        reader = detect(listed.root, listed.files, Hints())
        proposal = propose_for(reader, reader.scan(listed.root, listed.files, Hints()), listed)
        asked = "\n".join(f"  - {question}" for question in (*proposal.questions, *proposal.warnings))
        raise DatasetError(
            f"{listed.root} has no {FILE_NAME}, and the files do not say:\n{asked}\n"
            f"This is what they do say, as a {FILE_NAME} to complete:\n\n{proposal.text}",
            f"save that text, fill it in, and give it: --description {FILE_NAME}",
        )
    path = path or own
    said = load_description(path)
    text = path.read_text(encoding="utf-8-sig")
    if z_projection is not None and z_projection != said.z_projection:
        if said.z_projection is not None:
            raise DatasetError(
                f'{path} says z_projection = "{said.z_projection}", the command line {z_projection!r}',
                "say one of them",
            )
        text = f'z_projection = "{z_projection}"   # given to dataset add\n{text}'
        said = parse_description(text, str(path))
    folder = path.parent
    for key, file in (("plate", said.plate), ("times", said.times)):
        if file is not None and (PurePosixPath(file).name != file or not (folder / file).is_file()):
            raise DatasetError(
                f"{path}: {key} = {file!r} is no file beside it", "put the file there, or drop the key"
            )
    return _Description(text, said, folder)


def _files_to_take(listed: SourceFiles, films: Sequence[Film]) -> list[str]:
    folders = tuple(f"{film.folder}/" for film in films if film.folder)
    used = {source.file for film in films for frames in film.frames.values() for source in frames if source}
    taken = [file for file in listed.files if file in used or (folders and file.startswith(folders))]
    for file in taken:
        if file in (MANIFEST, FILES) or file.startswith(f"{FOLDER}/"):
            raise DatasetError(f"{listed.root / file} has the name of a file of the program", "rename it")
    return taken


def _refuse_full(staged: Path, listed: SourceFiles, taken: Sequence[str]) -> None:
    need = sum((listed.root / file).stat().st_size for file in taken)
    free = shutil.disk_usage(staged).free
    if need > free:
        raise PlaceError(
            f"{staged.parent} has {free / 1e9:.2f} GB free, and {need / 1e9:.2f} GB are to be copied",
            "free space, or leave the files where they are: --link",
        )


def _take_files(
    root: Path, staged: Path, taken: Sequence[str], link: bool, steps: _Steps
) -> dict[str, dict[str, Any]]:
    def take(file: str) -> dict[str, Any]:
        if not link:
            return copy_file(root / file, staged / file)
        try:
            return {"size": (root / file).stat().st_size, "sha256": file_digest(root / file)}
        except OSError as error:
            raise DatasetError(f"{root / file} cannot be read: {error}", "mend its rights") from error

    return dict(zip(taken, steps.map(take, taken), strict=True))


def _checks(films: Sequence[Film]) -> Iterator[_Check]:
    for film in films:
        for channel, frames in film.frames.items():
            for frame, source in enumerate(frames):
                if source is not None:
                    yield _Check(film, channel, frame, source, empty=False)
        for channel, empty in film.empty.items():
            for frame, source in empty.items():
                yield _Check(film, channel, frame, source, empty=True)


def _check_all(
    at: Path, reader: Reader, films: Sequence[Film], said: DatasetDescription, steps: _Steps
) -> dict[tuple[str, str, int], str]:
    """Decode every frame, and return its digest by (position, channel, frame)."""

    def check(item: _Check) -> tuple[str, str]:
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
        return pixels_digest(pixels), pixel_fault(pixels, item.film, item.channel, labels)

    digests: dict[tuple[str, str, int], str] = {}
    faults: list[str] = []
    items = list(_checks(films))
    for item, (digest, fault) in zip(items, steps.map(check, items), strict=False):
        if fault:
            where = (
                f"position {item.film.name}, channel {item.channel}, frame {item.frame} ({item.source.file})"
            )
            faults.append(f"  - {where}: {fault}")
            if len(faults) == _MAX_FAULTS:
                break
        elif not item.empty:
            digests[item.film.name, item.channel, item.frame] = digest
    if faults:
        raise DatasetError(
            "nothing was taken in, since these frames cannot be right:\n" + "\n".join(faults),
            "mend the files, or leave the frames out: --exclude position:frame",
        )
    return digests


def _write(staged: Path, given: _Description, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Add the description, which stays writable; the copied data do not."""
    for file in (given.said.plate, given.said.times):
        if file is not None:
            copy_file(given.folder / file, staged / file)
    write_synced(staged / FILE_NAME, given.text)
    for file in files:
        make_read_only(staged / file)
