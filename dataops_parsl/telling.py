"""What a step has to say of its work that is no result: a model was loaded, memory was short, which device.

A step calls `tell`; a worker listens and writes it into its log. In a notebook nobody listens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

Listener = Callable[..., None]
_listeners: list[Listener] = []


def tell(event: str, **facts: Any) -> None:
    """Say it to whoever listens.

    Parameters
    ----------
    event : str
        ``loaded``: something was loaded that is kept for later tasks; ``used``: what the work was done on;
        ``smaller``: it goes on with less at a time; ``noted``: facts for the part's receipt and the run's
        record, such as a program's own version and the settings that it was given.
    **facts
        JSON-like.
    """
    for listener in list(_listeners):
        listener(event, **facts)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hear all that is told meanwhile, by any thread."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
