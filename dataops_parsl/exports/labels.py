"""The label images of a sealed run: those kept in it, else those on scratch that are still what it saw."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.bundle import Bundle
from dataops_parsl.dataset.digest import pixels_digest
from dataops_parsl.errors import PlaceError, UsageError
from dataops_parsl.storage.pixels import array_path, open_array
from dataops_parsl.validate import record
from dataops_parsl.validate.pixels import LABELS

KEPT = "labels"
"""Folder of a bundle that keeps them: ``labels/<position>.zarr/<population>/0``."""
LabelImage = NDArray[np.uint32]


def kept_path(folder: Path, position: str, population: str) -> Path:
    """Where the array of a film lies below a folder of kept label images."""
    return folder / f"{position}.zarr" / population / "0"


@dataclass(frozen=True)
class LabelFilm:
    """The label images of a position and population, drift-corrected, each checked when it is read.

    Attributes
    ----------
    position, population : str
    digests : dict
        Frame to the first digits of its digest; frames that failed or were excluded are not there.
    path : Path
        The zarr array (T, Y, X).
    remedy : str
        How they are had again when they are gone.
    """

    position: str
    population: str
    digests: dict[int, str]
    path: Path
    remedy: str
    _opened: list[Any]

    def __getitem__(self, frame: int) -> LabelImage | None:
        """A frame (Y, X); None where the run has none.

        Raises
        ------
        PlaceError
            It is gone, or is not what the run saw.
        """
        digest = self.digests.get(frame)
        if digest is None:
            return None
        try:
            if not self._opened:
                self._opened.append(open_array(self.path, "r"))
            image: LabelImage = np.asarray(self._opened[0][frame])
        except Exception as error:  # zarr raises many kinds; all mean that it cannot be read there
            raise self._gone(frame) from error
        if not pixels_digest(image).startswith(digest):
            raise self._gone(frame)
        return image

    def _gone(self, frame: int) -> PlaceError:
        return PlaceError(
            f"the label image of {self.position}, {self.population}, frame {frame} is not in {self.path}: "
            "it was purged, or was computed otherwise since",
            self.remedy,
        )


def label_films(bundle: Bundle, scratch_root: Path) -> list[LabelFilm]:
    """The label images of a run, none of them read yet.

    Raises
    ------
    UsageError
        The run was not finished, or its record does not name them.
    """
    if not bundle.sealed:
        raise UsageError(
            f"run {bundle.id} is not finished, so that its label images are not known",
            "let it end, or start the same run again",
        )
    said = record.read(bundle.root, record.LABELS) or {}
    images = said.get("images", [])
    if not images:
        if why := said.get("reason"):
            raise UsageError(f"run {bundle.id} recorded no label images: {why}", remedy(bundle))
        raise UsageError(
            f"run {bundle.id} names no label images: its workflow makes none, or its record is damaged",
            f"python -m dataops_parsl runs show {bundle.id} says what it is, validate whether it is whole",
        )
    return list(_films(bundle, scratch_root, images))


def _films(bundle: Bundle, scratch_root: Path, images: list[dict[str, Any]]) -> Iterator[LabelFilm]:
    how = remedy(bundle)
    for image in images:
        position, population = image["position"], image["population"]
        kept = kept_path(bundle.root / KEPT, position, population)
        scratch = array_path(scratch_root / image["folder"], position, LABELS, "")
        path = kept if kept.is_dir() else scratch
        digests = {int(f): d for f, d in image["digests"].items()}
        yield LabelFilm(position, population, digests, path, how, [])


def remedy(bundle: Bundle) -> str:
    """What to do when label images of a run are gone: the command that computes and keeps them."""
    facts = bundle.facts
    starts = facts.get("starts") or [{}]
    if (bundle.root / KEPT).is_dir():
        return f"python -m dataops_parsl validate {bundle.id} says what became of those that the run keeps"
    words = _arguments(starts[-1].get("command", [])) or ["run", str(facts.get("workflow", "cytotoxicity"))]
    typed = shlex.join([*(w for w in words if w != "--keep-labels"), "--keep-labels"])
    return f"python -m dataops_parsl {typed} computes them again and keeps them in a run of its own"


def _arguments(command: list[str]) -> list[str]:
    """What was typed after the program's name, without ``--force`` and its stage."""
    words, out = list(command[1:]), []
    while words:
        word = words.pop(0)
        if word == "--force" and words:
            words.pop(0)
        elif not word.startswith("--force="):
            out.append(word)
    return out
