"""Checksums of decoded pixels, which are the same for every file format of a film, and of files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 20


def pixels_digest(array: NDArray[Any]) -> str:
    """Digest of an array's type, shape and values, independent of byte order and memory layout.

    Parameters
    ----------
    array : ndarray
        Any shape, any fixed-size dtype.

    Returns
    -------
    str
        32 hexadecimal digits: blake2b of 16 bytes over the dtype, the shape and the C-ordered
        little-endian bytes.
    """
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
    total = hashlib.blake2b(digest_size=16)
    total.update(f"{little.dtype.str}{little.shape}".encode())
    if little.size:
        total.update(little.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def file_digest(path: str | Path, read: Callable[[int], None] | None = None) -> str:
    """Sha256 of a file's bytes as 64 hexadecimal digits; other threads go on meanwhile.

    Parameters
    ----------
    read : callable, optional
        Called with the number of bytes of each block.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            total.update(block)
            if read is not None:
                read(len(block))
    return total.hexdigest()
