"""Our registration against ANTs' defaults, on planted drifts and on TurboReg's own example.

    make bench-stages SECTIONS=registration

One thread each, both in one process, in turns. The films are drawn here: cells of several sizes and
brightnesses, Poisson and camera noise. The error is that of points all over the field (9 x 9), against where
they were moved to. ``pc12``: five frames that drifted apart, with what ImageJ's StackReg made of them
(Thevenaz et al. 1998); its transforms are recomputed with pystackreg, must give the very images, and are
what both are compared with.
"""

from __future__ import annotations

import os

os.environ.update(
    ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS="1",
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    ANTS_RANDOM_SEED="1",
)

import importlib
import importlib.util
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from dataops_parsl.algorithms import drift
from dataops_parsl.algorithms.align import Transform
from dataops_parsl.algorithms.anchors import Strategy
from dataops_parsl.algorithms.ants_binding import ants, quiet, to_ants
from dataops_parsl.algorithms.shift import IDENTITY, Shift, compose, forward
from dataops_parsl.stages.register_denoise import RegisterDenoise
from tests.bench.long_film import LongFilm, end_errors_px
from tests.bench.measure import Row, row

Image = NDArray[Any]
Matrix = NDArray[np.float64]
TRUE: dict[Transform, Shift] = {
    "translation": Shift(6.3, -9.7),
    "rigid": Shift(6.3, -9.7, 1.3),
    "affine": Shift(6.3, -9.7, 1.1, 1.02, 0.985, 0.012),
}
REPEATS = {512: 6, 1024: 4, 2048: 2}
"""Films of each side, px."""
MOVING_FRAC, STEP_PX = 0.7, 12.0
MEDIAN_PX, LARGEST_PX, MOVING_PX, FASTER = 0.1, 0.5, 0.5, 8.0
ANTS = {"translation": "Translation", "rigid": "Rigid", "affine": "Affine"}
STRATEGIES: tuple[Strategy, Strategy] = ("keyframe", "previous")
ARM_PX = 1000.0
PC12 = "pc12_register"


class Measured(NamedTuple):
    """Errors of all points of all films, px, and the median CPU time of one frame, s."""

    error_px: Matrix
    seconds: float


def frame(side_px: int, drifted: Shift, layout: int, seed: int, moving_frac: float) -> Image:
    """Cells of one layout, seen after a drift; `seed` draws the noise and the steps of those that move."""
    plan, rng = np.random.default_rng(layout), np.random.default_rng([layout, seed])
    n = int(1.96 * side_px**2 / 1200)
    places = plan.uniform(-0.2 * side_px, 1.2 * side_px, (n, 2))
    peaks, radii = 150 * plan.lognormal(0, 0.35, n), plan.uniform(4, 7, n)
    moves = plan.random(n) < moving_frac
    places = places + moves[:, None] * rng.normal(0, STEP_PX, places.shape)
    seen = forward(places[:, 0], places[:, 1], drifted, (side_px, side_px))
    image, back = np.full((side_px, side_px), 60.0), np.linalg.inv(drifted.matrix)
    for y, x, peak, radius in zip(*seen, peaks, radii, strict=True):
        half = int(4 * radius) + 1
        rows = np.arange(max(0, int(y) - half), min(side_px, int(y) + half + 1))
        columns = np.arange(max(0, int(x) - half), min(side_px, int(x) + half + 1))
        if len(rows) and len(columns):
            down, right = rows[:, None] - y, columns[None, :] - x
            apart = [row_of[0] * down + row_of[1] * right for row_of in back]
            shape = np.exp(-(apart[0] ** 2 + apart[1] ** 2) / (2 * radius**2))
            image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += peak * shape
    return np.maximum(0, rng.poisson(image) + rng.normal(0, 3, image.shape)).round().astype(np.uint16)


