"""Tracks and masks in the format of the Cell Tracking Challenge.

``<position>_<population>_RES/{mask000.tif, …, res_track.txt}``: in a mask a pixel is the number of its
track, in ``res_track.txt`` a line is a track: number, first frame, last frame, number of its parent or 0.
A track of the challenge has an object in every frame from its first to its last. One of ours that closes
over a gap goes on after it under a number of its own, whose parent is the part before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from dataops_parsl.bundle import Bundle
from dataops_parsl.errors import RejectedError, UsageError
from dataops_parsl.exports.films import FilmFacts, Members, Tables, film_facts, members, of_tracks
from dataops_parsl.exports.films import require as require_tables
from dataops_parsl.exports.labels import LabelFilm
from dataops_parsl.exports.target import new_folder, readme_head, write_readme

TRACKS = "res_track.txt"
_MOST = int(np.iinfo(np.uint16).max)


def export_ctc(
    target: Path, bundle: Bundle, tables: Tables, films: Sequence[LabelFilm], notes: list[str]
) -> str:
    """Write a folder a position and population into a new folder; returns what it holds, in words.

    Raises
    ------
    UsageError
        The run does not track, or a film has more tracks than masks of 16 bit can name.
    PlaceError
        Label images are gone.
    RejectedError
        Label images and tables do not fit together.
    """
    require_tables(bundle, tables, ("tracks",), "tracks")
    facts = film_facts(bundle, tables)
    numbered = [_numbered(film, tables) for film in films]
    with new_folder(target) as folder:
        for film, numbers in zip(films, numbered, strict=True):
            own = folder / f"{film.position}_{film.population}_RES"
            own.mkdir()
            _write_masks(own, film, facts[film.position], numbers)
            text = "".join(f"{' '.join(map(str, line))}\n" for line in numbers.lines.tolist())
            (own / TRACKS).write_text(text, encoding="ascii")
        write_readme(folder, _readme(bundle, notes, sum(n.n_parts for n in numbered)))
    return f"{len(films)} folders of masks and tracks"


class _Numbered(NamedTuple):
    """A film's objects, what their pixels become, and the lines of ``res_track.txt``."""

    own: Members
    number: NDArray[np.int64]
    lines: NDArray[np.int64]

    @property
    def n_parts(self) -> int:
        """Lines that go on after a gap."""
        return len(self.lines) - len(set(self.own.track_id.tolist()))


def _numbered(film: LabelFilm, tables: Tables) -> _Numbered:
    own = members(tables, film.position, film.population)
    parents = of_tracks(tables, film.position, film.population, "parent_track_id")
    number, lines = number_tracks(own, parents)
    if len(lines) and int(lines[:, 0].max()) > _MOST:
        raise UsageError(
            f"{film.position}, {film.population} has {int(lines[:, 0].max())} tracks, parts after gaps "
            f"counted; masks of the challenge are 16 bit and name {_MOST} at most",
            "run fewer frames (--frames), or export the tables and the label images: --csv, --labels",
        )
    return _Numbered(own, number, lines)


def number_tracks(own: Members, parents: Mapping[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each object the number of its track, or of the part of it after a gap.

    Parameters
    ----------
    own : Members
    parents : mapping of track to the track that divided into it

    Returns
    -------
    number : (n,) int64
        Of each object. A track's part before any gap has the track's own number; other parts have numbers
        above all tracks.
    lines : (m, 4) int64
        Number, first frame, last frame, parent or 0, in order of numbers.
    """
    number = np.zeros(len(own.frame), np.int64)
    next_number = int(own.track_id.max(initial=0)) + 1
    rows: list[list[int]] = []
    last: dict[int, list[int]] = {}
    for at in np.lexsort((own.frame, own.track_id)).tolist():
        frame, track = int(own.frame[at]), int(own.track_id[at])
        before = last.get(track)
        if before is None:
            last[track] = [track, frame, frame, -parents.get(track, 0)]
            rows.append(last[track])
        elif frame > before[2] + 1:
            last[track] = [next_number, frame, frame, before[0]]
            rows.append(last[track])
            next_number += 1
        last[track][2] = frame
        number[at] = last[track][0]
    for row in rows:
        if row[3] < 0:  # the parent's last part, whatever its number
            row[3] = last[-row[3]][0] if -row[3] in last else 0
    return number, np.array(sorted(rows), np.int64).reshape(-1, 4)


def _write_masks(folder: Path, film: LabelFilm, facts: FilmFacts, numbers: _Numbered) -> None:
    digits = max(3, len(str(facts.n_frames - 1)))
    starts = np.searchsorted(numbers.own.frame, np.arange(facts.n_frames + 1))
    for frame in range(facts.n_frames):
        here = slice(starts[frame], starts[frame + 1])
        image = film[frame]
        if image is None:
            mask = np.zeros(facts.shape_px, np.uint16)
        else:
            mask = _renumbered(image, numbers.own.label[here], numbers.number[here])
        seen = np.bincount(mask.reshape(-1), minlength=_MOST + 1) > 0
        lost = numbers.number[here][~seen[numbers.number[here]]]
        if len(lost):
            raise RejectedError(
                f"{film.position}, {film.population}, frame {frame}: {len(lost)} tracked objects are not "
                "in the label image, which is what the run saw",
                "python -m dataops_parsl validate RUN says what is wrong with the run",
            )
        tifffile.imwrite(folder / f"mask{frame:0{digits}d}.tif", mask, compression="zlib")


def _renumbered(
    image: NDArray[np.uint32], labels: NDArray[np.int64], numbers: NDArray[np.int64]
) -> NDArray[np.uint16]:
    """The image with each label replaced by its number; labels without one become background."""
    if int(image.max(initial=0)) > 4 * image.size:  # given labels may be far apart: no list of all numbers
        found, flat = np.unique(image, return_inverse=True)
        image = flat.reshape(image.shape).astype(np.uint32)
        labels = np.searchsorted(found, labels).astype(np.int64)
    names = np.zeros(max(int(image.max(initial=0)), int(labels.max(initial=0))) + 1, np.uint16)
    names[labels] = numbers
    renumbered: NDArray[np.uint16] = names[image]
    return renumbered


def _readme(bundle: Bundle, notes: list[str], gaps: int) -> list[str]:
    return [
        *readme_head(bundle, notes),
        "<position>_<population>_RES: a result of the Cell Tracking Challenge, 2D, frames from 0.",
        "mask*.tif: 16 bit, zlib; a pixel is the number of its track, 0 is background. The masks are",
        "drift-corrected: they lie on the drift-corrected film.",
        f"{TRACKS}: number, first frame, last frame, number of the parent or 0. The numbers are the tables'",
        "track_id; a track that closes over a gap goes on after it under a number above them, with the part",
        f"before as its parent, since the format knows no gaps: {gaps} such parts here.",
    ]
