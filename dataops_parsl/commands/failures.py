"""What failed in a run, in words."""

from __future__ import annotations

from typing import Any

from dataops_parsl.bundle import Bundle
from dataops_parsl.errors import PartialError
from dataops_parsl.validate.ranges import ranges

MAX_SHOWN = 10


def partial_error(failures: list[dict[str, Any]], bundle: Bundle) -> PartialError:
    """What failed, in words: position, frames, stage, reason and log, equal reasons together."""
    frames: dict[tuple[str, str, str, str], list[int]] = {}
    for f in failures:
        log = f.get("log") or ""
        key = (
            f["position"] or "all positions",
            f["stage"],
            f["reason"],
            log,
        )
        frames.setdefault(key, []).extend([] if f["frame"] is None else [f["frame"]])
    lines = []
    for (position, stage, reason, log), numbers in list(frames.items())[:MAX_SHOWN]:
        which = f" frame{'s' * (len(numbers) > 1)} {ranges(numbers)}" if numbers else ""
        lines.append(f"  {position}{which}, {stage}: {reason}" + (f" (log: {log})" if log else ""))
    if len(frames) > MAX_SHOWN:
        lines.append(f"  and {len(frames) - MAX_SHOWN} more, in {bundle.root / 'run.json'}")
    return PartialError(
        "\n".join(["partial: the rest is in " + str(bundle.root), *lines]),
        "mend or exclude what is named (dataset add --exclude position:frame), then run the same command; "
        f"events: {bundle.events}",
    )
