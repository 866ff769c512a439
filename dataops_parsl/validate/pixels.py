"""Label images: how many labels were counted when they were written, and whether scratch still shows them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dataops_parsl.dataset.digest import pixels_digest
from dataops_parsl.storage.pixels import array_path, n_labels, open_array
from dataops_parsl.validate.checks import PURGED, Check, check
from dataops_parsl.validate.tables import Labels

LABELS = "labels"
_DIGITS = 16
_WHAT, _EXPECTED = "label images: pixels", "each frame has as many labels as were counted when it was written"


def recorded_image(
    population: str, position: str, folder: str, counts: Mapping[int, int], digests: Mapping[int, str]
) -> dict[str, Any]:
    """What is recorded of the label images of one film.

    Parameters
    ----------
    folder : str
        Of the step, below the scratch root.
    counts : mapping of frame to number of labels
    digests : mapping of frame to digest of its pixels
    """
    return {
        "population": population,
        "position": position,
        "folder": folder,
        "counts": {str(f): n for f, n in sorted(counts.items())},
        "digests": {str(f): d[:_DIGITS] for f, d in sorted(digests.items())},
    }


def counted(images: Iterable[Mapping[str, Any]]) -> Labels:
    """The labels that were counted, of all films."""
    return {(i["position"], i["population"]): {int(f): n for f, n in i["counts"].items()} for i in images}


def check_pixels(images: list[dict[str, Any]], scratch_root: Path) -> Check:
    """Count the labels again, in frames whose pixels are still those that were written.

    A frame on scratch that is gone, or was computed otherwise since, is no fault of the bundle.
    """
    frames = [(image, int(f)) for image in images for f in image["counts"]]
    arrays = {id(image): _array(scratch_root, image) for image in images}

    def count(at: tuple[dict[str, Any], int]) -> int | None:
        image, frame = at
        return _count(arrays[id(image)], frame, image["digests"].get(str(frame), ""))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(count, frames))
    kept = sum(n is not None for n in found)
    if frames and not kept:
        return Check(_WHAT, _EXPECTED, PURGED, "not checked")
    problems = [
        f"{image['position']}, {image['population']}, frame {frame}: {n} labels, "
        f"{image['counts'][str(frame)]} were counted"
        for (image, frame), n in zip(frames, found, strict=True)
        if n is not None and n != image["counts"][str(frame)]
    ]
    gone = f"; {len(frames) - kept} not checked: {PURGED}" if kept < len(frames) else ""
    return check(_WHAT, _EXPECTED, problems, f"{kept} frames counted again{gone}")


def _array(scratch_root: Path, image: Mapping[str, Any]) -> Any:
    path = array_path(scratch_root / image["folder"], image["position"], LABELS, "")
    try:
        return open_array(path, "r")
    except Exception:  # zarr raises many kinds; all mean that nothing can be read there
        return None


def _count(array: Any, frame: int, digest: str) -> int | None:
    """Labels of a frame, None when its pixels are not those that were written."""
    if array is None:
        return None
    try:
        image = np.asarray(array[frame])
    except Exception:  # a damaged or cut shard: a reader of scratch would compute it again
        return None
    return n_labels(image) if pixels_digest(image)[:_DIGITS] == digest else None
