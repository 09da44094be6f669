"""Process that takes the previews out of raw photos with LibRaw, started by `raw_previews`.

    python -P raw_worker.py MEGABYTES SECONDS

A process of its own, because LibRaw is C++ that parses files of a hundred cameras: one that it
crashes on fails alone, and memory, time and what the process may write are limited. It runs as a
script and imports nothing of the package, so that it starts quickly. Raw pixels are never unpacked:
that is the most code, and most of LibRaw's published faults are in it.

Request on stdin: length u64, then the bytes of the file. Reply on stdout: a header, then a JPEG,
the pixels of a bitmap, or an error as text.
"""

from __future__ import annotations

import io
import signal
import struct
import sys
from typing import Any

REQUEST = struct.Struct("<Q")

# Kind of the reply; flip, width and height of the sensor; height, width, channels of a bitmap;
# length of what follows.
REPLY = struct.Struct("<BBIIIIIQ")

FAILED, JPEG, BITMAP, NO_PREVIEW, NO_RAW = range(5)  # kinds of a reply


def preview(data: bytes) -> tuple[bytes, bytes]:
    """Header and body of the reply. Never raises: a failure becomes a reply."""
    import rawpy

    try:
        with rawpy.RawPy() as raw:
            raw.open_buffer(io.BytesIO(data))
            sizes: Any = raw.sizes
            found: Any = raw.extract_thumb()
            body, shape, kind = found.data, (0, 0, 0), JPEG
            if found.format != rawpy.ThumbFormat.JPEG:
                shape, kind = found.data.shape, BITMAP
                body = found.data.tobytes()
        turned = sizes.flip & 7, sizes.raw_width, sizes.raw_height
        return REPLY.pack(kind, *turned, *shape, len(body)), body
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError) as error:
        kind, text = NO_PREVIEW, str(error)
    except rawpy.LibRawFileUnsupportedError as error:
        kind, text = NO_RAW, str(error)
    except MemoryError:
        kind, text = FAILED, "it takes more memory than the limit"
    except Exception as error:
        kind, text = FAILED, f"{type(error).__name__}: {error}"
    body = text.encode()[:500]
    return REPLY.pack(kind, 0, 0, 0, 0, 0, 0, len(body)), body


def limit_process(megabytes: int) -> None:
    """Limit memory, file output and core dumps, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, value in (
        (resource.RLIMIT_DATA, megabytes * 1_000_000), (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        resource.setrlimit(limit, (value, value))


def main() -> None:
    """Answer requests until stdin is closed, as it is when the process that started this ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command
    limit_process(int(sys.argv[1]))
    seconds, source, target = float(sys.argv[2]), sys.stdin.buffer, sys.stdout.buffer
    while len(head := source.read(REQUEST.size)) == REQUEST.size:
        (length,) = REQUEST.unpack(head)
        data = source.read(length)
        if len(data) < length:
            return
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF ends this process
        for part in preview(data):
            target.write(part)
        target.flush()
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)
        del data


if __name__ == "__main__":
    main()
