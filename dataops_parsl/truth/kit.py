"""The truth of a simulated dataset as files: beside the dataset, since it is no input.

``.truth/<dataset>/`` holds ``<position>.<table>.parquet`` for each table of `TABLES`,
``<position>.masks.npz`` with the true label images of a few frames, and the scenes of the dataset.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dataops_parsl.algorithms.shift import NAMES, Shift, apply, invert
from dataops_parsl.errors import InputMissingError
from dataops_parsl.storage.atomic import write_bytes
from dataops_parsl.storage.parts import parquet_bytes
from dataops_parsl.tables import Rows
from dataops_parsl.truth import comparison, evidence, scores
from dataops_parsl.truth.film import POPULATIONS, Film, labels

TABLES = ("objects", "contacts", "deaths", "drift", "cases", "lineage")
SCENES = "scenes.toml"
N_MASKS = 5
"""Frames whose true label images are kept."""
Found = Callable[[str, str, int], NDArray[np.uint32] | None]
"""Found label image (Y, X) of position, population and frame, registered; None where there is none."""


def truth_folder(data_root: Path, name: str) -> Path:
    """Where the truth of a simulated dataset lies."""
    return data_root / ".truth" / name


def write_truth(folder: Path, position: str, film: Film) -> None:
    """Write the truth tables of one position."""
    for table in TABLES:
        write_bytes(_path(folder, position, table), parquet_bytes(pa.table(getattr(film, table)())))
    write_bytes(folder / f"{position}.masks.npz", _masks(film))


def _masks(film: Film) -> bytes:
    frames = np.unique(np.linspace(0, film.scene.n_frames - 1, N_MASKS).round().astype(int))
    images = [labels(film, frame) for frame in frames.tolist()]
    buffer = io.BytesIO()
    stacks: dict[str, Any] = {p: np.stack([i[p] for i in images]) for p in POPULATIONS}
    np.savez_compressed(buffer, frame=frames, **stacks)
    return buffer.getvalue()


def read_truth(folder: Path, position: str) -> dict[str, Rows]:
    """The truth tables of one position.

    Raises
    ------
    InputMissingError
        Where one is not there, or was written before tables had the columns of now.
    """
    paths = {table: _path(folder, position, table) for table in TABLES}
    missing = [path for path in paths.values() if not path.exists()]
    if missing:
        raise InputMissingError(
            f"{missing[0]} is not there, so {position} cannot be scored",
            "simulate the dataset anew under another name: dataset simulate SCENES --name NAME",
        )
    return {table: Rows(pq.read_table(path)) for table, path in paths.items()}


def score(
    folder: Path,
    tables: Mapping[str, pa.Table],
    shapes_px: Mapping[str, tuple[int, int]],
    conditions: Mapping[str, str | None],
    pixel_size_um: tuple[float, float],
    masks: Found | None = None,
) -> pa.Table:
    """Score published tables, see `comparison.table`.

    Parameters
    ----------
    folder : Path
        From `truth_folder`.
    tables : mapping
        The published tables; ``frames``, and ``cells`` with tracks, are needed, others scored where they are.
    shapes_px, conditions : mapping of position to height and width of the field, and to its condition
    pixel_size_um : y, x
    masks : callable
        See `Found`; without it masks are not scored.
    """
    found: dict[str, evidence.Evidence] = {}
    for position, shape_px in shapes_px.items():
        own = {
            name: Rows(table.filter(pc.equal(table["position_id"], position)))
            for name, table in tables.items()
            if "position_id" in table.column_names
        }
        found[position] = evidence.gather(own, read_truth(folder, position), pixel_size_um, shape_px)
        if masks is not None:
            precision = _mask_precision(folder / f"{position}.masks.npz", position, own["frames"], masks)
            found[position] = replace(found[position], masks=precision)
    return comparison.table(found, conditions)


def _mask_precision(path: Path, position: str, frames: Rows, masks: Found) -> dict[str, tuple[float, int]]:
    """AP@0.5 of each population and the number of frames; found masks are moved back as acquired."""
    if not path.exists():
        return {}
    place = {int(f): i for i, f in enumerate(frames["frame"])}
    out = {}
    with np.load(path) as true:
        for population in POPULATIONS:
            pairs = []
            for frame, image in zip(true["frame"].tolist(), true[population], strict=True):
                seen = masks(position, population, frame) if frame in place else None
                if seen is None:
                    continue
                row = place[frame]
                back = invert(Shift(*(float(frames[name][row]) for name in NAMES)))
                inside = apply(np.ones(seen.shape, np.uint8), back, order=0) > 0
                pairs.append((apply(seen, back, order=0), np.where(inside, image, 0)))
            if pairs:
                found, wanted = (np.stack(images) for images in zip(*pairs, strict=True))
                out[population] = (scores.mask_average_precision(found, wanted), len(pairs))
    return out


def _path(folder: Path, position: str, table: str) -> Path:
    return folder / f"{position}.{table}.parquet"
