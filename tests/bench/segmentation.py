"""The embedded segmentation: agreement with drawn masks, empty frames, time in units of a Gaussian filter.

    python -m tests.bench.segmentation

Drawn masks are looked for in DATAOPS_PARSL_TEST_DATA (`dsb2018_nuclei_dev`) and, where STARDIST_WHEEL names
the file of its wheel (``pip download --no-deps stardist``), in that. One diameter a set; mean over images.
"""

from __future__ import annotations

import io
import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from dataops_parsl.algorithms.watershed import segment
from dataops_parsl.truth import scores

Image = NDArray[Any]
Row = dict[str, Any]
AP_BAR = 0.80
REPEATS = 3
DIAMETER_PX = 24.0
# About 0.3 s at 512² and 3 s at 2048², where a Gaussian takes 6 and 127 ms.
TIME_BARS = {512: 50.0, 2048: 24.0}


def median_diameter_px(masks: list[Image]) -> float:
    """Diameter of the disc of median area over all objects: what a user would measure once for a set."""
    areas = np.concatenate([np.unique(m[m > 0], return_counts=True)[1] for m in masks])
    return float(2 * np.sqrt(np.median(areas) / np.pi))


def _drawn() -> Iterator[tuple[str, list[Image], list[Image]]]:
    """Sets of images and masks."""
    folder = Path(os.environ.get("DATAOPS_PARSL_TEST_DATA", "")) / "dsb2018_nuclei_dev"
    if folder.is_dir():
        masks = sorted(folder.glob("*_mask.tif"))
        images = [m.with_name(m.name.replace("_mask", "")) for m in masks]
        yield "dsb2018_nuclei_dev", [tifffile.imread(p) for p in images], [tifffile.imread(p) for p in masks]
    wheel = os.environ.get("STARDIST_WHEEL", "")
    if wheel:
        with zipfile.ZipFile(wheel) as archive:
            read = [
                tifffile.imread(io.BytesIO(archive.read(f"stardist/data/images/{n}2d.tif")))
                for n in ("img", "mask")
            ]
        yield "stardist's image pair", [read[0]], [read[1]]


def _agreement() -> Iterator[Row]:
    for name, images, masks in _drawn():
        diameter = median_diameter_px(masks)
        each = [
            scores.mask_average_precision(segment(image, diameter), mask)
            for image, mask in zip(images, masks, strict=True)
        ]
        yield {
            "what": f"AP@0.5, {name} ({len(images)} images, {diameter:.0f} px)",
            "ours": float(np.mean(each)),
            "reference": None,
            "unit": "frac",
            "ratio": None,
            "bar": f">= {AP_BAR:.2f}",
            "met": bool(np.mean(each) >= AP_BAR),
            "note": f"worst image {min(each):.2f}",
        }


def _empty() -> Row:
    """Frames without a cell."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:512, :512] / 512.0
    frames = {
        "constant": np.full((512, 512), 100.0),
        "zero": np.zeros((512, 512)),
        "noise": rng.poisson(100, (512, 512)).astype(float),
        "slope": rng.poisson(100 + 400 * x + 100 * y).astype(float),
        "dome": rng.poisson(100 + 500 * np.exp(-((x - 0.4) ** 2 + (y - 0.6) ** 2) / 0.2)).astype(float),
    }
    found = {name: int(segment(frame, DIAMETER_PX).max()) for name, frame in frames.items()}
    return {
        "what": f"false cells on empty frames ({', '.join(frames)})",
        "ours": float(sum(found.values())),
        "reference": None,
        "unit": "cells",
        "ratio": None,
        "bar": "0",
        "met": not any(found.values()),
        "note": ", ".join(f"{n} {k}" for n, k in found.items() if k),
    }


def cells(side_px: int, seed: int = 3) -> Image:
    """A crowded frame (Y, X) with uneven light and noise: blurred discs, a tenth of them touching."""
    rng = np.random.default_rng(seed)
    n = int(0.35 * side_px**2 / (np.pi * DIAMETER_PX**2 / 4))
    centres = rng.uniform(0, side_px, (n, 2))
    image = np.zeros((side_px, side_px), np.float32)
    reach = int(DIAMETER_PX)
    offset = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    for cy, cx in centres.astype(int):
        disc = (np.hypot(*offset) < DIAMETER_PX / 2 * rng.uniform(0.8, 1.2)) * rng.uniform(150, 500)
        ys, xs = cy + offset[0], cx + offset[1]
        inside = (ys >= 0) & (xs >= 0) & (ys < side_px) & (xs < side_px)
        image[ys[inside], xs[inside]] = np.maximum(image[ys[inside], xs[inside]], disc[inside])
    light = 1 + 0.3 * np.linspace(-1, 1, side_px)
    return rng.poisson(ndimage.gaussian_filter(image, 1.5) * light + 100).astype(np.uint16)


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _time(side_px: int) -> Row:
    frame = cells(side_px)
    floats = frame.astype(np.float32)
    pairs = [
        (
            _seconds(lambda: segment(frame, DIAMETER_PX)),
            _seconds(lambda: ndimage.gaussian_filter(floats, 4)),
        )
        for _ in range(REPEATS)
    ]
    ours, filtered = (float(np.median(column)) for column in zip(*pairs, strict=True))
    bar = TIME_BARS[side_px]
    return {
        "what": f"segment {side_px}², {segment(frame, DIAMETER_PX).max()} cells",
        "ours": ours,
        "reference": filtered,
        "unit": "CPU s",
        "ratio": ours / filtered,
        "bar": f"<= {bar:.0f} Gaussians (sigma 4, float32)",
        "met": ours / filtered <= bar,
        "note": "reference: one gaussian_filter of the frame",
    }


def rows() -> list[Row]:
    """What was measured; see the frame in `tests.bench.stages`."""
    return [*_agreement(), _empty(), *(_time(side) for side in TIME_BARS)]


if __name__ == "__main__":
    for row in rows():
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})
