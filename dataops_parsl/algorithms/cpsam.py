"""Cellpose-SAM (Pachitariu, Rariden & Stringer 2025, bioRxiv 2025.04.28.651001), bound to cellpose 4.2.

`CellposeModel` loads the net; what `CellposeModel.eval` does one image after the other is taken apart here:
tiles are cut (`tiled`), computed by the net, tiles of several images together (`Model.flows`), and made into
labels (`Model.labels`). So the three can be done at once for different images, and no batch of the GPU is
half empty. The functions of cellpose that this rests on belong to its modules `transforms` and
`dynamics`, of the version `cpsam_place.SUPPORTED`; a test compares with `eval`, label by label.

Imports torch and cellpose late: `cellpose` is an extra.
"""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.algorithms import cpsam_weights
from dataops_parsl.algorithms.ants_binding import quiet
from dataops_parsl.algorithms.cpsam_device import (
    LARGER_CARD,
    Memory,
    ShortOfMemoryError,
    broken_device,
    card,
    first_line,
    out_of_memory,
)
from dataops_parsl.algorithms.cpsam_place import (
    Device,
    DeviceError,
    Precision,
    device_problem,
    installed,
    look_inside,
    models,
    no_device,
)
from dataops_parsl.algorithms.cpsam_weights import Weights, WeightsError

TILE_PX = 256
"""Side of a tile: the net knows no other."""
OVERLAP_FRAC = 0.1
NET_DIAMETER_PX = 30.0
"""Images are scaled so that cells are as large as those that the net was trained on."""
MAX_SIZE_FRAC = 0.4
"""Larger objects, fraction of the image, are dropped, as cellpose does."""
TILES_AT_ONCE: Mapping[Device, int] = {"gpu": 8, "cpu": 1}


@dataclass
class Tiled:
    """One image on its way: cut into tiles, then with what the net says of each.

    Parameters
    ----------
    tiles : (n, 1, 256, 256) float32
    answers : (n, 3, 256, 256) float32
        Flow along y, flow along x, cell probability (before the sigmoid).
    """

    shape: tuple[int, int]
    scale: float
    inside: tuple[slice, slice]
    padded: tuple[int, int]
    rows: list[Any]
    columns: list[Any]
    tiles: NDArray[np.float32]
    answers: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    done: int = 0


def tiled(image: NDArray[Any], diameter_px: float) -> Tiled:
    """Scale an image for the net and cut it into tiles, as ``cellpose.core.run_net`` does.

    Parameters
    ----------
    image : (Y, X) array
        Normalized: about 0 to 1. What is not finite counts as 0: one NaN would blank the whole frame.
    diameter_px : float
        Expected diameter of the cells.

    Raises
    ------
    ValueError
        The image has no two pixels along an axis, as it is or at the scale of the net.
    """
    models()
    transforms = importlib.import_module("cellpose.transforms")
    values = np.nan_to_num(np.asarray(image, np.float32), copy=True, nan=0.0, posinf=0.0, neginf=0.0)
    height, width = values.shape
    if min(height, width) < 2:
        raise ValueError(f"an image of {height} x {width} px is too small: flows need 2 px each way")
    scale = NET_DIAMETER_PX / diameter_px
    values = values[..., None]
    if scale != 1.0:
        if min(int(height * scale), int(width * scale)) < 1:
            raise ValueError(f"a diameter of {diameter_px:.0f} px is too large for {height} x {width} px")
        values = transforms.resize_image(values, rsz=[scale, scale])
    rows, columns = values.shape[:2]
    top, bottom, left, right = transforms.get_pad_yx(rows, columns, min_size=(TILE_PX, TILE_PX))
    canvas = np.pad(values.transpose(2, 0, 1), ((0, 0), (top, bottom), (left, right)))
    cut, ysub, xsub, full_y, full_x = transforms.make_tiles(
        canvas, bsize=TILE_PX, augment=False, tile_overlap=OVERLAP_FRAC
    )
    tiles = np.ascontiguousarray(cut.reshape(-1, 1, TILE_PX, TILE_PX), dtype=np.float32)
    inside = slice(top, top + rows), slice(left, left + columns)
    return Tiled((height, width), scale, inside, (full_y, full_x), ysub, xsub, tiles)


