"""The binding to Cellpose-SAM, with the real net and weights whose answer is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dataops_parsl.algorithms import cpsam, cpsam_device, cpsam_place, cpsam_weights
from dataops_parsl.algorithms.cpsam_weights import Weights, WeightsError
from tests.bench.gpu import average_precision
from tests.stages.known_answer import NORMALIZE
from tests.stages.known_film import blobs

# At a diameter of 20 px it is enlarged to 300 x 225 px, two tiles; the other, at 30 px, is one tile.
WIDE = ((200, 150), 20.0, [(y, x) for y in (25, 75, 125, 175) for x in (25, 75, 125)])
PLAIN = ((200, 230), 30.0, [(y, x) for y in (40, 100, 160) for x in (40, 115, 190)])


def picture(case: Any) -> NDArray[np.float32]:
    """Blobs in noise."""
    shape, diameter_px, centres = case
    noise = np.random.default_rng(0).normal(0, 0.02, shape)
    return (blobs(shape, centres, 0.2 * diameter_px) + noise).astype(np.float32)


def labels(model: cpsam.Model, image: cpsam.Tiled) -> NDArray[np.uint32]:
    return model.labels(image, flow_threshold=0.4, cellprob_threshold=0.0, niter=0, min_area_px=15)


@pytest.fixture(scope="module")
def told() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture(scope="module")
def model(known_weights: Path, told: list[tuple[str, dict[str, Any]]]) -> cpsam.Model:
    found = cpsam_weights.find(str(known_weights))
    first = cpsam.warm(found, "bf16", "cpu", lambda event, **facts: told.append((event, facts)))
    assert cpsam.warm(found, "bf16", "cpu", lambda *a, **k: pytest.fail("loaded twice")) is first
    return first


@pytest.fixture
def short_of_memory(model: cpsam.Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The real net, on a device that has memory for so many tiles at once."""
    import torch

    rule: dict[str, Any] = {"most": 0, "calls": []}
    monkeypatch.setattr(cpsam_device, "PAUSE_S", 0.01)

    def refuse(net: Any, given: Any) -> None:
        many = given[0].shape[0]
        rule["calls"].append(many)
        if many > rule["most"]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hook = model.net.register_forward_pre_hook(refuse)
    yield rule
    hook.remove()
    model._limit = None


def test_labels_are_those_of_eval_though_tiles_of_two_images_share_a_batch_and_memory_is_short(
    model: cpsam.Model, told: list[tuple[str, dict[str, Any]]], short_of_memory: dict[str, Any]
) -> None:
    short_of_memory["most"] = 3
    images = {k: picture(k_case) for k, k_case in (("wide", WIDE), ("plain", PLAIN))}
    tiled = [cpsam.tiled(images["wide"], WIDE[1]), cpsam.tiled(images["plain"], PLAIN[1])]
    assert [len(image.tiles) for image in tiled] == [2, 1]
    found = [labels(model, image) for image in model.flows(tiled, 6)]
    # Six at once did not fit, three do: the tiles of both images are one batch.
    assert short_of_memory["calls"] == [6, 6, 3]
    assert [e for e, _ in told] == ["loaded", "smaller"]
    assert told[0][1]["device"] == "cpu"
    assert "out of memory with 6 tiles at once on cpu: 3 from now on" in told[1][1]["note"]
    for (shape, diameter_px, centres), image, own in zip((WIDE, PLAIN), images.values(), found, strict=True):
        assert own.dtype == np.uint32
        assert own.shape == shape
        assert own.max() == len(centres)
        for centre in centres:
            assert own[centre] > 0
            rows, columns = np.nonzero(own == own[centre])
            assert np.allclose((rows.mean(), columns.mean()), centre, atol=1)
        (theirs,), _, _ = model._model.eval(
            [image.copy()],
            batch_size=3,
            diameter=diameter_px,
            normalize=dict(NORMALIZE),
            min_size=15,
        )
        assert np.array_equal(own, theirs)


def test_out_of_memory_with_one_tile_is_an_error_with_a_remedy(
    model: cpsam.Model, short_of_memory: dict[str, Any]
) -> None:
    with pytest.raises(cpsam_place.DeviceError) as caught:
        list(model.flows([cpsam.tiled(picture(PLAIN), 30.0)], 4))
    assert short_of_memory["calls"] == [4, 4, 2, 2, 1, 1, 1]
    assert "ran out of memory with a single tile" in caught.value.message
    assert "larger card" in caught.value.remedy


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("CUDA error: an illegal memory access was encountered", cpsam_place.DeviceError),
        ("mat1 and mat2 shapes cannot be multiplied", RuntimeError),
    ],
)
def test_another_error_of_the_net_is_not_taken_for_short_memory(
    model: cpsam.Model, words: str, kind: type[Exception]
) -> None:
    def fail(net: Any, given: Any) -> None:
        raise RuntimeError(words)

    hook = model.net.register_forward_pre_hook(fail)
    try:
        with pytest.raises(kind, match=words):
            list(model.flows([cpsam.tiled(picture(PLAIN), 30.0)], 2))
    finally:
        hook.remove()


