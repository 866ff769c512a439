"""``bench --replay``: the real engine on tasks that sleep, beside bare Parsl and beside the bound."""

from __future__ import annotations

import argparse
import dataclasses
import time
from contextlib import ExitStack
from pathlib import Path

from dataops_parsl import workflow
from dataops_parsl.bench import overhead, replay_text
from dataops_parsl.bench.costs import Costs, measured_costs, read_costs
from dataops_parsl.bench.inputs import changed
from dataops_parsl.bench.pycyto import FILE, published
from dataops_parsl.bench.record import REPLAY
from dataops_parsl.bench.replay import Replay, Timed, run
from dataops_parsl.bundle import BENCHMARK_RECORD, Bundle, new_id, now
from dataops_parsl.commands.progress import Progress
from dataops_parsl.commands.setting import open_dataset
from dataops_parsl.commands.signals import stop_signals
from dataops_parsl.commands.text import say
from dataops_parsl.engine.groups import groups
from dataops_parsl.engine.preflight import findings, require
from dataops_parsl.errors import UsageError
from dataops_parsl.figures import scaling
from dataops_parsl.figures.base import png_bytes, svg_bytes
from dataops_parsl.plan import Plan, check_populations
from dataops_parsl.provenance import run_facts
from dataops_parsl.report.words import duration
from dataops_parsl.stages import discover
from dataops_parsl.storage.atomic import check_root
from dataops_parsl.storage.claims import Lease

PYCYTO = "pycyto"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a replay needs to the arguments of ``bench``."""
    group = parser.add_argument_group("replay", "tasks sleep instead of computing: what the engine adds")
    group.add_argument(
        "--replay",
        metavar="COSTS",
        help="a file of costs, the folder of a run whose trace gives them, or 'pycyto': as it published them",
    )
    group.add_argument(
        "--mean-task-s",
        type=float,
        default=1.0,
        metavar="S",
        help="the mean task sleeps so long (default: 1)",
    )
    group.add_argument(
        "--no-overhead", action="store_true", help="no rates of no-op tasks, no resume of 10,000 batches"
    )


def execute(args: argparse.Namespace) -> int:
    """Replay costs at each number of workers."""
    if args.mean_task_s <= 0:
        raise UsageError(f"--mean-task-s {args.mean_task_s:g} is no duration", "give a number above 0")
    costs = _costs(args.replay)
    args.sets = [*args.sets, "batch_frames=1", f"dataset.total_frames={costs.frames}"]
    dataset, setting = open_dataset(args)
    check_populations(setting.config, dataset)
    bench = setting.config.bench
    assert bench is not None
    flow = workflow.load(setting.project, args.workflow)
    last = [name for name in flow.nodes if name in bench.stages][-1]
    flow = dataclasses.replace(flow.until(last), tables={}, pictures=[])
    plan = Plan(flow, dataset, setting.config)
    if Path(args.replay).is_dir():
        costs, others = costs.within(plan)
        say(f"not replayed, since they come after {last}: {', '.join(others) or 'none'}")
    costs.check(plan)
    local = setting.config.config.site.kind == "local"
    if not local:
        most = changed(setting.config, workers=max(bench.workers))
        require(findings(most, groups(most, [node.stage for node in plan.nodes])))
    replayed = Replay(plan, costs, args.mean_task_s)
    say(replay_text.head(replayed))
    output_root = setting.config.paths.output_root
    check_root(output_root, "paths.output_root")
    bundle = Bundle(output_root / REPLAY / f"run_{new_id()}", BENCHMARK_RECORD)
    bundle.update(kind="replay", status="open", opened_at=now(), **run_facts(setting.project))
    counts = sorted(set(bench.workers))
    with ExitStack() as stack:
        stack.enter_context(stop_signals())
        stack.enter_context(Lease(bundle.lease))
        progress = Progress(blocks=not local)
        stack.callback(progress.close)
        timed: dict[int, Timed] = {}
        for n in counts:
            config = changed(setting.config, workers=n)
            log = bundle.root / "log" / f"workers_{n}"
            started = time.monotonic()
            timed[n] = run(
                replayed, config, bundle.id, log, bundle.lease, (progress,), streamed=n == counts[-1]
            )
            say(f"  N = {n}: {duration(time.monotonic() - started)}")
        rates, resume = None, None
        if not args.no_overhead:
            with overhead.many_batches(args.workflow, setting.project, discover()) as many:
                log = bundle.root / "log" / "overhead"
                rates = overhead.rates(many, counts[-1], bundle.id, log, bundle.lease)
                resume = overhead.resume_s(many)
        text = replay_text.text(bundle.id, replayed, timed, rates, resume)
        _write(bundle, replayed, timed, text)
        bundle.seal(
            verdict="accepted",
            costs=dataclasses.asdict(costs),
            time_scale=replayed.time_scale,
            timed={str(n): dataclasses.asdict(t) for n, t in timed.items()},
            rates=rates and dataclasses.asdict(rates),
            resume=resume and dict(zip(("batches", "seconds"), resume, strict=True)),
            config=setting.config.effective(),
            origins=dict(setting.config.origins),
            dataset={"name": dataset.name, "fingerprint": dataset.fingerprint},
        )
    say(f"\n{text}\nAll of it: {bundle.root}")
    return 0


def _costs(name: str) -> Costs:
    path = Path(name).expanduser()
    if name == PYCYTO:
        return read_costs(FILE)
    return measured_costs(path) if path.is_dir() else read_costs(path)


def _write(bundle: Bundle, replayed: Replay, timed: dict[int, Timed], text: str) -> None:
    bundle.write_text("replay.md", text)
    base = min(timed)
    stages = [s for s in timed[base].stages if replayed.work_s(replayed.of([s])) > 0]
    ours = {
        stage: {n: base * timed[base].stages[stage] / t.stages[stage] for n, t in timed.items()}
        for stage in stages
    }
    theirs = {stage: {n: n * e for n, e in published().efficiency(stage).items()} for stage in stages}
    figure = scaling.speedup(ours, theirs, (), ours_name="dataops_parsl, replayed")
    bundle.write_file("replay_speedup.png", png_bytes(figure))
    bundle.write_file("replay_speedup.svg", svg_bytes(figure))
