"""cpsam on a device: frames a second and memory, ours beside a plain loop over ``model.eval``, in one run.

    python -m tests.bench.gpu                            # make bench-gpu: on a card, 512² to 2400²
    python -m tests.bench.gpu --device cpu --sizes 200 --tiles 1,2 --frames 2 --precisions bf16 --compact

One process stands for one worker. Both sides get the same frames from memory and make labels of them: the
plain loop one frame after the other, ours with frames prepared ahead, tiles of several frames in a batch, and
labels made behind. The net has the size of the published one and random numbers in it, arranged so that they
cancel: its answer is that of `tests/stages/known_answer.py`, so that there are cells to follow flows in. A
markdown table is printed and written.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.algorithms import cpsam, cpsam_place, cpsam_weights
from dataops_parsl.worker.assembly import assembled
from dataops_parsl.worker.memory import peak_mb, reset_peak
from tests.stages import known_answer
from tests.stages.known_answer import NORMALIZE

DIAMETER_PX = 30.0
SPACING_PX = 48
ASKED = {"flow_threshold": 0.4, "cellprob_threshold": 0.0}
COLUMNS = (
    "frame",
    "precision",
    "tiles at once",
    "plain, frames/s",
    "ours, frames/s",
    "ratio",
    "plain GPU MiB",
    "ours GPU MiB",
    "ours RSS MiB",
    "same frames",
    "AP@0.5",
)


def main() -> None:
    """Measure all cases and write the table."""
    parser = argparse.ArgumentParser(description="cpsam beside a plain loop over model.eval")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--sizes", type=_numbers, default=[512, 1024, 2048, 2400])
    parser.add_argument("--tiles", type=_numbers, default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--precisions", default="bf16,fp32")
    parser.add_argument("--frames", type=int, default=20, help="frames a case (default: %(default)s)")
    parser.add_argument("--compact", action="store_true", help="zeros for random numbers: 4 MB, not 1.2 GB")
    parser.add_argument("--out", type=Path, default=Path("output/benchmark/gpu.md"))
    args = parser.parse_args()
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = known_answer.write(Path(folder) / "weights.pth", dense=not args.compact)
        weights = cpsam_weights.find(str(path))
        for precision in args.precisions.split(","):
            model = cpsam.Model(weights, precision, args.device, _say)
            rows += _cases(model, precision, args)
            del model
    text = _page(rows, args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text)
    print(f"\n{text}\n{args.out}")


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _say(event: str, **facts: Any) -> None:
    print(event, facts, flush=True)


def _cases(model: cpsam.Model, precision: str, args: argparse.Namespace) -> list[tuple[str, ...]]:
    rows = []
    for size in args.sizes:
        frames = [picture(size, seed) for seed in range(args.frames)]
        list(_ours(model, frames[:1], 1))  # the first call of a shape is slower
        for tiles in args.tiles:
            row = _case(model, frames, tiles)
            rows.append((f"{size}²", precision, str(tiles), *row))
            print(" | ".join(rows[-1]), flush=True)
    return rows


def picture(size: int, seed: int) -> NDArray[np.float32]:
    """Cells on a jittered grid, in noise."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 0.02, (size, size)).astype(np.float32)
    sigma = 0.2 * DIAMETER_PX
    reach = np.arange(-24, 24)
    for y in range(SPACING_PX // 2, size - 24, SPACING_PX):
        for x in range(SPACING_PX // 2, size - 24, SPACING_PX):
            dy, dx = rng.uniform(-6, 6, 2)
            down = np.exp(-((reach - dy) ** 2) / (2 * sigma**2))
            across = np.exp(-((reach - dx) ** 2) / (2 * sigma**2))
            image[y - 24 : y + 24, x - 24 : x + 24] += np.outer(down, across).astype(np.float32)
    return image


def _case(model: cpsam.Model, frames: list[NDArray[np.float32]], tiles: int) -> tuple[str, ...]:
    plain, plain_s, plain_mb = _timed(model, lambda: list(_plain(model, frames, tiles)))
    reset_peak()
    ours, ours_s, ours_mb = _timed(model, lambda: list(_ours(model, frames, tiles)))
    if model.batch(tiles) != tiles:  # it went on with fewer, which is another case
        ours = None
    model._limit = None

    def rate(found: Any, took_s: float) -> str:
        return "out of memory" if found is None else f"{len(frames) / took_s:.3g}"

    both = plain is not None and ours is not None
    same = sum(np.array_equal(a, b) for a, b in zip(plain, ours, strict=True)) if both else None
    ap = np.mean([average_precision(a, b) for a, b in zip(plain, ours, strict=True)]) if both else None
    return (
        rate(plain, plain_s),
        rate(ours, ours_s),
        f"{plain_s / ours_s:.2f}" if both else "",
        plain_mb,
        ours_mb,
        f"{peak_mb() or 0:.0f}",
        "" if same is None else f"{same} of {len(frames)}",
        "" if ap is None else f"{ap:.4f}",
    )


def _timed(model: cpsam.Model, work: Callable[[], Any]) -> tuple[Any, float, str]:
    model.begin()
    started = time.monotonic()
    try:
        found = work()
    except cpsam_place.DeviceError:
        found = None
    except RuntimeError as error:
        if "out of memory" not in str(error).lower():
            raise
        found = None
    took_s = time.monotonic() - started
    return found, took_s, f"{model.used().get('gpu_mem_mb', 0):.0f}"


def _plain(model: cpsam.Model, frames: Iterable[NDArray[np.float32]], tiles: int) -> Iterable[Any]:
    for frame in frames:
        (masks,), _, _ = model._model.eval(
            [frame.copy()],
            batch_size=tiles,
            diameter=DIAMETER_PX,
            normalize=dict(NORMALIZE),
            min_size=15,
            **ASKED,
        )
        yield masks


def _ours(model: cpsam.Model, frames: list[NDArray[np.float32]], tiles: int) -> Iterable[Any]:
    line = assembled(
        range(len(frames)),
        lambda n: cpsam.tiled(frames[n], DIAMETER_PX),
        lambda items: model.flows(items, tiles),
        lambda n, item, answer: model.labels(answer, niter=0, min_area_px=15, **ASKED),
        (Exception,),
    )
    return (labels for _, labels in line)


def average_precision(one: NDArray[Any], other: NDArray[Any]) -> float:
    """TP / (TP + FP + FN) at an overlap of half the union; 1 where neither has an object."""
    n, m = int(one.max()), int(other.max())
    pairs = np.bincount(one.ravel().astype(np.int64) * (m + 1) + other.ravel(), minlength=(n + 1) * (m + 1))
    table = pairs.reshape(n + 1, m + 1)
    union = table.sum(1)[1:, None] + table.sum(0)[None, 1:] - table[1:, 1:]
    hits = int((table[1:, 1:] > 0.5 * union).sum())
    return hits / (n + m - hits) if n + m else 1.0


def _page(rows: list[tuple[str, ...]], args: argparse.Namespace) -> str:
    import torch

    name = torch.cuda.get_device_name() if args.device == "gpu" else f"CPU, {torch.get_num_threads()} threads"
    head = (
        f"cpsam on {name} ({platform.node()}): cellpose {cpsam_place.installed()}, "
        f"torch {torch.__version__}, {args.frames} frames a case, cells of {DIAMETER_PX:g} px every "
        f"{SPACING_PX} px, "
        f"{'zeros' if args.compact else 'random numbers'} in a net of the published size."
    )
    lines = [head, "", "| " + " | ".join(COLUMNS) + " |", "| " + " | ".join("---" for _ in COLUMNS) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


if __name__ == "__main__":
    main()
