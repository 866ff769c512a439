"""Pixels on scratch: one zarr array (T, Y, X) per step, position and channel; one shard a batch.

Only the driver touches ``zarr.json``: written by rename, under a lock, it only grows. Workers write
whole shards, which zarr renames into place. Missing shards read as zeros, so that a frame is read only
through the receipt of its part.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from dataops_parsl.dataset.digest import pixels_digest
from dataops_parsl.errors import InputMissingError
from dataops_parsl.storage.atomic import place_errors, sync_folder, write_bytes
from dataops_parsl.storage.parts import PartPlace, Receipt, fingerprint

CACHED_FRAMES = 4


def array_path(folder: Path, position: str, output: str, channel: str) -> Path:
    """Where the film of one channel (or ``""``) lies."""
    return folder / ".".join(p for p in (position, output, channel, "zarr") if p)


def ensure_array(
    path: Path,
    n_frames: int,
    shape_px: Sequence[int],
    dtype: str,
    batch_frames: int,
    pixel_size_um: Sequence[float],
) -> None:
    """Create the array, or grow it to `n_frames`; never shrink or empty it. Called by the driver only."""
    with place_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        with open(path / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            target = path / "zarr.json"
            try:
                meta = json.loads(target.read_bytes())
                if meta["shape"][0] >= n_frames:
                    return
                meta["shape"][0] = n_frames
            except (FileNotFoundError, json.JSONDecodeError):
                meta = _metadata(n_frames, shape_px, dtype, batch_frames, pixel_size_um)
            write_bytes(target, (json.dumps(meta, indent=1) + "\n").encode())


def _metadata(
    n_frames: int, shape_px: Sequence[int], dtype: str, batch_frames: int, pixel_size_um: Sequence[float]
) -> Any:
    y, x = (int(n) for n in shape_px)
    folder = tempfile.mkdtemp(prefix="dataops-zarr-")
    try:
        zarr.create_array(
            store=folder + "/a",
            shape=(n_frames, y, x),
            chunks=(1, y, x),
            shards=(batch_frames, y, x),
            dtype=dtype,
            compressors=[ZstdCodec(level=1)],
            chunk_key_encoding={"name": "default", "separator": "."},
            fill_value=0,
            dimension_names=("t", "y", "x"),
            attributes={"pixel_size_um": [float(s) for s in pixel_size_um]},
        )
        return json.loads(Path(folder, "a", "zarr.json").read_bytes())
    finally:
        shutil.rmtree(folder)


def open_array(path: Path, mode: Any) -> Any:
    """Open an array that is there: ``r`` to read, ``r+`` to write shards."""
    # Else a batch without any object would leave no shard behind; open_array ignores its `config`.
    return zarr.open_array(str(path), mode=mode).with_config({"write_empty_chunks": True})


def publish_pixels(
    place: PartPlace,
    position: str,
    output: str,
    index: int,
    first_frame: int,
    frames: Mapping[str, Mapping[int, Any]],
    n_frames: int,
    labelled: bool = False,
) -> dict[str, Any]:
    """Write a batch as one shard per channel and return its entry for the receipt.

    Parameters
    ----------
    frames : mapping channel (or "") → {frame: (Y, X) array}
        Frames that failed are absent; they are written as zeros and marked in the receipt.
    n_frames : int
        Length of the batch.
    labelled : bool
        They are label images of channel ``""``: the entry says how many labels each frame has.
    """
    files: dict[str, int] = {}
    digests: dict[str, dict[int, str]] = {}
    for channel, images in frames.items():
        path = array_path(place.folder, position, output, channel)
        array = open_array(path, "r+")
        block = np.zeros((n_frames, *array.shape[1:]), array.dtype)
        for frame, image in images.items():
            block[frame - first_frame] = _as_stored(image, array.dtype)
        shard = path / f"c.{index}.0.0"
        with place_errors(shard):
            array[first_frame : first_frame + n_frames] = block
            with open(shard, "rb") as file:
                os.fsync(file.fileno())
            sync_folder(path)
        files[str(shard.relative_to(place.folder))] = shard.stat().st_size
        digests[channel] = {f: pixels_digest(block[f - first_frame]) for f in sorted(images)}
    entry = {"files": files, "frames": digests, "digest": fingerprint(digests)}
    if labelled:
        entry["labels"] = {f: n_labels(image) for f, image in sorted(frames[""].items())}
    return entry


def n_labels(image: NDArray[np.unsignedinteger[Any]]) -> int:
    """Number of labels in a label image (Y, X), the background 0 not counted."""
    top = int(image.max(initial=0))
    if top <= 4 * image.size:  # counting is linear; sorting, for labels that are far apart, is not
        return int(np.count_nonzero(np.bincount(image.reshape(-1), minlength=1)[1:]))
    return int(np.count_nonzero(np.unique(image)))


def _as_stored(image: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round, do not cut, where counts are stored as integers."""
    if dtype.kind == "u" and image.dtype.kind == "f":
        rounded: NDArray[Any] = np.rint(image).clip(0, np.iinfo(dtype).max)
        return rounded
    return image


class StoredStack:
    """Frames of one channel of a step, read through receipts: a `Stack`."""

    def __init__(
        self, parts: Sequence[tuple[PartPlace, Receipt]], position: str, output: str, channel: str
    ) -> None:
        self._path: Path | None = None
        self._digest: dict[int, tuple[str, PartPlace]] = {}
        for place, receipt in parts:
            self._path = array_path(place.folder, position, output, channel)
            for frame, digest in receipt.outputs[output]["frames"].get(channel, {}).items():
                self._digest[int(frame)] = (digest, place)
        self._array: Any = None
        self._cache: OrderedDict[int, NDArray[Any]] = OrderedDict()

    def __getitem__(self, frame: int) -> NDArray[Any] | None:
        if frame not in self._digest:
            return None
        if frame not in self._cache:
            self._cache[frame] = self._read(frame)
            if len(self._cache) > CACHED_FRAMES:
                self._cache.popitem(last=False)
        self._cache.move_to_end(frame)
        return self._cache[frame]

    def _read(self, frame: int) -> NDArray[Any]:
        digest, place = self._digest[frame]
        try:
            if self._array is None:
                assert self._path is not None
                self._array = open_array(self._path, "r")
            image = np.asarray(self._array[frame])
        except Exception as error:  # zarr raises many kinds for a damaged shard; all mean the same here
            reason = f"{type(error).__name__}: {error}"
        else:
            if pixels_digest(image) == digest:
                return image
            reason = "its pixels are not those that were written"
        place.receipt.unlink(missing_ok=True)
        raise InputMissingError(f"frame {frame} of {self._path}: {reason}", "run the same command again")
