"""Files that the system leaves in any folder: they say nothing about it, and may come and go."""

from __future__ import annotations

_BROWSED = (".DS_Store", "Thumbs.db", "desktop.ini")
"""Left behind by file browsers."""


def is_of_the_system(name: str) -> bool:
    """Whether file browsers or network file systems leave files of this name behind.

    Parameters
    ----------
    name : str
        Of the file, or its path with ``/``.
    """
    last = name.rpartition("/")[2]
    return last in _BROWSED or last.startswith(".nfs")
