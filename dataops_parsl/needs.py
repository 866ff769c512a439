"""Which parts have to be computed, and why: top-down from what is wanted, so that a missing
intermediate costs nothing until something missing needs it.

A part is done when there is a receipt with its recipe, its files have the recorded sizes, and each
input whose receipt exists still has the digest that was read. Of some inputs only the receipt is read, such
as the carry of the batch before: then its files may be gone, as a lean run leaves it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataops_parsl.dataset.names import FOR_ALL
from dataops_parsl.nodes import Part, StepNode
from dataops_parsl.plan import Plan
from dataops_parsl.storage.parts import Receipt, files_whole, read_receipt

Root = tuple[str, str, int | None]
"""Where a frame failed: id of the node, position, frame."""


@dataclass
class Needs:
    """What is to be done, with the reason of each, and the receipts of what was found done."""

    todo: dict[Part, str] = field(default_factory=dict)
    done: dict[Part, Receipt] = field(default_factory=dict)

    def reasons(self) -> dict[tuple[str, str], int]:
        """Number of tasks by (node, reason), in order of the plan."""
        out: dict[tuple[str, str], int] = {}
        for part, reason in sorted(self.todo.items(), key=lambda item: item[0].node.depth):
            out[part.node.id, reason] = out.get((part.node.id, reason), 0) + 1
        return out


def downstream(plan: Plan, stages: Collection[str]) -> set[str]:
    """Ids of the nodes of these stages and of all that read from them, at any distance."""
    hit: set[str] = set()
    for node in plan.nodes:
        reads = {s.node.id for sources in node.sources.values() for s in sources if s.node}
        if node.stage.name in stages or reads & hit:
            hit.add(node.id)
    return hit


class Assessor:
    """Assesses a plan against scratch; asked again after each round of work.

    Parameters
    ----------
    plan : Plan
    forced : collection of node ids
        Not done until computed in this run.

    Attributes
    ----------
    began_ns : int or None
        When the run began, by the clock of the scratch, ns since 1970: what failed since then in another run
        that goes on at the same time counts as tried.
    """

    def __init__(self, plan: Plan, forced: Collection[str] = ()) -> None:
        self.plan = plan
        self.forced = set(forced)
        self.began_ns: int | None = None
        self.computed: set[str] = set()
        self._receipt_is_enough: set[Part] = set()
        self._listing: dict[Path, set[str]] = {}
        self._stems: dict[Path, set[str]] = {}
        self._why: dict[StepNode, str] = {}

    def mark(self, part: Part) -> None:
        """Note that a part was computed (or tried) in this run: it is neither forced nor tried again."""
        self.computed.add(part.id)

    def assess(self) -> Needs:
        """Find what the wanted parts need."""
        self._listing.clear()
        needs = Needs()
        seen: dict[Part, bool] = {}
        partial: list[Part] = []
        roots: set[Root] = set()
        stack = [(part, True) for part in self.plan.wanted()]
        while stack or partial:
            if not stack:  # a frame failed above: it is tried once in each run, and what leads there asked
                through = _through(self.plan, roots)
                stack = [(source, False) for part in partial for source in part.inputs() if source in through]
                partial.clear()
                continue
            part, files = stack.pop()
            if seen.get(part, False) or (part in seen and not files):
                continue
            seen[part] = files
            if part in needs.todo:
                continue
            reason, receipt = self._state(part, self._listed, files)
            if reason:
                needs.done.pop(part, None)
                needs.todo[part] = reason
                stack += [(source, part.reads_files_of(source)) for source in part.inputs()]
            elif receipt is not None:
                needs.done[part] = receipt
                if receipt.roots:
                    partial.append(part)
                    roots |= {(r["stage"], r["position"], r["frame"]) for r in receipt.roots}
        self._receipt_is_enough = {part for part, files in seen.items() if not files}
        self._add_conditional(needs)
        return needs

    def _add_conditional(self, needs: Needs) -> None:
        """Add what is done but reads something that is computed anew: should that come out as before,
        `needed` says so when its turn comes, and it is passed over."""
        for part in sorted(needs.done, key=lambda p: (p.node.depth, p.index)):
            if any(source in needs.todo for source in part.inputs()):
                needs.todo[part] = "an input is computed anew"
                del needs.done[part]

    def needed(self, part: Part) -> bool:
        """Whether a part has to be computed, as scratch is at this moment: another run may have done it."""
        files = part not in self._receipt_is_enough
        return bool(self._state(part, lambda p: read_receipt(p.place.receipt), files)[0])

    def _state(
        self, part: Part, look_up: Callable[[Part], Receipt | None], files: bool
    ) -> tuple[str, Receipt | None]:
        fresh = part.id in self.computed
        if part.node.id in self.forced and not fresh:
            return "forced", None
        receipt = look_up(part)
        if receipt is None:
            return self._why_missing(part), None
        if files and not files_whole(part.place.folder, receipt):
            return "its files are gone or cut", None
        if (receipt.failed or receipt.halo) and not fresh and self._before(part):
            return "failed before, tried once more", None
        for source in part.inputs():
            recorded = receipt.inputs.get(str(source.place.receipt.relative_to(self.plan.scratch)))
            current = look_up(source)
            if current is not None and recorded is not None and current.digest != recorded:
                return f"{source.node.id} was computed anew and differs", None
        return "", receipt

    def _before(self, part: Part) -> bool:
        """Whether a part was computed before this run began."""
        try:
            return self.began_ns is None or part.place.receipt.stat().st_mtime_ns <= self.began_ns
        except OSError:
            return True

    def _listed(self, part: Part) -> Receipt | None:
        # One listing a folder costs less than a failed open for each of thousands of parts.
        path = part.place.receipt
        if path.parent not in self._listing:
            try:
                names = {p.name for p in path.parent.iterdir()}
            except FileNotFoundError:
                names = set()
            self._listing[path.parent] = names
            self._stems[path.parent] = {n.rsplit(".", 2)[0] for n in names if n.endswith(".json")}
        return read_receipt(path) if path.name in self._listing[path.parent] else None

    def _why_missing(self, part: Part) -> str:
        if part.stem in self._stems.get(part.place.receipt.parent, ()):
            return "input changed"
        if part.node not in self._why:
            self._why[part.node] = _compare(part.node)
        return self._why[part.node]


def _through(plan: Plan, roots: Collection[Root]) -> set[Part]:
    """The parts in which frames failed, and all that read them at any distance.

    Of a partial result's inputs the others need not be there: a failure did not come through them.
    """
    failed: dict[tuple[str, str], set[int | None]] = {}
    for where, position, frame in roots:
        failed.setdefault((where, position), set()).add(frame)
    found: set[Part] = set()
    for node in plan.nodes:
        for part in plan.parts(node):
            frames = failed.get((node.id, part.position or FOR_ALL))
            if (frames and _fails(part, frames)) or any(source in found for source in part.inputs()):
                found.add(part)
    return found


def _fails(part: Part, frames: Collection[int | None]) -> bool:
    """Whether a part has one of these frames or reads it as acquired, or it stands for none in particular."""
    own = {*part.frames, *part.raw_frames}
    return any(frame is None or frame < 0 or frame in own for frame in frames)


def _difference(name: str, old: Any, new: Any) -> str:
    """Down to the key that differs, so that one line says it."""
    if isinstance(old, dict) and isinstance(new, dict):
        inner = next(k for k in {**old, **new} if old.get(k) != new.get(k))
        return _difference(f"{name}.{inner}", old.get(inner), new.get(inner))
    return f"{name} was {old}, is {new}"


def _compare(node: StepNode) -> str:
    """Say what differs from the last computed version of the step, if there is one."""
    name = node.folder.name.rpartition("-")[0]
    others = [p for p in node.folder.parent.glob(f"{name}-*/step.json") if p.parent != node.folder]
    if not others or (node.folder / "step.json").exists():
        return "missing"
    try:
        before: dict[str, Any] = json.loads(max(others, key=lambda p: p.stat().st_mtime).read_bytes())
    except (OSError, json.JSONDecodeError):
        return "missing"
    now = node.described
    if before.get("version") != now["version"]:
        return f"code changed: version {before.get('version')} is now {now['version']}"
    for group, word in (
        ("parameters", "parameter"),
        ("identity", "library"),
        ("facts", "dataset.toml or population"),
    ):
        old, new = before.get(group, {}), now[group]
        changed = [k for k in {**old, **new} if old.get(k) != new.get(k)]
        if changed:
            return f"{word} changed: {_difference(changed[0], old.get(changed[0]), new.get(changed[0]))}"
    if before.get("batch_frames") != now["batch_frames"]:
        return f"batch_frames was {before.get('batch_frames')}, is {now['batch_frames']}"
    return "a step before it changed"
