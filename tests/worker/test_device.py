"""Which cards are fit, by real lines of nvidia-smi; and what a worker says of the one that it got.

No test needs a GPU: where a program is asked, it is a stand-in for nvidia-smi that prints such a line.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataops_parsl.errors import PlaceError
from dataops_parsl.worker.device import Device, check_device, parse, shortcomings

FIT = (
    "NVIDIA A100-PCIE-40GB, 40536, 8.0",
    "NVIDIA A100-SXM4-80GB, 81920, 8.0",
    "NVIDIA A100 80GB PCIe, 81920, 8.0",
    "NVIDIA H100 80GB HBM3, 81559, 9.0",
    "NVIDIA GeForce RTX 3090, 24268, 8.6",
    "NVIDIA GeForce RTX 4090, 24564, 8.9",
    "NVIDIA A10G, 22731, 8.6",  # sold as 24 GB
    "NVIDIA L4, 23034, 8.9",
)
SMALL = "Tesla V100-SXM2-16GB, 16160, 7.0"
A100 = FIT[0]


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    check_device.cache_clear()
    yield
    check_device.cache_clear()


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named nvidia-smi, to be filled in, alone on the PATH; it notes how it was called."""
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return program


def _prints(program: Path, text: str, code: int = 0) -> None:
    program.write_text(f"#!/bin/sh\necho \"$@\" >> '{program}.calls'\necho '{text}'\nexit {code}\n")
    program.chmod(0o755)


@pytest.mark.parametrize("line", FIT)
def test_cards_of_24_gb_and_more_are_fit(line: str) -> None:
    assert shortcomings(parse(line), 24, True) == []


def test_lines_are_read() -> None:
    assert parse(A100) == Device("NVIDIA A100-PCIE-40GB", 40536, (8, 0))
    assert parse("Card, with a comma, [N/A], [N/A]") == Device("Card, with a comma", None, None)
    assert parse(A100).mem_gb == pytest.approx(42.5, abs=0.01)


@pytest.mark.parametrize("line", ["", "No devices were found", "a, b"])
def test_what_is_no_such_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a line"):
        parse(line)


@pytest.mark.parametrize(
    ("line", "min_mem_gb", "words"),
    [
        (SMALL, 24, ["16160 MiB of memory, less than 24 GB", "no native bf16", "7.0"]),
        (SMALL, 16, ["no native bf16"]),
        ("Tesla V100-SXM2-32GB, 32510, 7.0", 24, ["no native bf16"]),
        ("Tesla T4, 15360, 7.5", 24, ["less than 24 GB", "7.5"]),
        ("NVIDIA RTX A4000, 16376, 8.6", 24, ["less than 24 GB"]),
        ("NVIDIA A100-PCIE-40GB, 40536, 8.0", 80, ["less than 80 GB"]),
        ("NVIDIA GB10, [N/A], 12.1", 24, ["memory it has is unknown"]),
        ("GRID, 40536, [N/A]", 24, ["capability is unknown"]),
    ],
)
def test_small_and_old_cards_are_not(line: str, min_mem_gb: float, words: list[str]) -> None:
    said = "; ".join(shortcomings(parse(line), min_mem_gb, True))
    assert [w for w in words if w not in said] == []
    assert len(shortcomings(parse(line), min_mem_gb, True)) == 1 + ("no native" in said and "less" in said)


def test_a_card_without_bf16_will_do_where_none_is_needed(stand_in: Path) -> None:
    old = "Tesla V100-SXM2-32GB, 32510, 7.0"
    assert shortcomings(parse(old), 24, False) == []
    assert shortcomings(parse("GRID, 40536, [N/A]"), 24, False) == []
    assert len(shortcomings(parse(SMALL), 24, False)) == 1, "it is still too small"
    _prints(stand_in, old)
    assert check_device(24, False, False) == parse(old)
    with pytest.raises(PlaceError) as refused:
        check_device(24, False, True)
    assert 'stages.cellpose.precision = "fp32"' in refused.value.remedy


def test_the_device_of_the_job_is_asked_for_once(stand_in: Path) -> None:
    _prints(stand_in, A100)
    assert check_device(24, False, True) == check_device(24, False, True) == parse(A100)
    (call,) = stand_in.with_name("nvidia-smi.calls").read_text().splitlines()
    assert call.endswith("-i 3")


def test_an_unfit_device_is_refused_with_what_where_and_remedy(stand_in: Path) -> None:
    _prints(stand_in, SMALL)
    with pytest.raises(PlaceError) as refused:
        check_device(24, False, True)
    assert refused.value.message.startswith(f"the worker on {platform.node()} (job 4711) got a Tesla V100")
    for key in ("resources.<stage>.gres", "site.min_gpu_mem_gb", "site.allow_small_gpu"):
        assert key in refused.value.remedy
    assert check_device(24, True, True) == parse(SMALL), "allowed by the site"


@pytest.mark.parametrize(
    ("visible", "words"),
    [
        ("", "sees no device"),
        ("NoDevFiles", "sees no device"),
        ("-1", "sees no device"),
        ("0,1", "sees 2 devices"),
    ],
)
def test_exactly_one_device(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, visible: str, words: str
) -> None:
    _prints(stand_in, A100)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(PlaceError, match=words):
        check_device(24, True, True)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("No devices were found", 6, "No devices were found"),
        ("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.", 9, "communicate"),
        (f"{A100}\n{A100}", 0, "A100-PCIE-40GB, 40536, 8.0 | NVIDIA"),
    ],
)
def test_what_nvidia_smi_complains_of_is_passed_on(stand_in: Path, text: str, code: int, words: str) -> None:
    _prints(stand_in, text, code)
    with pytest.raises(PlaceError) as refused:
        check_device(24, False, True)
    assert words in refused.value.message
    assert "--nv" in refused.value.remedy


def test_without_nvidia_smi(stand_in: Path) -> None:
    assert not stand_in.exists()
    with pytest.raises(PlaceError, match=r"device 3 is: there is no nvidia-smi"):
        check_device(24, False, True)
