"""How far something is that is counted, on stderr: drawn anew in a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from dataops_parsl.commands.progress import DRAW_EVERY_S, PLAIN_EVERY_S


class Counting:
    """To be called with (done, in all).

    Parameters
    ----------
    what : str
        What is counted, such as "files and frames", or "bytes".
    stream : text stream
    plain_every_s : float
        Time between two lines where the stream is no terminal, s; what ends sooner says nothing.
    """

    def __init__(
        self, what: str, stream: TextIO | None = None, *, plain_every_s: float = PLAIN_EVERY_S
    ) -> None:
        self._what, self._stream = what, stream or sys.stderr
        self._live = self._stream.isatty()
        self._every_s = DRAW_EVERY_S if self._live else plain_every_s
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Say so, if it is time."""
        end = done == total
        if not (self._live and end) and time.monotonic() - self._last < self._every_s:
            return
        self._last = time.monotonic()
        words = f"  {self._amount(done)} of {self._amount(total)} {self._unit}, {done / max(total, 1):.0%}"
        if self._live:
            print(f"\r\x1b[K{words}", end="\n" if end else "", file=self._stream, flush=True)
        else:
            print(words, file=self._stream, flush=True)

    @property
    def _unit(self) -> str:
        return "GB" if self._what == "bytes" else self._what

    def _amount(self, n: int) -> str:
        return f"{n / 1e9:.2f}" if self._what == "bytes" else f"{n}"
