"""A stand-in for the service behind the Globus Compute SDK, put into a driver by its PYTHONPATH.

The SDK is real, as is what it makes of a task: it serializes functions and arguments, and a clean process
that knows nothing of the driver runs them from these bytes alone. What stands in is the network, login and
the queue. ``GLOBUS_STAND_IN`` names a folder with ``service.json``: ``login`` and ``state`` as the service
tells them, ``worker`` the command of a worker and ``environment`` what it starts with. What crossed is noted
there, a size a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import struct
import subprocess
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import globus_compute_sdk
from globus_compute_sdk.errors import TaskExecutionFailed
from globus_compute_sdk.serialize import ComputeSerializer

HOME = Path(os.environ["GLOBUS_STAND_IN"])
SERVICE = json.loads((HOME / "service.json").read_text())
LIMIT_BYTES = 10_000_000
WORKERS = 2


class App:
    """Whether there is a login."""

    def login_required(self) -> bool:
        return not SERVICE["login"]


class Client:
    """What is asked of the service."""

    def __init__(self, do_version_check: bool = True) -> None:
        self.app, self.fx_serializer = App(), ComputeSerializer()

    def get_endpoint_status(self, endpoint: str) -> dict[str, str]:
        return {"status": SERVICE["state"]}


class Executor(globus_compute_sdk.Executor):
    """Runs what it is given in clean processes."""

    def __init__(
        self,
        endpoint_id: str | None = None,
        client: Any = None,
        user_endpoint_config: dict[str, Any] | None = None,
        label: str = "",
    ) -> None:
        assert endpoint_id, "the service needs an endpoint"
        self.client, self.label = client, label
        self._resource_specification, self._user_endpoint_config = None, user_endpoint_config
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(WORKERS):
            threading.Thread(target=self._worker, daemon=True).start()

    def submit(self, fn: Any, *args: Any, **kwargs: Any) -> Future[Any]:
        function = self.client.fx_serializer.serialize(fn)
        given = self.client.fx_serializer.serialize((args, kwargs))
        size = len(function) + len(given)
        assert size < LIMIT_BYTES, f"{size} bytes are more than the service takes"
        with open(HOME / "crossed.txt", "a") as file:
            file.write(f"{size}\n")
        future: Future[Any] = Future()
        self._tasks.put((future, pickle.dumps((function, given))))
        return future

    def _worker(self) -> None:
        process = None
        while (item := self._tasks.get()) is not None:
            future, sent = item
            if not future.set_running_or_notify_cancel():
                continue
            if process is None:
                words, environment = SERVICE["worker"], SERVICE["environment"]
                process = subprocess.Popen(
                    words, env=environment, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(struct.pack("!Q", len(sent)) + sent)
                process.stdin.flush()
            head = process.stdout.read(8)
            if len(head) < 8:  # in the words of an endpoint's engine
                process = None
                lost = (
                    "parsl.executors.high_throughput.errors.WorkerLost: Task failure due to loss of worker 0"
                )
                future.set_exception(TaskExecutionFailed(lost))
                continue
            ok, answer = pickle.loads(process.stdout.read(struct.unpack("!Q", head)[0]))
            if ok:
                future.set_result(self.client.fx_serializer.deserialize(answer))
            else:
                future.set_exception(TaskExecutionFailed(answer))
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.wait()

    def _get_result_watcher(self) -> Executor:
        return self

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for _ in range(WORKERS):
            self._tasks.put(None)


globus_compute_sdk.Client = Client
globus_compute_sdk.Executor = Executor
