"""Parts on scratch: where they lie, their receipts, how they are published.

A part is what one task writes: one batch of frames, one film or one dataset of one step. Tables are
parquet files that carry the recipe in their name, so that none is ever overwritten by another; pixels
are one shard a batch in one zarr array per step, position and channel. The receipt is written last.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataops_parsl.errors import InputMissingError
from dataops_parsl.storage.atomic import place_errors, write_bytes, write_json
from dataops_parsl.tables import one_piece

_LARGE_BYTES = 2**24
_PATIENCE_S = 60.0
"""Longer than any batch takes to be written."""


def fingerprint(value: Any) -> str:
    """Hex digest of a JSON-like value, the same on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class PartPlace:
    """Where a part lies.

    Parameters
    ----------
    folder : Path
        Folder of the step, with its key.
    stem : str
        ``<position>.<batch>`` or ``<position>`` or ``dataset``.
    recipe : str
        Hash of all that the part is made from.
    """

    folder: Path
    stem: str
    recipe: str

    @property
    def receipt(self) -> Path:
        """Path of the receipt."""
        return self.folder / "receipts" / f"{self.stem}.{self.recipe[:16]}.json"

    @property
    def notes(self) -> Path:
        """Where a second attempt notes the frame that it is at."""
        return self.folder / "receipts" / f"{self.stem}.{self.recipe[:16]}.at"

    @property
    def claim(self) -> str:
        """Path of what says that a run computes it just now; made for each task, and so no `Path`."""
        return f"{self.folder}/receipts/{self.stem}.{self.recipe[:16]}.claim"

    def table(self, output: str) -> Path:
        """Path of one table of the part."""
        return self.folder / f"{self.stem}.{output}.{self.recipe[:16]}.parquet"


@dataclass
class Receipt:
    """What a part is, written after it.

    Parameters
    ----------
    outputs : mapping
        Per output: ``files`` {path relative to the step's folder: bytes}, ``digest``, and for pixels
        ``frames`` {channel or "": {frame: digest}}.
    inputs : mapping
        Receipt path of each part that was read → its digest then.
    failed : mapping
        Frame → why it could not be computed here. Frame -1 stands for none in particular.
    halo : mapping
        Neighbour frames that could not be read: what was computed here had to do without them.
    roots : list
        Failures that this part inherits: position, frame, stage, step, reason.
    skipped : mapping
        Frames excluded at ingest → reason.
    """

    recipe: str
    part: str
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    halo: dict[int, str] = field(default_factory=dict)
    roots: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[int, str] = field(default_factory=dict)
    carry: Any = None
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Identity of the content: outputs and failures, not the times it took."""
        return fingerprint(
            [
                {name: out["digest"] for name, out in self.outputs.items()},
                sorted(self.failed),
                sorted(self.halo),
                sorted({(r["position"], r["frame"], r["stage"]) for r in self.roots}),
                self.carry,
            ]
        )

    @property
    def partial(self) -> bool:
        """Whether frames failed here or in what was read."""
        return bool(self.failed or self.halo or self.roots)

    def unavailable(self) -> set[int]:
        """Frames of this part that hold nothing."""
        return set(self.failed) | set(self.skipped)

    def to_json(self) -> dict[str, Any]:
        """As a JSON-like dict."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Receipt:
        """From what `to_json` gave."""
        receipt = cls(**value)
        receipt.failed = {int(k): v for k, v in receipt.failed.items()}
        receipt.halo = {int(k): v for k, v in receipt.halo.items()}
        receipt.skipped = {int(k): v for k, v in receipt.skipped.items()}
        return receipt


