"""ANTs, imported late and on one thread.

Two ANTs registrations with more than one thread differ, and so do two with one thread unless the seed is
in the environment before the first import; hence :func:`ants` and no import of ANTs anywhere else.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ENVIRONMENT = {"ANTS_RANDOM_SEED": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}


_lock = threading.Lock()
_inside = 0
_hushed = contextlib.ExitStack()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what Python code prints and logs inside; exceptions pass.

    It holds for the whole process. Several threads may be inside at once, and leave in any order: the first
    to come in takes the streams away, the last to leave puts them back.
    """
    global _inside
    with _lock:
        if not _inside:
            _hushed.callback(logging.disable, logging.root.manager.disable)
            logging.disable(logging.WARNING)
            _hushed.enter_context(contextlib.redirect_stdout(io.StringIO()))
            _hushed.enter_context(contextlib.redirect_stderr(io.StringIO()))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _hushed.close()


def ants() -> ModuleType:
    """Return the ``ants`` module, importing it with a fixed seed and one thread.

    Variables that the user set already (``ANTS_RANDOM_SEED``, ``ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS``)
    are kept: bit-repeatable results are then the user's concern.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with quiet():
        return importlib.import_module("ants")


def to_ants(image: NDArray[Any], origin: tuple[float, float] = (0.0, 0.0)) -> Any:
    """Make an ANTs image of a (Y, X) array.

    ANTsPy keeps the order of numpy's axes: its first physical axis is y here, its second x, so that the
    points and transforms of such images are (y, x) too.

    Parameters
    ----------
    image : (Y, X) array
        Converted to float32.
    origin : tuple of float
        Physical position (y, x), in px, of pixel (0, 0).

    Returns
    -------
    ants.ANTsImage
        Spacing 1.
    """
    return ants().from_numpy(np.ascontiguousarray(image, dtype=np.float32), origin=origin)


def from_ants(image: Any) -> NDArray[np.float32]:
    """Make a (Y, X) float32 array of an ANTs image that :func:`to_ants` made, or one derived from it."""
    return np.ascontiguousarray(image.numpy(), dtype=np.float32)
