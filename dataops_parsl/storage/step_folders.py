"""Step folders, seen through open folders: whether one is what it is called, and whether it was changed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from typing import Any

from dataops_parsl.storage.folders import Root
from dataops_parsl.storage.loose import TEMPORARY


def mark_at(root: Root, names: Sequence[str]) -> tuple[int, ...]:
    """The `mark` of the folder to which these names lead from the root.

    Raises
    ------
    OSError
        It is gone or must not be read.
    """
    with root.open(*names) as folder:
        return mark(folder)


def mark(folder: int) -> tuple[int, ...]:
    """What changes when files come into an open step folder or go."""
    times = [os.fstat(folder).st_mtime_ns]
    with contextlib.suppress(FileNotFoundError):
        times.append(os.stat("receipts", dir_fd=folder, follow_symlinks=False).st_mtime_ns)
    return tuple(times)


def is_step(folder: int, stage: str, step: str) -> bool:
    """Whether an open folder is what it is called: its step.json says so, or nothing else is in it yet."""
    try:
        handle = os.open("step.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        with os.scandir(folder) as entries:
            return all(TEMPORARY.fullmatch(entry.name) for entry in entries)
    except OSError:
        return False
    with open(handle, "rb") as file:
        try:
            said: Any = json.loads(file.read(2**20))
        except (OSError, ValueError, RecursionError):
            return False
    if not isinstance(said, dict):
        return False
    population = said.get("population")
    name = f"{said.get('step')}.{population}" if population else str(said.get("step"))
    return (said.get("stage"), name) == (stage, step)
