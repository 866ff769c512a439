"""Whether what lies in a folder is one film to the dataset readers, and where one ends and another begins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dataops_parsl.dataset.readers import Hints, detect, ome_zarr, tiff_pages
from dataops_parsl.dataset.readers.patterns import propose_pattern
from dataops_parsl.dataset.readers.tiff import is_tiff
from dataops_parsl.errors import DatasetError
from dataops_parsl.migration.tree import Folder

MIN_FRAMES = 2
POSITION = re.compile(
    r"(?:p|pos|position|xy|s|scene|series|field|fov|view|well|w|tile|site)[ _-]?\d+|[A-P]\d{1,2}(?:[ _-].*)?",
    re.IGNORECASE,
)
"""Names of folders that are positions of one film rather than films of their own."""
EXPERIMENT = re.compile(
    r"(?:exp|experiment|run|day|donor|patient|rep|replicate|plate|assay)[ _-]?\d*(?:$|[ _-].*)"
    r"|.*\d{6,8}.*|.*\d{4}-\d\d-\d\d.*",
    re.IGNORECASE,
)
"""Names of folders that are films of their own even where each holds one channel only."""
PLAIN = re.compile(
    r"raw([ _-]?(data|films?|images?|tiffs?))?|data|films?|movies?|images?|imgs?|tiffs?|tifs?|stacks?"
    r"|original|input|zarr",
    re.IGNORECASE,
)
"""Names that say nothing about an experiment: the folder above is asked."""


@dataclass(frozen=True)
class Film:
    """What the readers found.

    Parameters
    ----------
    reader : str
        The file format.
    n_positions, n_frames : int
        Fields of view; frames of the longest.
    channels : tuple of str
        Of the first position.
    """

    reader: str
    n_positions: int
    n_frames: int
    channels: tuple[str, ...]

    def __str__(self) -> str:
        positions = f"{self.n_positions} position{'s' * (self.n_positions > 1)}"
        return f"{self.reader}, {positions}, {self.n_frames} frames, {', '.join(self.channels)}"


def film_files(folder: Folder, names: Sequence[str]) -> list[str]:
    """The files of some children of a folder as the readers list them: below it, hidden folders left out."""
    found = [name for name in names if name in folder.files]
    for name in names:
        inner = folder.folders.get(name)
        if inner is not None and not name.startswith("."):
            visible = [n for n in (*inner.files, *inner.folders) if n in inner.files or not n.startswith(".")]
            found += [f"{name}/{file}" for file in film_files(inner, visible)]
    return sorted(found)


def film_in(folder: Folder, names: Sequence[str], *, top: bool = False) -> Film | None:
    """One film in some children of a folder; None where there is none, or several.

    Parameters
    ----------
    top : bool
        The folder is the older tree itself.

    Raises
    ------
    DatasetError
        It looks like a film, and the reader says what is wrong with it.
    """
    files = film_files(folder, names)
    tiffs = [file for file in files if is_tiff(file)]
    images = ome_zarr.images(folder.path, files)
    if bool(images) == bool(tiffs):
        return None
    units = [PurePosixPath(each).parent.as_posix() for each in images or tiffs]
    if images or tiff_pages.is_film(folder.path / tiffs[0], len(tiffs)):
        if not _belong(set(units), channels=False, top=top):
            return None
    else:
        pattern = propose_pattern(tiffs)
        if pattern is None or not _belong(set(units), channels="{channel}/" in pattern, top=top):
            return None
    return _scanned(folder.path, images, files)


def _scanned(root: Path, images: Sequence[str], files: Sequence[str]) -> Film | None:
    if images:  # a chunk is no file to scan
        files = [f for f in files if f.rsplit("/", 1)[-1] in (".zattrs", "zarr.json", ".zarray", ".zgroup")]
    reader = detect(root, files, Hints())
    found = reader.scan(root, files, Hints())
    n_frames = max((len(c.frames) for position in found for c in position.channels.values()), default=0)
    if n_frames < MIN_FRAMES:
        return None
    return Film(reader.NAME, len(found), n_frames, tuple(found[0].channels))


def _belong(units: set[str], *, channels: bool, top: bool) -> bool:
    """Whether the folders that hold the files are positions or channels of one film.

    Parameters
    ----------
    units : set of str
        Those folders, below the one that is asked about.
    channels : bool
        The last folder of each names a channel.
    top : bool
        The folder that is asked about is the older tree itself, which seldom is one film.
    """
    firsts = {unit.split("/")[0] for unit in units}
    if "." in units:
        return len(units) == 1
    if all(POSITION.fullmatch(first) for first in firsts):
        return True
    apart = any(EXPERIMENT.fullmatch(first) or PLAIN.fullmatch(first) for first in firsts)
    if any("/" in unit for unit in units) or apart:
        return False
    return not top if len(units) == 1 else channels


def why_not(error: DatasetError) -> str:
    """The first line of what a reader says."""
    return error.message.splitlines()[0]
