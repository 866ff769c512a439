"""``dataset add``: take a film in, checked frame by frame, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dataops_parsl.dataset.assemble import assemble
from dataops_parsl.dataset.description import (
    FILE_NAME,
    DatasetDescription,
    Projection,
    load_description,
    parse_description,
)
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.names import check_name
from dataops_parsl.dataset.plate import read_plate, read_times
from dataops_parsl.dataset.proposal import Proposal, SourceFiles, propose, propose_for, source_files
from dataops_parsl.dataset.readers import Hints, detect
from dataops_parsl.dataset.record import APPENDED_FORMAT, MANIFEST, read_json, write_manifest
from dataops_parsl.dataset.staging import (
    close_folders,
    copy_file,
    incoming,
    make_read_only,
    refuse_existing,
    write_synced,
)
from dataops_parsl.dataset.taking import Steps, check_all, checks, files_to_take, look_at, refuse_full
from dataops_parsl.errors import DatasetError

__all__ = ["Proposal", "add", "propose"]


@dataclass(frozen=True)
class _Description:
    text: str
    said: DatasetDescription
    folder: Path


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
    _refuse_appended(listed.root, data_root)
    given = _description(description, listed, z_projection)
    declared = tuple(channel.found_as or name for name, channel in given.said.channels.items())
    hints = Hints(given.said.pattern, given.said.axes, declared)
    reader = detect(listed.root, listed.files, hints)
    found = reader.scan(listed.root, listed.files, hints)
    times = read_times(given.folder / given.said.times, given.said.channels) if given.said.times else None
    whole = assemble(found, given.said, exclude or {}, times, str(listed.root))
    if given.said.plate:
        read_plate(given.folder / given.said.plate, {film.name for film in whole.films})
    taken = files_to_take(listed, whole.films)
    frames = checks(whole.films)
    steps = Steps(progress, len(taken) + len(frames), workers)
    with incoming(data_root, name) as staged:
        if not link:
            refuse_full(staged, [listed.root / file for file in taken])
        files = _take_files(listed.root, staged, taken, link, steps)
        at = listed.root if link else staged
        digests = check_all(at, reader, frames, given.said, steps)
        at_link = listed.root if link else None
        write_manifest(staged, name, reader.NAME, whole, given.said, digests, files, at_link, listed.root)
        _write(staged, given, {} if link else files)
    return Dataset.open(data_root / name)


def _refuse_appended(root: Path, data_root: Path) -> None:
    """A dataset to which frames were appended lies in several folders, of which a reader would see one."""
    if (root / MANIFEST).is_file() and read_json(root / MANIFEST).get("format") == APPENDED_FORMAT:
        raise DatasetError(
            f"{root} is a dataset itself, to which frames were appended",
            f"copy it: cp -a {root} {data_root}/",
        )


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


def _take_files(
    root: Path, staged: Path, taken: Sequence[str], link: bool, steps: Steps
) -> dict[str, dict[str, Any]]:
    def take(file: str) -> dict[str, Any]:
        return look_at(root / file) if link else copy_file(root / file, staged / file)

    return dict(zip(taken, steps.map(take, taken), strict=True))


def _write(staged: Path, given: _Description, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Add the description, which stays writable; the copied data do not."""
    for file in (given.said.plate, given.said.times):
        if file is not None:
            copy_file(given.folder / file, staged / file)
    write_synced(staged / FILE_NAME, given.text)
    for file in files:
        make_read_only(staged / file)
    close_folders(staged)
