"""A sealed run as one zip with an RO-Crate manifest; the same bytes for the same run.

What is in it is what was sealed: the files of `provenance_manifest.json`, and that. Acceptance reports and
pages that were added later are not.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from dataops_parsl.bundle import MANIFEST, Bundle, may_come_and_go
from dataops_parsl.errors import PlaceError, RejectedError
from dataops_parsl.exports.crate import METADATA, crate
from dataops_parsl.exports.target import new_file
from dataops_parsl.provenance import file_sha256
from dataops_parsl.report.overview import sound
from dataops_parsl.validate.seal import EXIT_CODE, LATE

_SQUEEZED = (".json", ".jsonl", ".txt", ".csv", ".toml", ".svg", ".md", ".html", ".log", ".sh", "")
"""Endings of what is not compressed yet."""
_TIME = (1980, 1, 1, 0, 0, 0)
_BLOCK = 2**20


def export_zip(target: Path, bundle: Bundle) -> str:
    """Write the zip and read it back; returns what it holds, in words.

    Raises
    ------
    RejectedError
        A file of the run is not as it was sealed: nothing is written.
    PlaceError
        What was written does not come back from the disk.
    """
    files = _files(bundle)
    metadata = (json.dumps(crate(sound(bundle.facts), files), indent=1, ensure_ascii=False) + "\n").encode()
    with new_file(target) as path:
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(_entry(METADATA), metadata)
            for name, said in sorted(files.items()):
                with packed.open(_entry(name), "w", force_zip64=said["bytes"] > 2**30) as out:
                    _copy(bundle.root, name, said, out)
        _check(path, files, metadata)
    return f"{len(files)} files and {METADATA}"


def _files(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Size and sha256 of what was sealed, and of the seal."""
    path = bundle.root / MANIFEST
    try:
        sealed = json.loads(path.read_bytes())["files"]
        files = {n: {"sha256": s["sha256"], "bytes": s["bytes"]} for n, s in sealed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_sealed(bundle.root, f"{MANIFEST} cannot be read") from error
    # Earlier versions sealed such too.
    files = {n: s for n, s in files.items() if not may_come_and_go(n)}
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise _not_sealed(bundle.root, f"{MANIFEST} names {name}")
    for name in files:
        # Written anew when a block of a killed start ends; of other logs that grow the sealed part is taken.
        if name.startswith(LATE) and name.endswith(EXIT_CODE) and (bundle.root / name).is_file():
            files[name] = _as_it_is(bundle.root / name)
    return {**files, MANIFEST: _as_it_is(path)}


def _as_it_is(path: Path) -> dict[str, Any]:
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def _not_sealed(root: Path, what: str) -> RejectedError:
    return RejectedError(
        f"{root} is not as it was sealed: {what}", f"python -m dataops_parsl validate {root} says all"
    )


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    squeezed = PurePosixPath(name).suffix in _SQUEEZED and not name.startswith("labels/")
    entry.compress_type = zipfile.ZIP_DEFLATED if squeezed else zipfile.ZIP_STORED
    return entry


def _copy(root: Path, name: str, said: Mapping[str, Any], out: Any) -> None:
    """Copy what was sealed of a file."""
    digest = hashlib.sha256()
    try:
        for block in _blocks(root / name, said["bytes"]):
            digest.update(block)
            out.write(block)
        grown = (root / name).stat().st_size > said["bytes"]
    except FileNotFoundError as error:
        raise _not_sealed(root, f"{name} is missing") from error
    if digest.hexdigest() != said["sha256"] or (grown and not name.startswith(LATE)):
        raise _not_sealed(root, f"{name} was changed")


def _blocks(path: Path, n_bytes: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while n_bytes > 0 and (block := file.read(min(_BLOCK, n_bytes))):
            n_bytes -= len(block)
            yield block


def _check(path: Path, files: Mapping[str, Mapping[str, Any]], metadata: bytes) -> None:
    """Read all of it again, and compare with the seal."""
    with zipfile.ZipFile(path) as packed:
        found = {}
        for entry in packed.infolist():
            digest = hashlib.sha256()
            with packed.open(entry) as file:  # each entry's own checksum is compared at its end
                while block := file.read(_BLOCK):
                    digest.update(block)
            found[entry.filename] = digest.hexdigest()
    wanted = {name: said["sha256"] for name, said in files.items()}
    if found != {**wanted, METADATA: hashlib.sha256(metadata).hexdigest()}:
        raise PlaceError(f"{path} does not come back as it was written", "try another disk: --to FILE.zip")
