"""From what was found in an older tree to a plan, cautious where something could be lost or misunderstood."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dataops_parsl import __version__
from dataops_parsl.bundle import Bundle
from dataops_parsl.dataset.description import FILE_NAME
from dataops_parsl.dataset.record import MANIFEST, read_json
from dataops_parsl.errors import DatasetError, UsageError
from dataops_parsl.migration.classify import Claim, Found, classify
from dataops_parsl.migration.links import destination
from dataops_parsl.migration.living import scratches_in, why_in_use
from dataops_parsl.migration.plan import FORMAT, Action, Item, Places, Plan
from dataops_parsl.migration.rules import Rule
from dataops_parsl.migration.targets import Targets
from dataops_parsl.migration.tree import Folder, scan
from dataops_parsl.migration.ways import existing


@dataclass
class Proposed:
    """A plan, and what cannot be said in it.

    Parameters
    ----------
    alone : list of (path, bytes, files)
        What no rule claims; never touched.
    questions : list of str
        What to look at before it is carried out.
    """

    plan: Plan
    alone: list[tuple[str, int, int]]
    questions: list[str] = field(default_factory=list)


def propose(
    source: Path, places: Places, rules: Sequence[Rule], action: Action | None = None, own_rules: str = ""
) -> Proposed:
    """Look at an older tree and plan where its parts go; nothing is written.

    Parameters
    ----------
    source : Path
        May itself be a link; no other link is followed.
    action : "move", "copy" or "link", optional
        For all items; without it what is cheap and takes nothing away from another disk.
    own_rules : str
        The file that some rules came from.

    Raises
    ------
    UsageError
        It is no folder, cannot be read, or is a part of the project's own places.
    """
    root = Path(os.path.realpath(source))
    for place in places.all:
        if root.is_relative_to(os.path.realpath(place)):
            raise UsageError(f"{source} lies in {place}: what is there is in its place", "give an older tree")
    skip = [Path(os.path.realpath(place)) for place in places.all]
    top = scan(root, skip)
    found = classify(top, rules)
    return _Proposer(top, places, found, action).proposed(own_rules)


class _Proposer:
    def __init__(self, top: Folder, places: Places, found: Found, action: Action | None) -> None:
        self._top, self._places, self._found, self._action = top, places, found, action
        self._questions = list(found.questions)
        self._alone = list(found.alone)
        self._scratches = scratches_in(top)
        self._read_by = _links_of_snapshots(found.claims)

    def proposed(self, own_rules: str) -> Proposed:
        claims = [claim for claim in self._found.claims if self._can_be_named(claim)]
        targets = Targets(self._top.path, self._places, claims)
        items = [self._item(claim, targets.of(claim)) for claim in claims]
        plan = Plan(
            format=FORMAT,
            source=str(self._top.path),
            project=str(self._places.project),
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            by=f"dataops_parsl {__version__}",
            rules=own_rules,
            item=tuple(items),
        )
        self._ask_about_links(plan)
        return Proposed(plan, sorted(self._alone), self._questions)

    def _item(self, claim: Claim, target: Path) -> Item:
        shown = _shown(claim, self._top)
        why_not = self._why_not(claim, target)
        if why_not:
            self._questions.append(f"{shown}: {why_not}; left alone")
        shared = [n for f in claim.folders() for n in f.shared]
        if shared:
            self._questions.append(
                f"{shown} holds {len(shared)} files with a second name (hard links), such as {shared[0]}: "
                "a copy is a file of its own"
            )
        why = claim.rule.why + (f" ({claim.detail})" if claim.detail else "")
        place = claim.folder.path
        described = claim.only and claim.rule.kind == "dataset" and (place / FILE_NAME).is_file()
        return Item(
            source=str(place.relative_to(self._top.path)),
            only=claim.only,
            kind=claim.rule.kind,
            action="leave" if why_not or claim.rule.confidence == "guess" else self._way(claim, target),
            target=_below(target, self._places.project),
            rule=claim.rule.name,
            why=why,
            files=claim.n_files,
            size=claim.size,
            description=str(place / FILE_NAME) if described else "",
        )

    def _way(self, claim: Claim, target: Path) -> Action:
        """Rename on one disk; else leave films where they are and copy the rest."""
        if self._action is not None:
            return self._action
        parent = existing(target.parent)
        home = claim.folder.path if claim.only else claim.folder.path.parent
        if os.stat(parent).st_dev == os.stat(home).st_dev and os.access(home, os.W_OK):
            return "move"
        return "link" if claim.rule.kind == "dataset" else "copy"

    def _why_not(self, claim: Claim, target: Path) -> str:
        if odd := claim.odd():
            return odd[0] + (f" and {len(odd) - 1} more like it" if len(odd) > 1 else "")
        if os.path.lexists(target):
            return f"there is something at {target} already"
        if claim.rule.name == "bundle" and Bundle.at(claim.folder.path).live:
            return "a living run writes it"
        if in_use := why_in_use(claim.folder.path, self._scratches, whole=not claim.only):
            return in_use
        for root, snapshot in self._read_by.items():
            if any(
                f.path == root or f.path.is_relative_to(root) or root.is_relative_to(f.path)
                for f in claim.folders()
            ):
                return f"the dataset {snapshot} reads its data there"
        return ""

    def _can_be_named(self, claim: Claim) -> bool:
        try:
            "".join((str(claim.folder.path), *claim.only)).encode()
        except UnicodeEncodeError:
            shown = _shown(claim, self._top)
            self._questions.append(
                f"{shown}: its name is no UTF-8 text, which a plan cannot hold; left alone"
            )
            self._alone.append((shown, claim.size, claim.n_files))
            return False
        return True

    def _ask_about_links(self, plan: Plan) -> None:
        """Links that stay where they are and lead into what moves lead nowhere afterwards."""
        moved = [plan.place(item) for item in plan.active if item.action == "move" and not item.only]
        claimed = [plan.place(item) for item in plan.active if not item.only]
        for folder in self._top.walk():
            if any(folder.path.is_relative_to(place) for place in claimed):
                continue
            for name, text in folder.links.items():
                leads = destination(folder.path, text)
                if any(leads.is_relative_to(place) for place in moved):
                    where = (folder.path / name).relative_to(self._top.path)
                    self._questions.append(f"the link {where} leads into what moves, and nowhere afterwards")


def _links_of_snapshots(claims: Sequence[Claim]) -> dict[Path, str]:
    """Where datasets of this program in the tree read data that were left where they were."""
    found = {}
    for claim in claims:
        if claim.rule.name == "snapshot":
            try:
                link = read_json(claim.folder.path / MANIFEST).get("link")
            except DatasetError:
                continue
            if link:
                found[Path(os.path.realpath(str(link)))] = claim.folder.name
    return found


def _below(path: Path, project: Path) -> str:
    return str(path.relative_to(project)) if path.is_relative_to(project) else str(path)


def _shown(claim: Claim, top: Folder) -> str:
    where = str(claim.folder.path.relative_to(top.path))
    return f"{where}/{','.join(claim.only)}" if claim.only else where
