"""A film in a folder, as one TIFF per frame per channel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile
from numpy.typing import NDArray

from tests.dataset.films import FilmMaker, describe, frame


@pytest.fixture
def film(tmp_path: Path) -> FilmMaker:
    """Writes one TIFF per frame per channel, and returns the folder."""

    def make(
        positions: tuple[str, ...] = ("P1",),
        n_frames: dict[str, int] | int = 6,
        described: str | None = "",
        folder: str = "source",
        pixels: Callable[[str, str, int], NDArray[Any]] = frame,
    ) -> Path:
        source = tmp_path / folder
        counts = n_frames if isinstance(n_frames, dict) else {"gfp": n_frames, "pi": n_frames}
        for position in positions:
            for channel, n in counts.items():
                (source / position / channel).mkdir(parents=True)
                for t in range(n):
                    path = source / position / channel / f"im_{t:05d}.tif"
                    picture = pixels(position, channel, t)
                    kind = "rgb" if picture.shape[-1] == 3 else "minisblack"
                    tifffile.imwrite(path, picture, photometric=kind)
        if described is not None:
            (source / "dataset.toml").write_text(described or describe())
        return source

    return make
