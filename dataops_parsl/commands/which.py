"""Which run is meant: a folder, an id, the beginning of an id, or ``latest``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dataops_parsl.bench.record import MASTER, REPLAY
from dataops_parsl.bundle import BENCHMARK_RECORD, MANIFEST, RECORD, Bundle, bundles
from dataops_parsl.errors import UsageError, nearest

LATEST = "latest"
RUN_HELP = "a run's folder, its id, the unique beginning of its id, or latest"


def all_runs(output_root: Path) -> Iterator[Bundle]:
    """All bundles below the output root, of workflows and of benchmarks."""
    folders = sorted(p.name for p in output_root.iterdir() if p.is_dir()) if output_root.is_dir() else []
    for name in (*folders, MASTER, REPLAY):
        yield from bundles(output_root, name)


def find_run(output_root: Path, words: str) -> Bundle:
    """A run by its folder, its id, the unique beginning of its id, or ``latest``, the newest.

    Raises
    ------
    UsageError
        There is none, or there are several.
    """
    path = Path(words)
    if any((path / name).is_file() for name in (RECORD, BENCHMARK_RECORD, MANIFEST)):
        return Bundle.at(path.resolve())
    found = {b.id: b for b in all_runs(output_root)}
    if words == LATEST and found:
        return found[max(found)]
    start = words.removeprefix("run_")
    if start in found:
        return found[start]
    fitting = sorted(i for i in found if start and i.startswith(start))
    if len(fitting) > 1:
        raise UsageError(
            f"{len(fitting)} runs begin with {words!r}", f"write more of the id: {', '.join(fitting)}"
        )
    if not fitting:
        raise UsageError(
            f"there is no run {words!r}{nearest(start, found)} in {output_root}",
            "python -m dataops_parsl runs lists those that are there",
        )
    return found[fitting[0]]


def sealed_run(output_root: Path, words: str) -> Bundle:
    """A run that was finished.

    Raises
    ------
    UsageError
        There is none, or it was not sealed: only the run itself can do that.
    """
    bundle = find_run(output_root, words)
    if bundle.sealed:
        return bundle
    if bundle.live:
        raise UsageError(
            f"run {bundle.id} is still going on, so that nothing can be said of it yet", "let it end"
        )
    if bundle.facts.get("status") == "abandoned":
        raise UsageError(
            f"run {bundle.id} was given up: another run was sealed in its place",
            "python -m dataops_parsl runs lists those that were",
        )
    raise UsageError(
        f"run {bundle.id} was never finished: it is not sealed",
        "the command that started it goes on from there and seals it; runs lists those that are sealed",
    )
