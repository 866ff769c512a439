"""What was set, and what would be needed to do it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataops_parsl.report.html import Html, details, join, pairs, table, tag
from dataops_parsl.report.view import RunView
from dataops_parsl.report.words import UNKNOWN, moment, toml
from dataops_parsl.validate.acceptance import tally
from dataops_parsl.validate.checks import Check
from dataops_parsl.validate.seal import seal_sha256
from dataops_parsl.validate.versions import check_versions


def settings(view: RunView) -> Html:
    """The configuration, where it differs from the defaults."""
    rows = view.facts.get("differing")
    if rows is None:
        return tag(
            "p", "This run did not record which values differ; run.json has all of them with their origins."
        )
    if not rows:
        return tag("p", "Everything is as in configs/config.def.toml.")
    cells = [(r["key"], toml(r["value"]), _default(r["default"]), r["origin"]) for r in rows]
    return table(
        "Values that are not the defaults", ("key", "value", "default", "set by"), cells, (0, 1, 2, 3)
    )


def _default(value: Any) -> str:
    return UNKNOWN if value is None else toml(value)


def provenance(view: RunView) -> Html:
    """Versions, commit, input, place, times; each start of the run."""
    facts = view.facts
    starts = facts.get("starts") or [{}]
    last = starts[-1]
    dataset = facts.get("dataset", {})
    items = [
        ("Command", " ".join(_shown(last.get("command", [])))),
        ("Started", "; ".join(moment(s.get("at", "")) for s in starts)),
        ("Sealed", moment(facts.get("sealed_at", ""))),
        ("Dataset", f"{dataset.get('name', UNKNOWN)}, fingerprint {dataset.get('fingerprint', UNKNOWN)}"),
        ("Commit", _commit(last.get("git", {}))),
        ("Commit of the package", _commit(last.get("package_git", {}))),
        (
            "Host",
            f"{last.get('host', UNKNOWN)}, {last.get('cpu', UNKNOWN)}, {last.get('cores', UNKNOWN)} cores",
        ),
        ("System", str(last.get("platform", UNKNOWN))),
        ("GPUs of the driver's host", ", ".join(last.get("gpus", [])) or "none"),
        ("GPUs of the workers", ", ".join(facts.get("worker_gpus", [])) or "none"),
        ("SLURM jobs", ", ".join(facts.get("slurm_jobs", [])) or "none"),
        ("sha256 of the seal", seal_sha256(view.bundle.root) or UNKNOWN),
    ]
    versions = last.get("versions", {})
    made = table("Versions of everything that computes", ("what", "version"), versions.items(), (0, 1))
    return join([pairs(items, "facts"), _made_earlier(facts), details("Versions", made), _identities(facts)])


def _made_earlier(facts: Mapping[str, Any]) -> Html | None:
    """Parts that were there already, where other versions than these had made them."""
    found = check_versions(facts)
    return (
        tag("p", f"Not all was made by these versions: {found.found}.") if found.verdict == "noted" else None
    )


def _shown(command: list[str]) -> list[str]:
    """The command as it was typed: a module's path says less than its name."""
    if command and command[0].endswith("__main__.py"):
        return ["python -m dataops_parsl", *command[1:]]
    return command


def _commit(git: Mapping[str, Any]) -> str:
    if not git:
        return "none: not a git checkout"
    words = {True: ", with changes that were not committed", None: ", changes since then not known"}
    return f"{git['commit']}{words.get(git['dirty'], '')}"


def _identities(facts: Mapping[str, Any]) -> Html | None:
    rows = [(s, k, v) for s, said in facts.get("identities", {}).items() for k, v in said.items()]
    if not rows:
        return None
    return table("Libraries and weights of single steps", ("step", "what", "identity"), rows, (0, 1, 2))


def checks(view: RunView) -> Html:
    """Every check of the last validation, or of the run itself before it was sealed."""
    said = view.acceptance
    own = (Check(**c) for c in view.facts.get("checks", []) if "what" in c)
    found = list(said.checks if said else own)
    known = {c.what for c in view.seal}
    found = [*view.seal, *(c for c in found if c.what not in known)]
    who = f"By validate, {moment(said.at)}" if said else "By the run itself, before it was sealed"
    rows = [(c.what, c.expected, c.found, c.verdict) for c in found]
    made = table("Every check", ("what", "expected", "found", "verdict"), rows, (0, 1, 2, 3), note=f"{who}.")
    return details(f"{tally(found)}", made) if rows else tag("p", "None.")
