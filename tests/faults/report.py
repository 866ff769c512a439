"""The figures of the destructive kit as a table: ``python -m tests.faults.report kills.jsonl``."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(path: str) -> None:
    """Print a line of Markdown for each scenario, its newest figures."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    print("| what was killed | points | of these | kills, all followed by a rerun that completed |")
    print("| --- | --- | --- | --- |")
    for row in {r["scenario"]: r for r in rows}.values():
        calls = ", ".join(f"{n} {call}" for call, n in sorted(row["calls"].items(), key=lambda c: -c[1]))
        print(f"| {row['scenario']} | {row['points']} | {calls} | {row['tries']} |")


if __name__ == "__main__":
    main(sys.argv[1])