def by_ants(reference: Image, moving: Image, transform: Transform) -> Shift:
    """The drift by ``ants.registration`` with its defaults."""
    fixed, moved = (to_ants(image.astype(np.float32)) for image in (reference, moving))
    with tempfile.TemporaryDirectory() as folder, quiet():
        found = ants().registration(
            fixed, moved, type_of_transform=ANTS[transform], outprefix=str(Path(folder) / "t_")
        )
        affine = ants().read_transform(found["fwdtransforms"][0])
    centre = (np.array(reference.shape) - 1) / 2
    points = centre + np.array([(0, 0), (ARM_PX, 0), (0, ARM_PX)])
    at, *arms = (np.array(affine.apply_to_point(tuple(map(float, point)))) for point in points)
    return Shift.of(np.stack([(arm - at) / ARM_PX for arm in arms], axis=1), at - centre)


def by_us(reference: Image, moving: Image, transform: Transform) -> Shift:
    """The drift by the stage's own call, ANTs' judgement included."""
    return drift.estimate(reference, moving, transform=transform).shift


def errors_px(found: Shift, true: Shift, shape: tuple[int, int], n: int = 9) -> Matrix:
    """Distance between where points (n x n over the field; 2: its corners) went and where they were put."""
    y, x = (g.ravel() for g in np.meshgrid(*(np.linspace(0, s - 1, n) for s in shape), indexing="ij"))
    (y1, x1), (y2, x2) = forward(y, x, found, shape), forward(y, x, true, shape)
    return np.hypot(y1 - y2, x1 - x2)


def planted(side_px: int, transform: Transform, moving_frac: float, *, films: int) -> tuple[Measured, ...]:
    """Ours and ANTs', in turns."""
    errors: list[list[Matrix]] = [[], []]
    spent: list[list[float]] = [[], []]
    true = TRUE[transform]
    for layout in range(films):
        reference = frame(side_px, IDENTITY, layout, 1, moving_frac)
        moving = frame(side_px, true, layout, 2, moving_frac)
        for i, method in enumerate((by_us, by_ants)):
            started = time.process_time()
            found = method(reference, moving, transform)
            spent[i].append(time.process_time() - started)
            errors[i].append(errors_px(found, true, reference.shape))
    return tuple(Measured(np.concatenate(e), float(np.median(s))) for e, s in zip(errors, spent, strict=True))


def rows() -> Iterator[Row]:
    """Accuracy and CPU time by side and transform, still and with most cells moving; then pc12."""
    warm = frame(64, IDENTITY, 0, 1, 0)
    for method in (by_us, by_ants):
        method(warm, warm, "translation")  # loads ANTs
    for side_px, films in REPEATS.items():
        for transform in TRUE:
            yield from _still(side_px, transform, films)
            yield _moving(side_px, transform, films)
    yield from pc12()
    yield from _long()


def _long() -> Iterator[Row]:
    """Keyframes chained by growing distances, against each with the one before."""
    for words, renewed in (("cells stay", False), ("cells live 50 to 250 keyframes", True)):
        film = LongFilm(renewed=renewed)
        tree, chain = (
            end_errors_px(film, RegisterDenoise(channel="gfp", strategy=strategy, keyframe_every=1))
            for strategy in STRATEGIES
        )
        yield row(
            f"864 keyframes (8,640 frames), {words}: largest error",
            tree[1],
            chain[1],
            unit="px",
            bar="<= one by one",
            met=tree[1] <= chain[1],
            note=f"median {tree[0]:.2g}, one by one {chain[0]:.2g}; last frame states {tree[2]:.2g}, "
            f"{chain[2]:.2g}; not registered {tree[3]}, {chain[3]}",
        )


def _still(side_px: int, transform: Transform, films: int) -> Iterator[Row]:
    ours, theirs = planted(side_px, transform, 0.0, films=films)
    median, largest = float(np.median(ours.error_px)), float(ours.error_px.max())
    reference = float(np.median(theirs.error_px))
    what = f"{transform} {side_px}²"
    yield row(
        f"{what}, still: median error",
        median,
        reference,
        unit="px",
        bar=f"<= {MEDIAN_PX:g}, largest <= {LARGEST_PX:g}, <= ANTs",
        met=median <= MEDIAN_PX and largest <= LARGEST_PX and median <= reference,
        note=f"largest {largest:.2g}, ANTs {theirs.error_px.max():.2g}; {films} films",
    )
    ratio = theirs.seconds / ours.seconds
    yield row(
        f"{what}: CPU time",
        ours.seconds,
        theirs.seconds,
        ratio=ratio,
        bar=f">= {FASTER:g}x",
        met=ratio >= FASTER,
        note="of one frame; ANTs' defaults for the same transform",
    )


