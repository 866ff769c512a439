from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dataops_parsl.dataset.digest import file_digest, pixels_digest

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)


def test_layout_and_byte_order_do_not_count() -> None:
    expected = pixels_digest(PIXELS)
    assert len(expected) == 32
    assert pixels_digest(np.asfortranarray(PIXELS)) == expected
    assert pixels_digest(PIXELS.astype(">u2")) == expected
    assert pixels_digest(np.stack([PIXELS, PIXELS], axis=-1)[..., 0]) == expected


@pytest.mark.parametrize(
    "other",
    [PIXELS.astype(np.int16), PIXELS.reshape(4, 3), PIXELS + 1, PIXELS[:2], PIXELS.astype(np.uint8)],
    ids=["dtype", "shape", "values", "part", "narrower"],
)
def test_type_shape_and_values_count(other: np.ndarray) -> None:
    assert pixels_digest(other) != pixels_digest(PIXELS)


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), ()])
def test_edge_shapes(shape: tuple[int, ...]) -> None:
    assert len(pixels_digest(np.zeros(shape, np.float32))) == 32


def test_file_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 3_000_000)
    assert file_digest(tmp_path / "f") == hashlib.sha256(b"x" * 3_000_000).hexdigest()
