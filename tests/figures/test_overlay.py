"""What is drawn over a frame lies where it was given."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from dataops_parsl.figures import base
from dataops_parsl.figures.overlay import Panel, grey, montage, overlay


def square(height: int = 60, width: int = 80) -> np.ndarray:
    label = np.zeros((height, width), np.uint32)
    label[20:31, 40:51] = 100_000
    return label


def test_outlines_are_one_pixel_in_the_population_colour() -> None:
    label = square()
    made = overlay({"target": np.zeros((60, 80))}, {"target": label})
    shown = np.asarray(made.axes[0].images[0].get_array())
    coloured = (shown == to_rgb(base.ORANGE)).all(axis=2)
    expected = np.zeros_like(coloured)
    expected[20:31, 40:51] = True
    expected[21:30, 41:50] = False
    np.testing.assert_array_equal(coloured, expected)


def test_touching_cells_keep_their_outlines() -> None:
    label = np.ones((40, 40), np.uint32)
    label[:, 20:] = 2
    shown = np.asarray(overlay({"a": label}, {"effector": label}).axes[0].images[0].get_array())
    coloured = (shown == to_rgb(base.SKY)).all(axis=2)
    assert coloured[:, 19:21].all()
    assert coloured.sum() == 80


def test_marks_tails_and_bar() -> None:
    tail = np.array([[1.0, 2.0], [3.0, 5.0], [4.0, 9.0]])
    made = overlay(
        {"effector": square(), "target": square()},
        {"effector": square(), "target": square()},
        tails=[("effector", tail), ("target", tail[:1])],
        contacts=[((10.0, 20.0), (14.0, 30.0))],
        dead=[(7.0, 33.0)],
        pixel_size_um=0.5,
        title="frame 3",
    )
    axes = made.axes[0]
    paths = [path.vertices for lines in axes.collections for path in lines.get_paths()]
    np.testing.assert_array_equal(paths[0], tail[:, ::-1])
    np.testing.assert_array_equal(paths[-1], [[20, 10], [30, 14]])
    spots = [(line.get_marker(), tuple(line.get_xydata()[0])) for line in axes.lines]
    assert ("o", (25.0, 12.0)) in spots
    assert ("x", (33.0, 7.0)) in spots
    assert [text.get_text() for text in axes.texts] == ["10 µm"]
    assert axes.patches[0].get_width() == 20
    named = [text.get_text() for text in made.legends[0].get_texts()]
    assert named == ["effector", "target", "contact", "dead"]


@pytest.mark.parametrize("shape", [(1, 1), (16, 200), (300, 20), (64, 64)])
def test_frames_without_objects(shape: tuple[int, int]) -> None:
    nothing = np.zeros(shape, np.uint16)
    made = overlay({"effector": nothing}, {"effector": nothing}, pixel_size_um=0.65, title="nothing")
    pixels = imread(io.BytesIO(base.png_bytes(made)))
    assert pixels.shape[0] > 100
    assert pixels.shape[1] >= 500
    assert overlay({"effector": nothing}, {}).legends == []


def test_grey_puts_populations_together() -> None:
    left, right = np.zeros((10, 100)), np.zeros((10, 100))
    left[:, :50], right[:, 50:] = 100, 5000
    np.testing.assert_array_equal(grey({"a": left, "b": right}), np.ones((10, 100)))
    half = grey({"a": left}, {"a": (0, 400)})
    assert half.max() == pytest.approx(0.25**0.7)
    assert not grey({"a": np.full((4, 4), np.nan)}).any()


def test_a_montage_has_one_axes_a_panel_and_one_colour_a_population() -> None:
    panels = [
        Panel({"b": square()}, {"b": square()}, title="1"),
        Panel({"c": square()}, {"c": square()}, title="2"),
        Panel({"b": square(), "c": square()}, {"c": square()}, title="3"),
        Panel({"b": square()}, {}),
    ]
    made = montage(panels, pixel_size_um=0.5)
    assert len(made.axes) == 4
    assert [len(axes.texts) for axes in made.axes] == [1, 0, 0, 0]
    inks = {
        text.get_text(): line.get_color()
        for text, line in zip(made.legends[0].get_texts(), made.legends[0].get_lines(), strict=True)
    }
    second = np.asarray(made.axes[1].images[0].get_array())
    third = np.asarray(made.axes[2].images[0].get_array())
    assert (second[20, 40] == to_rgb(inks["c"])).all()
    assert (third[20, 40] == to_rgb(inks["c"])).all()
    assert len(set(inks.values())) == 2


@pytest.mark.parametrize(
    ("images", "labels"),
    [({}, {}), ({"a": np.zeros((4, 4))}, {"a": np.zeros((4, 5), int)}), ({"a": np.zeros((2, 4, 4))}, {})],
)
def test_shapes_that_do_not_fit_are_refused(images: dict, labels: dict) -> None:
    with pytest.raises(ValueError, match="one shape"):
        overlay(images, labels)


def test_a_montage_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one panel"):
        montage([])