class Model:
    """The net with its weights on a device: loaded once, used for all frames of a process.

    Parameters
    ----------
    weights : Weights
        The bytes are hashed again before they are loaded.
    precision : {"bf16", "fp32"}
    device : {"gpu", "cpu"}
        Another device is never taken in its place.
    tell : callable
        Hears of events: ``loaded``, ``smaller``.

    Raises
    ------
    WeightsError, DeviceError
    """

    def __init__(
        self, weights: Weights, precision: Precision, device: Device, tell: Callable[..., None]
    ) -> None:
        started = time.monotonic()
        if (now := cpsam_weights.hash_now(weights.path)) != weights.sha256:
            raise WeightsError(
                f"the weights {weights.path} have the sha256 {now}; it was planned with {weights.sha256}",
                "they were changed or damaged since: fetch or import them again, then run again",
            )
        look_inside(weights)
        if problem := device_problem(device):
            raise DeviceError(*no_device(problem))
        cellpose_models = models()
        import torch

        where = None
        if device == "gpu":
            rank = os.environ.get("PARSL_WORKER_RANK", "")
            where = torch.device("cuda", card(rank, torch.cuda.device_count()))
        try:
            with quiet(), broken_device(f"the device {where or 'cpu'}"):
                self._model = cellpose_models.CellposeModel(
                    gpu=device == "gpu",
                    pretrained_model=str(weights.path),
                    use_bfloat16=precision == "bf16",
                    device=where,
                )
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise DeviceError(
                f"the device {where or 'cpu'} ran out of memory while the net was loaded: "
                f"{first_line(error)}",
                f"{LARGER_CARD}--workers lower",
            ) from error
        # As it is by default, but said: else torch warns at the first image.
        torch.sparse.check_sparse_tensor_invariants.disable()
        self._torch, self._tell = torch, tell
        self.device = self._model.device
        wanted = "cuda" if device == "gpu" else "cpu"
        really = self._model.net.device.type
        if really != wanted:
            raise DeviceError(*no_device(f"cellpose put the net on the {really!r}, not on {wanted!r}"))
        self.on_gpu = device == "gpu"
        self.device_name = torch.cuda.get_device_name(self.device) if self.on_gpu else "cpu"
        self.net = self._model.net.eval()
        self._limit: int | None = None
        self._memory = Memory(self._empty_cache)
        self._dtype = self.net.dtype
        tell(
            "loaded",
            what=weights.name,
            sha256=weights.sha256,
            device=self.device_name,
            precision=precision,
            load_s=round(time.monotonic() - started, 3),
            cellpose=installed(),
            torch=str(torch.__version__),
        )

    # --- the net

    def flows(self, images: Iterable[Tiled], tiles_at_once: int) -> Iterator[Tiled]:
        """Compute the tiles of images, in order; gives each image when its last tile is done.

        Each call of the net gets exactly as many tiles (the last ones with empty ones), those of several
        images together: so what it says of a tile does not depend on how many images there are.

        Parameters
        ----------
        tiles_at_once : int
            Tiles a call; when the device runs out of memory, half as many from then on.

        Raises
        ------
        DeviceError
            Out of memory with a single tile, or the device broke.
        """
        waiting: deque[Tiled] = deque()
        pool: deque[tuple[Tiled, int]] = deque()
        flying: tuple[Any, list[tuple[Tiled, int]]] | None = None
        for image in images:
            image.done = 0
            image.answers = np.empty((len(image.tiles), 3, TILE_PX, TILE_PX), np.float32)
            waiting.append(image)
            pool.extend((image, n) for n in range(len(image.tiles)))
            while len(pool) >= self.batch(tiles_at_once):
                flying = self._next(pool, tiles_at_once, flying)
                while waiting and waiting[0].done == len(waiting[0].tiles):
                    yield waiting.popleft()
        while pool or flying:
            flying = self._next(pool, tiles_at_once, flying)
            while waiting and waiting[0].done == len(waiting[0].tiles):
                yield waiting.popleft()

    def batch(self, tiles_at_once: int) -> int:
        """Tiles a call, after what the device had no memory for."""
        return tiles_at_once if self._limit is None else min(tiles_at_once, self._limit)

    def _next(
        self,
        pool: deque[tuple[Tiled, int]],
        tiles_at_once: int,
        flying: tuple[Any, list[tuple[Tiled, int]]] | None,
    ) -> tuple[Any, list[tuple[Tiled, int]]] | None:
        """Start the next tiles, then fetch those under way: a GPU computes meanwhile."""
        with broken_device(self.device_name):
            started = self._start(pool, tiles_at_once) if pool else None
            if flying is not None:
                answers = flying[0].detach().cpu().to(self._torch.float32).numpy()
                for (image, n), answer in zip(flying[1], answers, strict=False):
                    image.answers[n] = answer
                    image.done += 1
            return started

    def _start(
        self, pool: deque[tuple[Tiled, int]], tiles_at_once: int
    ) -> tuple[Any, list[tuple[Tiled, int]]]:
        while True:
            many = self.batch(tiles_at_once)
            chosen = [pool[k] for k in range(min(many, len(pool)))]
            values = np.zeros((many, 1, TILE_PX, TILE_PX), np.float32)
            for k, (image, n) in enumerate(chosen):
                values[k] = image.tiles[n]
            try:
                answer = self._memory.tried("net", partial(self._answer, values), patient=many == 1)
            except ShortOfMemoryError as error:
                self._take_fewer(many, str(error))
                continue
            for _ in chosen:
                pool.popleft()
            return answer, chosen

    def _answer(self, values: NDArray[np.float32]) -> Any:
        with self._torch.no_grad():
            given = self._torch.from_numpy(values).to(self.device, dtype=self._dtype)
            return self.net(given)[0]

    def _take_fewer(self, many: int, words: str) -> None:
        if many == 1:
            raise DeviceError(
                f"{self.device_name} ran out of memory with a single tile: {words}",
                f"{LARGER_CARD}"
                'stages.cellpose.precision = "bf16"; a larger stages.cellpose diameter_um makes images '
                "smaller, but is another measurement",
            )
        self._limit = many // 2
        self._tell(
            "smaller",
            note=f"out of memory with {many} tiles at once on {self.device_name}: {self._limit} from now on",
            tiles_at_once=self._limit,
        )

    def _empty_cache(self) -> None:
        if self.on_gpu:
            self._torch.cuda.empty_cache()

    # --- after the net

    def labels(
        self,
        image: Tiled,
        *,
        flow_threshold: float,
        cellprob_threshold: float,
        niter: int,
        min_area_px: float,
    ) -> NDArray[np.uint32]:
        """Put the tiles of an image together and follow its flows, as ``CellposeModel.eval`` does.

        Parameters
        ----------
        image : Tiled
            As `flows` gave it.
        flow_threshold : float
            Objects whose flows fit worse are dropped; 0 keeps all.
        cellprob_threshold : float
            Pixels above belong to cells.
        niter : int
            Steps along the flows; 0: 200 at the net's scale.
        min_area_px : float
            Smaller objects are dropped.

        Returns
        -------
        (Y, X) uint32
            0 is background.

        Raises
        ------
        DeviceError
            Out of memory, or the device broke.
        """
        transforms = importlib.import_module("cellpose.transforms")
        whole = transforms.average_tiles(image.answers, image.rows, image.columns, *image.padded)
        answer = whole[:, image.inside[0], image.inside[1]].transpose(1, 2, 0)
        if image.scale != 1.0:
            answer = transforms.resize_image(answer[None], *image.shape)[0]
        flow, probability = answer[..., -3:-1].transpose(2, 0, 1), answer[..., -1]
        follow = importlib.import_module("cellpose.dynamics").resize_and_compute_masks

        def masks() -> Any:
            with quiet():
                return follow(
                    flow,
                    probability,
                    niter=niter or int(200 / image.scale),
                    cellprob_threshold=cellprob_threshold,
                    flow_threshold=flow_threshold,
                    min_size=max(1, round(min_area_px)),
                    max_size_fraction=MAX_SIZE_FRAC,
                    device=self.device,
                )

        try:
            with broken_device(self.device_name):
                found = self._memory.tried("flows", masks, patient=True)
        except ShortOfMemoryError as error:
            raise DeviceError(
                f"{self.device_name} ran out of memory while following the flows of an image of "
                f"{image.shape[0]} x {image.shape[1]} px: {error}",
                f"{LARGER_CARD}stages.cellpose.tiles_at_once lower",
            ) from error
        return np.asarray(found).astype(np.uint32)

    # --- what it took

    def begin(self) -> None:
        """Measure the device's memory from now on."""
        if self.on_gpu:
            self._torch.cuda.reset_peak_memory_stats(self.device)

    def used(self) -> dict[str, Any]:
        """``device, libraries``, and on a GPU ``gpu_mem_mb``: the largest memory since `begin`, MiB."""
        libraries = [f"cellpose {installed()}", f"torch {self._torch.__version__}"]
        used: dict[str, Any] = {"device": self.device_name, "libraries": libraries}
        if self.on_gpu:
            used["gpu_mem_mb"] = round(self._torch.cuda.max_memory_allocated(self.device) / 2**20, 1)
        return used


_warm: dict[tuple[str, str, str], Model] = {}
_loading = threading.Lock()


def warm(weights: Weights, precision: Precision, device: Device, tell: Callable[..., None]) -> Model:
    """The model of this process: loaded at the first call, kept for the next ones.

    Raises
    ------
    WeightsError, DeviceError
    """
    key = weights.sha256, precision, device
    with _loading:
        if key not in _warm:
            _warm[key] = Model(weights, precision, device, tell)
        return _warm[key]
