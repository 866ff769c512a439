"""A position as layers of napari: a script that opens them, what it opens, and a table of tracks each.

napari's command line knows no tracks and gives all files one scale and one type; it runs a script, though.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from dataops_parsl.bundle import Bundle
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.names import SAFE
from dataops_parsl.errors import DataopsError, PlaceError, UsageError, nearest
from dataops_parsl.exports.csv_tables import csv_bytes
from dataops_parsl.exports.films import (
    FilmFacts,
    Tables,
    film_facts,
    members,
    of_film,
    of_tracks,
    populations,
)
from dataops_parsl.exports.labels import label_films
from dataops_parsl.storage.atomic import write_bytes

SCRIPT, LAYERS = "view.py", "layers.json"
_FILM = ("register_denoise.apply", "denoised")
"""Step and output that is the drift-corrected film."""
_PLACES = ["position_id", "population", "frame", "label", "y_um", "x_um"]
"""All that tracks need of `cells`, which has many columns more."""
_COLOURS = ("gray", "green", "magenta", "cyan", "yellow", "red", "blue")


@dataclass(frozen=True)
class View:
    """Layers that were written.

    Attributes
    ----------
    command : str
        What opens them.
    found : tuple of str
        What there is to see, in words.
    notes : tuple of str
        What is not there, and why.
    """

    command: str
    found: tuple[str, ...]
    notes: tuple[str, ...]


def film_of(bundle: Bundle, tables: Tables, position: str | None) -> FilmFacts:
    """A position of a run; the first one where none is named.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    films = film_facts(bundle, tables)
    if not films:
        raise UsageError(f"run {bundle.id} names no position", "let it end, or start the same run again")
    if position is None:
        return next(iter(films.values()))
    if position not in films:
        raise UsageError(
            f"run {bundle.id} has no position {position!r}{nearest(position, films)}",
            f"it has {', '.join(films)}",
        )
    return films[position]


def write_view(folder: Path, bundle: Bundle, tables: Tables, film: FilmFacts, scratch_root: Path) -> View:
    """Write what opens a position in napari into a folder, each file in the place of an earlier one.

    Raises
    ------
    PlaceError
        The folder cannot be written to.
    """
    notes: list[str] = []
    images = _images(bundle, film, scratch_root)
    if not images:
        notes.append(_no_film(bundle, film))
    labels = _labels(bundle, film, scratch_root, notes)
    tracks = list(_tracks(folder, bundle, tables, film))
    layers = {
        "run": bundle.id,
        "position": film.position,
        "scale": [1, *film.pixel_size_um],
        "images": images,
        "labels": labels,
        "tracks": tracks,
    }
    write_bytes(folder / LAYERS, (json.dumps(layers, indent=1, ensure_ascii=False) + "\n").encode())
    write_bytes(folder / SCRIPT, Path(__file__).with_name("napari_script.py").read_bytes())
    found = (
        *(f"film {layer['name']}" for layer in images),
        *(f"label images {layer['name']}" for layer in labels),
        *(f"tracks {layer['name']}" for layer in tracks),
    )
    return View(f"napari {shlex.quote(str(folder / SCRIPT))}", found, tuple(notes))


def _images(bundle: Bundle, film: FilmFacts, scratch_root: Path) -> list[dict[str, Any]]:
    """The drift-corrected film, a channel a layer, where scratch still has it."""
    step, output = _FILM
    stage, _, name = step.partition(".")
    key = bundle.facts.get("keys", {}).get(step, "")
    folder = scratch_root / bundle.facts.get("dataset", {}).get("name", "") / stage / f"{name}-{key}"
    start = f"{film.position}.{output}."
    channels = sorted(
        channel
        for path in folder.glob(f"{start}*.zarr")
        if (path / "zarr.json").is_file() and SAFE.fullmatch(channel := path.name[len(start) : -len(".zarr")])
    )
    return [
        {
            "name": channel,
            "path": str(folder / f"{start}{channel}.zarr"),
            "colour": _COLOURS[i % len(_COLOURS)],
            "shown_frame": film.n_frames // 2,
        }
        for i, channel in enumerate(channels)
    ]


def _no_film(bundle: Bundle, film: FilmFacts) -> str:
    """Where the acquired film is, since the drift-corrected one is gone."""
    said = "the drift-corrected film is not on scratch any more"
    try:
        dataset = Dataset.open(bundle.facts.get("dataset", {}).get("root", ""))
        position = dataset.position(film.position)
        frames = range(min(film.n_frames, position.n_frames))
        files = {f: None for c in position.channels for n in frames if (f := position.file(c, n))}
    except DataopsError as error:
        return f"{said}, and its dataset cannot be read: {error.message}"
    folders = dict.fromkeys(str(dataset.data / PurePosixPath(file).parent) for file in files)
    return f"{said}; as acquired, with the drift, it is in {', '.join(folders)}"


def _labels(bundle: Bundle, film: FilmFacts, scratch_root: Path, notes: list[str]) -> list[dict[str, Any]]:
    layers = []
    try:
        films = [f for f in label_films(bundle, scratch_root) if f.position == film.position]
        for labels in films:
            for frame in sorted(labels.digests)[:1]:
                labels[frame]  # refuses images that are gone, or not those of this run
            layers.append({"name": f"{labels.population} labels", "path": str(labels.path)})
    except (PlaceError, UsageError) as error:
        notes.append(f"{error.message}; {error.remedy}")
    return layers


def _tracks(folder: Path, bundle: Bundle, tables: Tables, film: FilmFacts) -> Sequence[Mapping[str, Any]]:
    """Write a table of tracks a population: ID, T in frames, Y and X in px, and the parent of the track."""
    if "tracks" not in tables or "cells" not in tables:
        return []
    layers = []
    size_y, size_x = film.pixel_size_um
    for population in populations(tables, bundle.facts):
        own = members(tables, film.position, population)
        parents = of_tracks(tables, film.position, population, "parent_track_id")
        cells = of_film(tables["cells"].select(_PLACES), film.position, population).to_pylist()
        where = {(c["frame"], c["label"]): (c["y_um"] / size_y, c["x_um"] / size_x) for c in cells}
        rows = sorted(zip(own.track_id.tolist(), own.frame.tolist(), own.label.tolist(), strict=True))
        there = {track for track, _, _ in rows}
        table = pa.table(
            {
                "ID": [track for track, _, _ in rows],
                "T": [frame for _, frame, _ in rows],
                "Y": [where[frame, label][0] for _, frame, label in rows],
                "X": [where[frame, label][1] for _, frame, label in rows],
                "parent": [p if (p := parents.get(track)) in there else None for track, _, _ in rows],
            }
        )
        name = f"tracks_{population}.csv"
        write_bytes(folder / name, csv_bytes(table))
        layers.append({"name": f"{population} tracks", "file": name})
    return layers
