"""``run``: the story of a run, from the words on the command line to a sealed bundle."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dataops_parsl import publish, workflow
from dataops_parsl.bundle import TRACE, Bundle, abandon_stale, find_sealed, new_id, now, open_bundle, remove
from dataops_parsl.commands import demo
from dataops_parsl.commands.failures import partial_error
from dataops_parsl.commands.foretelling import check_place, check_room, dry_run, extent
from dataops_parsl.commands.progress import Progress
from dataops_parsl.commands.setting import Setting, add_config_arguments, load_setting, open_dataset
from dataops_parsl.commands.signals import stop_signals
from dataops_parsl.commands.text import say
from dataops_parsl.commands.together import finish_lean, lean_at_last, made_already, say_who
from dataops_parsl.engine.dispatch import Dispatcher
from dataops_parsl.engine.groups import Group, groups
from dataops_parsl.engine.lean import Lean
from dataops_parsl.engine.pools import pool_class
from dataops_parsl.engine.rounds import rounds
from dataops_parsl.engine.sharing import Shared, use_of
from dataops_parsl.errors import RejectedError
from dataops_parsl.estimate.history import scratch_sizes
from dataops_parsl.events import Events, stage_times
from dataops_parsl.exports.keeping import drop_kept, keep_labels
from dataops_parsl.needs import Assessor, Needs, downstream
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan, check_populations
from dataops_parsl.provenance import run_facts, worker_versions
from dataops_parsl.report.words import duration
from dataops_parsl.sealing import describe, made_by, noted, record
from dataops_parsl.storage.atomic import check_root
from dataops_parsl.storage.claims import Lease
from dataops_parsl.storage.part_claims import PartClaims
from dataops_parsl.storage.parts import parquet_bytes
from dataops_parsl.trace import devices, executors, gpu_idle_frac, trace
from dataops_parsl.validate.versions import others

TRUTH, TRUTH_SCORES = "truth.txt", "truth.csv"


def add_parser(commands: Any) -> None:
    """Add ``run`` to the command line."""
    parser = commands.add_parser("run", help="run a workflow, computing only what is missing")
    parser.add_argument(
        "workflow", nargs="?", default="cytotoxicity", help="a file in apps/ (default: %(default)s)"
    )
    parser.add_argument("--workers", type=_positive, metavar="N", help="workers at once")
    parser.add_argument(
        "--frames", type=_positive, metavar="N", help="at most N frames a position, in whole batches"
    )
    parser.add_argument("--until", metavar="STAGE", help="stop after this stage")
    parser.add_argument(
        "--force",
        metavar="STAGE",
        action="append",
        default=[],
        help="compute this stage anew, and all after it",
    )
    parser.add_argument(
        "--keep-labels",
        action="store_true",
        help="keep the label images in the run too, as OME-Zarr; part of no result",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be computed, and why")
    parser.add_argument(
        "--lean", action="store_true", help="delete each intermediate once nothing more reads it"
    )
    add_config_arguments(parser)
    parser.set_defaults(execute=execute)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return value


def execute(args: argparse.Namespace) -> int:
    """Run a workflow on a dataset; the exit code says how it went."""
    flow = workflow.load(load_setting(args).project, args.workflow)
    if args.until:
        flow = flow.until(args.until)
    if args.keep_labels:
        flow = flow.keeping_labels()
    dataset, setting = open_dataset(args)
    check_populations(setting.config, dataset)
    plan = Plan(flow, dataset, setting.config)
    forced = downstream(plan, _known_stages(args.force, flow))
    assessor = Assessor(plan, forced)
    output_root = setting.config.paths.output_root
    say(f"{flow.name} on {dataset.name}: {extent(plan)}")
    sealed = find_sealed(output_root, flow.name, plan.recipe, labels=args.keep_labels)
    if sealed and not forced and sealed.facts.get("verdict") == "accepted":
        say(f"Nothing to do: this result is complete in {sealed.root}")
        if args.lean and not args.dry_run:
            lean_at_last(plan)
        _show_truth(sealed)
        return 0
    if args.dry_run:
        return dry_run(assessor.assess(), plan)
    for root, key in ((plan.scratch, "paths.scratch_root"), (output_root, "paths.output_root")):
        check_root(root, key)
    # What is forced is wanted anew: nobody takes it for his own, nor waits for it.
    using = use_of(plan, new_id(), publishes=not forced)
    with stop_signals(), using as use, PartClaims(use) as claims:
        assessor.began_ns = use.began_ns
        lean = Lean(plan, use, _read_at_the_end(plan)) if args.lean else None
        shared = Shared(use, claims, lean)
        needs = assessor.assess()
        check_place(setting.config, needs)
        check_room(plan, needs)
        if sealed and not forced:
            return _retry_partial(setting, plan, assessor, needs, shared, sealed)
        return _compute_and_seal(setting, plan, assessor, needs, shared)


def _read_at_the_end(plan: Plan) -> list[Part]:
    """What is read beside the tables' own parts at the end: masks, to compare them or keep them."""
    return publish.label_parts(plan) if demo.has_truth(plan.dataset) or plan.workflow.kept else []


