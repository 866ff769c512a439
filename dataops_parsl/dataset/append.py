"""``dataset add --append``: frames that were acquired since are taken in, all of them or none.

What is new is made ready in a hidden folder of the dataset, which becomes ``appended-<n>`` whole; it is no
part of the dataset until ``manifest.json`` is replaced, by one rename. Killed before it, the dataset is as it
was, and killed after it, as it will be; what is left over is removed when frames are appended again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataops_parsl.dataset.description import FILE_NAME, Projection
from dataops_parsl.dataset.growth import Growth, Survey
from dataops_parsl.dataset.increment import new_frames, take_in
from dataops_parsl.dataset.leftovers import STAGED, left_open, leftovers, tidy
from dataops_parsl.dataset.listing import find
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.plate import PlateRow, read_plate
from dataops_parsl.dataset.proposal import SourceFiles, source_files
from dataops_parsl.dataset.record import APPENDED, MANIFEST, read_json
from dataops_parsl.dataset.staging import is_alive, remove_tree, settle, staged_for, staging, written
from dataops_parsl.dataset.taking import Steps
from dataops_parsl.errors import DatasetError
from dataops_parsl.storage.atomic import sync_folder


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
    if growth is None and not leftovers(dataset) and not left_open(dataset):
        return Appended(dataset, {})
    with staging(root, STAGED) as staged:
        _refuse_company(root, staged)
        _refuse_changed(dataset)
        tidy(dataset)
        if growth is None:
            return Appended(dataset, {})
        plate, notes = _plate(dataset, listed, growth)
        take_in(dataset, listed, growth, plate, staged, steps)
        _commit(dataset, staged)
    now = Dataset.open(root)
    tidy(now)
    new = tuple(film.name for film in growth.films if film.name not in dataset.positions)
    replaced = len({*growth.outdated, *(dataset.files.keys() & growth.files.values())})
    return Appended(now, new_frames(dataset, growth), new, replaced, (*growth.whole.notes, *notes))


def holds(
    source: Path | Sequence[Path],
    name: str,
    data_root: Path,
    *,
    link: bool = False,
    description: Path | None = None,
    exclude: Mapping[tuple[str, int], str] | None = None,
    z_projection: Projection | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Whether a dataset is what `add` would make of a source: of the same folder and words, with nothing new.

    So a command that was killed right after its work can be given again.
    """
    root = data_root / name
    if not (root / MANIFEST).is_file():
        return False
    dataset, listed = Dataset.open(root), source_files(source)
    said = description or listed.root / FILE_NAME
    if (
        dataset.record["source"] != str(listed.root)
        or (dataset.link is not None) != link
        or z_projection not in (None, dataset.record["z_projection"])
        or not said.is_file()
    ):
        return False
    if not (root / FILE_NAME).read_text().endswith(said.read_text(encoding="utf-8-sig")):
        return False
    try:
        return Survey(dataset, listed, exclude or {}, lambda n: Steps(progress, n, None)).growth() is None
    except DatasetError:  # another film: `add` says that the name is taken
        return False


def _own_place(data_root: Path, name: str) -> Path:
    """The folder of the dataset; nothing is written through a link that leads elsewhere."""
    root = find(name, data_root)
    if root.resolve() != data_root.resolve() / name:
        raise DatasetError(
            f"{root} leads to {root.resolve()}, and nothing is written through a link",
            f"take it in under another name: dataset add {root} --link --name NAME",
        )
    return root


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
    for other in staged_for(root, STAGED):
        if other != staged.parent and is_alive(other):
            raise DatasetError(
                f"another command appends to {root}: {other.name} is its folder",
                "wait for it; if it runs on another machine that is gone, in two minutes it counts as dead",
            )


def _refuse_changed(dataset: Dataset) -> None:
    if read_json(dataset.root / MANIFEST) != dataset.record:
        raise DatasetError(f"{dataset.name} was appended to meanwhile", "append again")


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


def _commit(dataset: Dataset, staged: Path) -> None:
    root = dataset.root
    final = root / f"{APPENDED}{dataset.n_appended + 1}"
    _refuse_changed(dataset)
    with written(staged):
        ours = staged.stat().st_ino
    try:
        settle(staged, final)
        _refuse_changed(dataset)  # by one that took this command for dead: it was stopped for minutes
        with written(root / MANIFEST):
            os.replace(final / MANIFEST, root / MANIFEST)
            sync_folder(root)
            sync_folder(final)
    except BaseException:
        if (final / MANIFEST).exists() and final.stat().st_ino == ours:
            remove_tree(final)
        raise
