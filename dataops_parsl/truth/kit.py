"""The truth of a simulated dataset as files: beside the dataset, since it is no input.

``.truth/<dataset>/`` holds ``<position>.<table>.parquet`` for each table of `TABLES`, and the scenes that the
dataset was made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataops_parsl.errors import InputMissingError
from dataops_parsl.storage.atomic import write_bytes
from dataops_parsl.storage.parts import parquet_bytes
from dataops_parsl.tables import Rows
from dataops_parsl.truth import comparison, evidence
from dataops_parsl.truth.film import Film

TABLES = ("objects", "contacts", "deaths", "drift", "cases", "lineage")
SCENES = "scenes.toml"


def truth_folder(data_root: Path, name: str) -> Path:
    """Where the truth of a simulated dataset lies."""
    return data_root / ".truth" / name


def write_truth(folder: Path, position: str, film: Film) -> None:
    """Write the truth tables of one position."""
    for table in TABLES:
        write_bytes(_path(folder, position, table), parquet_bytes(pa.table(getattr(film, table)())))


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
    """
    found: dict[str, evidence.Evidence] = {}
    for position, shape_px in shapes_px.items():
        own = {
            name: Rows(table.filter(pc.equal(table["position_id"], position)))
            for name, table in tables.items()
            if "position_id" in table.column_names
        }
        found[position] = evidence.gather(own, read_truth(folder, position), pixel_size_um, shape_px)
    return comparison.table(found, conditions)


def _path(folder: Path, position: str, table: str) -> Path:
    return folder / f"{position}.{table}.parquet"
