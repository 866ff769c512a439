"""Frames on an assembly line: read ahead, computed together, finished behind, each in a thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

AHEAD = 2
"""Frames that are read while one is computed."""
BEHIND = 2
"""Frames that wait to be finished: more of them, and memory would grow where finishing is slow."""


def assembled(
    frames: Iterable[int],
    read: Callable[[int], Any],
    compute: Callable[[Iterable[Any]], Iterator[Any]],
    finish: Callable[[int, Any, Any], Any],
    passed: tuple[type[BaseException], ...] = (),
) -> Iterator[tuple[int, Any]]:
    """Take frames through three steps at once; gives each frame with what came out, or the error, in order.

    A frame fails alone: when `compute` fails, the frames that it had taken are given to it one by one.

    Parameters
    ----------
    frames : iterable of int
    read : callable ``(frame) -> item``
        Called in order, in one thread.
    compute : callable ``(items) -> results``
        Called in this thread.
    finish : callable ``(frame, item, result) -> anything``
        Called in order, in one thread.
    passed : tuple of exception types
        Errors that are not a frame's: they are raised.

    Yields
    ------
    (frame, result or Exception)
    """
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "finish") as finisher:
        line = _Line(iter(frames), reader, read, passed)
        behind: deque[tuple[int, Future[Any]]] = deque()
        try:
            for frame, item, result in line.computed(compute):
                behind.append((frame, finisher.submit(_finished, finish, frame, item, result)))
                while len(behind) > BEHIND:
                    yield _outcome(*behind.popleft(), passed)
            while behind:
                yield _outcome(*behind.popleft(), passed)
        finally:
            for pool in (reader, finisher):
                pool.shutdown(wait=True, cancel_futures=True)


def _finished(finish: Callable[[int, Any, Any], Any], frame: int, item: Any, result: Any) -> Any:
    if isinstance(result, Exception):
        raise result
    return finish(frame, item, result)


def _outcome(frame: int, future: Future[Any], passed: tuple[type[BaseException], ...]) -> tuple[int, Any]:
    try:
        return frame, future.result()
    except passed:
        raise
    except Exception as error:
        return frame, error


class _Line:
    """The frames between being read and being computed."""

    def __init__(
        self,
        frames: Iterator[int],
        reader: ThreadPoolExecutor,
        read: Callable[[int], Any],
        passed: tuple[type[BaseException], ...],
    ) -> None:
        self._frames, self._reader, self._read, self._passed = frames, reader, read, passed
        self._ahead: deque[tuple[int, Future[Any]]] = deque()
        # What `compute` has taken and given nothing for yet; of a frame that could not be read, the error.
        self._taken: deque[tuple[int, Any]] = deque()

    def _items(self) -> Iterator[Any]:
        while True:
            while len(self._ahead) < AHEAD and (frame := next(self._frames, None)) is not None:
                self._ahead.append((frame, self._reader.submit(self._read, frame)))
            if not self._ahead:
                return
            frame, future = self._ahead.popleft()
            frame, item = _outcome(frame, future, self._passed)
            self._taken.append((frame, item))
            if not isinstance(item, Exception):
                yield item

    def _unread(self) -> Iterator[tuple[int, Any, Any]]:
        """The frames at the head of the line that could not be read."""
        while self._taken and isinstance(self._taken[0][1], Exception):
            frame, error = self._taken.popleft()
            yield frame, None, error

    def computed(self, compute: Callable[[Iterable[Any]], Iterator[Any]]) -> Iterator[tuple[int, Any, Any]]:
        """Each frame with its item and its result, which is an Exception for one that failed."""
        items = self._items()
        whole = False
        while not whole:
            try:
                for result in compute(items):
                    yield from self._unread()
                    frame, item = self._taken.popleft()
                    yield frame, item, result
                yield from self._unread()
                if self._taken:
                    raise ValueError(f"nothing was given for {len(self._taken)} of the frames")
                whole = True
            except self._passed:
                raise
            except Exception:
                yield from self._alone(compute)
            yield from self._unread()

    def _alone(self, compute: Callable[[Iterable[Any]], Iterator[Any]]) -> Iterator[tuple[int, Any, Any]]:
        """The frames that `compute` failed on together, each for itself."""
        while self._taken:
            frame, item = self._taken.popleft()
            if isinstance(item, Exception):
                yield frame, None, item
                continue
            try:
                results = list(compute(iter([item])))
                result = results[0] if results else ValueError("nothing was given for the frame")
            except self._passed:
                raise
            except Exception as error:
                result = error
            yield frame, item, result
