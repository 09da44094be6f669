"""One process that decodes photos of strangers, and nothing else: little memory, no way out.

    python -m whichlandmark.serving.decode_worker SOCKET MEGABYTES SECONDS

Asked over a socket: mode u8, side u32, length u64, then the file's bytes. It answers: status u8,
height, width and channels u32 of what follows, height and width u32 of the upright photo, latitude
and longitude f64 where it was taken (NaN = not told, or not asked for), length u64, then pixels (or
a JPEG, or the words of an error). SECONDS of processor time for one photo:
the kernel ends the process when they are spent. It ends with its parent.
"""

from __future__ import annotations

import ctypes
import io
import json
import math
import os
import signal
import socket
import struct
import sys
import warnings
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow

from ..core.errors import ImageError
from ..core.images import FORMATS, MAX_PIXELS, MAX_SIDE, location_of, read_image
from ..core.types import Image

ASK = struct.Struct("<BIQ")

REPLY = struct.Struct("<BIIIIIddQ")

PIXELS, JPEG, PLACED = 0, 1, 2  # what is asked for; PLACED: pixels, and the place

DONE, FAILED = 0, 1

NOWHERE = math.nan, math.nan

QUALITY = 92

RESERVE_MB = 60  # shared libraries, which RLIMIT_DATA does not count

_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap the sides

_ORIENTATION = 0x0112

_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class DecodedPhoto(NamedTuple):
    """What a photo became: pixels or JPEG bytes; shape (H, W, C) of the pixels."""

    data: bytes | memoryview
    shape: tuple[int, int, int]


def make(data: bytes, mode: int, side: int) -> DecodedPhoto:
    """JPEG: long side of `side` pixels at most; pixels: short side of `side` or more, near it.

    Raises ImageError.
    """
    if mode != JPEG:
        image = near(read_image(data, short_side=side, name="photo"), side)
        height, width, channels = image.shape
        return DecodedPhoto(np.ascontiguousarray(image).reshape(-1).data, (height, width, channels))
    image = read_image(data, short_side=side, name="photo")
    picture = Pillow.fromarray(image)
    picture.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY, optimize=True)
    return DecodedPhoto(out.getvalue(), (picture.height, picture.width, 3))


def near(image: Image, side: int) -> Image:
    """Halved as long as the short side stays `side` or more, as a JPEG's decoder does at once."""
    factor = 1
    while factor < 8 and min(image.shape[:2]) // (2 * factor) >= side > 0:
        factor *= 2
    return image if factor == 1 else np.asarray(Pillow.fromarray(image).reduce(factor))


def frame(data: bytes) -> tuple[int, int]:
    """(height, width) of the upright photo, from its header; (0, 0) when it has none."""
    try:
        with Pillow.open(io.BytesIO(data), formats=FORMATS) as opened:
            width, height = opened.size
            turned = opened.getexif().get(_ORIENTATION, 1) in _TURNED
    except Exception:  # whatever it is, decoding says it better
        return (0, 0)
    return (width, height) if turned else (height, width)


def answer(data: bytes, mode: int, side: int) -> tuple[bytes, bytes | memoryview]:
    """The reply's head and body; a photo that cannot be decoded is told of, never raised."""
    height, width = frame(data)
    try:
        made = make(data, mode, side)
    except ImageError as error:
        return _failed(_code(error, height, width), str(error).removeprefix("photo: "))
    except MemoryError:
        return _failed("too_large", "needs more memory than one photo is given")
    except Exception as error:  # a fault of a decoder stays that photo's fault
        return _failed("unreadable", f"cannot be decoded ({type(error).__name__})")
    place = location_of(data) if mode == PLACED else None
    length = memoryview(made.data).nbytes
    return REPLY.pack(DONE, *made.shape, height, width, *(place or NOWHERE), length), made.data


def _failed(code: str, message: str) -> tuple[bytes, bytes]:
    body = json.dumps({"code": code, "message": message[:500]}).encode()
    return REPLY.pack(FAILED, 0, 0, 0, 0, 0, *NOWHERE, len(body)), body


def _code(error: ImageError, height: int, width: int) -> str:
    large = height * width > MAX_PIXELS or max(height, width) > MAX_SIDE
    bomb = "megapixels" in str(error) or "larger than" in str(error)
    if large or bomb or isinstance(error.__context__, MemoryError):
        return "too_large"
    return "unreadable"


def limit(megabytes: int) -> None:
    """Little memory, no files, no cores, no life without the parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    import resource  # Windows has none; the server does not run there

    room = max(64, megabytes - RESERVE_MB) * 1_000_000
    resource.setrlimit(resource.RLIMIT_DATA, (room, room))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def receive(channel: socket.socket, length: int) -> bytes | None:
    """Exactly so many bytes; None when the other side is gone."""
    data = bytearray(length)
    view, got = memoryview(data), 0
    while got < length:
        count = channel.recv_into(view[got:])
        if count == 0:
            return None
        got += count
    return bytes(data)


def serve(channel: socket.socket, seconds: float) -> None:
    """Answer until the other side is gone."""
    while head := receive(channel, ASK.size):
        mode, side, length = ASK.unpack(head)
        data = receive(channel, length)
        if data is None:
            return
        signal.setitimer(signal.ITIMER_PROF, seconds)  # its signal ends this process
        reply, body = answer(data, mode, side)
        signal.setitimer(signal.ITIMER_PROF, 0)
        channel.sendall(reply)
        channel.sendall(body)


def main() -> None:
    """Run by `decoding.py`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then closes us
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # Pillow warns about odd metadata
    parent, megabytes, seconds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    limit(megabytes)
    if os.getppid() != parent:  # it ended before we could ask to end with it
        return
    with suppress(BrokenPipeError, ConnectionResetError):
        serve(socket.socket(fileno=int(sys.argv[1])), seconds)


if __name__ == "__main__":
    main()
