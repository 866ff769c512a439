"""Names of datasets, positions, channels and populations: they become folders and columns."""

from __future__ import annotations

import re

from dataops_parsl.errors import DatasetError

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FOR_ALL = "dataset"
"""Stands where a position's name would, for what is computed once for all: no position may be called so."""


def check_name(name: str, what: str) -> str:
    """Return `name` when it is safe as a folder and a column.

    Raises
    ------
    DatasetError
        It holds anything but letters, digits, ``.``, ``_`` and ``-``, or starts with one of the last three.
    """
    if not SAFE.fullmatch(name):
        raise DatasetError(
            f"{name!r} cannot be the name of a {what}",
            f"use letters, digits, '.', '_' and '-', a letter or digit first, such as {safe_name(name)!r}",
        )
    return name


def check_position(name: str, where: str) -> str:
    """Return the name of a position when it is safe, and means that position alone.

    Raises
    ------
    DatasetError
    """
    if name == FOR_ALL:
        raise DatasetError(
            f"{where}: a position cannot be called {name!r}, which stands for all positions together",
            "rename its folder or files, such as to 'P1' (and its row in plate.csv)",
        )
    return check_name(name, "position")


def safe_name(raw: str) -> str:
    """The nearest allowed name: runs of other characters become ``_`` ("GFP 488" is "GFP_488")."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", raw.strip().replace("µ", "u")).strip("_")
    name = re.sub(r"^[^A-Za-z0-9]+", "", name)
    return name or "unnamed"


def printable(text: str) -> str:
    """A text in one line that can stand in a comment or on a terminal, whatever names of files it holds."""
    plain = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in plain)
