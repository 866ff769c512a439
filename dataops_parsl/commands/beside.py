"""What is said about a sealed run, written beside its files or into another folder."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from dataops_parsl.commands.setting import add_project_argument
from dataops_parsl.commands.which import RUN_HELP
from dataops_parsl.errors import PlaceError
from dataops_parsl.storage.atomic import write_bytes


def add_run_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the sealed run that is meant, and where what is said about it goes."""
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help=f"where {what} (default: beside the run's files)",
    )
    add_project_argument(parser)


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