def read_receipt(path: Path) -> Receipt | None:
    """Read a receipt; None when there is none, or none that can be read."""
    try:
        return Receipt.from_json(json.loads(path.read_bytes()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError, ValueError):
        return None


def files_whole(folder: Path, receipt: Receipt) -> bool:
    """Whether all files of a part are there with their recorded sizes."""
    for output in receipt.outputs.values():
        for name, size in output["files"].items():
            try:
                if os.stat(folder / name).st_size != size:
                    return False
            except OSError:
                return False
    return True


def publish_receipt(place: PartPlace, receipt: Receipt) -> None:
    """Write the receipt: from now on the part is there."""
    write_json(place.receipt, receipt.to_json())
    place.notes.unlink(missing_ok=True)


@contextlib.contextmanager
def overwriting(place: PartPlace) -> Iterator[None]:
    """Hold the place of a batch of pixels while its receipts are dropped, it is written, and its receipt is.

    A worker whose run was killed may write the same batch as the worker of the run that took over, even with
    another recipe. One after the other, each leaves a receipt that says what is there. Readers would find out
    otherwise, but not who only counts what receipts say.
    """
    path = place.folder / "receipts" / ".lock"
    with place_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "ab")  # noqa: SIM115 - closed below, which unlocks it
    with lock:
        # One byte of it for each batch, so that batches do not wait for each other.
        byte, until = zlib.crc32(place.stem.encode()), time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
                break
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:  # a file system without locks
                break
        yield


def drop_receipts(place: PartPlace) -> None:
    """Forget what other recipes wrote to the same place, before it is overwritten."""
    for path in (place.folder / "receipts").glob(f"{place.stem}.*.json"):
        if path.name.startswith(place.stem + ".") and path.name.count(".") == place.stem.count(".") + 2:
            path.unlink(missing_ok=True)


def publish_table(place: PartPlace, output: str, table: pa.Table) -> dict[str, Any]:
    """Write one table of a part and return its entry for the receipt."""
    data = parquet_bytes(table)
    path = place.table(output)
    write_bytes(path, data)
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return {"files": {path.name: len(data)}, "digest": digest, "rows": table.num_rows}


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as a parquet file, zstd, the same bytes for the same rows."""
    buffer = io.BytesIO()
    pq.write_table(table.combine_chunks(), buffer, compression="zstd")
    return buffer.getvalue()


def read_tables(
    parts: Iterable[tuple[PartPlace, Receipt]],
    output: str,
    schema: pa.Schema | None = None,
    *,
    columns: Sequence[str] | None = None,
    population: str = "",
) -> pa.Table:
    """Read one output of several parts as one table, each file checked against its receipt.

    Parameters
    ----------
    schema : pa.Schema, optional
        Of the table where there is no part.
    columns : sequence of str, optional
        Only these, ``*`` standing for any letters.
    population : str
        Only its rows, where the table tells populations apart; ``""`` for all.

    Raises
    ------
    InputMissingError
        When a file is gone or is not what was written; its receipt is dropped, so that the part is
        planned again.
    """
    tables = []
    for place, receipt in parts:
        path = place.table(output)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            data = b""
        if hashlib.blake2b(data, digest_size=16).hexdigest() != receipt.outputs[output]["digest"]:
            place.receipt.unlink(missing_ok=True)
            raise InputMissingError(f"{path} is gone or damaged", "run the same command again")
        tables.append(_read(pq.ParquetFile(io.BytesIO(data)), columns, population))
    if not tables:
        return schema.empty_table() if schema is not None else pa.table({})
    return _joined(tables)


def _read(file: pq.ParquetFile, columns: Sequence[str] | None, population: str) -> pa.Table:
    names = file.schema_arrow.names
    wanted = [n for n in names if columns is None or any(fnmatchcase(n, c) for c in columns)]
    if not population or "population" not in names:
        return file.read(columns=wanted)
    table = file.read(columns=list(dict.fromkeys([*wanted, "population"])))
    return table.filter(pc.equal(table["population"], population)).select(wanted)


def _joined(tables: list[pa.Table]) -> pa.Table:
    """One table whose columns are each in one piece.

    Column by column, and the pieces are let go of: a film's table is the largest thing that a worker holds,
    and it would be there twice.
    """
    whole = pa.concat_tables(tables)
    large = whole.nbytes > _LARGE_BYTES
    tables.clear()
    schema, columns = whole.schema, []
    for _ in schema:
        columns.append(one_piece(whole.column(0)))
        whole = whole.remove_column(0)
    if large:  # the pieces' place, before a step takes more
        pa.default_memory_pool().release_unused()
    return pa.table(columns, schema=schema)