def _known_stages(stages: list[str], flow: workflow.Workflow) -> list[str]:
    for stage in stages:
        flow.until(stage)  # refuses a stage that is not there, naming those that are
    return stages


def _retry_partial(
    setting: Setting, plan: Plan, assessor: Assessor, needs: Needs, shared: Shared, sealed: Bundle
) -> int:
    """A partial bundle of this result is there: try its failed frames once; if nothing changes, say so."""
    if not needs.todo and publish.digests(plan) == sealed.facts.get("parts", {}):
        raise partial_error(sealed.facts.get("failures", []), sealed)
    return _compute_and_seal(setting, plan, assessor, needs, shared)


def _compute_and_seal(setting: Setting, plan: Plan, assessor: Assessor, needs: Needs, shared: Shared) -> int:
    """Compute what is needed, publish, check, seal.

    No bundle is made when another one says the same already: one that was partial before, or that another
    run made meanwhile.
    """
    started = time.monotonic()
    output_root = setting.config.paths.output_root
    bundle, continued = open_bundle(output_root, plan.workflow.name, plan.recipe, run=shared.use.run)
    if continued:
        shared.use.called(bundle.id)
        say(f"Continuing {bundle.root}, which was not finished")
    say_who(shared.use, plan)
    progress = Progress(blocks=setting.config.config.site.kind == "slurm")
    with ExitStack() as stack:
        stack.enter_context(Lease(bundle.lease))
        events = Events(bundle.events, bundle.root / "log" / "failures", (progress,))
        stack.callback(events.close)
        stack.callback(progress.close)
        _describe(bundle, setting, plan)
        failures = _compute(setting, plan, assessor, needs, events, progress, bundle, shared)
        same = None if assessor.forced else made_already(plan, output_root, shared.use)
        if same is None:
            verdict = _publish_and_seal(bundle, plan, events, failures, started)
    if same is not None:
        remove(bundle)
    if shared.lean is not None:
        finish_lean(shared.lean, plan)
    if same is not None:
        say(f"{events.n_tasks} tasks; this result is in {same.root}")
        return _told_before(same)
    abandon_stale(output_root, plan.workflow.name, plan.recipe)
    say(f"{events.n_tasks} tasks in {duration(time.monotonic() - started)}, verdict: {verdict}")
    for note in bundle.facts["notes"]:
        say(f"note: {note}")
    if (idle := bundle.facts["gpu_idle_frac"]) is not None:
        say(f"GPU workers computed nothing in {idle:.0%} of their time")
    say(f"tables and figures: {bundle.root}")
    say(f"on one page: python -m dataops_parsl report {bundle.id}")
    _show_truth(bundle)
    if failures:
        raise partial_error(failures, bundle)
    if verdict == "rejected":
        wrong = "; ".join(
            f"{c['what']}: {c['found']}" for c in bundle.facts["checks"] if c["verdict"] == "failed"
        )
        raise RejectedError(f"the tables of {bundle.root} do not hold together: {wrong}")
    return 0


def _told_before(same: Bundle) -> int:
    """Nothing was published, since another bundle says the same."""
    if same.facts.get("verdict") != "accepted":
        raise partial_error(same.facts.get("failures", []), same)
    _show_truth(same)
    return 0


