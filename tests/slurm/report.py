"""What a fault cost a run: measured by the tests of faults, printed as the table of docs/RELIABILITY.md.

Tests append to the file ``$FAULT_REPORT`` where it is set::

    FAULT_REPORT=faults.jsonl make faults
    python -m tests.slurm.report faults.jsonl
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataops_parsl import open_run
from tests.slurm.toy import Toy

HEAD = (
    "fault",
    "what was done",
    "next task ended after, s",
    "all that was lost done again after, s",
    "attempts lost",
    "tasks computed again",
    "seen",
)
CUT_SHORT = ("lost", "oom", "stopped")


@dataclass(frozen=True)
class Cost:
    """What a fault cost.

    Parameters
    ----------
    resumed_s : float
        From the fault until the next task ended, s; NaN where none did.
    recovered_s : float
        From the fault until every task with an attempt that was cut short had ended, s; NaN without one.
    lost : int
        Attempts that were cut short, over all starts of the run.
    recomputed : int
        Tasks that workers began more than once.
    """

    resumed_s: float
    recovered_s: float
    lost: int
    recomputed: int


def cost(toy: Toy, struck: float, job: str = "") -> Cost:
    """What a fault cost the newest run, once that is sealed.

    Parameters
    ----------
    struck : float
        When the fault was provoked, s since 1970.
    job : str
        SLURM job that it struck, in a run with several faults: only attempts in this job are counted.
    """
    trace = open_run(toy.bundles("toy")[-1]).arrow("trace").to_pylist()
    ends = {e["task"]: e["time"] for e in toy.events("ended")}
    lost = [
        row
        for row in trace
        if row["outcome"] in CUT_SHORT and (row["ended"] or math.inf) >= struck and job in ("", row["job_id"])
    ]
    counted = {row["task"] for row in lost} if job else {row["task"] for row in trace}
    begun = [row["task"] for row in trace if row["started"] is not None]
    return Cost(
        resumed_s=min((t for t in ends.values() if t > struck), default=math.nan) - struck,
        recovered_s=max((ends[row["task"]] for row in lost if row["task"] in ends), default=math.nan)
        - struck,
        lost=len(lost),
        recomputed=sum(begun.count(task) > 1 for task in counted),
    )


def record(
    fault: str,
    what: str,
    resumed_s: float,
    lost: int,
    recomputed: int,
    note: str = "",
    recovered_s: float = math.nan,
) -> None:
    """Append one measurement to ``$FAULT_REPORT``; nothing is done where that is not set.

    Parameters
    ----------
    fault : str
        Letter of the list of faults, such as ``"a"``; with a number where it has several cases.
    what : str
        What was done to the run, in a few words.
    resumed_s, lost, recomputed, recovered_s
        See `Cost`; NaN where a figure makes no sense.
    note : str
        What a user saw.
    """
    if path := os.environ.get("FAULT_REPORT"):
        line = {
            "fault": fault,
            "what": what,
            "resumed_s": _number(resumed_s),
            "recovered_s": _number(recovered_s),
            "lost": lost,
            "recomputed": recomputed,
            "note": note,
        }
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")


def record_cost(fault: str, what: str, toy: Toy, struck: float, note: str = "", job: str = "") -> Cost:
    """`cost`, recorded."""
    found = cost(toy, struck, job)
    record(fault, what, found.resumed_s, found.lost, found.recomputed, note, found.recovered_s)
    return found


def _number(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds, 1)


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The measurements as markdown, sorted by fault; of one measured again the newest."""
    newest = {(x["fault"], x["what"]): x for x in lines}
    rows = [
        [
            x["fault"],
            x["what"],
            *("–" if x[k] is None else f"{x[k]:.1f}" for k in ("resumed_s", "recovered_s")),
            str(x["lost"]),
            str(x["recomputed"]),
            x["note"],
        ]
        for x in sorted(newest.values(), key=lambda x: (x["fault"], x["what"]))
    ]
    cells = [HEAD, ["---"] * len(HEAD), *([word.replace("|", "\\|") for word in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of a file of measurements."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 1:
        print("usage: python -m tests.slurm.report FILE", file=sys.stderr)
        return 2
    print(table([json.loads(line) for line in Path(given[0]).read_text().splitlines()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
