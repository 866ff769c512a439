"""The verdict on a bundle with all its checks, as JSON and as a page to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from dataops_parsl import __version__
from dataops_parsl.provenance import code_hash
from dataops_parsl.validate.checks import Check, Verdict, overall
from dataops_parsl.validate.seal import seal_sha256
from dataops_parsl.validate.subject import Kind, Subject

MEANINGS: dict[Verdict, str] = {
    "accepted": "every file is as it was sealed, and the tables hold together",
    "partial": "what is there holds together, and the frames that failed are listed",
    "rejected": "the tables do not hold together, or the input is not what was read",
    "tampered": "files are not those that were sealed",
}


FORMAT = 1
"""Of ``acceptance_report.json``."""


@dataclass(frozen=True)
class Acceptance:
    """A bundle's verdict, and what it rests on."""

    run: str
    kind: str
    seal: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """That of the worst check."""
        return overall(self.checks)

    @property
    def against(self) -> list[Check]:
        """Checks that speak against the bundle, the worst first."""
        order = ("tampered", "failed", "partial")
        return sorted((c for c in self.checks if not c.ok), key=lambda c: order.index(c.verdict))

    def to_json(self) -> dict[str, Any]:
        """What ``acceptance_report.json`` holds."""
        return {
            "format": FORMAT,
            "run": self.run,
            "kind": self.kind,
            "verdict": self.verdict,
            "validated_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "validator": {"dataops_parsl": __version__, "code": code_hash()},
            "seal_sha256": self.seal,
            "checks": [asdict(c) for c in self.checks],
        }

    def to_markdown(self) -> str:
        """What ``acceptance_report.md`` holds."""
        said = self.to_json()
        lines = [
            f"# Run {self.run}: {self.verdict}",
            "",
            f"{MEANINGS[self.verdict].capitalize()}. {tally(self.checks)}.",
            "",
            f"Validated {said['validated_at']} by dataops_parsl {__version__}; sha256 of the seal "
            f"(`provenance_manifest.json`): `{self.seal or 'cannot be read'}`.",
        ]
        if self.against:
            lines += ["", "## What speaks against it", ""]
            lines += [f"- {c.what}: {c.found} (expected: {c.expected})" for c in self.against]
        lines += [
            "",
            "## All checks",
            "",
            "| what | expected | found | verdict |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| {' | '.join(map(_cell, (c.what, c.expected, found(c), c.verdict)))} |" for c in self.checks
        ]
        return "\n".join(lines) + "\n"


def found(check: Check) -> str:
    """What was found, in the words ``not checked: why`` where nothing was."""
    return f"not checked: {check.found}" if check.verdict == "not checked" else check.found


def tally(checks: Sequence[Check]) -> str:
    """Such as ``41 checks: 40 ok, 1 not checked``."""
    states = [c.verdict for c in checks]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(sorted(states, key=_rank)))
    return f"{len(checks)} checks: {counts}"


def _rank(state: str) -> int:
    return ("tampered", "failed", "partial", "ok", "noted", "not checked").index(state)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def assess(subject: Subject, kind: Kind) -> Acceptance:
    """Check a sealed bundle; nothing is written."""
    checks: list[Check] = []
    try:
        checks.extend(kind.checks(subject))
    except Exception as error:
        # What was meddled with may be anything; in a whole bundle it is a bug, and shows as one.
        if overall(checks) != "tampered":
            raise
        found = f"cannot be looked at in a tampered bundle: {type(error).__name__}: {error}"
        checks.append(Check("all other checks", "what a run writes", found, "not checked"))
    return Acceptance(subject.id, kind.name, seal_sha256(subject.root), tuple(checks))
