"""Keeping other people's libraries quiet, also where two threads ask for it at once."""

from __future__ import annotations

import logging
import sys

import pytest

from dataops_parsl.algorithms.ants_binding import quiet


def test_it_may_be_left_in_another_order_than_it_was_entered(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr, logging.root.manager.disable
    one, other = quiet(), quiet()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    print("hushed by the other")
    assert logging.root.manager.disable == logging.WARNING
    other.__exit__(None, None, None)
    assert (sys.stdout, sys.stderr, logging.root.manager.disable) == before
    print("heard")
    assert capsys.readouterr().out == "heard\n"


def test_an_error_passes_and_ends_it() -> None:
    before = sys.stdout, logging.root.manager.disable
    with pytest.raises(ValueError, match="inside"), quiet(), quiet():
        raise ValueError("inside")
    assert (sys.stdout, logging.root.manager.disable) == before
