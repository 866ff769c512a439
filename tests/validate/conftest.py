"""Fixtures of this room."""

from __future__ import annotations

import pytest

from tests.conftest import seal
from tests.helpers import Project


@pytest.fixture(scope="session")
def sealed_project(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Project:
    """Its own, as its runs name the dataset by its path, and tests here damage that."""
    return seal(tmp_path_factory.mktemp("sealed") / "project", request)
