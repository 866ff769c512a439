"""``bench``: how the stages scale with the number of workers, stage by stage."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from dataops_parsl import workflow
from dataops_parsl.bench import analysis
from dataops_parsl.bench.inputs import changed, check_stages
from dataops_parsl.bench.pycyto import published
from dataops_parsl.bench.record import ANALYSIS, FIGURES, Record
from dataops_parsl.bench.results import Row, aggregate, fits
from dataops_parsl.bench.scaling import Setup, measure, prepare_inputs
from dataops_parsl.bundle import now
from dataops_parsl.commands import replay
from dataops_parsl.commands.progress import Progress
from dataops_parsl.commands.setting import Setting, add_config_arguments, load_setting, open_dataset
from dataops_parsl.commands.signals import stop_signals
from dataops_parsl.commands.text import columns, say
from dataops_parsl.config import Bench
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.engine.groups import groups
from dataops_parsl.engine.preflight import findings, require
from dataops_parsl.engine.sharing import use_of
from dataops_parsl.errors import RejectedError, UsageError
from dataops_parsl.figures import scaling
from dataops_parsl.figures.base import png_bytes, svg_bytes
from dataops_parsl.plan import Plan, check_populations
from dataops_parsl.provenance import run_facts
from dataops_parsl.report.words import duration
from dataops_parsl.storage.atomic import check_root
from dataops_parsl.storage.claims import Lease
from dataops_parsl.storage.parts import fingerprint
from dataops_parsl.validate.inputs import recorded_inputs

FLOW = "cytotoxicity"
HEAD = ("stage", "N", "run, s", "speed-up", "efficiency", "pyCyto's", "start-up, s", "")


def add_parser(commands: Any) -> None:
    """Add ``bench`` to the command line."""
    parser = commands.add_parser("bench", help="measure how the stages scale with the number of workers")
    parser.add_argument("workflow", nargs="?", default=FLOW, help="a file in apps/ (default: %(default)s)")
    parser.add_argument(
        "--workers",
        dest="counts",
        metavar="N,N",
        help="numbers of workers (default: bench.workers, which is 1,2,4,8)",
    )
    add_config_arguments(parser)
    replay.add_arguments(parser)
    parser.set_defaults(execute=execute, benchmark=True)


def execute(args: argparse.Namespace) -> int:
    """Measure each stage at each number of workers; goes on where an interrupted benchmark was."""
    if load_setting(args).config.config.site.kind == "globus":
        raise UsageError(
            "bench holds blocks of its own to measure them, and an endpoint has none of ours",
            "measure where the workers run: --site laptop, or a site of kind slurm",
        )
    if args.counts:
        args.sets = [*args.sets, f"bench.workers={_counts(args.counts)}"]
    if args.replay:
        return replay.execute(args)
    flow = workflow.load(load_setting(args).project, args.workflow)
    dataset, setting = open_dataset(args)
    check_populations(setting.config, dataset)
    bench = setting.config.bench
    assert bench is not None
    check_stages(flow, bench.stages)
    return _Run(flow, dataset, setting, bench).execute()


def _counts(text: str) -> list[int]:
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise UsageError(f"--workers {text} are no numbers of workers", "write it as --workers 1,2,4,8")
    return found


class _Run:
    """One start of a benchmark."""

    def __init__(self, flow: workflow.Workflow, dataset: Dataset, setting: Setting, bench: Bench) -> None:
        self.flow, self.dataset, self.setting, self.bench = flow, dataset, setting, bench
        self.config = setting.config
        self.counts = sorted(set(bench.workers))
        self.local = self.config.config.site.kind == "local"
        self.cores = len(os.sched_getaffinity(0)) if self.local else None
        self.plan = Plan(flow.upto(bench.stages), dataset, self.config)

    def execute(self) -> int:
        """Open or continue the record, measure what is missing, seal."""
        output_root = self.config.paths.output_root
        check_root(self.config.paths.scratch_root, "paths.scratch_root")
        check_root(output_root, "paths.output_root")
        if not self.local:
            most = changed(self.config, workers=self.counts[-1])
            require(findings(most, groups(most, [node.stage for node in self.plan.nodes])))
        record, continued = Record.open(output_root, self._recipe(), self.bench.stages)
        say(self._what())
        for note in self.notes():
            say(f"note: {note}")
        if continued:
            say(f"Continuing {record.master.root}, which was not finished")
        started = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(stop_signals())
            stack.enter_context(Lease(record.master.lease))
            # The cases read the inputs through links, until the end.
            stack.enter_context(use_of(self.plan, record.master.id, pixels=False))
            self._describe(record)
            progress = Progress(blocks=not self.local)
            stack.callback(progress.close)
            self._measure(record, progress)
            rows = self._publish(record)
            same = all(row["same_result"] for row in rows)
            record.seal(
                verdict="accepted" if same else "rejected",
                wall_s=round(time.monotonic() - started, 1),
                notes=self.notes(),
            )
        say(f"Measured in {duration(time.monotonic() - started)}; all of it: {record.master.root}")
        if not same:
            names = sorted({row["stage"] for row in rows if not row["same_result"]})
            raise RejectedError(
                f"the results of {', '.join(names)} differ between numbers of workers",
                "results must not depend on them: please report it, with the tables of the benchmark",
            )
        return 0

    def _measure(self, record: Record, progress: Progress) -> None:
        setup = Setup(
            self.flow, self.dataset, self.config, record.master.id, record.master.lease, (progress,)
        )
        wanted = {
            (stage, n): missing
            for stage in self.bench.stages
            for n in self.counts
            if (missing := record.missing(stage, n, self.bench.repeats))
        }
        if wanted:
            first = record.stage_folder(self.bench.stages[0]) / "log" / "inputs"
            if n := prepare_inputs(setup, self.bench.stages, self.counts[-1], first):
                say(f"Inputs prepared: {n} tasks, once for all")
        for (stage, n), repeats in wanted.items():
            log = record.stage_folder(stage) / "log" / f"workers_{n}"
            for row, tasks in measure(setup, stage, n, repeats, log):
                record.add(row, tasks)
                say(
                    f"  {stage:<17} N = {n:<3} run {row['wall_s']:7.2f} s, start-up {row['startup_s']:5.1f} s"
                    f", first batch {row['first_batch_cold_s']:.2f} s, then {row['first_batch_warm_s']:.2f} s"
                )

    def _publish(self, record: Record) -> list[Row]:
        rows = aggregate(record.rows(), self.cores)
        record.write_tables(rows)
        laws = fits(rows)
        where = (
            f"{self._what()}; {run_facts(self.setting.project)['cpu']}, site {self.config.config.site.name}"
        )
        text = analysis.text(record.master.id, where, rows, laws, record.tasks(self.counts[0]), self.notes())
        record.master.write_text(ANALYSIS, text)
        ours = {s: {} for s in self.bench.stages} | {
            stage: {r["workers"]: r["speedup"] for r in rows if r["stage"] == stage}
            for stage in {r["stage"] for r in rows if r["efficiency_frac"] is not None}
        }
        theirs = {
            stage: {n: n * e for n, e in published().efficiency(stage).items()} for stage in self.bench.stages
        }
        crowded = {row["workers"] for row in rows if row["exceeds_cores"]}
        figures = (scaling.results(analysis.parts(rows)), scaling.speedup(ours, theirs, crowded))
        for name, figure in zip(FIGURES, figures, strict=True):
            record.master.write_file(f"{name}.png", png_bytes(figure))
            record.master.write_file(f"{name}.svg", svg_bytes(figure))
        say("\n" + columns([HEAD, *map(_line, rows)]) + "\n")
        return rows

    def notes(self) -> list[str]:
        """What a reader of the figures has to know."""
        out = []
        if self.cores and (many := [str(n) for n in self.counts if n > self.cores]):
            out.append(
                f"this host has {self.cores} cores: with {', '.join(many)} workers there are more workers "
                "than cores, which shows that results stay equal, and not how the stages scale"
            )
        for stage in self.bench.stages:
            needs = self.config.resources(stage)
            on_gpu = any(node.stage.on_gpu for node in self.plan.nodes if node.stage.name == stage)
            if needs.gres and self.local:
                out.append(
                    f"resources.{stage}.gres = {needs.gres!r} is not used: this site has no GPU blocks"
                )
            elif needs.gres and not (on_gpu or needs.force_gres):
                out.append(
                    f"resources.{stage}.gres = {needs.gres!r} is not used: its backend computes on no GPU "
                    f"(resources.{stage}.force_gres = true asks for one all the same)"
                )
        return out

    def _what(self) -> str:
        frames = sum(self.plan.n_frames.values())
        return (
            f"Benchmark of {', '.join(self.bench.stages)} on {self.dataset.name}: {frames} frames, batches "
            f"of {self.plan.batch_frames}, workers {', '.join(map(str, self.counts))}, "
            f"{self.bench.repeats} time{'s' * (self.bench.repeats != 1)}"
        )

    def _recipe(self) -> str:
        """Identity of the benchmark: what is measured, and where."""
        place = run_facts(self.setting.project)
        return fingerprint(
            {
                "workflow": self.flow.name,
                "fingerprint": self.dataset.fingerprint,
                "keys": {n.id: n.key for n in self.plan.nodes},
                "frames": self.plan.n_frames,
                "bench": self.bench.model_dump(mode="json"),
                "site": self.config.config.site.model_dump(mode="json"),
                "resources": {s: self.config.resources(s).model_dump(mode="json") for s in self.bench.stages},
                **{name: place[name] for name in ("versions", "host", "cpu", "cores")},
            }
        )

    def _describe(self, record: Record) -> None:
        record.master.update(
            kind="benchmark",
            dataset={
                "name": self.dataset.name,
                "root": str(self.dataset.root),
                "fingerprint": self.dataset.fingerprint,
            },
            starts=[
                *record.master.facts.get("starts", []),
                {"at": now(), **run_facts(self.setting.project)},
            ],
            config=self.config.effective(),
            origins=dict(self.config.origins),
            keys={node.id: node.key for node in self.plan.nodes},
            n_frames=self.plan.n_frames,
            inputs=recorded_inputs(self.dataset, {p: range(n) for p, n in self.plan.n_frames.items()}),
            stages=list(self.bench.stages),
            workers=self.counts,
            repeats=self.bench.repeats,
            cores=self.cores,
        )


def _line(row: Row) -> Sequence[str]:
    efficiency = "one task a film" if row["film_as_one_task"] else analysis.frac(row["efficiency_frac"])
    return (
        row["stage"],
        str(row["workers"]),
        f"{row['wall_s']:.2f}",
        "–" if row["speedup"] is None else f"{row['speedup']:.2f}",
        efficiency,
        analysis.frac(published().efficiency(row["stage"]).get(row["workers"])),
        f"{row['startup_s']:.1f}",
        "more workers than cores" if row["exceeds_cores"] else "",
    )
