"""Parsl's HighThroughputExecutor, whose every wait ends when its interchange does.

Parsl's own waits for that process are for ever: a task or a question that is sent after its death blocks the
thread that sends it, and closing the socket under that thread aborts the whole process or hangs it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import zmq
from parsl.executors import HighThroughputExecutor

from dataops_parsl.errors import PlaceError

_LOOK_MS = 200
"""How often a wait looks whether the interchange still lives."""


class Executor(HighThroughputExecutor):  # type: ignore[misc] # Parsl has no types
    """The executor of one group; sockets are closed only once no thread uses them."""

    started = False
    """Whether it can be asked; until then `start` itself talks to the interchange."""

    def start(self) -> None:
        """Start the interchange; see Parsl."""
        self._sending, self._asking, self._closing = threading.Lock(), threading.Lock(), threading.Event()
        super().start()
        self.outgoing_q.zmq_socket.setsockopt(zmq.LINGER, 0)
        self.outgoing_q.put = self._send
        self.started = True

    @property
    def dead(self) -> bool:
        """Whether the interchange was started and has died."""
        return self.started and self.interchange_proc.poll() is not None

    def require_alive(self) -> None:
        """Refuse to wait for what will never come.

        Raises
        ------
        PlaceError
            The interchange is dead, or being closed.
        """
        if self.dead:
            raise PlaceError(
                f"Parsl's interchange process of {self.label} died, so results cannot come back",
                f"run the same command again; its log is in {self.logdir}",
            )
        if self._closing.is_set():
            raise PlaceError(f"the executor {self.label} is being closed", "run the same command again")

    def connected_managers(self) -> list[dict[str, Any]]:
        """The managers that have reported, as Parsl describes them.

        Raises
        ------
        PlaceError
            See `require_alive`.
        """
        return list(self._ask("MANAGERS"))

    def _hold_manager(self, manager_id: str) -> None:
        self._ask(["HOLD_MANAGER", manager_id])

    def _ask(self, message: Any) -> Any:
        socket = self.command_client.zmq_socket
        with self._asking:
            self._until_taken(lambda: socket.send_pyobj(message, flags=zmq.NOBLOCK), socket)
            while not socket.poll(_LOOK_MS, zmq.POLLIN):
                self.require_alive()
            return socket.recv_pyobj()

    def _send(self, message: Any) -> None:
        socket = self.outgoing_q.zmq_socket
        with self._sending:
            self._until_taken(lambda: socket.send_pyobj(message, flags=zmq.NOBLOCK), socket)

    def _until_taken(self, send: Callable[[], None], socket: zmq.Socket[bytes]) -> None:
        while True:
            self.require_alive()
            try:
                return send()
            except zmq.Again:  # nobody is connected
                socket.poll(_LOOK_MS, zmq.POLLOUT)

    def shutdown(self, timeout: float = 10.0) -> None:
        """End the interchange and close its sockets; see Parsl."""
        if not self.started:
            return
        self._closing.set()
        with self._sending, self._asking:
            super().shutdown(timeout)