def test_what_is_not_finite_counts_as_dark(known_weights: Path) -> None:
    image = picture(PLAIN)
    before = image.copy()
    image[:40, :40], image[0, 199] = np.nan, np.inf
    tiles = cpsam.tiled(image, 30.0).tiles
    assert np.isfinite(tiles).all()
    assert tiles.max() < 2
    # Nothing is written into what was given.
    assert np.array_equal(image[50:], before[50:])


@pytest.mark.parametrize("shape", [(1, 1), (40, 300), (256, 256), (511, 700)])
@pytest.mark.parametrize("diameter_px", [12.0, 30.0, 47.5])
def test_tiles_put_together_again_are_the_image(
    known_weights: Path, shape: tuple[int, int], diameter_px: float
) -> None:
    """Where the net would say of each pixel its own value, that is what comes out."""
    from cellpose import transforms

    image = np.random.default_rng(1).random(shape).astype(np.float32)
    if min(shape) < 2:
        with pytest.raises(ValueError, match="too small"):
            cpsam.tiled(image, diameter_px)
        return
    tiled = cpsam.tiled(image, diameter_px)
    whole = transforms.average_tiles(tiled.tiles, tiled.rows, tiled.columns, *tiled.padded)
    scaled = image
    if tiled.scale != 1:
        scaled = transforms.resize_image(image[..., None], rsz=[tiled.scale] * 2)[..., 0]
    assert np.allclose(whole[0][tiled.inside], scaled, atol=1e-5)


def test_a_diameter_that_leaves_nothing_of_the_image_is_refused(known_weights: Path) -> None:
    with pytest.raises(ValueError, match="too large for 8 x 9 px"):
        cpsam.tiled(np.zeros((8, 9)), 400.0)


@pytest.mark.parametrize("shape", [(2, 3), (300, 7), (50, 60)])
def test_frames_without_a_cell_and_frames_full_of_cell(model: cpsam.Model, shape: tuple[int, int]) -> None:
    image = cpsam.tiled(np.zeros(shape), 12.0)
    image.answers = np.full((len(image.tiles), 3, 256, 256), -5, np.float32)
    assert labels(model, image).max() == 0
    # A cell as large as the image is none, as for cellpose itself.
    image.answers[:, :2], image.answers[:, 2] = 0, 5
    found = labels(model, image)
    assert found.shape == shape
    assert found.dtype == np.uint32


def test_a_gpu_that_is_not_there_is_refused(known_weights: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    assert cpsam_place.device_problem("cpu") == ""
    assert "torch" in cpsam_place.device_problem("gpu")
    with pytest.raises(cpsam_place.DeviceError) as caught:
        cpsam.warm(cpsam_weights.find(str(known_weights)), "bf16", "gpu", lambda *a, **k: None)
    assert 'stages.cellpose.device = "gpu"' in caught.value.message
    assert 'device = "cpu"' in caught.value.remedy


def test_on_a_gpu_labels_depend_on_device_and_batch_alone(known_weights: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no card here")
    model = cpsam.Model(cpsam_weights.find(str(known_weights)), "bf16", "gpu", lambda *a, **k: None)
    assert model.device_name == torch.cuda.get_device_name()
    images = [(picture(WIDE), WIDE[1]), (picture(PLAIN), PLAIN[1])]

    def found(order: list[int], many: int) -> dict[int, NDArray[np.uint32]]:
        tiled = [cpsam.tiled(*images[k]) for k in order]
        return dict(zip(order, (labels(model, t) for t in model.flows(tiled, many)), strict=True))

    model.begin()
    one, alone, other = found([0, 1], 4), found([1], 4), found([1, 0], 1)
    assert np.array_equal(one[1], alone[1])
    assert all(average_precision(one[k], other[k]) >= 0.99 for k in (0, 1))
    assert model.used()["gpu_mem_mb"] > 500


def test_weights_that_changed_since_the_plan_are_refused(known_weights: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.pth"
    changed.write_bytes(known_weights.read_bytes())
    with pytest.raises(WeightsError, match="it was planned with"):
        cpsam.Model(Weights("changed", changed, "0" * 64), "bf16", "cpu", lambda *a, **k: None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("encoder.blocks.7.mlp.lin1.bias"), "lack 1 of 350"),
        (lambda state: state.update({"out.bias": state["out.bias"][:-1]}), "another shape of 1"),
        (lambda state: state.update({"strange": state["out.bias"]}), "unknown 1"),
    ],
)
def test_a_checkpoint_that_cellpose_would_load_without_a_word_is_refused(
    known_weights: Path, tmp_path: Path, change: Any, words: str
) -> None:
    import torch

    state = torch.load(known_weights, weights_only=True)
    change(state)
    path = tmp_path / "other.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match=words):
        cpsam_place.look_inside(Weights("other", path, ""))
