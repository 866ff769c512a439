"""A sealed run as the page needs it: facts, attempts, tables, what validation said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_parsl.bundle import TRACE, Bundle
from dataops_parsl.errors import UsageError
from dataops_parsl.events import read
from dataops_parsl.trace import blocks
from dataops_parsl.validate.acceptance import FORMAT, MEANINGS
from dataops_parsl.validate.checks import STATES, Check, Verdict, overall, worst
from dataops_parsl.validate.seal import check_seal, seal_sha256

PALETTE = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499")
"""Paul Tol's "muted" colours, which people with any colour vision tell apart (2021, "Colour Schemes")."""
OTHER = "#BBBBBB"
GOOD = ("done", "partial")
"""Outcomes of attempts after which nothing had to be done again."""


@dataclass(frozen=True)
class Validation:
    """What an acceptance report says: when it was written, and its checks. Its verdict follows from these."""

    at: str
    checks: tuple[Check, ...]

    @classmethod
    def read(cls, root: Path) -> Validation | None:
        """The report beside a bundle; None where there is none of just its seal that this version can read.

        It is not sealed: anything may have become of it, and a newer version may mean something else by it.
        """
        try:
            said = json.loads((root / "acceptance_report.json").read_bytes())
            if said["format"] != FORMAT or said["seal_sha256"] != seal_sha256(root):
                return None
            found = cls(str(said["validated_at"]), tuple(Check(**c) for c in said["checks"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        whole = all(
            c.verdict in STATES and all(isinstance(v, str) for v in vars(c).values()) for c in found.checks
        )
        return found if whole and found.checks else None


@dataclass(frozen=True)
class RunView:
    """One run."""

    bundle: Bundle
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, bundle: Bundle) -> RunView:
        """Look at a sealed bundle.

        Raises
        ------
        UsageError
            It does not say what it is.
        """
        facts = bundle.facts
        if "workflow" not in facts:
            raise UsageError(
                f"{bundle.root} has no run.json that can be read, so that nothing can be reported",
                f"python -m dataops_parsl validate {bundle.root} says what else is wrong with it",
            )
        return cls(bundle, facts)

    @cached_property
    def attempts(self) -> list[dict[str, Any]]:
        """Rows of the trace, in the order in which they were submitted."""
        table = self.table(TRACE)
        return [] if table is None else table.to_pylist()

    @cached_property
    def ran(self) -> list[dict[str, Any]]:
        """Attempts with a known beginning and end."""
        return [a for a in self.attempts if a["started"] is not None and a["ended"] is not None]

    @cached_property
    def blocks(self) -> list[dict[str, Any]]:
        """Blocks of workers, see `trace.blocks`."""
        try:
            return blocks(read(self.bundle.events))
        except OSError:
            return []

    def table(self, name: str) -> pa.Table | None:
        """A table; None where there is none, or none that can be read."""
        try:
            return pq.read_table(self.bundle.root / "tables" / f"{name}.parquet")
        except (OSError, pa.ArrowException):
            return None

    @cached_property
    def stages(self) -> list[str]:
        """Stages in the order of the workflow, then any others that the trace names."""
        known = [step["stage"] for step in self.facts.get("graph", [])]
        return list(dict.fromkeys([*known, *(a["stage"] for a in self.attempts)]))

    def colour(self, stage: str) -> str:
        """Colour of a stage."""
        at = self.stages.index(stage) if stage in self.stages else len(PALETTE)
        return PALETTE[at] if at < len(PALETTE) else OTHER

    @cached_property
    def seal(self) -> list[Check]:
        """What speaks against the files now."""
        return [c for c in check_seal(self.bundle.root) if not c.ok]

    @cached_property
    def acceptance(self) -> Validation | None:
        """The last acceptance report of just this seal; None where there is none."""
        return Validation.read(self.bundle.root)

    @property
    def verdict(self) -> str:
        """Of the seal if it is broken, else of the last validation, but no better than the run's own."""
        own: list[Verdict] = [v for v in MEANINGS if v == self.facts.get("verdict")]
        if self.seal:
            return "tampered"
        if not own and not self.acceptance:
            return "unknown"
        listed: list[Verdict] = ["partial"] if self.facts.get("failures") else []
        validated = [overall(self.acceptance.checks)] if self.acceptance else []
        return worst([*own, *listed, *validated])

    @property
    def log_dir(self) -> Path:
        """Where logs lie."""
        return self.bundle.root / "log"
