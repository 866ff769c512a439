"""``purge``: what lies on scratch and may go; dry until ``--yes``."""

from __future__ import annotations

import argparse
import contextlib
import functools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dataops_parsl.commands import purge_text
from dataops_parsl.commands.known_runs import benchmark, known_runs
from dataops_parsl.commands.old_logs import OldLog, old_logs
from dataops_parsl.commands.old_logs import remove as remove_log
from dataops_parsl.commands.purge_text import Found
from dataops_parsl.commands.setting import Setting, add_project_argument, add_set_argument, load_setting
from dataops_parsl.dataset.names import check_name, printable
from dataops_parsl.errors import PlaceError, UsageError, nearest
from dataops_parsl.report.words import many
from dataops_parsl.stages import discover
from dataops_parsl.storage.folders import Root
from dataops_parsl.storage.inventory import Inventory, Unit, look
from dataops_parsl.storage.loose import LEFT_BEHIND_S
from dataops_parsl.storage.purging import Purged, Purger, noting
from dataops_parsl.storage.retention import DAY_S, Asked, Known, choose

_UNITS_S = {"m": 60.0, "h": 3600.0, "d": DAY_S, "w": 7 * DAY_S}


def add_parser(commands: Any) -> None:
    """Add ``purge`` to the command line."""
    parser = commands.add_parser(
        "purge",
        help="delete scratch and old logs by policy or by hand; says what would go until --yes",
        description="Without options the policy of [retention] in the configuration decides. Options name "
        "what goes by hand; several narrow each other. What a living run uses always stays.",
    )
    parser.add_argument("--dataset", metavar="NAME", help="scratch of this dataset")
    parser.add_argument(
        "--stage", action="append", default=[], metavar="STAGE", help="of this stage; may be given again"
    )
    parser.add_argument(
        "--older-than", type=_age, metavar="AGE", help="not used by a run for so long: 45m, 12h, 30d, 8w"
    )
    parser.add_argument("--gc", action="store_true", help="what no known run is made of")
    parser.add_argument("--yes", action="store_true", help="delete; without it, only say what would go")
    parser.add_argument("--site", metavar="SITE", help="a file in configs/sites, for its paths")
    add_set_argument(parser)
    add_project_argument(parser)
    parser.set_defaults(execute=execute)


