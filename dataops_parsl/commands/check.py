"""``check``: is this machine or cluster fit for a run, with a remedy for each thing that is not."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

from dataops_parsl import workflow
from dataops_parsl.commands.setting import Setting, add_config_arguments, load_setting, open_dataset
from dataops_parsl.dataset.listing import find
from dataops_parsl.engine.finding import Finding
from dataops_parsl.engine.groups import groups
from dataops_parsl.engine.preflight import findings
from dataops_parsl.engine.requirements import requirements
from dataops_parsl.errors import DatasetError, PlaceError
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
    add_config_arguments(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Ask, and print a table; 0 when a run could start, else 3."""
    setting = load_setting(args)
    flow = workflow.load(setting.project, args.workflow)
    setting, dataset = _with_dataset(args, setting)
    config = setting.config
    site, workers = config.config.site, config.config.workers
    many = f"{workers} worker{'s' * (workers != 1)}"
    print(f"site {site.name} ({config.origins['site.kind']}), workflow {flow.name}, {many}\n", flush=True)
    used = stages(setting, flow)
    found = [dataset, *findings(config, groups(config, [stage for _, stage in used])), *requirements(used)]
    print(table(found))
    failed = sum(not f.ok for f in found)
    if failed:
        print(f"\n{failed} of {len(found)} checks FAILED: {flow.name} cannot run on {site.name} yet")
        return PlaceError.exit_code
    print(f"\nfit: {flow.name} can run on {site.name}")
    return 0


def stages(setting: Setting, flow: workflow.Workflow) -> list[tuple[str, Stage]]:
    """The stages of a workflow as they are configured, each with its population or ``""``."""
    config = setting.config
    found: list[tuple[str, Stage]] = []
    for node in flow.nodes.values():
        # Without a dataset no population is known: then a stage is taken as it is for all.
        populations = list(config.config.populations) if node.each else []
        found += [(p, config.stage(node.stage, p)) for p in populations] or [("", config.stage(node.stage))]
    return found


def _with_dataset(args: argparse.Namespace, setting: Setting) -> tuple[Setting, Finding]:
    """The setting with the dataset's populations where it is there; nothing is written."""
    name, paths = setting.config.config.dataset.name, setting.config.paths
    if name == "demo" and not (paths.data_root / name / "manifest.json").exists():
        return setting, Finding("dataset", True, "demo, which the first run simulates")
    try:
        find(name, paths.data_root, paths.legacy_root)
        dataset, whole = open_dataset(args)
    except DatasetError as error:
        return setting, Finding("dataset", False, error.message, error.remedy)
    frames = sum(film.n_frames for film in dataset.positions.values())
    populations = ", ".join(whole.config.config.populations) or "none"
    n = len(dataset.positions)
    words = f"{name}, {n} position{'s' * (n != 1)}, {frames} frames, populations {populations}"
    return whole, Finding("dataset", True, words)


def table(found: Sequence[Finding]) -> str:
    """A line for each finding: ok, note or FAILED, the subject, what was found; a remedy under it.

    Subjects ``executor: what`` stand under a heading, their executor.
    """
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
