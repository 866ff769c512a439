"""A real cpsam checkpoint whose answer is known: made in a moment, a few MB, nothing downloaded.

All attention projections and second layers of the MLPs are zero, so that the transformer hands on what it is
given. The patch embedding keeps the 64 pixels of a patch; the neck and the output filter them: the cell
probability is the image smoothed by a Gaussian, less `THRESHOLD`, and the flow is the gradient of the image
smoothed. So bright blobs of the size that cells have for cpsam (30 px) or less come out as cells. Every key
and shape is that of the published weights: cellpose loads it as it loads those.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLD = 0.25
"""Smoothed brightness (0 to 1) above which a pixel belongs to a cell."""
NORMALIZE = {
    "normalize": True,
    "lowhigh": [0, 1],
    "percentile": None,
    "norm3D": False,
    "sharpen_radius": 0,
    "smooth_radius": 0,
    "tile_norm_blocksize": 0,
    "tile_norm_smooth3D": 1,
    "invert": False,
}
"""For `CellposeModel.eval`, 0 and 1 staying what they are. Every key: others would come from whoever
called cellpose before."""
PATCH = 8
_REACH = 3 * PATCH
_SHARE = 64
_FIRST, _SECOND = 20.0, 200.0
"""Constants that outweigh the image in the two layer norms: so these divide by about the same everywhere."""


def write(path: Path, *, probability_px: float = 2.0, flow_px: float = 4.0, dense: bool = False) -> Path:
    """Write the checkpoint.

    Parameters
    ----------
    probability_px, flow_px : float
        Standard deviations of the Gaussians, px of the image as the net sees it. Others give other bytes.
    dense : bool
        Random numbers where they cancel, so that memory and file have the published size, 1.2 GB.

    Returns
    -------
    Path
        The file.
    """
    import torch

    state = _empty()
    with torch.no_grad():
        _fill(state, probability_px, flow_px)
        if dense:
            _make_dense(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


def _empty() -> dict[str, Any]:
    """All tensors of the net as zeros that take no room; norms hand on what they get."""
    import torch

    from dataops_parsl.algorithms import cpsam_place

    shapes = cpsam_place.expected_shapes()
    state: dict[str, Any] = {k: torch.zeros(1).expand(shape) for k, shape in shapes.items()}
    for name in state:
        if name.endswith(("norm1.weight", "norm2.weight", "neck.1.weight", "neck.3.weight")):
            state[name] = torch.ones(1).expand(shapes[name])
    state["W2"] = torch.eye(3 * _SHARE).reshape(3 * _SHARE, 3, PATCH, PATCH)
    state["diam_labels"] = state["diam_mean"] = torch.tensor([30.0])
    return state


def _make_dense(state: dict[str, Any]) -> None:
    """Numbers that take part in the computation, and are then multiplied by the zeros of the last layers."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        inner = name.endswith(("attn.qkv.weight", "mlp.lin1.weight", "rel_pos_h", "rel_pos_w"))
        if inner:
            state[name] = 0.02 * torch.randn(tensor.shape, generator=generator)
        else:
            state[name] = tensor.contiguous().clone()


def _fill(state: dict[str, Any], probability_px: float, flow_px: float) -> None:
    import torch

    # 64 channels are the pixels, one is 1.
    embed = torch.zeros(state["encoder.patch_embed.proj.weight"].shape)
    embed[:_SHARE] = torch.eye(_SHARE).reshape(_SHARE, 1, PATCH, PATCH)
    bias = torch.zeros(embed.shape[0])
    bias[_SHARE] = 1
    state["encoder.patch_embed.proj.weight"], state["encoder.patch_embed.proj.bias"] = embed, bias

    # The pixels, their negatives so that their mean is 0, and constants.
    first = torch.zeros(state["encoder.neck.0.weight"].shape)
    first[:_SHARE, :_SHARE, 0, 0] = torch.eye(_SHARE)
    first[_SHARE : 2 * _SHARE, :_SHARE, 0, 0] = -torch.eye(_SHARE)
    first[2 * _SHARE : 3 * _SHARE, _SHARE] = _FIRST
    first[3 * _SHARE :, _SHARE] = -_FIRST
    state["encoder.neck.0.weight"] = first
    after_first = _FIRST * np.sqrt(0.5)  # what the norm divides by
    constant = _FIRST / after_first

    # The filters; channels that take their sum away; constants again.
    filters = torch.from_numpy(_filters(probability_px, flow_px)).float() * after_first
    second = torch.zeros(state["encoder.neck.2.weight"].shape)
    second[: 3 * _SHARE, :_SHARE] = filters
    second[3 * _SHARE : 3 * _SHARE + 32, :_SHARE] = -filters.sum(0) / 32
    second[-32:-16, 2 * _SHARE, 1, 1] = _SECOND / constant
    second[-16:, 2 * _SHARE, 1, 1] = -_SECOND / constant
    state["encoder.neck.2.weight"] = second
    after_second = _SECOND * np.sqrt(32 / 256)

    out = torch.zeros(state["out.weight"].shape)
    out[:, : 3 * _SHARE, 0, 0] = torch.eye(3 * _SHARE) * after_second
    state["out.weight"] = out
    offset = torch.zeros(3 * _SHARE)
    offset[2 * _SHARE :] = -THRESHOLD * 10
    state["out.bias"] = offset


def _filters(probability_px: float, flow_px: float) -> Any:
    """From the 24 × 24 px around a patch to its 8 × 8 × (y flow, x flow, probability)."""
    at = np.arange(_REACH) - PATCH
    offset = at[None] - np.arange(PATCH)[:, None]  # (pixel of the patch, pixel around it)
    offset = np.where(np.abs(offset) <= PATCH, offset, np.nan)

    def gauss(sigma: float) -> Any:
        g = np.nan_to_num(np.exp(-(offset**2) / (2 * sigma**2)))
        return g / g.sum(1, keepdims=True)

    smooth, wide = gauss(probability_px), gauss(flow_px)
    slope = wide * np.nan_to_num(offset) / flow_px**2
    # Cellpose's flows have length 5; a cell's edge rises by about 1 / flow_px a pixel.
    gain = 5 * 3.0 * flow_px
    kinds = [(slope * gain, wide), (wide, slope * gain), (smooth * 10, smooth)]
    out = np.empty((3, PATCH, PATCH, _REACH, _REACH))
    for kind, (down, across) in enumerate(kinds):
        out[kind] = np.einsum("yj,xi->yxji", down, across)
    # (output channel, pixel within the patch, patch y, patch x)
    parts = out.reshape(3 * _SHARE, 3, PATCH, 3, PATCH)
    return parts.transpose(0, 2, 4, 1, 3).reshape(3 * _SHARE, _SHARE, 3, 3)


def main() -> None:
    """Write it from the command line: ``python -m tests.stages.known_answer FILE``."""
    parser = argparse.ArgumentParser(description="write a cpsam checkpoint whose answer is known")
    parser.add_argument("file", type=Path)
    print(write(parser.parse_args().file))


if __name__ == "__main__":
    main()
