"""Fixtures for all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real data with ground truth; not part of the project, since most of it is licensed for research only."""
    place = os.environ.get("DATAOPS_PARSL_TEST_DATA", "")
    if not place or not Path(place).is_dir():
        pytest.skip("DATAOPS_PARSL_TEST_DATA names no folder of real test data")
    return Path(place)
