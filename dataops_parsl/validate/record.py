"""What a run seals so that it can be validated for years: schemas, input frames, counted labels.

``record/{schemas,inputs,labels}.json`` in the bundle. The run writes them, validation reads them: tables are
judged by the schemas that they were written with, not by those of a later version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataops_parsl.tables import Schema

FOLDER = "record"
SCHEMAS, INPUTS, LABELS = "schemas", "inputs", "labels"


def file_name(name: str) -> str:
    """Path of a part of the record, below the bundle."""
    return f"{FOLDER}/{name}.json"


def text(value: Mapping[str, Any]) -> str:
    """As it is written."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def schemas_record(schemas: Mapping[str, Schema]) -> dict[str, Any]:
    """The schemas of the tables that a run publishes, channels written out."""
    return {"format": 1, "tables": {name: schema.to_json() for name, schema in schemas.items()}}


def read(root: Path, name: str) -> dict[str, Any] | None:
    """A part of the record; None when it is missing or damaged, which the seal tells apart."""
    try:
        value = json.loads((root / file_name(name)).read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.get("format") == 1 else None


def read_schemas(root: Path) -> dict[str, Schema] | None:
    """The schemas that the tables were written with; None when they were not recorded."""
    said = read(root, SCHEMAS)
    try:
        return None if said is None else {n: Schema.from_json(s) for n, s in said["tables"].items()}
    except (KeyError, TypeError, AttributeError):
        return None
