"""The page of a real run, written once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dataops_parsl.bundle import Bundle
from dataops_parsl.report.page import report
from tests.helpers import Project


@pytest.fixture(scope="session")
def page_file(sealed_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``report.html`` of the small assay."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report(Bundle(sealed_project.bundles()[0])), encoding="utf-8")
    return path


@pytest.fixture
def bundle(sealed_project: Project, tmp_path: Path) -> Path:
    """A copy of the small assay's run."""
    made = tmp_path / sealed_project.bundles()[0].name
    shutil.copytree(sealed_project.bundles()[0], made)
    return made
