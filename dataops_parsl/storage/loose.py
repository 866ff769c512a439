"""Files of a step folder that nobody will read: never finished, claims of dead runs, tables of no receipt."""

from __future__ import annotations

import re
import stat
import time
from collections.abc import Sequence

from dataops_parsl.storage.folders import Entry, Root, walk

TEMPORARY = re.compile(r"\..+\.\d+\.[0-9a-f]{8}\.tmp|\.probe\.\d+\.[0-9a-f]{8}|.+\.[0-9a-f]{32}\.partial")
"""Names that files have until they are whole."""
_CLAIM = re.compile(r"receipts/.+\.[0-9a-f]{16}\.claim")
_TABLE = re.compile(r"(?P<stem>.+)\.[^.]+\.(?P<recipe>[0-9a-f]{16})\.parquet")
_RECEIPT = re.compile(r"receipts/(?P<stem>.+)\.(?P<recipe>[0-9a-f]{16})\.json")
LEFT_BEHIND_S = 86400.0
"""A temporary file that is older was left behind by a process that is dead."""


class Loose:
    """Sees the files of a step folder one by one, and says at the end which are loose.

    Parameters
    ----------
    now : float
        Time, s since 1970: what was written within `LEFT_BEHIND_S` is not loose yet.
    tables : bool
        Whether tables that no receipt names are loose too.
    """

    def __init__(self, now: float, tables: bool) -> None:
        self._now, self._with_tables = now, tables
        self._bytes: dict[str, int] = {}
        self._tables: dict[tuple[str, str], list[tuple[str, int]]] = {}
        self._receipts: set[tuple[str, str]] = set()

    def see(self, entry: Entry) -> None:
        """Take a file into account."""
        old = self._now - entry.facts.st_mtime > LEFT_BEHIND_S
        if TEMPORARY.fullmatch(entry.path.rpartition("/")[2]) or _CLAIM.fullmatch(entry.path):
            if old:
                self._bytes[entry.path] = entry.bytes
        elif self._with_tables:
            if said := _RECEIPT.fullmatch(entry.path):
                self._receipts.add((said["stem"], said["recipe"]))
            elif old and (said := _TABLE.fullmatch(entry.path)):
                self._tables.setdefault((said["stem"], said["recipe"]), []).append((entry.path, entry.bytes))

    def found(self) -> tuple[tuple[str, ...], int]:
        """Their paths and what they take."""
        for part, tables in self._tables.items():
            if part not in self._receipts:
                self._bytes.update(tables)
        return tuple(sorted(self._bytes)), sum(self._bytes.values())


def loose_files(
    root: Root, names: Sequence[str], *, tables: bool, now: float | None = None
) -> tuple[str, ...]:
    """The loose files of a step folder as it is at this moment.

    Parameters
    ----------
    names : sequence of str
        That lead from the root to the folder.

    Raises
    ------
    OSError
        It is gone or must not be read.
    """
    loose = Loose(time.time() if now is None else now, tables)
    with root.open(*names) as folder:
        for entry in walk(folder, root.mount):
            if stat.S_ISREG(entry.facts.st_mode):
                loose.see(entry)
    return loose.found()[0]
