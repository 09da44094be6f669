"""Worker process that decodes untrusted photos under tight resource limits.

    python -m whichlandmark.serving.decode_worker SOCKET PARENT_PID MEGABYTES SECONDS

Request on the socket: mode u8, side u32, length u64, then the bytes of the file.
Reply: status u8; height, width, channels u32 of the result; height, width u32 of the upright photo;
latitude, longitude f64 (NaN = absent or not requested); length u64; then pixels, a JPEG, or an
error as JSON.

SECONDS is the processor time for one photo: the kernel ends the process when it is used up. The
process also ends with its parent.
"""

from __future__ import annotations

import ctypes
import importlib
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
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image as Pillow

from ..core.errors import ImageError, TooLargeError
from ..core.file_kinds import CONVERT, HEIC_PACKAGE, format_of
from ..core.images import header_size, read_image
from ..core.photo_files import location_of
from ..core.types import Image

REQUEST_HEADER = struct.Struct("<BIQ")

REPLY_HEADER = struct.Struct("<BIIIIIddQ")

PIXELS, JPEG, PIXELS_AND_LOCATION = 0, 1, 2  # mode of a request

DONE, FAILED = 0, 1  # status of a reply

NO_LOCATION = math.nan, math.nan

JPEG_QUALITY = 92

LIBRARIES_MB = 60  # memory of shared libraries, which RLIMIT_DATA does not count

START_MB = 60  # of memory that RLIMIT_DATA counts, at the start, where /proc does not tell

SPARE_MB = 20  # for what one photo leaves behind, and for replies

LARGE_MB = 50  # of memory that one photo takes

_SIGNAL_ON_PARENT_EXIT = 1  # PR_SET_PDEATHSIG


class DecodedPhoto(NamedTuple):
    """Pixels or JPEG bytes, and their shape (H, W, C)."""

    data: bytes | memoryview
    shape: tuple[int, int, int]


def decode_photo(data: bytes, mode: int, side: int, memory: int = 0) -> DecodedPhoto:
    """Decode a photo.

    Args:
        mode: JPEG = re-encode it with a long side of at most `side` pixels; otherwise return pixels
            with a short side of at least `side`, and less than twice that where possible.
        memory: bytes that decoding may take; 0 = without this limit.

    Raises:
        ImageError: the photo cannot be decoded.
    """
    image = read_image(
        data, short_side=side, name="photo", memory=memory, raw=False,
        reserve=_make_room if memory else None,
    )  # fmt: skip
    if mode != JPEG:
        image = reduce_to_side(image, side)
        height, width, channels = image.shape
        return DecodedPhoto(np.ascontiguousarray(image).reshape(-1).data, (height, width, channels))
    picture = Pillow.fromarray(image)
    picture.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return DecodedPhoto(out.getvalue(), (picture.height, picture.width, 3))


def reduce_to_side(image: Image, side: int) -> Image:
    """Halve an image, up to three times, while its short side stays at least `side`.

    JPEG decoders can do the same while decoding.
    """
    factor = 1
    while factor < 8 and min(image.shape[:2]) // (2 * factor) >= side > 0:
        factor *= 2
    return image if factor == 1 else np.asarray(Pillow.fromarray(image).reduce(factor))


def upright_size(data: bytes) -> tuple[int, int]:
    """(height, width) of the upright photo, from its header; (0, 0) when it cannot be read."""
    try:
        return header_size(data, full=True)
    except Exception:  # decoding reports a better error
        return (0, 0)


def sentence(kind: str) -> str:
    """A kind of file in the words of `kind_of` → what a client of the server reads."""
    form = format_of(kind)
    if form == "HEIC":
        return (
            "This is a HEIC photo, as iPhones take them; this server cannot read it: send it as "
            "JPEG, or install whichlandmark[heic] on the server."
        )
    if CONVERT in kind:
        article = "an" if form[0] in "AEIO" else "a"
        more = kind[len(form) :].partition(f", {CONVERT}")[0]
        return f"This is {article} {form} file{more}; this server cannot read it: send it as JPEG."
    if form == "video":
        return "This is a video, such as the moving part of a Live Photo: send a photo."
    return f"This is not a photo. Its content: {kind}."


