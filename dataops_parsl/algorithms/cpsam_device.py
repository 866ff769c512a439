"""Computing on a device that may be short of memory, shared with others, or broken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, TypeVar

from dataops_parsl.algorithms.cpsam_place import DeviceError

T = TypeVar("T")
PAUSE_S = 5.0
"""Other processes may share the card: so long is waited for their memory before giving up."""
LARGER_CARD = "ask for a larger card (resources.cellpose.gres), give a worker a card of its own, or set "
_SHORT = ("out of memory", "can't allocate memory", "alloc_failed")
"""How torch says it for a GPU and for the host, and cuBLAS and cuDNN: CUBLAS_STATUS_ALLOC_FAILED."""


class ShortOfMemoryError(Exception):
    """The device has no memory for it, though it was tried again."""


def card(rank: str, count: int) -> int:
    """Which of the cards that a process sees it computes on: workers of a machine are dealt out over them.

    Parameters
    ----------
    rank : str
        Number of the worker on its machine, from 0; empty for a process that is no worker.
    count : int
        Cards that the process sees, which ``CUDA_VISIBLE_DEVICES`` may limit.
    """
    return int(rank) % count if rank.isdigit() else 0


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short, of the device or of the host."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(said in words for said in _SHORT)


def first_line(error: BaseException) -> str:
    """What an error says, without the advice and the frames that torch adds."""
    return (str(error) or type(error).__name__).splitlines()[0]


@contextmanager
def broken_device(name: str) -> Iterator[None]:
    """Turn an error of CUDA into a `DeviceError`: after one, each further call of this process fails too.

    Else one bad card would take frame after frame, and fail them all.

    Parameters
    ----------
    name : str
        What to call the device.

    Raises
    ------
    DeviceError
    """
    try:
        yield
    except RuntimeError as error:
        if out_of_memory(error) or "cuda error" not in str(error).lower():
            raise
        raise DeviceError(
            f"{name} failed, and this process cannot use it any more: {first_line(error)}",
            "run the same command again: what is done is kept. If it comes back, ask for another card: the "
            "kernel's log (dmesg, lines with Xid) and nvidia-smi say whether this one is broken",
        ) from error


class Memory:
    """Memory of a device, for which the net and the flows of one process contend in threads of their own.

    Parameters
    ----------
    empty : callable
        Gives back what is kept for later, but not in use.
    """

    def __init__(self, empty: Callable[[], None]) -> None:
        self._empty = empty
        self._locks = {"flows": threading.Lock(), "net": threading.Lock()}

    def tried(self, who: Literal["net", "flows"], compute: Callable[[], T], patient: bool) -> T:
        """What `compute` gives.

        Out of memory, it is called once more while the other waits, which may have had the memory for a
        moment only; and if `patient`, again after a pause.

        Raises
        ------
        ShortOfMemoryError
            There was not enough memory all the same.
        """
        own, both = [self._locks[who]], list(self._locks.values())  # always in the same order
        words = ""
        for locks, pause_s in ((own, 0.0), (both, 0.0), (both, PAUSE_S))[: 3 if patient else 2]:
            time.sleep(pause_s)
            with ExitStack() as held:
                for lock in locks:
                    held.enter_context(lock)
                if words:
                    self._empty()
                try:
                    return compute()
                except (RuntimeError, MemoryError) as error:
                    if not out_of_memory(error):
                        raise
                    # Its traceback holds the tensors of the call that failed.
                    error.__traceback__ = None
                    words = first_line(error)
        self._empty()
        raise ShortOfMemoryError(words)
