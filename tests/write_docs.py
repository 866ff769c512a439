"""Write docs/tables.md from the schemas; a test compares."""

from __future__ import annotations

from pathlib import Path

from dataops_parsl.tables import Schema
from dataops_parsl.trace import TRACE
from dataops_parsl.workflow import load

PROJECT = Path(__file__).parent.parent
HEAD = """\
# Tables

Written from the schemas by `make config`; a test compares. Every table is parquet (zstd), one file
`tables/<name>.parquet` in a run bundle; unit, meaning, key and reference of each column are in the
file's own schema too. Unknown is null. `{channel}` stands for one column a channel. **Bold** columns
are the key. `trace` is about the run itself: it stands in every bundle, whatever the workflow, and is not
exported.
"""


def text() -> str:
    """The whole page."""
    schemas = {**load(PROJECT, "cytotoxicity").schemas(), TRACE.name: TRACE}
    return HEAD + "".join(_table(name, schema) for name, schema in schemas.items())


def _table(name: str, schema: Schema) -> str:
    targets = {own: f"{r.table}.{there}" for r in schema.references for own, there in r.columns}
    lines = [
        f"\n## {name}\n",
        f"A row is {schema.row}.\n",
        "| column | type | unit | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for column in schema.columns:
        title = f"**{column.name}**" if column.key else column.name
        refers = f" (→ {targets[column.name]})" if column.name in targets else ""
        lines.append(f"| {title} | {column.kind} | {column.unit} | {column.meaning}{refers} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (PROJECT / "docs" / "tables.md").write_text(text(), encoding="utf-8")
    print("wrote docs/tables.md")
