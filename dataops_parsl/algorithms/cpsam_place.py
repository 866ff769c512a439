"""What Cellpose-SAM stands on: the installed cellpose and torch, what is inside a checkpoint, and the device.

Imports torch and cellpose late: `cellpose` is an extra.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import threading
from typing import Any, Literal

from dataops_parsl.algorithms.ants_binding import quiet
from dataops_parsl.algorithms.cpsam_weights import Weights, WeightsError
from dataops_parsl.algorithms.tool_error import ToolError

Precision = Literal["bf16", "fp32"]
Device = Literal["gpu", "cpu"]
SUPPORTED = "4.2."
_TORCHVISION_OPS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_importing = threading.Lock()
_kept: list[Any] = []  # a torch.library.Library undoes its definitions when it goes


class DeviceError(ToolError):
    """The device that was asked for is not there, too small, or broken."""


def installed() -> str:
    """Installed version of cellpose, or an empty text; imports nothing."""
    try:
        return importlib.metadata.version("cellpose")
    except importlib.metadata.PackageNotFoundError:
        return ""


def models() -> Any:
    """``cellpose.models``, imported; its own logging is kept quiet. Any thread may ask."""
    with _importing:
        if "cellpose.models" in sys.modules:
            return importlib.import_module("cellpose.models")
        _torchvision()
        with quiet():
            return importlib.import_module("cellpose.models")


def _torchvision() -> None:
    """Import torchvision, also where its compiled half does not fit this torch: cellpose needs none of it.

    A build of torch for the CPU beside torchvision's usual one ends in "operator torchvision::nms does not
    exist".
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import torch

        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in _TORCHVISION_OPS:
            library.define(operator)
        _kept.append(library)
        importlib.import_module("torchvision")


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of the net, by name; takes no memory."""
    import torch

    models()
    net = importlib.import_module("cellpose.vit").CPSAM
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in net().state_dict().items()}


def url(model: str) -> str:
    """Where cellpose's authors publish weights of this name."""
    return f"{models()._MODEL_URL}{model}"


def look_inside(weights: Weights) -> None:
    """Refuse a checkpoint that lacks a tensor of the net, or has one of another shape.

    Raises
    ------
    WeightsError
    """
    import torch

    try:
        state = torch.load(weights.path, map_location="cpu", mmap=True, weights_only=True)
        found = {str(k).removeprefix("module."): tuple(v.shape) for k, v in state.items()}
    except Exception as error:  # torch raises many kinds for a damaged file; all mean the same here
        raise WeightsError(
            f"the weights {weights.path} cannot be loaded: {type(error).__name__}: {error}",
            "fetch or import them again: python -m dataops_parsl weights fetch | import FILE",
        ) from error
    expected = expected_shapes()
    missing = sorted(set(expected) - set(found))
    other = sorted(k for k in set(found) & set(expected) if found[k] != expected[k])
    strange = sorted(set(found) - set(expected))
    for names, words in ((missing, "lack"), (other, "have another shape of"), (strange, "have unknown")):
        if names:
            raise WeightsError(
                f"the weights {weights.path} {words} {len(names)} of {len(expected)} tensors of cpsam, such "
                f"as {names[0]!r}: with them cellpose would compute something else without a word",
                "fetch or import whole weights of Cellpose-SAM (cellpose 4)",
            )


def device_problem(device: Device) -> str:
    """Why this process cannot compute on the device, in words; empty when it can. Imports torch."""
    if device == "cpu":
        return ""
    import torch

    if torch.cuda.is_available():
        return ""
    build = torch.version.cuda
    return f"torch {torch.__version__} " + (
        f"(built for CUDA {build}) sees no card" if build else "is a build without CUDA"
    )


def no_device(problem: str) -> tuple[str, str]:
    """What to say when there is no GPU, and what to do."""
    return (
        f'stages.cellpose.device = "gpu", but {problem}',
        "run where there is a card of NVIDIA, with a build of torch for its driver (docs/cpsam.md); or set "
        'stages.cellpose.device = "cpu": half a minute and more for each frame of 512 x 512 px',
    )
