"""What the stage cellpose says of its backend cpsam before it computes: what is there and what is missing."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dataops_parsl.algorithms import cpsam, cpsam_place, cpsam_weights
from dataops_parsl.algorithms.cpsam_weights import Weights, WeightsError
from dataops_parsl.errors import ConfigError, MissingExtraError, PlaceError
from dataops_parsl.stage import Requirement
from dataops_parsl.telling import tell

DOCS = "docs/cpsam.md"
INSTALL = "pip install 'dataops_parsl[cellpose]'"


@contextmanager
def place_errors() -> Iterator[None]:
    """Turn what the algorithm says of its place into errors of this package."""
    try:
        yield
    except (WeightsError, cpsam_place.DeviceError) as error:
        raise PlaceError(error.message, error.remedy) from error


def check_installed() -> None:
    """Refuse where cellpose is not installed, or another one than this binding knows.

    Raises
    ------
    MissingExtraError
    """
    found, torch = cpsam_place.installed(), _version("torch")
    if not found or not torch:
        raise MissingExtraError(
            "stages.cellpose.backend = 'cpsam' needs the extra 'cellpose'"
            + ("" if found else ", which is not installed"),
            f"{INSTALL} ({DOCS} says which torch), or use the backend 'watershed'",
        )
    if not f"{found}.".startswith(cpsam_place.SUPPORTED):
        raise MissingExtraError(
            f"stages.cellpose.backend = 'cpsam' works with cellpose {cpsam_place.SUPPORTED}x; {found} is "
            "installed",
            f"{INSTALL}, or use the backend 'watershed'",
        )


def weights(model: str, sha256: str) -> Weights:
    """The weights that are configured, looked at.

    Raises
    ------
    ConfigError, PlaceError
    """
    if not model:
        raise ConfigError(
            "stages.cellpose.cpsam_model is empty",
            f"take a published model ({', '.join(cpsam_weights.PUBLISHED)}), an imported one, or a path",
        )
    with place_errors():
        return cpsam_weights.find(model, sha256)


def identity(found: Weights) -> dict[str, str]:
    """What decides on the labels beside the parameters: the weights' bytes, cellpose's version, tiles."""
    version = ".".join(cpsam_place.installed().split(".")[:2])
    return {
        "weights_sha256": found.sha256,
        "cellpose": version,
        "tile_px": str(cpsam.TILE_PX),
        "tile_overlap_frac": str(cpsam.OVERLAP_FRAC),
    }


def model(found: Weights, precision: cpsam_place.Precision, device: cpsam_place.Device) -> cpsam.Model:
    """The model of this process.

    Raises
    ------
    MissingExtraError, PlaceError
    """
    check_installed()
    with place_errors():
        return cpsam.warm(found, precision, device, tell)


def check_device(device: cpsam_place.Device) -> None:
    """Refuse a device that this host does not have; imports torch.

    Raises
    ------
    MissingExtraError, PlaceError
    """
    check_installed()
    if problem := cpsam_place.device_problem(device):
        raise PlaceError(*cpsam_place.no_device(problem))


def requirements(name: str, sha256: str, device: cpsam_place.Device) -> list[Requirement]:
    """What there is of it on this host; nothing is loaded. Whether there is a GPU, `check_device` says."""
    found = [_asked("cellpose", check_installed, lambda _: f"cellpose {cpsam_place.installed()}")]
    found.append(
        _asked(
            "weights",
            lambda: weights(name, sha256),
            lambda w: f"{w.name}, {w.path}, {w.path.stat().st_size / 1e6:.0f} MB, sha256 {w.sha256[:12]}…",
        )
    )
    if torch := _version("torch"):
        words, remedy = f"torch {torch}, computes on the CPU, slowly", ""
        if device == "gpu":
            words = f"torch {torch}, computes on the GPU of a worker"
            if shutil.which("nvidia-smi") is None:
                words += "; this host has no nvidia-smi, and so probably no card"
                remedy = 'right for a login node; to compute on this host: stages.cellpose.device = "cpu"'
        found.append(Requirement("device", True, words, remedy))
    return found


def _asked(subject: str, ask: Callable[[], Any], words: Callable[[Any], str]) -> Requirement:
    try:
        return Requirement(subject, True, words(ask()))
    except (PlaceError, ConfigError) as error:
        return Requirement(subject, False, error.message, error.remedy)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
