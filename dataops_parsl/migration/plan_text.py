"""A plan as TOML for people: comments, one table an item, what is left alone as a list at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dataops_parsl.dataset.names import printable
from dataops_parsl.migration.plan import Item
from dataops_parsl.migration.proposing import Proposed

_HEAD = """\
# What `migrate` is going to do. Read it, change it, then carry it out:
#   python -m dataops_parsl migrate --plan {name}          what would be done, and whether it can be
#   python -m dataops_parsl migrate --plan {name} --yes    do it; after a kill, the same command goes on
# The way back is in the journal beside this file: python -m dataops_parsl migrate --undo {journal}
#
# action   move   rename; on another disk: copy, compare every file by sha256, then remove the source
#          copy   copy and compare; the source stays
#          link   the files stay where they are: a dataset reads them there, the rest gets a symbolic link
#          leave  nothing
# source   below the root; with `only`, just those of its children
# target   below the project; a dataset goes to data/datasets/NAME and takes its name from there
# description   the dataset.toml of films. What only the experimenter knows has to be filled in there; until
#          then the files are brought, and the dataset waits
"""


def plan_text(proposed: Proposed, name: str, journal: str, questions_of: Mapping[str, Sequence[str]]) -> str:
    """The text of a plan.

    Parameters
    ----------
    name, journal : str
        Names of its file and its journal, for the comments.
    questions_of : mapping
        Key of a dataset's item to what is to be filled in for it.
    """
    plan = proposed.plan
    lines = [_HEAD.format(name=name, journal=journal), f"format = {plan.format}"]
    for key in ("source", "project", "made", "by", "rules"):
        if value := getattr(plan, key):
            lines.append(f"{key} = {quoted(value)}")
    if proposed.questions:
        lines += ["", "# To look at first:", *(f"#   {printable(q)}" for q in proposed.questions)]
    for item in plan.item:
        lines += ["", *_item(item, questions_of.get(item.key, ()))]
    if proposed.alone:
        lines += [
            "",
            "# Left alone, since no rule claims it; write an [[item]] of your own for what should go too:",
        ]
        lines += [f"#   {printable(path)}   {n} files, {words(size)}" for path, size, n in proposed.alone]
    return "\n".join(lines) + "\n"


def _item(item: Item, questions: Sequence[str]) -> list[str]:
    lines = ["[[item]]", f"source = {quoted(item.source)}"]
    if item.only:
        lines.append(f"only = [{', '.join(quoted(each) for each in item.only)}]")
    lines += [
        f"class = {quoted(item.kind)}",
        f"action = {quoted(item.action)}",
        f"target = {quoted(item.target)}",
    ]
    lines += [f"# to fill in there: {printable(question)}" for question in questions]
    if item.description:
        lines.append(f"description = {quoted(item.description)}")
    lines += [f"{key} = {quoted(said)}" for key, said in (("rule", item.rule), ("why", item.why)) if said]
    if item.files is not None:
        lines.append(f"files = {item.files}")
    if item.size is not None:
        lines.append(f"size = {item.size}   # {words(item.size)}")
    return lines


def quoted(text: str) -> str:
    """A TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def words(size: int) -> str:
    """A size in words."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def shown(path: Path) -> str:
    """A path that can be printed."""
    return printable(str(path))