def _age(text: str) -> float:
    said = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if not said or not float(said[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no age: write it as 45m, 12h, 30d or 8w")
    return float(said[1]) * _UNITS_S[said[2]]


def execute(args: argparse.Namespace) -> int:
    """Say what would go; with ``--yes`` delete it. The exit code is 3 when something could not be deleted."""
    if args.dataset:
        check_name(args.dataset, "dataset")
    setting = load_setting(args)
    asked = Asked(args.dataset or "", tuple(args.stage), args.older_than or 0.0, args.gc)
    purge = _Purge(setting, asked)
    with purge.opened():
        return purge.execute(args.yes)


class _Purge:
    def __init__(self, setting: Setting, asked: Asked) -> None:
        self.paths, self.rules = setting.config.paths, setting.config.config.retention
        self.asked, self.now = asked, time.time()
        self.scratch: Root | None = None
        self.output: Root | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """With the roots open: from now on they are what they are, whatever their paths lead to later."""
        with contextlib.ExitStack() as stack:
            self.scratch = _open(self.paths.scratch_root, "paths.scratch_root", stack)
            if not self.asked.by_hand:
                self.output = _open(self.paths.output_root, "paths.output_root", stack)
            yield

    def execute(self, yes: bool) -> int:
        """Look, decide, say, delete."""
        known = known_runs(self.paths.output_root, self.rules.keep_last_runs)
        if self.asked.gc:
            _refuse_unknown(known, self.paths.output_root)
        found = self._found(known)
        _say(
            purge_text.head(
                self.scratch.path if self.scratch else self.paths.scratch_root, self.asked, self.rules
            )
        )
        _say(found.table())
        _say(purge_text.staying(found.choice))
        _say(purge_text.skipped(found.inventory.skipped))
        for bundle in known.unread if self.asked.gc else ():
            _say(f"note: {printable(bundle)} does not say what it is made of, so nothing is kept for it")
        if not yes:
            _say(found.total() + ("; nothing was deleted, --yes deletes" if found.n else ""))
            return 0
        purged = self._delete(found)
        _say(purge_text.purged(purged) if found.n else found.total())
        if purged.failed:
            raise PlaceError(
                f"{many(len(purged.failed), 'thing')} could not be deleted; the rest was",
                "see above why; what was taken away in part is under no name that a run reads, and the next "
                "purge tries again",
            )
        return 0

    # --- looking

    def _found(self, known: Known) -> Found:
        logs: list[OldLog] = []
        if self.scratch is None:
            inventory = Inventory()
        else:
            inventory = look(
                self.scratch,
                dataset=self.asked.dataset,
                stages=self.asked.stages,
                loose_tables=self.asked.gc,
                now=self.now,
            )
        self._check_asked(inventory)
        in_use, steps = self._in_use(inventory, known)
        choice = choose(steps, self.asked, self.rules, known, in_use, self.now)
        if self.output is not None:
            age_s = self.rules.log_days * DAY_S
            with noting((), inventory.skipped):
                logs = old_logs(self.output, age_s, self.now, inventory.skipped)
        return Found(
            inventory,
            choice,
            known,
            [u for u in inventory.of("trash", "temporary") if self.asked.covers(u)],
            [u for u in inventory.of("benchmark") if self.asked.covers(u) and self._dead(u, inventory)],
            [u for u in choice.staying if u.loose and not in_use(u)],
            logs,
        )

    def _check_asked(self, inventory: Inventory) -> None:
        """Refuse a name that is nowhere: mistyped, it would look as if there were nothing to do."""
        dataset, known = self.asked.dataset, sorted(inventory.datasets)
        if dataset and dataset not in known and dataset not in inventory.skipped:
            raise UsageError(
                f"there is no scratch of a dataset {dataset!r}{nearest(dataset, known)} "
                f"in {self.paths.scratch_root}",
                f"there is scratch of {', '.join(known)}" if known else "",
            )
        stages = {cls.name for cls in discover()} | inventory.stages
        for stage in self.asked.stages:
            if stage not in stages:
                raise UsageError(
                    f"there is no stage {stage!r}{nearest(stage, stages)}",
                    f"the stages are {', '.join(map(printable, sorted(stages)))}",
                )

    def _in_use(self, inventory: Inventory, known: Known) -> tuple[Callable[[Unit], str], list[Unit]]:
        """Who uses a step, in words; and the steps of which that can be told."""
        users: dict[str, dict[str, str]] = {}
        steps = inventory.of("step")
        for dataset in dict.fromkeys(u.dataset for u in steps):
            assert self.scratch is not None
            with noting((dataset,), inventory.skipped):
                users[dataset] = Purger(self.scratch).users(dataset)

        def in_use(unit: Unit) -> str:
            run = known.live.get((unit.dataset, unit.key))
            return users[unit.dataset].get(unit.folder) or (f"run {run}" if run else "")

        return in_use, [u for u in steps if u.dataset in users]

    def _dead(self, unit: Unit, inventory: Inventory) -> bool:
        """Whether the benchmark that made these cases is dead; of another project by its silence too."""
        assert self.scratch is not None
        if any(unit.name in Purger(self.scratch).runs(dataset) for dataset in inventory.datasets):
            return False
        bundle = benchmark(self.paths.output_root, unit.name)
        return not bundle.live if bundle else self.now - unit.used_s > LEFT_BEHIND_S

    # --- deleting

    def _delete(self, found: Found) -> Purged:
        if self.scratch is None:
            purged = Purged()
        else:
            purger = Purger(self.scratch)
            purged = purger.purged
            for unit in found.left_behind:
                purger.left_behind(unit)
            for unit in found.benchmarks:
                purger.benchmark(unit, functools.partial(self._dead, unit, found.inventory))
            for unit in found.choice.going:
                purger.step(unit)
            for unit in found.loose:
                purger.loose(unit, tables=self.asked.gc)
            stages = {(u.dataset, u.stage) for u in found.choice.going} | set(found.inventory.empty)
            purger.empty_stages(sorted(stages))
        for log in found.logs:
            assert self.output is not None
            remove_log(self.output, log, purged)
        return purged


def _open(path: Path, key: str, stack: contextlib.ExitStack) -> Root | None:
    try:
        return stack.enter_context(Root(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PlaceError(f"{path} cannot be opened: {error.strerror}", f"set {key}") from error


def _refuse_unknown(known: Known, output_root: Path) -> None:
    if not known.runs:
        raise UsageError(
            f"no run is known in {output_root}, so that --gc would let everything go",
            "set paths.output_root to where the runs are, or say what goes: --dataset, --stage, --older-than",
        )


def _say(text: str) -> None:
    if text:
        print(text, flush=True)
