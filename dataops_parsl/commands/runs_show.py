"""``runs show``: one run on a screen."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_parsl.bundle import RECORD, Bundle
from dataops_parsl.commands.export import add_own_project_argument
from dataops_parsl.commands.failures import MAX_SHOWN
from dataops_parsl.commands.setting import load_setting
from dataops_parsl.commands.text import columns
from dataops_parsl.commands.which import RUN_HELP, find_run
from dataops_parsl.report.costs import StageCost, has_gpus, hours, in_all, stage_costs
from dataops_parsl.report.overview import Overview, size, sound
from dataops_parsl.report.view import RunView, Validation
from dataops_parsl.report.words import UNKNOWN, duration, many, moment, number, toml
from dataops_parsl.validate.acceptance import tally
from dataops_parsl.validate.checks import overall

MOST_KEYS, MOST_POSITIONS, _LONGEST_NAME = 15, 12, 22
_LIBRARIES = ("numpy", "scipy", "scikit-image", "antspyx", "zarr", "parsl")
"""The rest is in run.json."""
_RESULTS = {
    "n_targets": "targets",
    "n_effectors": "effectors",
    "n_contact_events": "contacts",
    "n_at_risk": "at risk",
    "n_deaths": "died",
    "n_attributed": "attributed",
    "chance_attributed": "by chance",
    "deaths_per_target_h": "deaths/h",
    "control_deaths_per_target_h": "controls/h",
}
Facts = Mapping[str, Any]


def add_parser(actions: Any) -> None:
    """Add ``show`` to the actions of ``runs``."""
    parser = actions.add_parser(
        "show", help="one run: state, settings, versions, cost, results, what is next"
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    add_own_project_argument(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Print it; nothing is written, and a run that is damaged says so."""
    root = load_setting(args).config.paths.output_root
    bundle = find_run(root, args.run)
    facts = sound(bundle.facts)
    print(_head(bundle, Overview.of(bundle, root), facts))
    if bundle.record == RECORD and "workflow" in facts:
        view = RunView(bundle, facts)
        for part in (_settings(facts), _stages(view), _results(bundle), _failures(facts), _files(bundle)):
            if part:
                print(f"\n{part}")
    print(f"\n{_next(bundle, facts)}")
    return 0


def _head(bundle: Bundle, overview: Overview, facts: Facts) -> str:
    dataset, starts = facts.get("dataset", {}), facts.get("starts") or [{}]
    last = starts[-1]
    rows = [
        ("run", f"{bundle.id}, {overview.workflow}: {_state(bundle, overview, facts)}"),
        ("where", f"{bundle.root} ({size(overview.size_bytes)})"),
    ]
    if facts.get("kind"):
        rows.append(("kind", str(facts["kind"])))
    if dataset:
        rows.append(("dataset", f"{dataset.get('name')}, fingerprint {dataset.get('fingerprint')}"))
    if frames := facts.get("n_frames"):
        rows.append(("frames", f"{many(sum(frames.values()), 'frame')} of {many(len(frames), 'position')}"))
    if last:
        rows.append(("command", _command(last.get("command", []))))
        again = f", {many(len(starts), 'start')}" if len(starts) > 1 else ""
        rows.append(("started", f"{moment(last.get('at', ''))} on {last.get('host', UNKNOWN)}{again}"))
        rows += [("version", _version(last)), ("libraries", _libraries(last))]
    if overview.wall_s is not None:
        rows.append(("wall time", duration(overview.wall_s)))
    rows += [("note", note) for note in facts.get("notes", [])]
    return columns(rows)


def _state(bundle: Bundle, overview: Overview, facts: Facts) -> str:
    if not bundle.sealed:
        said = {
            "open": "open: it was not finished, and the command below goes on with it",
            "abandoned": "abandoned: another run was sealed in its place",
            "damaged": "damaged: its record cannot be read",
        }
        return said.get(overview.state, overview.state)
    sealed = f", sealed {moment(facts.get('sealed_at', ''))}"
    validated = Validation.read(bundle.root)
    if validated is None:
        return f"{overview.state}{sealed}, not validated since"
    return f"{overview.state}{sealed}, validated as {overall(validated.checks)} ({tally(validated.checks)})"


def _command(words: Sequence[str]) -> str:
    shown = list(words)
    if shown and shown[0].endswith("__main__.py"):
        return f"python -m dataops_parsl {shlex.join(shown[1:])}"
    return shlex.join(shown)


def _version(start: Facts) -> str:
    versions, git = start.get("versions", {}), start.get("package_git", {})
    commit = f", commit {git['commit'][:12]}{' and changes' if git['dirty'] else ''}" if git else ""
    code = f", source files {versions['code']}" if "code" in versions else ""
    return f"dataops_parsl {versions.get('dataops_parsl', UNKNOWN)}{commit}{code}"


