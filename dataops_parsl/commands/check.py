"""``check``: is this machine or cluster fit for a run, with a remedy for each thing that is not."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dataops_parsl import workflow
from dataops_parsl.bundle import find_sealed
from dataops_parsl.commands.setting import Setting, add_config_arguments, load_setting, open_dataset
from dataops_parsl.dataset.listing import find
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.engine.finding import Finding
from dataops_parsl.engine.groups import groups
from dataops_parsl.engine.packages import packages, workers
from dataops_parsl.engine.preflight import findings
from dataops_parsl.engine.requirements import requirements
from dataops_parsl.errors import DataopsError, DatasetError, PlaceError
from dataops_parsl.estimate.predict import estimate
from dataops_parsl.estimate.room import memory, room
from dataops_parsl.estimate.words import coarse, totals
from dataops_parsl.needs import Assessor
from dataops_parsl.plan import Plan, check_populations
from dataops_parsl.stage import Stage

WIDTH = 110
_MARKS = {(True, False): "ok", (True, True): "note", (False, False): "FAILED", (False, True): "FAILED"}


def add_parser(commands: Any) -> None:
    """Add ``check`` to the command line."""
    parser = commands.add_parser(
        "check", help="is this machine or cluster fit for a run? In seconds, with remedies"
    )
    parser.add_argument(
        "workflow", nargs="?", default="cytotoxicity", help="a file in apps/ (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="workers at once, as for run")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    add_config_arguments(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Ask, and print a table; 0 when a run could start, else 3."""
    setting = load_setting(args)
    flow = workflow.load(setting.project, args.workflow)
    setting, dataset, told = _with_dataset(args, setting)
    found = [told, *_findings(setting, flow), *_cost(setting, flow, dataset)]
    failed = sum(not f.ok for f in found)
    print(_json(setting, flow, found) if args.json else _text(setting, flow, found))
    return PlaceError.exit_code if failed else 0


def _findings(setting: Setting, flow: workflow.Workflow) -> list[Finding]:
    """All about the place, the packages and what the stages need."""
    used = stages(setting, flow)
    config = setting.config
    executors = groups(config, [stage for _, stage in used])
    needed = requirements(used, config.config.site.kind == "local")
    return [*packages(), *workers(config), *findings(config, executors), *needed]


def _cost(setting: Setting, flow: workflow.Workflow, dataset: Dataset | None) -> list[Finding]:
    """What a run of the dataset would take, and whether there is room for it."""
    if dataset is None:
        return []
    try:
        check_populations(setting.config, dataset)
        plan = Plan(flow, dataset, setting.config)
    except DataopsError as error:  # a stage cannot work as it is configured: one finding among others
        return [Finding("plan", False, error.message, error.remedy)]
    output_root = setting.config.paths.output_root
    sealed = find_sealed(output_root, flow.name, plan.recipe)
    if sealed and sealed.facts.get("verdict") == "accepted":
        return [Finding("estimate", True, f"nothing would be computed: the result is in {sealed.root}")]
    asked = estimate(plan, Assessor(plan).assess(), output_root)
    if not asked.steps:
        return [Finding("estimate", True, "all parts are there: nothing would be computed")]
    return [
        Finding("estimate", True, "; ".join(totals(asked)), coarse(asked)),
        *room(setting.config, asked),
        *memory(setting.config, asked),
    ]


def _text(setting: Setting, flow: workflow.Workflow, found: Sequence[Finding]) -> str:
    site, n = setting.config.config.site, setting.config.config.workers
    origin = setting.config.origins["site.kind"]
    failed = sum(not f.ok for f in found)
    said = f"{failed} of {len(found)} checks FAILED: {flow.name} cannot run on {site.name} yet"
    return "\n".join(
        [
            f"site {site.name} ({origin}), workflow {flow.name}, {n} worker{'s' * (n != 1)}",
            "",
            table(found),
            "",
            said if failed else f"fit: {flow.name} can run on {site.name}",
        ]
    )


def _json(setting: Setting, flow: workflow.Workflow, found: Sequence[Finding]) -> str:
    """The same for machines."""
    config = setting.config.config
    answer = {
        "site": config.site.name,
        "kind": config.site.kind,
        "workflow": flow.name,
        "workers": config.workers,
        "fit": all(f.ok for f in found),
        "findings": [{"state": _MARKS[f.ok, bool(f.remedy)].lower(), **asdict(f)} for f in found],
    }
    return json.dumps(answer, indent=1, ensure_ascii=False)


def stages(setting: Setting, flow: workflow.Workflow) -> list[tuple[str, Stage]]:
    """The stages of a workflow as they are configured, each with its population or ``""``."""
    config = setting.config
    found: list[tuple[str, Stage]] = []
    for node in flow.nodes.values():
        # Without a dataset no population is known: then a stage is taken as it is for all.
        populations = list(config.config.populations) if node.each else []
        found += [(p, config.stage(node.stage, p)) for p in populations] or [("", config.stage(node.stage))]
    return found


def _with_dataset(args: argparse.Namespace, setting: Setting) -> tuple[Setting, Dataset | None, Finding]:
    """The setting with the dataset's populations where it is there; nothing is written."""
    name, paths = setting.config.config.dataset.name, setting.config.paths
    if name == "demo" and not (paths.data_root / name / "manifest.json").exists():
        return setting, None, Finding("dataset", True, "demo, which the first run simulates")
    try:
        find(name, paths.data_root, paths.legacy_root)
        dataset, whole = open_dataset(args)
    except DatasetError as error:
        return setting, None, Finding("dataset", False, error.message, error.remedy)
    frames = sum(film.n_frames for film in dataset.positions.values())
    populations = ", ".join(whole.config.config.populations) or "none"
    n = len(dataset.positions)
    words = f"{name}, {n} position{'s' * (n != 1)}, {frames} frames, populations {populations}"
    return whole, dataset, Finding("dataset", True, words)


def table(found: Sequence[Finding]) -> str:
    """A line for each finding: ok, note or FAILED, the subject, what was found; a remedy under it.

    Subjects ``executor: what`` stand under a heading, their executor, after those without one.
    """
    found = sorted(found, key=lambda f: ": " in f.subject)
    width = max(len(f.subject.rpartition(": ")[2]) for f in found)
    lines, section = [], ""
    for finding in found:
        heading, _, subject = finding.subject.rpartition(": ")
        if heading != section:
            section = heading
            lines += ["", section]
        mark = _MARKS[finding.ok, bool(finding.remedy)]
        lines += _wrapped(f"{mark:<8}{subject:<{width}}  ", finding.found)
        if finding.remedy:
            lines += _wrapped(" " * (width + 10) + "→ ", finding.remedy)
    return "\n".join(lines)


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
