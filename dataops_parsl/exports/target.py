"""Where an export goes: a new folder or file, complete under its name or not there, and never in a run."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from dataops_parsl.bundle import Bundle
from dataops_parsl.errors import UsageError
from dataops_parsl.storage.atomic import place_errors, sync_folder

README = "README.txt"
_MOST_NAMED = 5


def check_target(target: Path, bundle: Bundle) -> None:
    """Refuse a target that is there already, or that lies in the run.

    Raises
    ------
    UsageError
    """
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already", "give another place with --to, or remove it")
    if target.resolve().is_relative_to(bundle.root.resolve()):
        raise UsageError(
            f"{target} lies in the run, which is never changed", "give a place outside with --to"
        )


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to be filled, which gets its name once it is whole; it is gone when that fails.

    Raises
    ------
    PlaceError
        The disk is full or the place cannot be written to.
    """
    with _named_when_whole(target) as temporary:
        temporary.mkdir()
        yield temporary


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A file to be written, which gets its name once it is whole; it is gone when that fails.

    Raises
    ------
    PlaceError
        The disk is full or the place cannot be written to.
    """
    with _named_when_whole(target) as temporary:
        yield temporary


@contextlib.contextmanager
def _named_when_whole(target: Path) -> Iterator[Path]:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with place_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if temporary.is_dir():
                sync_tree(temporary)
            else:
                _sync(temporary)
            os.rename(temporary, target)
        except BaseException:
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)


def sync_tree(root: Path) -> None:
    """Make all files of a folder durable."""
    for folder, _, files in os.walk(root):
        for name in files:
            _sync(Path(folder, name))
        sync_folder(Path(folder))


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def state_notes(bundle: Bundle) -> list[str]:
    """What a reader of the numbers has to know of the run."""
    facts = bundle.facts
    if not bundle.sealed:
        if bundle.live:
            return ["the run is still going on: its tables may be missing or change"]
        return ["the run was never finished: its tables may be missing or not checked"]
    verdict = facts.get("verdict")
    notes = [str(note) for note in facts.get("notes", [])]
    if verdict == "partial":
        named: dict[str, str] = {}
        for f in facts.get("failures", []):  # a frame that several steps could not use, once
            at = f"{f['position'] or 'all positions'}, {_frame(f['frame'])}"
            named.setdefault(at, str(f["reason"]).partition("\n")[0])
        words = [f"{at}: {why}" for at, why in named.items()]
        more = [f"and {len(words) - _MOST_NAMED} more"] if len(words) > _MOST_NAMED else []
        said = "; ".join([*words[:_MOST_NAMED], *more])
        notes.insert(0, f"the run is partial, failed frames are missing from the tables: {said}")
    elif verdict != "accepted":
        notes.insert(0, f"the run's verdict is {verdict}: its tables do not hold together, see its run.json")
    return notes


def _frame(frame: int | None) -> str:
    return "all frames" if frame is None else f"frame {frame}"


def readme_head(bundle: Bundle, notes: list[str]) -> list[str]:
    """The first lines of a README: which run it is, its verdict, and what to know of it."""
    facts = bundle.facts
    return [
        f"Run {bundle.id}, workflow {facts.get('workflow', 'unknown')}, "
        f"dataset {facts.get('dataset', {}).get('name', 'unknown')}",
        f"verdict: {facts.get('verdict', 'none, it was not finished')}",
        *(f"note: {note}" for note in notes),
        "",
    ]


def write_readme(folder: Path, lines: list[str]) -> None:
    """Write ``README.txt`` into an export."""
    (folder / README).write_text("\n".join(lines) + "\n", encoding="utf-8")
