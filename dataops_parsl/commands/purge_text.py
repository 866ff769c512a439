"""What `purge` says: what goes and why, what stays, what was skipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dataops_parsl.commands.old_logs import OldLog
from dataops_parsl.commands.text import columns
from dataops_parsl.config import Retention
from dataops_parsl.dataset.names import printable
from dataops_parsl.report.words import many, number, size
from dataops_parsl.storage.inventory import Inventory, Unit
from dataops_parsl.storage.purging import Purged
from dataops_parsl.storage.retention import Asked, Choice, Known, reasons, used_s

HEAD = ("dataset", "stage", "step", "key", "size", "files", "last used", "why")
MOST_NAMED = 20
"""So many things are named one by one where there may be thousands that nobody asked about."""
_KINDS = {
    "trash": "left by a purge that was stopped",
    "temporary": "never finished, its writer is dead",
    "benchmark": "left by a benchmark that was killed",
    "loose": "loose files in a folder that stays",
    "log": "old log of a run that was never sealed",
}


def day(seconds: float) -> str:
    """A time, s since 1970, as ``2026-03-17 11:42`` of this host."""
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"


def head(root: Path, asked: Asked, rules: Retention) -> str:
    """Where is looked, and by which rule."""
    if asked.by_hand:
        words = [f"dataset {asked.dataset}"] if asked.dataset else []
        words += [f"stage {' or '.join(asked.stages)}"] if asked.stages else []
        words += [f"unused for {_age(asked.older_than_s)}"] if asked.older_than_s else []
        words += ["what no known run needs"] if asked.gc else []
        return f"{printable(str(root))}, by hand: {', '.join(words)}"
    words = []
    if rules.scratch_days:
        words.append(f"unused for more than {rules.scratch_days:g} days")
    if rules.max_scratch_gb:
        words.append(f"the longest unused above {rules.max_scratch_gb:g} GB")
    if not words:
        words.append(
            "no rule lets a step go; set retention.scratch_days or retention.max_scratch_gb, or say what "
            "goes by hand: --dataset, --stage, --older-than, --gc"
        )
    return f"{printable(str(root))}, by policy: {', '.join(words)}"


def _age(seconds: float) -> str:
    for unit_s, word in ((86400, "days"), (3600, "hours")):
        if seconds >= unit_s:
            return f"more than {seconds / unit_s:g} {word}"
    return f"more than {seconds / 60:g} minutes"


@dataclass
class Found:
    """What a purge is about.

    Parameters
    ----------
    inventory : Inventory
    choice : Choice
        Of step folders.
    known : Known
    left_behind, benchmarks : list of Unit
        Trash and temporary files; cases of dead benchmarks.
    loose : list of Unit
        Step folders that stay, and have loose files that go.
    logs : list of OldLog
    """

    inventory: Inventory
    choice: Choice
    known: Known
    left_behind: list[Unit]
    benchmarks: list[Unit]
    loose: list[Unit]
    logs: list[OldLog]

    @property
    def n(self) -> int:
        """How many things go."""
        return len(self.choice.going) + self._n_others

    @property
    def _n_others(self) -> int:
        return len(self.left_behind) + len(self.benchmarks) + len(self.loose) + len(self.logs)

    def table(self) -> str:
        """A line for each: of step folders all, of the rest the first."""
        rows = [
            (u.dataset, u.stage, u.step, u.key, *_figures(u.bytes, u.files, used_s(u, self.known)), why)
            for u, why in self.choice.going.items()
        ]
        others = [
            (u.dataset, u.stage, u.name, "", *_figures(u.bytes, u.files, u.used_s), _KINDS[u.kind])
            for u in (*self.left_behind, *self.benchmarks)
        ]
        others += [
            (u.dataset, u.stage, u.step, u.key, *_figures(u.loose_bytes, len(u.loose)), _KINDS["loose"])
            for u in self.loose
        ]
        others += [
            (
                "",
                "",
                log.path,
                "",
                *_figures(log.bytes, log.files, log.written_s),
                _KINDS["log" if log.bundle else "trash"],
            )
            for log in self.logs
        ]
        if not rows and not others:
            return ""
        cells = [tuple(map(printable, row)) for row in (*rows, *others[:MOST_NAMED])]
        lines = [columns([HEAD, *cells])]
        if len(others) > MOST_NAMED:
            lines.append(f"and {len(others) - MOST_NAMED} more that were left behind")
        return "\n".join(lines)

    def total(self) -> str:
        """How much it is."""
        if not self.n:
            return "Nothing is to go"
        whole: list[Unit | OldLog] = [*self.choice.going, *self.left_behind, *self.benchmarks, *self.logs]
        n_bytes = sum(u.bytes for u in whole) + sum(u.loose_bytes for u in self.loose)
        files = sum(u.files for u in whole) + sum(len(u.loose) for u in self.loose)
        words = [many(len(self.choice.going), "step folder")]
        if self._n_others:
            words.append(f"{self._n_others} left behind or old")
        return f"{' and '.join(words)}: {size(n_bytes)} in {many(files, 'file')}"


def _figures(n_bytes: int, files: int, last_s: float | None = None) -> tuple[str, str, str]:
    return size(n_bytes), number(files), "" if last_s is None else day(last_s)


def staying(choice: Choice) -> str:
    """What stays, a line for each reason."""
    lines = [
        f"{many(n, 'step folder')}, {size(n_bytes)}, stay{'s' * (n == 1)}: {printable(why)}"
        for why, (n, n_bytes) in reasons(choice.staying).items()
    ]
    if choice.over_bytes:
        lines.append(
            f"scratch stays {size(choice.over_bytes)} above retention.max_scratch_gb: what is left is in use "
            "or made for the last runs (retention.keep_last_runs)"
        )
    return "\n".join(lines)


def skipped(paths: Mapping[str, str]) -> str:
    """What was not looked at, and why."""
    return _named("skipped: ", paths)


def purged(done: Purged) -> str:
    """What became of it."""
    lines = [
        _named("stays: ", done.kept),
        _named("gone already: ", dict.fromkeys(done.gone, "")),
        _named("not deleted: ", done.failed),
        f"Deleted {many(done.files, 'file')}, {size(done.bytes)} are free again",
    ]
    return "\n".join(filter(None, lines))


def _named(word: str, paths: Mapping[str, str]) -> str:
    lines = [
        printable(f"{word}{path or '.'}{' ' * bool(why)}{why}")
        for path, why in list(paths.items())[:MOST_NAMED]
    ]
    if len(paths) > MOST_NAMED:
        lines.append(f"{word}{len(paths) - MOST_NAMED} more")
    return "\n".join(lines)