def _publish_and_seal(
    bundle: Bundle, plan: Plan, events: Events, failures: list[dict[str, Any]], started: float
) -> str:
    """Write tables and pictures, check them, seal; returns the verdict."""
    tables = publish.fill(bundle, plan)
    for name, text in zip(
        (TRUTH, TRUTH_SCORES), demo.compare(plan.dataset, tables, publish.label_images(plan)), strict=True
    ):
        if text:
            bundle.write_text(name, text)
    attempts = trace(bundle.events, bundle.worker_logs)
    bundle.write_table(TRACE, parquet_bytes(attempts))
    checks = record(bundle, plan, {**tables, TRACE: attempts}, failures)
    verdict = "partial" if failures else "accepted" if all(c.ok for c in checks) else "rejected"
    used = executors(bundle.events, attempts)
    made = made_by(plan)
    if plan.workflow.kept:
        keep_labels(bundle, plan)
    else:
        drop_kept(bundle)
    bundle.seal(
        verdict=verdict,
        notes=publish.notes(plan, tables) + others(made, worker_versions()),
        made_by=made,
        noted=noted(plan),
        checks=[vars(c) for c in checks],
        failures=failures,
        parts=publish.digests(plan),
        scratch_sizes=scratch_sizes(plan),
        keeps_labels=bool(plan.workflow.kept),
        stages=stage_times(events.ended_tasks),
        executors=used,
        slurm_jobs=sorted({job for job in attempts["job_id"].unique().to_pylist() if job}),
        worker_gpus=devices(bundle.worker_logs),
        gpu_idle_frac=gpu_idle_frac(used, {g.label for g in _groups(plan) if g.gres}),
        rows={name: t.num_rows for name, t in tables.items()},
        wall_s=round(time.monotonic() - started, 1),
    )
    return verdict


def _show_truth(bundle: Bundle) -> None:
    path = bundle.root / TRUTH
    if path.exists():
        say(f"\nFound against the truth of this simulated dataset:\n{path.read_text()}")


def _describe(bundle: Bundle, setting: Setting, plan: Plan) -> None:
    facts, said = bundle.facts, describe(plan)
    # The trace is of all starts, and an earlier one may have had other executors.
    said["executor_gres"] = {**facts.get("executor_gres", {}), **said["executor_gres"]}
    bundle.update(starts=[*facts.get("starts", []), {"at": now(), **run_facts(setting.project)}], **said)
    dataset = plan.dataset
    for name in ("dataset.toml", dataset.description.plate):
        if name and (dataset.root / name).exists():
            bundle.write_text(f"dataset/{Path(name).name}", (dataset.root / name).read_text())


def _groups(plan: Plan) -> list[Group]:
    return groups(plan.config, [node.stage for node in plan.nodes])


def _compute(
    setting: Setting,
    plan: Plan,
    assessor: Assessor,
    needs: Needs,
    events: Events,
    progress: Progress,
    bundle: Bundle,
    shared: Shared,
) -> list[dict[str, Any]]:
    """Plan, run, plan again until nothing is left; returns what failed."""
    given_up: dict[Part, dict[str, Any]] = {}
    if needs.todo:
        logs = bundle.root / "log"
        kind = pool_class(setting.config)
        if setting.config.config.site.kind == "globus":
            say("Waiting for the endpoint's first worker, to ask what it sees; it may have to queue")
        with kind(setting.config, _groups(plan), bundle.id, logs, bundle.lease, events.block) as pool:
            engine = setting.config.config.engine
            dispatcher = Dispatcher(
                pool, plan, events, engine.max_attempts, engine.on_failure, claims=shared.claims
            )
            given_up = rounds(plan, assessor, needs, dispatcher, progress.expect, shared.lean)
    gone = [
        {
            "position": part.position,
            "frame": None,
            "stage": part.node.id,
            "reason": outcome["reason"],
            "log": str(log) if (log := events.failure_log(part.id)).exists() else "",
        }
        for part, outcome in given_up.items()
    ]
    return publish.roots(plan) + gone
