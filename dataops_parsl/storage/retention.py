"""Which step folders may go, and why the others stay: from what was found, what is known of runs, and rules.

Scratch is safe to delete at any time, so that a rule decides about cost alone: what goes is computed again
if something that is missing needs it. What a living run uses stays under every rule.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from dataops_parsl.config.models import Retention
from dataops_parsl.storage.inventory import Unit

DAY_S = 86400.0
GB = 10**9
StepId = tuple[str, str]
"""Name of the dataset, and key of the step."""


@dataclass
class Known:
    """What the run bundles say of steps.

    Parameters
    ----------
    needed : dict
        Steps that a run is made of, with the newest such run.
    last : dict
        Of these the steps of the last runs, which the policy keeps.
    live : dict
        Those of runs that are going on.
    used_s : dict
        When a run last named the step, s since 1970.
    runs : int
        How many runs were read.
    unread : list of str
        Bundles whose record cannot be read.
    """

    needed: dict[StepId, str] = field(default_factory=dict)
    last: dict[StepId, str] = field(default_factory=dict)
    live: dict[StepId, str] = field(default_factory=dict)
    used_s: dict[StepId, float] = field(default_factory=dict)
    runs: int = 0
    unread: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """What a purge by hand names; all of it has to fit.

    Parameters
    ----------
    dataset : str
        Empty: any.
    stages : collection of str
        Empty: any.
    older_than_s : float
        Unused for so long; 0: however long.
    gc : bool
        Only what no known run needs.
    """

    dataset: str = ""
    stages: Collection[str] = ()
    older_than_s: float = 0.0
    gc: bool = False

    @property
    def by_hand(self) -> bool:
        """Whether anything is named, so that the policy is not asked."""
        return bool(self.dataset or self.stages or self.older_than_s or self.gc)

    def covers(self, unit: Unit) -> bool:
        """Whether a unit lies where is looked."""
        return self.dataset in ("", unit.dataset) and (not self.stages or unit.stage in self.stages)


@dataclass
class Choice:
    """What was decided.

    Parameters
    ----------
    going, staying : dict of unit to reason
    over_bytes : int
        By how much scratch is above the limit, even without what goes.
    """

    going: dict[Unit, str] = field(default_factory=dict)
    staying: dict[Unit, str] = field(default_factory=dict)
    over_bytes: int = 0


def used_s(unit: Unit, known: Known) -> float:
    """When a step folder was last written, or named by a run; s since 1970."""
    return max(unit.used_s, known.used_s.get((unit.dataset, unit.key), 0.0))


def choose(
    units: Iterable[Unit],
    asked: Asked,
    rules: Retention,
    known: Known,
    in_use: Callable[[Unit], str],
    now: float,
) -> Choice:
    """Decide about step folders.

    Parameters
    ----------
    in_use : callable
        By whom a step folder is used at this moment, in words; empty by none.
    """
    choice = Choice()
    steps = []
    for unit in units:
        if not asked.covers(unit):
            continue
        if by := in_use(unit):
            choice.staying[unit] = f"in use by {by}"
        else:
            steps.append(unit)
    if asked.by_hand:
        _by_hand(steps, asked, known, now, choice)
    else:
        _by_policy(steps, rules, known, now, choice)
    return choice


def _by_hand(steps: Iterable[Unit], asked: Asked, known: Known, now: float, choice: Choice) -> None:
    for unit in steps:
        age_s = now - used_s(unit, known)
        if asked.older_than_s and age_s <= asked.older_than_s:
            choice.staying[unit] = "used since"
        elif asked.gc and (unit.dataset, unit.key) in known.needed:
            choice.staying[unit] = "a known run needs it"
        else:
            choice.going[unit] = "no known run needs it" if asked.gc else "asked for"


def _by_policy(steps: Iterable[Unit], rules: Retention, known: Known, now: float, choice: Choice) -> None:
    free: list[Unit] = []
    for unit in steps:
        if (unit.dataset, unit.key) in known.last:
            runs = f"{rules.keep_last_runs} runs" if rules.keep_last_runs > 1 else "run"
            choice.staying[unit] = f"made for the last {runs} of a workflow (retention.keep_last_runs)"
        elif rules.scratch_days and now - used_s(unit, known) > rules.scratch_days * DAY_S:
            choice.going[unit] = f"unused for more than {rules.scratch_days:g} days"
        else:
            free.append(unit)
    stay = "used in the last days (retention.scratch_days)" if rules.scratch_days else "no rule lets it go"
    choice.staying.update(dict.fromkeys(free, stay))
    if not rules.max_scratch_gb:
        return
    over = sum(unit.bytes for unit in choice.staying) - round(rules.max_scratch_gb * GB)
    # What one run was made of is unused for equally long: of that the largest first, which are pixels.
    for unit in sorted(free, key=lambda unit: (used_s(unit, known), -unit.bytes)):
        if over <= 0:
            break
        del choice.staying[unit]
        choice.going[unit] = f"longest unused, scratch is above {rules.max_scratch_gb:g} GB"
        over -= unit.bytes
    choice.over_bytes = max(0, over)


def reasons(staying: Mapping[Unit, str]) -> dict[str, tuple[int, int]]:
    """How many folders stay for each reason, and what they take, bytes."""
    out: dict[str, tuple[int, int]] = {}
    for unit, why in staying.items():
        n, size = out.get(why, (0, 0))
        out[why] = (n + 1, size + unit.bytes)
    return out
