"""One attempt at a task, from where the worker stands: its log, its memory, its device."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from dataops_parsl.worker.device import check_device
from dataops_parsl.worker.log import AttemptLog, identity
from dataops_parsl.worker.memory import peak_mb, reset_peak, watched


class Attempt:
    """An attempt, as its outcome and the worker's log tell it.

    Parameters
    ----------
    task : mapping
        With ``id, attempt`` and, from a dispatcher, ``terms``: ``log_dir, executor, mem_gb, check_gpu,
        min_gpu_mem_gb, allow_small_gpu, needs_bf16``.
    """

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._terms = task.get("terms") or {}
        self._log = AttemptLog(
            self._terms.get("log_dir", ""), task["id"], task["attempt"], self._terms.get("executor", "")
        )
        self._cpu_s = time.process_time()
        self._told: dict[str, Any] = {}
        self.began = {"started": time.time(), **identity()}
        reset_peak()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Check the device, say that the attempt starts, and watch its memory meanwhile.

        Raises
        ------
        PlaceError
            When the device is not fit.
        """
        device: dict[str, Any] = {}
        try:
            if self._terms.get("check_gpu"):
                found = check_device(
                    self._terms["min_gpu_mem_gb"], self._terms["allow_small_gpu"], self._terms["needs_bf16"]
                )
                device = {"gpu": found.name, "gpu_mem_mib": found.mem_mib}
        finally:
            self._log.write("start", **device)
        with watched(self._terms.get("mem_gb", 0.0), self._log):
            yield

    def hear(self, event: str, **facts: Any) -> None:
        """Hear what a step tells of its work (`telling`): into the log at once, into the trace at the end."""
        told = self._told
        if event == "used":
            told["device"] = facts["device"]
            if "gpu_mem_mb" in facts:
                told["gpu_mem_mb"] = max(facts["gpu_mem_mb"], told.get("gpu_mem_mb", 0.0))
            return
        self._log.write(event, **facts)
        if event == "loaded":
            told["load_s"] = round(told.get("load_s", 0.0) + facts["load_s"], 3)
        elif "note" in facts:
            told["note"] = "; ".join(filter(None, (told.get("note"), facts["note"])))

    def end(self, status: str) -> dict[str, Any]:
        """Say how it ended; returns when, and what it took."""
        used = {"cpu_s": round(time.process_time() - self._cpu_s, 3), "max_rss_mb": peak_mb(), **self._told}
        self._log.write("end", status=status, **used)
        return {"ended": time.time(), **used}
