"""What the pages say is so: files written from the code are current, named commands and files exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl import cli
from dataops_parsl.config import write_default
from dataops_parsl.stages import discover
from tests.helpers import PROJECT
from tests.write_docs import text as tables_page

PROGRAM = "python -m dataops_parsl"
README = (PROJECT / "README.md").read_text()


def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (PROJECT / "Makefile").read_text(), re.MULTILINE))


def _made() -> list[str]:
    """The words behind `make` in code."""
    code = re.findall(r"^    (.*)$|`([^`\n]+)`", README, re.MULTILINE)
    return [w for line in code for part in line for w in re.findall(r"\bmake ([a-z][a-z-]*)", part)]


def _commands() -> list[str]:
    """What follows the program's name in the code of README.md, without comment and redirection."""
    code = re.findall(r"^    (.*)$|`([^`\n]+)`", README, re.MULTILINE)
    lines = [part for line in code for part in line if PROGRAM in part]
    return [re.split(r"\s[#>]", line.partition(PROGRAM)[2])[0].strip() for line in lines]


def _options(parser: Any) -> set[str]:
    """All options of a parser and of those below it."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action.choices, dict):
            found |= {o for below in action.choices.values() for o in _options(below)}
    return found


def test_tables_page_is_written_from_the_schemas() -> None:
    written = (PROJECT / "docs" / "tables.md").read_text(encoding="utf-8")
    assert written == tables_page(), "run `make config`"


def test_default_configuration_is_written_from_the_models() -> None:
    written = (PROJECT / "configs" / "config.def.toml").read_text(encoding="utf-8")
    assert written == write_default(discover()), "run `make config`"


def test_readme_has_commands() -> None:
    assert {"demo", "test"} <= set(_made())
    assert len(_commands()) >= 3


@pytest.mark.parametrize("target", sorted(set(_made())))
def test_make_targets_of_the_readme_exist(target: str) -> None:
    assert target in _make_targets()


@pytest.mark.parametrize("command", [c for c in _commands() if c])
def test_commands_of_the_readme_are_understood(command: str) -> None:
    assert callable(cli.parser().parse_args(shlex.split(command)).execute)


def test_commands_of_the_readmes_table_exist() -> None:
    rows = re.findall(r"^\| `([a-z]+)([^`]*)` \|", README, re.MULTILINE)
    assert len(rows) >= 4
    top = next(a for a in cli.parser()._actions if isinstance(a.choices, dict)).choices
    for command, rest in rows:
        assert command in top, command
        actions = rest.strip().split("/") if "/" in rest else []
        known = next((a.choices for a in top[command]._actions if a.choices), {})
        assert [a for a in actions if a not in known] == [], f"{command} has only {list(known)}"
    assert sorted(c for c, _ in rows) == sorted(top), "every command is in the table"


def test_options_of_the_readme_exist() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README))
    assert named
    assert named - _options(cli.parser()) == set()


def test_workflows_of_the_readme_exist() -> None:
    (row,) = (line for line in README.splitlines() if line.startswith("| `run [WORKFLOW]`"))
    named = re.findall(r"`([a-z_]+)`", row.partition("`apps/`")[2])
    assert named
    assert [n for n in named if not (PROJECT / "apps" / f"{n}.py").exists()] == []


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(f"docs/{p.name}" for p in (PROJECT / "docs").glob("*.md"))]
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    assert [t for t in targets if not (PROJECT / Path(page).parent / t).exists()] == []
