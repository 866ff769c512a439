"""A device that is short of memory, shared or broken, with real locks and threads; no torch is needed."""

from __future__ import annotations

import threading

import pytest

from dataops_parsl.algorithms import cpsam_device
from dataops_parsl.algorithms.cpsam_device import Memory, ShortOfMemoryError, broken_device, card
from dataops_parsl.algorithms.cpsam_place import DeviceError

SHORT = "CUDA out of memory. Tried to allocate 2.00 GiB."


def test_workers_of_a_machine_are_dealt_out_over_its_cards() -> None:
    assert [card(str(rank), 2) for rank in range(5)] == [0, 1, 0, 1, 0]
    assert [card(str(rank), 1) for rank in range(2)] == [0, 0]
    assert card("", 4) == 0


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (RuntimeError(SHORT), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), False),
    ],
)
def test_short_memory_is_told_from_a_broken_card(error: Exception, short: bool) -> None:
    assert cpsam_device.out_of_memory(error) is short
    with pytest.raises(type(error) if short else DeviceError), broken_device("Card 7"):
        raise error


def test_a_broken_card_is_named_and_an_error_of_a_frame_stays_one() -> None:
    with pytest.raises(DeviceError) as caught, broken_device("Card 7"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with …")
    assert caught.value.message.startswith("Card 7 failed")
    assert caught.value.message.endswith("an illegal memory access was encountered")
    assert "what is done is kept" in caught.value.remedy
    with pytest.raises(RuntimeError, match="shapes"), broken_device("Card 7"):
        raise RuntimeError("shapes cannot be multiplied")


def test_memory_that_the_flows_have_for_a_moment_is_waited_for() -> None:
    emptied: list[bool] = []
    memory = Memory(lambda: emptied.append(True))
    inside, refused = threading.Event(), threading.Event()

    def flows() -> None:
        inside.set()
        assert refused.wait(10)
        inside.clear()

    def net() -> str:
        if inside.is_set():
            refused.set()
            raise RuntimeError(SHORT)
        return "computed"

    thread = threading.Thread(target=lambda: memory.tried("flows", flows, patient=True))
    thread.start()
    assert inside.wait(10)
    assert memory.tried("net", net, patient=False) == "computed"
    assert emptied == [True]
    thread.join()


def test_another_process_is_waited_for_before_giving_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(cpsam_device.time, "sleep", pauses.append)
    memory = Memory(lambda: None)
    calls: list[int] = []

    def compute() -> str:
        calls.append(len(calls))
        if len(calls) < 3:
            raise RuntimeError(SHORT)
        return "computed"

    with pytest.raises(ShortOfMemoryError, match="Tried to allocate"):
        memory.tried("net", compute, patient=False)
    assert sum(pauses) == 0
    calls.clear()
    assert memory.tried("flows", compute, patient=True) == "computed"
    assert sum(pauses) == cpsam_device.PAUSE_S
    with pytest.raises(RuntimeError, match="shapes"):
        memory.tried("net", lambda: _fail("shapes"), patient=True)


def _fail(words: str) -> None:
    raise RuntimeError(words)