def reply_to(
    data: bytes, mode: int, side: int, memory: int = 0
) -> tuple[bytes, bytes | memoryview]:
    """Header and body of the reply. Never raises: a failure becomes an error reply."""
    try:
        photo = decode_photo(data, mode, side, memory)
    except ImageError as error:
        text = str(error).removeprefix("photo: ")
        if text.startswith("its content: "):  # a raw file of a camera that begins as a TIFF does
            kind = text.removeprefix("its content: ")
            return _failed("unsupported_format", sentence(kind), format_of(kind))
        return _failed("too_large" if isinstance(error, TooLargeError) else "unreadable", text)
    except MemoryError:
        return _failed("too_large", "decoding needs more memory than the limit for one photo")
    except Exception as error:  # a bug in a decoder fails this photo only
        return _failed("unreadable", f"cannot be decoded ({type(error).__name__})")
    height, width = upright_size(data)
    location = location_of(data) if mode == PIXELS_AND_LOCATION else None
    length = memoryview(photo.data).nbytes
    return REPLY_HEADER.pack(
        DONE, *photo.shape, height, width, *(location or NO_LOCATION), length
    ), photo.data


def _failed(code: str, message: str, form: str = "") -> tuple[bytes, bytes | memoryview]:
    body = json.dumps({"code": code, "message": message[:500], "format": form}).encode()
    return REPLY_HEADER.pack(FAILED, 0, 0, 0, 0, 0, *NO_LOCATION, len(body)), body


def limit_process(megabytes: int) -> int:
    """Limit this process: memory, no file output, no core dumps, end with the parent (Linux).

    Returns:
        The bytes that are left for one photo.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SIGNAL_ON_PARENT_EXIT, signal.SIGKILL)
    import resource  # not available on Windows, where the server does not run

    max_bytes = max(64, megabytes - LIBRARIES_MB) * 1_000_000
    resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return max(1, max_bytes - _data_bytes() - SPARE_MB * 1_000_000)


def _data_bytes() -> int:
    """What RLIMIT_DATA counts of this process now."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line[:7] == "VmData:")
    except (OSError, StopIteration, ValueError):
        return START_MB * 1_000_000


def _make_room(size: int) -> None:
    """Before a large photo: give freed memory back to the kernel, because what small photos left
    would count against the limit. Only with glibc; elsewhere the allocator decides.
    """
    if size > LARGE_MB * 1_000_000:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def receive(stream: BinaryIO, length: int) -> bytes | None:
    """Read exactly `length` bytes, or pass over them when there is no memory for them.

    Returns:
        None when the connection is closed, or b"" when they did not fit.
    """
    _make_room(length)
    try:
        data = stream.read(length)  # in one piece; it allocates before it reads
        return data if len(data) == length else None
    except MemoryError:
        for start in range(0, length, 1_000_000):
            stream.read(min(1_000_000, length - start))
        return b""


def serve(channel: socket.socket, seconds: float, memory: int) -> None:
    """Handle requests until the connection is closed.

    seconds: processor time for one photo; memory: bytes for one photo, its file included.
    """
    stream = channel.makefile("rb")
    while head := receive(stream, REQUEST_HEADER.size):
        mode, side, length = REQUEST_HEADER.unpack(head)
        data = receive(stream, length)
        if data is None:
            return
        signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF ends this process
        if len(data) < length:
            message = f"too large to decode here: a file of {length / 1e6:.0f} MB"
            reply = _failed("too_large", message)
        else:
            reply = reply_to(data, mode, side, memory)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for part in reply:
            channel.sendall(part)


def main() -> None:
    """Entry point of the process, started by `decode_pool.py`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server handles Ctrl-C and closes the socket
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # Pillow warns about unusual metadata
    parent, megabytes, seconds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    memory = limit_process(megabytes)
    with suppress(ImportError):  # one thread, as for all formats: each has memory of its own
        options: Any = importlib.import_module(f"{HEIC_PACKAGE}.options")
        options.DECODE_THREADS = 1
    if os.getppid() != parent:  # the parent ended before prctl took effect
        return
    with suppress(BrokenPipeError, ConnectionResetError):
        serve(socket.socket(fileno=int(sys.argv[1])), seconds, memory)


if __name__ == "__main__":
    main()
