"""The journal of a migration: what was about to be done and what was done, a line each, on disk before it is.

It lies beside the plan. From it the same command goes on after a kill, and ``--undo`` finds the way back.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataops_parsl.errors import PlaceError, UsageError
from dataops_parsl.storage.atomic import place_errors, sync_folder

SUFFIX = ".journal.jsonl"
FORMAT = 1
Line = dict[str, Any]


@dataclass
class Progress:
    """How far an item has come: the newest line of each kind since it last was where it came from.

    Parameters
    ----------
    begun : dict, optional
        What was about to be done: source, target, how, the listing of the source, texts of links.
    placed : dict, optional
        All of it stands at its target; the sha256 of what was copied.
    done : dict, optional
        What was moved is gone from its source, or why it is not (`kept`).
    writing, finished : dict, optional
        What was written beside the files at the target: a dataset's manifest, a run's record.
    returning, returned : dict, optional
        The same as `begun` and `placed` on the way back.
    """

    begun: Line | None = None
    placed: Line | None = None
    done: Line | None = None
    writing: Line | None = None
    finished: Line | None = None
    returning: Line | None = None
    returned: Line | None = None

    def add(self, line: Line) -> None:
        """Take a line into account."""
        step = line["step"]
        if step == "undone":
            for each in fields(self):
                setattr(self, each.name, None)
        elif step == "unwritten":
            self.writing = self.finished = None
        elif hasattr(self, step):
            setattr(self, step, line)


class Journal:
    """A journal that is open to be written, by one process at a time; see `open_journal`."""

    def __init__(self, path: Path, handle: int, lines: list[Line]) -> None:
        self.path = path
        self._handle = handle
        self.items: dict[str, Progress] = {}
        for line in lines:
            self._take(line)

    def of(self, item: str) -> Progress:
        """How far an item has come."""
        return self.items.setdefault(item, Progress())

    def write(self, item: str, step: str, **said: Any) -> None:
        """Add a line; when this returns, it is on disk.

        Raises
        ------
        PlaceError
            The disk is full.
        """
        line = {"item": item, "step": step, "at": datetime.now(UTC).isoformat(timespec="seconds"), **said}
        data = (json.dumps(line, separators=(",", ":")) + "\n").encode()
        end = os.fstat(self._handle).st_size
        with place_errors(self.path):
            try:
                while data:
                    data = data[os.write(self._handle, data) :]
                os.fsync(self._handle)
            except OSError:
                os.ftruncate(self._handle, end)
                raise
        self._take(line)

    def _take(self, line: Line) -> None:
        if line["item"]:
            self.of(line["item"]).add(line)


def journal_path(plan: Path) -> Path:
    """The journal of a plan."""
    return plan.with_name(plan.stem + SUFFIX)


def read(path: Path) -> dict[str, Progress]:
    """How far each item has come, without a lock; nothing where there is no journal.

    Raises
    ------
    UsageError
        It is no journal.
    """
    items: dict[str, Progress] = {}
    for line in _lines(path.read_bytes() if path.is_file() else b"", path):
        if line["item"]:
            items.setdefault(line["item"], Progress()).add(line)
    return items


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Open a journal, or begin it; what a kill left half written at its end is cut off.

    Raises
    ------
    UsageError
        Another process has it open, or it is no journal.
    PlaceError
        It cannot be written.
    """
    new = not path.exists()
    with place_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another migrate works with {path}", "let it end, then give the same command again"
            ) from error
        except OSError as error:
            raise PlaceError(
                f"{path} cannot be locked: {error.strerror}", "keep plan and journal on another disk"
            ) from error
        data = path.read_bytes()
        lines = _lines(data, path)
        os.ftruncate(handle, data.rfind(b"\n") + 1)
        journal = Journal(path, handle, lines)
        if not lines:
            journal.write("", "journal", format=FORMAT)
        if new:
            sync_folder(path.parent)
        yield journal
    finally:
        os.close(handle)


def _lines(data: bytes, path: Path) -> list[Line]:
    whole = data[: data.rfind(b"\n") + 1].splitlines()
    try:
        lines: list[Line] = [json.loads(line) for line in whole]
        if lines and (lines[0]["step"], lines[0]["format"]) != ("journal", FORMAT):
            raise ValueError("its first line is another one")
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is no journal that this version reads: {error}",
            f"give the file that ends with {SUFFIX} beside the plan",
        ) from error
    return lines
