"""The GPU that a worker really got: exactly one, large and new enough, or refused before the first frame."""

from __future__ import annotations

import functools
import os
import subprocess
from dataclasses import dataclass

from dataops_parsl.errors import PlaceError
from dataops_parsl.worker.log import this_worker

QUERY = ("--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits")
TIMEOUT_S = 60.0
"""The first question to an idle card may take many seconds."""
BF16_CAPABILITY = (8, 0)
"""Compute capability from which on a card computes in bf16: a V100 has 7.0, a T4 7.5, an A100 8.0."""
KEPT_FRAC = 0.05
"""A card sold as 24 GB may report 5 % less or so: error correction and the driver keep some."""


@dataclass(frozen=True)
class Device:
    """A card, as nvidia-smi describes it; None where it does not say.

    Parameters
    ----------
    name : str
    mem_mib : int or None
    capability : (int, int) or None
        Compute capability.
    """

    name: str
    mem_mib: int | None
    capability: tuple[int, int] | None

    @property
    def mem_gb(self) -> float | None:
        """Memory, GB (1e9 bytes) as cards are sold: one of "40 GB" reports 40,536 MiB or so, 42.5 GB."""
        return None if self.mem_mib is None else self.mem_mib * 2**20 / 1e9


def parse(line: str) -> Device:
    """Read one line of ``nvidia-smi`` with `QUERY`.

    Raises
    ------
    ValueError
        When it is none.
    """
    words = [word.strip() for word in line.rsplit(",", 2)]
    if len(words) != 3 or not words[0]:
        raise ValueError(f"not a line of nvidia-smi: {line!r}")
    name, memory, capability = words
    major, _, minor = capability.partition(".")
    known = major.isdigit() and minor.isdigit()
    return Device(
        name, int(memory) if memory.isdigit() else None, (int(major), int(minor)) if known else None
    )


def shortcomings(device: Device, min_mem_gb: float, needs_bf16: bool) -> list[str]:
    """Why the device is too small for cpsam, in words; none when it is fit."""
    out = []
    if device.mem_gb is None:
        out.append("how much memory it has is unknown")
    elif device.mem_gb < min_mem_gb * (1 - KEPT_FRAC):
        out.append(f"it has {device.mem_mib} MiB of memory, less than {min_mem_gb:g} GB")
    if not needs_bf16:
        return out
    if device.capability is None:
        out.append("its compute capability is unknown")
    elif device.capability < BF16_CAPABILITY:
        major, minor = device.capability
        out.append(
            f"it has no native bf16, in which cpsam is to compute: its compute capability is {major}.{minor}"
        )
    return out


@functools.cache
def check_device(min_mem_gb: float, allow_small: bool, needs_bf16: bool) -> Device:
    """Find out which device this worker has, and whether it will do; asked once a process.

    Parameters
    ----------
    min_mem_gb : float
        Policy of the site, GB.
    allow_small : bool
        Take a smaller or older one all the same.
    needs_bf16 : bool
        Whether what is computed on it needs native bf16.

    Raises
    ------
    PlaceError
        When the worker has no device, several, one that cannot be asked, or one that is not fit.
    """
    device = _device(_visible())
    if not allow_small and (wrong := shortcomings(device, min_mem_gb, needs_bf16)):
        raise PlaceError(
            f"{this_worker()} got a {device.name}: {'; '.join(wrong)}",
            "ask for another card with resources.<stage>.gres (or site.slurm.constraint); or set "
            'stages.cellpose.precision = "fp32" where bf16 is all that it lacks; or set '
            "site.min_gpu_mem_gb to what suffices, or site.allow_small_gpu = true, at the risk that "
            "segmentation runs out of memory in mid-film",
        )
    return device


def _visible() -> str:
    """The one device that this worker may use: an index or a UUID."""
    text = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    # "NoDevFiles" and "-1" are how SLURM and CUDA say none.
    found = [w for w in (word.strip() for word in text.split(",")) if w and w not in ("NoDevFiles", "-1")]
    if len(found) != 1:
        many = f"{len(found)} devices" if found else "no device"
        raise PlaceError(
            f"{this_worker()} sees {many} (CUDA_VISIBLE_DEVICES is {text!r}), and needs one",
            "leave the choice of the device to the job: site.worker_init must not set CUDA_VISIBLE_DEVICES"
            if found
            else 'ask for one a worker, such as resources.<stage>.gres = "gpu:1"',
        )
    return found[0]


def _device(visible: str) -> Device:
    command = ["nvidia-smi", *QUERY, "-i", visible]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise _unknown(visible, "there is no nvidia-smi on its PATH") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unknown(visible, str(error)) from error
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or len(lines) != 1:
        words = " | ".join(lines + done.stderr.splitlines())
        raise _unknown(visible, words or f"nvidia-smi ended with exit code {done.returncode}")
    try:
        return parse(lines[0])
    except ValueError as error:
        raise _unknown(visible, str(error)) from error


def _unknown(visible: str, words: str) -> PlaceError:
    return PlaceError(
        f"{this_worker()} could not find out what its device {visible} is: {words}",
        "see that nvidia-smi works there: site.worker_init can load what it needs; into a container the "
        'tools of the driver have to be passed: site.worker_prefix = "apptainer exec --nv <image>"',
    )
