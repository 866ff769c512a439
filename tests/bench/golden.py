"""Link for link: our tracker on the spots that TrackMate 7.14 and 6 tracked, case by case."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.algorithms import trackmate
from tests.bench.measure import Row, row, seconds


def rows() -> Iterator[Row]:
    """A line a case: links that are TrackMate's, of how many; those that differ are listed."""
    cases = [trackmate.read_golden(name) for name in trackmate.golden()]
    data = Path(os.environ.get("DATAOPS_PARSL_TEST_DATA") or "/nowhere")
    if (data / "trackmate_lap_dev").is_dir():
        cases += [trackmate.read_export(data, name) for name in trackmate.EXPORTS]
    for case in cases:
        source, target, closing = trackmate.track(case.frame, case.yx, case.linking, **case.settings)
        spent = seconds(lambda case=case: trackmate.track(case.frame, case.yx, case.linking, **case.settings))  # type: ignore[misc]
        ours, theirs, tie = trackmate.differing(case, source, target)
        kinds = ", ".join(f"{(closing.kind == k).sum()} {k}s" for k in ("gap", "split", "merge"))
        words = f"only ours {ours}, only TrackMate's {theirs}" if ours or theirs else "no link differs"
        yield row(
            case.name,
            len(source) - len(ours),
            len(case.edges),
            unit="links",
            bar="all, but for ties",
            met=tie,
            note=f"{words}; {kinds}; {spent:.2f} s",
        )
