"""Figures over time hold the numbers that they were given, in the units that they name."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from dataops_parsl.figures import base
from dataops_parsl.figures.contacts_over_time import contacts_over_time
from dataops_parsl.figures.drift import drift
from dataops_parsl.figures.groups import Design, Site

TIME_S = np.arange(10) * 120.0


def frames(n: int = 10) -> dict[str, np.ndarray]:
    time = TIME_S[:n]
    return {"time_s": time, "dy_px": time / 120, "dx_px": -time / 60, "confidence": np.full(n, 0.9)}


def words(made: Figure) -> str:
    made.draw_without_rendering()
    found = [text.get_text() for axes in made.axes for text in axes.texts]
    for axes in made.axes:
        found += [axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left")]
    found += [text.get_text() for legend in made.legends for text in legend.get_texts()]
    return "\n".join(found)


def test_drift_is_drawn_in_micrometres_and_minutes() -> None:
    made = drift({"a": frames(), "b": frames()}, pixel_size_um=(0.5, 0.25))
    left = made.axes[0]
    np.testing.assert_allclose(left.lines[0].get_ydata(), np.arange(10) * 0.5)
    np.testing.assert_allclose(left.lines[1].get_ydata(), -np.arange(10) * 0.5)
    np.testing.assert_allclose(left.lines[0].get_xdata(), np.arange(10) * 2.0)
    assert len(made.axes) == 4
    for expected in ("drift (µm)", "time (min)", "confidence", "dy (down)", "dx (right)"):
        assert expected in words(made)
    assert "drift (px)" in words(drift({"a": frames()}))


def test_invalid_frames_are_marked_where_they_are() -> None:
    series = frames() | {"valid": np.arange(10) != 4}
    made = drift({"a": series})
    spans = [patch.get_bbox() for patch in made.axes[0].patches]
    assert [(box.x0, box.x1) for box in spans] == [pytest.approx((7.0, 9.0))]
    assert not drift({"a": frames() | {"valid": np.ones(10, bool)}}).axes[0].patches


def test_unknown_confidence_says_so() -> None:
    series = frames()
    del series["confidence"]
    assert "not known" in words(drift({"a": series}))


def curves(names: list[str], y: np.ndarray) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    return {name: {name: (TIME_S, y + index)} for index, name in enumerate(names)}


def test_contacts_and_their_share_of_targets() -> None:
    y, part = np.arange(10.0), np.r_[np.full(9, 25.0), np.nan]
    made = contacts_over_time(curves(["a"], y), curves(["a"], part), Design({"a": Site("a")}))
    np.testing.assert_array_equal(made.axes[0].lines[0].get_ydata(), y)
    np.testing.assert_array_equal(made.axes[1].lines[0].get_ydata(), part)
    np.testing.assert_array_equal(made.axes[1].lines[0].get_xdata(), TIME_S / 60)
    assert "% of the targets" in words(made)
    assert "a (n = 1)" in words(made)
    assert "no position" in words(contacts_over_time({}, {}, Design({})))


@pytest.mark.parametrize("count", [1, 7, 21, 22, 40])
def test_a_crowd_is_grey_under_its_median(count: int) -> None:
    names = [f"c{index}" for index in range(count)]
    given = curves(names, np.zeros(10))
    made = contacts_over_time(given, given, Design({name: Site(name) for name in names}))
    lines = made.axes[0].lines
    assert len(lines) == (count if count <= 21 else count + 1)
    if count > 21:
        assert lines[-1].get_ydata()[0] == pytest.approx((count - 1) / 2)
        assert f"each of {count}" in words(made)
    else:
        assert len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}) == count


@pytest.mark.parametrize("n", [0, 1])
def test_few_frames(n: int) -> None:
    for made in (drift({"a": frames(n) | {"valid": np.zeros(n, bool)}}), drift({})):
        assert base.png_bytes(made).startswith(b"\x89PNG")


def test_jumps_and_changes_of_focus_are_marked() -> None:
    at = {"jump": np.arange(10) == 4, "refocused": np.zeros(10, bool)}
    panel = drift({"a": frames() | at}).axes[0]
    upright = [line for line in panel.lines if len(set(np.asarray(line.get_xdata()))) == 1]
    assert [line.get_linestyle() for line in upright] == ["--"]
    (key,) = drift({"a": frames() | at}).legends
    assert [text.get_text() for text in key.get_texts()][-1] == "jump of the stage"


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="no column 'dx_px'"):
        drift({"a": {"time_s": TIME_S, "dy_px": TIME_S}})


@pytest.mark.parametrize(
    ("longest_s", "label"), [(60, "time (s)"), (7200, "time (min)"), (90_000, "time (h)")]
)
def test_time_unit(longest_s: float, label: str) -> None:
    assert base.time_unit(longest_s)[1] == label


def test_files_are_the_same_each_time(tmp_path) -> None:
    def write(name: str) -> list[bytes]:
        made = drift({"a": frames() | {"valid": np.arange(10) != 3}})
        return [path.read_bytes() for path in base.save(made, tmp_path / name, ("png", "svg", "pdf"))]

    first = write("position.1")
    assert first == write("other")
    assert sorted(path.name for path in tmp_path.iterdir())[-1] == "position.1.svg"
    assert b"<dc:date>" not in first[1]
    with pytest.raises(ValueError, match="no format 'bmp'"):
        base.save(drift({}), tmp_path / "x", ("bmp",))
