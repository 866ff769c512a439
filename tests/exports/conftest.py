"""A project of one's own with sealed runs, and the words of its commands."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dataops_parsl.bundle import Bundle
from dataops_parsl.cli import main
from tests.helpers import Project


@pytest.fixture
def copied(sealed_project: Project, tmp_path: Path) -> Project:
    """A copy of the sealed project, scratch too, to be changed."""
    shutil.copytree(sealed_project.root, tmp_path / "copied")
    return Project(tmp_path / "copied")


@pytest.fixture
def killing(sealed_project: Project) -> Bundle:
    """The sealed run of `cytotoxicity`; only to be read."""
    return Bundle(sealed_project.bundles()[-1])


@pytest.fixture
def export(sealed_project: Project, tmp_path: Path) -> Callable[..., Path]:
    """Export a run of the sealed project into a place of one's own; the run must stay as it is."""

    def run(words: str, flag: str, name: str = "out", code: int = 0) -> Path:
        before = content(sealed_project.root / "output")
        target = tmp_path / name
        arguments = ["runs", "export", words, flag, "--to", str(target)]
        assert main([*arguments, "--project", str(sealed_project.root)]) == code
        assert content(sealed_project.root / "output") == before
        assert target.exists() is (code == 0)
        assert not list(target.parent.glob(".*.tmp")), "nothing temporary is left"
        return target

    return run


def content(root: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()}
