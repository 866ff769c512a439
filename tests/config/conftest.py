"""A project on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.config_toys import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with two sites, laptop and hpc, and nothing else."""
    return Project(tmp_path)
