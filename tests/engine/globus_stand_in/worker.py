"""The clean process of the stand-in: bytes in, the real SDK's deserializer, the function, bytes out."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import traceback

from globus_compute_sdk.serialize import ComputeSerializer


def main() -> None:
    """Serve until the other side closes."""
    serializer = ComputeSerializer()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a task prints is no answer
    while len(head := sys.stdin.buffer.read(8)) == 8:
        function, given = pickle.loads(sys.stdin.buffer.read(struct.unpack("!Q", head)[0]))
        try:
            args, kwargs = serializer.deserialize(given)
            result = serializer.deserialize(function)(*args, **kwargs)
            answer = (True, serializer.serialize(result))
        except Exception:
            answer = (False, traceback.format_exc())
        sent = pickle.dumps(answer)
        out.write(struct.pack("!Q", len(sent)) + sent)
        out.flush()


if __name__ == "__main__":
    main()
