"""What is said about a sealed run, written beside its files or into another folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dataops_parsl.errors import PlaceError
from dataops_parsl.storage.atomic import write_bytes


def write_beside(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by rename, each in the place of an earlier one of its name.

    Raises
    ------
    PlaceError
        When the folder cannot be written to, as of an archive.
    """
    for name, data in files.items():
        try:
            write_bytes(folder / name, data)
        except OSError as error:
            why = error.message if isinstance(error, PlaceError) else f"{folder}: {error.strerror}"
            raise PlaceError(why, "give a folder that can be written to: -o FOLDER") from error