def _libraries(start: Facts) -> str:
    versions = start.get("versions", {})
    return ", ".join(f"{n} {versions[n]}" for n in ("python", *_LIBRARIES) if versions.get(n))


def _settings(facts: Facts) -> str:
    rows = facts.get("differing")
    if rows is None:
        return ""
    if not rows:
        return "settings: all as in configs/config.def.toml"
    shown = [(r["key"], toml(r["value"]), f"({r['origin']})") for r in rows[:MOST_KEYS]]
    more = f"\n  and {len(rows) - MOST_KEYS} more, in run.json" if len(rows) > MOST_KEYS else ""
    return "settings that are not the defaults:\n" + _indented(columns(shown)) + more


def _stages(view: RunView) -> str:
    found = stage_costs(view)
    if not found:
        return "cost: nothing was computed in this run" if view.bundle.sealed else ""
    head = ("stage", "tasks", "again", "worker time", "CPU time", "CPU-h", "GPU-h", "memory")
    rows = [head, *(_stage(own) for own in (*found, in_all(found)))]
    if not has_gpus(view.facts):
        rows = [row[:6] + row[7:] for row in rows]
    return columns(rows)


def _stage(own: StageCost) -> tuple[str, ...]:
    memory = UNKNOWN if own.peak_mb is None else size(round(own.peak_mb * 2**20))
    return (
        own.stage,
        number(own.tasks),
        number(own.again),
        duration(own.wall_s),
        duration(own.cpu_s),
        hours(own.core_h),
        hours(own.gpu_h),
        memory,
    )


def _results(bundle: Bundle) -> str:
    summary = _table(bundle, "summary")
    if summary is None:
        rows = bundle.facts.get("rows", {})
        return f"tables: {', '.join(f'{name} {number(n)}' for name, n in rows.items())}" if rows else ""
    there = {name: words for name, words in _RESULTS.items() if name in summary.column_names}
    said = summary.to_pylist()
    lines = [("", "", *there.values())]
    for level, most in (("condition", len(said)), ("position", MOST_POSITIONS)):
        mine = [row for row in said if row["level"] == level]
        lines += [
            (level, row["name"][:_LONGEST_NAME], *(number(row[n]) for n in there)) for row in mine[:most]
        ]
        if len(mine) > most:
            lines.append(("", f"and {len(mine) - most} more", *("" for _ in there)))
    return columns(lines)


def _table(bundle: Bundle, name: str) -> pa.Table | None:
    try:
        return pq.read_table(bundle.root / "tables" / f"{name}.parquet")
    except (OSError, pa.ArrowException):
        return None


def _failures(facts: Facts) -> str:
    failures = facts.get("failures", [])
    if not failures:
        return ""
    named: dict[str, str] = {}
    for f in failures:
        frame = "" if f["frame"] is None else f", frame {f['frame']}"
        at = f"{f['position'] or 'all positions'}{frame}, {f['stage']}"
        named.setdefault(at, str(f["reason"]).partition("\n")[0])
    lines = [f"  {at}: {why}" for at, why in list(named.items())[:MAX_SHOWN]]
    if len(named) > MAX_SHOWN:
        lines.append(f"  and {len(named) - MAX_SHOWN} more, in run.json")
    return "\n".join(["failed:", *lines])


def _files(bundle: Bundle) -> str:
    tables = sorted(p.stem for p in (bundle.root / "tables").glob("*.parquet"))
    figures = sorted(p.name for p in (bundle.root / "figures").glob("*.png"))
    others = [
        words
        for name, words in (
            ("labels", "label images (labels/)"),
            ("truth.txt", "scores against the truth (truth.txt)"),
            ("report.html", "report.html"),
        )
        if (bundle.root / name).exists()
    ]
    said = [f"{many(len(tables), 'table')}, {many(len(figures), 'figure')}", *others]
    return f"files: {', '.join(said)}" if tables or figures else ""


def _next(bundle: Bundle, facts: Facts) -> str:
    if not bundle.sealed:
        last = (facts.get("starts") or [{}])[-1]
        if bundle.live or facts.get("status") != "open" or not last.get("command"):
            return "next: python -m dataops_parsl runs list"
        return f"next: {_command(last['command'])}"
    program, run = "python -m dataops_parsl", bundle.id
    lines = [f"  {program} validate {run}"]
    if bundle.record == RECORD:
        lines += [
            f"  {program} report {run}",
            f"  {program} runs export {run} --csv | --zip | --trackmate-xml | --ctc | --labels",
            f"  {program} runs napari {run}",
        ]
    return "\n".join(["next:", *lines])


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))
