"""Label images as OME-Zarr 0.5: ``<position>.zarr/<population>``, an image (t, y, x) of labels each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from dataops_parsl import __version__
from dataops_parsl.bundle import Bundle
from dataops_parsl.exports.films import FilmFacts, Tables, film_facts
from dataops_parsl.exports.labels import LabelFilm, kept_path
from dataops_parsl.exports.target import new_folder, readme_head, write_readme

OME_VERSION = "0.5"
_SHARD_BYTES = 2**27
"""Of pixels before compression: what is held in memory, and in one file."""


class Labels(Protocol):
    """Label images by frame."""

    def __getitem__(self, frame: int) -> NDArray[Any] | None:
        """A frame (Y, X); None where there is none."""


def export_labels(
    target: Path, bundle: Bundle, tables: Tables, films: Sequence[LabelFilm], notes: list[str]
) -> str:
    """Write all label images into a new folder; returns what it holds, in words."""
    facts = film_facts(bundle, tables)
    with new_folder(target) as folder:
        write_labels(folder, {(f.position, f.population): f for f in films}, facts, bundle.id)
        write_readme(folder, _readme(bundle, notes))
    return f"label images of {len(films)} films"


def _readme(bundle: Bundle, notes: list[str]) -> list[str]:
    return [
        *readme_head(bundle, notes),
        "<position>.zarr/<population>: label images as OME-Zarr 0.5 (zarr 3), axes t, y, x; 0 is background,",
        "any other value the label of an object in that frame, as in the tables' column `label`. They are",
        "drift-corrected. Frames that failed or were excluded are empty, and are listed in the attribute",
        "dataops_parsl.missing_frames. To look at one: napari --plugin napari-ome-zarr FOLDER, with the",
        "package napari-ome-zarr; or zarr.open_array('<position>.zarr/<population>/0').",
    ]


def write_labels(
    folder: Path, films: Mapping[tuple[str, str], Labels], facts: Mapping[str, FilmFacts], run: str
) -> None:
    """Write the label images of all positions and populations below a folder.

    Parameters
    ----------
    films : mapping of (position, population) to label images by frame
    facts : mapping of position to FilmFacts
    run : str
        Id of the run, for the attributes.
    """
    by_position = itertools.groupby(sorted(films), key=lambda key: key[0])
    for position, keys in by_position:
        names = [population for _, population in keys]
        zarr.create_group(
            folder / f"{position}.zarr", attributes={"ome": {"version": OME_VERSION, "labels": names}}
        )
        for population in names:
            _write_film(folder, films[position, population], facts[position], population, run)


def _write_film(folder: Path, labels: Labels, film: FilmFacts, population: str, run: str) -> None:
    height, width = film.shape_px
    frames_a_shard = max(1, min(film.n_frames, _SHARD_BYTES // (4 * height * width)))
    path = kept_path(folder, film.position, population)
    group = zarr.create_group(path.parent)
    array = zarr.create_array(
        store=path,
        shape=(film.n_frames, height, width),
        chunks=(1, height, width),
        shards=(frames_a_shard, height, width),
        dtype="uint32",
        compressors=[ZstdCodec(level=3)],
        chunk_key_encoding={"name": "default", "separator": "."},
        fill_value=0,
        dimension_names=("t", "y", "x"),
    ).with_config({"write_empty_chunks": True})
    missing: list[int] = []
    for start in range(0, film.n_frames, frames_a_shard):
        block = np.zeros((min(frames_a_shard, film.n_frames - start), height, width), np.uint32)
        for at in range(len(block)):
            image = labels[start + at]
            if image is None:
                missing.append(start + at)
            else:
                block[at] = image
        array[start : start + len(block)] = block
    # Last, so that an image that looks whole is whole.
    group.attrs.update(_attributes(film, population, missing, run))


def _attributes(film: FilmFacts, population: str, missing: list[int], run: str) -> dict[str, Any]:
    size_y, size_x = film.pixel_size_um
    return {
        "ome": {
            "version": OME_VERSION,
            "multiscales": [
                {
                    "name": population,
                    "axes": [
                        {"name": "t", "type": "time", "unit": "second"},
                        {"name": "y", "type": "space", "unit": "micrometer"},
                        {"name": "x", "type": "space", "unit": "micrometer"},
                    ],
                    "datasets": [
                        {
                            "path": "0",
                            "coordinateTransformations": [
                                {"type": "scale", "scale": [film.interval_s, size_y, size_x]}
                            ],
                        }
                    ],
                }
            ],
            "image-label": {},
        },
        "dataops_parsl": {
            "version": __version__,
            "run": run,
            "position": film.position,
            "population": population,
            "time_s": list(film.time_s),
            "missing_frames": missing,
            "drift_corrected": True,
        },
    }