def _moving(side_px: int, transform: Transform, films: int) -> Row:
    ours, theirs = planted(side_px, transform, MOVING_FRAC, films=films)
    median = float(np.median(ours.error_px))
    return row(
        f"{transform} {side_px}², {MOVING_FRAC:.0%} of the cells moving: median error",
        median,
        float(np.median(theirs.error_px)),
        unit="px",
        bar=f"<= {MOVING_PX:g}",
        met=median <= MOVING_PX,
        note=f"largest {ours.error_px.max():.2g}, ANTs {theirs.error_px.max():.2g}; {films} films",
    )


def pc12() -> Iterator[Row]:
    """Distance of the corners to where TurboReg puts them, mean over frames 2 to 5 and four corners."""
    if (why := pc12_missing()) is not None:
        yield row("pc12", float("nan"), unit="", note=f"not measured: {why}")
        return
    film = tifffile.imread(pc12_folder() / "pc12-unreg.tif")
    shape = film.shape[1:]
    for transform in TRUE:
        turboreg = turboreg_drifts(film, transform)
        distances = []
        for method in (by_us, by_ants):
            found = [IDENTITY]
            for before, after in itertools.pairwise(film):
                found.append(compose(found[-1], method(before, after, transform)))
            apart = [errors_px(a, b, shape, n=2) for a, b in zip(found[1:], turboreg[1:], strict=True)]
            distances.append(float(np.mean(apart)))
        yield row(
            f"pc12, {transform}: corners from TurboReg's",
            *distances,
            unit="px",
            bar="<= ANTs",
            met=distances[0] <= distances[1],
            note="TurboReg's images given and recomputed are the same to one count",
        )


def pc12_folder() -> Path:
    """Where the example lies."""
    return Path(os.environ.get("DATAOPS_PARSL_TEST_DATA", "")) / PC12


def pc12_missing() -> str | None:
    """Why pc12 cannot be measured; None if it can."""
    if not os.environ.get("DATAOPS_PARSL_TEST_DATA") or not pc12_folder().is_dir():
        return f"DATAOPS_PARSL_TEST_DATA names no folder with {PC12}"
    if importlib.util.find_spec("pystackreg") is None:
        return "pystackreg is not installed"
    return None


def turboreg_drifts(film: Image, transform: Transform) -> list[Shift]:
    """TurboReg's drift of each frame since the first, each registered to the one before.

    Raises
    ------
    ValueError
        Its images are not those that came with the example.
    """
    library = importlib.import_module("pystackreg")
    modes = {"translation": "TRANSLATION", "rigid": "RIGID_BODY", "affine": "AFFINE"}
    files = {"translation": "translation", "rigid": "rigid-body", "affine": "affine"}
    register = library.StackReg(getattr(library.StackReg, modes[transform]))
    matrices = register.register_stack(film, reference="previous")
    made = register.transform_stack(film, tmats=matrices)
    given = tifffile.imread(pc12_folder() / f"pc12-reg-{files[transform]}.tif")
    rounded = np.clip(np.floor(made + 0.5), 0, np.iinfo(np.uint16).max)
    if np.abs(rounded - given).max() > 1:
        raise ValueError(
            f"pystackreg's images of pc12 ({transform}) differ from those given by more than one count"
        )
    centre = (np.array(film.shape[1:]) - 1) / 2
    drifts = []
    for xy in matrices:
        # Its matrices map (x, y) of the registered frame to (x, y) of the acquired one.
        matrix, offset = xy[:2, :2][::-1, ::-1], xy[:2, 2][::-1]
        drifts.append(Shift.of(matrix, matrix @ centre + offset - centre))
    return drifts
