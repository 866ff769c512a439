"""Figures of scaling hold the numbers that they were given."""

from __future__ import annotations

from dataops_parsl.figures.scaling import PARTS, results, speedup
from tests.figures.test_lines import words


def test_bars_stack_to_the_whole_time() -> None:
    parts = {name: {1: 4.0, 2: 2.0 + i} for i, name in enumerate(PARTS)}
    made = results({"contact": parts, "cellpose": parts})
    bars = made.axes[0].patches
    assert sum(bar.get_height() for bar in bars) == 3 * 4.0 + 2 + 3 + 4
    assert "4.00" in words(made)


def test_speed_up_is_beside_the_ideal_and_the_published_one() -> None:
    made = speedup({"contact": {1: 1.0, 8: 6.0}, "trackmate": {}}, {"contact": {1: 1.0, 8: 2.0}}, {8})
    ideal, theirs, ours, *points = made.axes[0].lines
    assert list(ideal.get_ydata()) == [1, 8]
    assert list(theirs.get_ydata()) == [1.0, 2.0]
    assert list(ours.get_ydata()) == [1.0, 6.0]
    assert [p.get_markerfacecolor() for p in points] == [ours.get_color(), "white"]
    text = words(made)
    assert "takes a film as one task" in text
    assert "pyCyto, published" in text
