"""Under its final name a file is complete: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataops_parsl.errors import PlaceError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def place_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a `PlaceError` that says what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, PlaceError):
            raise
        if error.errno in _FULL:
            raise PlaceError(
                f"the disk is full while writing {path}",
                "free some space or set paths.scratch_root and paths.output_root to a larger disk; "
                "the same command then goes on from here",
            ) from error
        if error.errno in _DENIED:
            raise PlaceError(
                f"{path} cannot be written: {error.strerror}",
                "make the folder writable, or set paths.scratch_root and paths.output_root elsewhere",
            ) from error
        raise


def check_root(folder: Path, key: str) -> None:
    """Make a root and write into it, before anything starts.

    Raises
    ------
    PlaceError
        When that fails, naming the configuration key.
    """
    probe = folder / f".probe.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        probe.unlink(missing_ok=True)
        raise PlaceError(
            f"{folder} cannot be written: {error.strerror}",
            f"free some space there or make it writable, or set {key} to another folder",
        ) from error


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file, or none.

    Raises
    ------
    PlaceError
        When the disk is full or the place cannot be written.
    """
    with place_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write JSON atomically, keys in the order given."""
    write_bytes(path, (json.dumps(value, indent=indent, ensure_ascii=False) + "\n").encode())
