"""The stage cellpose and its backends: what is in which key, who occupies a GPU, which cellpose is taken."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from dataops_parsl.errors import MissingExtraError
from dataops_parsl.film import Film
from dataops_parsl.stages.cellpose import Cellpose

OF_CPSAM = {
    "flow_threshold": 0.9,
    "cellprob_threshold": -1.0,
    "niter": 500,
    "precision": "fp32",
    "cpsam_model": "mine",
    "cpsam_sha256": "a" * 64,
    "device": "cpu",
    "tiles_at_once": 3,
}
NO_KEY = ("cpsam_model", "cpsam_sha256", "device", "tiles_at_once")


@pytest.mark.parametrize("backend", ["watershed", "labels"])
def test_parameters_of_cpsam_do_not_compute_other_backends_again(backend: str) -> None:
    plain, other = Cellpose(backend=backend), Cellpose(backend=backend, **OF_CPSAM)
    for step in ("limits", "segment"):
        assert plain.keyed(step) == other.keyed(step)
        assert plain.identity(step) == other.identity(step) == {}
    assert not other.on_gpu
    assert other.together("segment") is None
    assert other.requirements() == ()


@pytest.mark.parametrize("field", OF_CPSAM)
def test_what_changes_labels_is_in_the_key_of_cpsam_and_nothing_else(field: str) -> None:
    plain = Cellpose(backend="cpsam")
    changed = plain.model_copy(update={field: OF_CPSAM[field]})
    assert (plain.keyed("segment") == changed.keyed("segment")) == (field in NO_KEY)
    assert plain.keyed("limits") == changed.keyed("limits")
    # Also what is in no key can be read where it is used.
    assert getattr(changed.bound("segment").__self__, field) == OF_CPSAM[field]


def test_limits_are_shared_by_watershed_and_cpsam() -> None:
    one, other = Cellpose(backend="watershed"), Cellpose(backend="cpsam")
    assert one.keyed("limits") == other.keyed("limits")
    assert one.identity("limits") == other.identity("limits") == {}


def test_cpsam_occupies_a_gpu_unless_told_otherwise() -> None:
    assert Cellpose(backend="cpsam").on_gpu
    assert not Cellpose(backend="cpsam", device="cpu").on_gpu


@pytest.mark.parametrize("version", ["4.1.1", "4.3.0", "5.0", "3.1.0"])
def test_another_cellpose_than_this_binding_knows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    for name, found in (("cellpose", version), ("torch", "2.13.0")):
        info = tmp_path / f"{name}-{found}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {found}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(MissingExtraError) as caught:
        Cellpose(backend="cpsam").check(Film())
    assert f"{version} is installed" in caught.value.message
    assert "4.2.x" in caught.value.message
    assert "watershed" in caught.value.remedy
    (found_cellpose, *_) = Cellpose(backend="cpsam").requirements()
    assert not found_cellpose.ok
