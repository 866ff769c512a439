"""The commit that a run names is that of its own files, and what git could not say is not made up."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dataops_parsl.provenance import git_facts
from dataops_parsl.report.settings import _commit


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit that holds ``package/code.py``, and ignores ``.venv``."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").write_text("pass\n")
    (tmp_path / ".gitignore").write_text(".venv\n")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    return tmp_path


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_checkout_names_its_commit_and_whether_it_was_changed(checkout: Path) -> None:
    commit = _git(checkout, "rev-parse", "HEAD")
    assert git_facts(checkout / "package") == {"commit": commit, "dirty": False}
    (checkout / "package" / "code.py").write_text("1\n")
    assert git_facts(checkout / "package") == {"commit": commit, "dirty": True}
    assert _commit({"commit": commit, "dirty": True}).endswith("with changes that were not committed")


def test_an_installed_copy_has_not_the_commit_of_what_it_lies_in(checkout: Path) -> None:
    copy = checkout / ".venv" / "lib" / "package"
    copy.mkdir(parents=True)
    (copy / "code.py").write_text("pass\n")
    assert git_facts(copy) == {}
    assert git_facts(checkout / "nowhere") == {}


def test_what_git_cannot_say_is_null_and_not_clean(checkout: Path) -> None:
    _git(checkout, "config", "status.showUntrackedFiles", "nonsense")
    facts = git_facts(checkout)
    assert facts["dirty"] is None
    assert _commit(facts).endswith("not known")
