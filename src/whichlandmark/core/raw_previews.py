"""Raw photos of cameras (CR2, CR3, NEF, ARW, DNG, RAF, ORF, RW2, …) by the JPEG that each holds.

A camera puts a JPEG into its raw file, mostly of full size; that picture is recognized. The raw
pixels themselves are never developed: that takes seconds and gigabytes, and most of the published
faults of LibRaw lie there. LibRaw runs in a process of its own, `raw_worker`, and finds the
preview, which is then decoded as every other JPEG, with all limits.

The server never comes here (`read_image(raw=False)`), because its photos come from strangers.
"""

from __future__ import annotations

import atexit
import io
import os
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any, NamedTuple

from PIL import Image as Pillow

from . import file_kinds, raw_worker
from .errors import ImageError
from .file_kinds import CONVERT, HEAD_BYTES, raw_kind, raw_maker, tiff_tags
from .hardware import max_file_bytes, max_megapixels

MIN_PREVIEW_SIDE = 400  # pixels of the long side; 160 × 120 of old cameras show too little

WAIT_SECONDS = 30.0  # for one preview

CPU_SECONDS = 10.0

SPARE_MEGABYTES = 400  # besides three copies of the file; numpy and LibRaw take about 100

# LibRaw's flip → EXIF orientation: bit 0 mirrors, bit 1 turns upside down, bit 2 swaps the axes.
_ORIENTATIONS = (1, 2, 4, 3, 5, 8, 6, 7)

_ORIENTATION, _SOFTWARE, _GPS, _XMP = 0x0112, 305, 0x8825, 700  # tags

_APPLICATIONS = [bytes([marker]) for marker in range(0xE0, 0xF0)]  # markers of a JPEG

_CR3_GPS = b"CMT4"  # box of a CR3: a TIFF whose first directory has the position

_CR3_HEAD = 1_000_000  # bytes in which that box lies, before the pictures

_GPS_BYTES = 65_536  # of that box that are read

_LIKE_TIFF = {b"IIRO": b"II*\0", b"IIRS": b"II*\0", b"IIU\0": b"II*\0", b"MMOR": b"MM\0*"}


def photo_data(data: bytes, name: str = "") -> bytes:
    """The bytes to decode: of a raw photo its preview, as a JPEG with its orientation; else `data`.

    Args:
        data: a photo's file.
        name: of the file; its ending tells raw files that begin as ordinary TIFFs do.

    Raises:
        ImageError: when it is raw and cannot be used: without LibRaw, or without a good preview.
    """
    maker = maker_of(data, name)
    if not maker:
        return data
    if not file_kinds.raw_is_read():
        raise ImageError(f"its content: {file_kinds.not_decoded(f'{maker} RAW')}")
    reply = _WORKERS.setdefault(os.getpid(), _Worker()).ask(data)
    if reply.kind == raw_worker.NO_RAW and _is_tiff(data) and not maker_of(data):
        return data  # an ordinary TIFF that is called .nef or .raw
    if reply.kind == raw_worker.FAILED:
        told = reply.body.decode("utf-8", "replace")
        raise ImageError(f"damaged or cut short: {maker} RAW ({told})")
    if reply.kind in (raw_worker.JPEG, raw_worker.BITMAP):
        return _upright(_as_jpeg(reply) if reply.kind == raw_worker.BITMAP else reply.body, reply,
                        maker)  # fmt: skip
    why = "of a camera that LibRaw does not know"
    if reply.kind == raw_worker.NO_PREVIEW:
        why = "without a preview in it"
    raise ImageError(f"its content: {maker} RAW ({why}), {CONVERT}")


def maker_of(data: bytes, name: str = "") -> str:
    """Whose raw file this is, "Nikon" or "DNG"; "" = none."""
    head, maker = data[:HEAD_BYTES], ""
    if _is_tiff(data):
        with suppress(ValueError):  # the decoder of TIFFs names the damage
            maker = raw_maker(tiff_tags(data)[0])
    return maker or raw_kind(head, os.path.splitext(name)[1].lower())


def _is_tiff(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*")


def _upright(jpeg: bytes, reply: _Reply, maker: str) -> bytes:
    """The preview with its orientation as its only EXIF data.

    That is its own, or else the raw file's; none for one that stands while the sensor lies, because
    it was turned already.
    """
    try:
        with Pillow.open(io.BytesIO(jpeg), formats=("JPEG", "MPO")) as opened:
            width, height = opened.size
    except Exception as error:
        raise ImageError(f"damaged: a {maker} RAW whose preview is no JPEG ({error})") from None
    if max(width, height) < MIN_PREVIEW_SIDE:
        small = f"its only preview has {width} × {height} px"
        raise ImageError(f"its content: {maker} RAW ({small}), {CONVERT}")
    segments = _segments(jpeg)
    orientation = _own_orientation(segments) or _ORIENTATIONS[reply.flip]
    if orientation > 4 and (width - height) * (reply.width - reply.height) < 0:
        orientation = 1
    exif = Pillow.Exif()
    exif[_ORIENTATION] = orientation
    head = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    segment = b"\xff\xe1" + struct.pack(">H", len(head) + 2) + head
    rest = [part for part in segments if part[:2] != b"\xff\xe1" or part[4:8] != b"Exif"]
    return b"".join((b"\xff\xd8", segment, *rest))


def _segments(jpeg: bytes) -> list[bytes]:
    """What follows the first marker of a JPEG: its application segments, and then all the rest."""
    parts, at = [], 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1 : at + 2] in _APPLICATIONS:
        end = at + 2 + max(2, int.from_bytes(jpeg[at + 2 : at + 4], "big"))
        parts.append(jpeg[at:end])
        at = end
    return [*parts, jpeg[at:]]


def _own_orientation(segments: list[bytes]) -> int:
    """The orientation that a preview's EXIF data give, other than 1; 0 = none.

    LibRaw puts EXIF data of its own in front of others that do not come first.
    """
    for part in segments:
        if part[:2] == b"\xff\xe1" and part[4:8] == b"Exif":
            exif = Pillow.Exif()
            with suppress(Exception):  # damaged EXIF data do not spoil a preview
                exif.load(part[4:])
                found: Any = exif.get(_ORIENTATION)
                if not str(exif.get(_SOFTWARE, "")).startswith("dcraw") and found in range(2, 9):
                    return int(found)
    return 0


def _as_jpeg(reply: _Reply) -> bytes:
    """A preview that is a bitmap, as a JPEG."""
    rows, columns, channels = reply.shape
    size = rows * columns * channels
    if channels not in (1, 3) or len(reply.body) != size or size > 3e6 * max_megapixels():
        raise ImageError(f"damaged: a raw photo with a preview of {columns} × {rows} × {channels}")
    out = io.BytesIO()
    picture = Pillow.frombytes("RGB" if channels == 3 else "L", (columns, rows), reply.body)
    picture.save(out, "JPEG", quality=95)
    return out.getvalue()


def position_tags(data: bytes, maker: str) -> tuple[dict[int, Any], dict[Any, Any]]:
    """The GPS tags of a raw file and its XMP, as Pillow's `info` has it, without LibRaw.

    Of files that are TIFFs (CR2, NEF, ARW, DNG, PEF, SRW, ORF, RW2, …), of CR3, and of RAF, whose
    JPEG has them. In CRW, MRW and X3F no position is looked for.

    Raises:
        ValueError, or what Pillow raises: where it is damaged.
    """
    exif = Pillow.Exif()
    if data[4:8] == b"ftyp":
        at = data.find(_CR3_GPS, 0, _CR3_HEAD)
        part = data[at + 4 : at + 4 + _GPS_BYTES] if at > 0 else b""
        tiff_tags(part)
        exif.load(part)
        return dict(exif), {}
    if maker == "Fujifilm":
        begin, length = struct.unpack_from(">II", data, 84)
        with Pillow.open(io.BytesIO(data[begin : begin + length]), formats=("JPEG", "MPO")) as jpeg:
            return dict(jpeg.getexif().get_ifd(_GPS)), dict(jpeg.info)
    if data[:4] in _LIKE_TIFF:
        data = _LIKE_TIFF[data[:4]] + data[4:]
    tiff_tags(data)
    exif.load(data)
    return dict(exif.get_ifd(_GPS)), {"xmp": exif.get(_XMP)}


class _Reply(NamedTuple):
    """What the process of LibRaw says: see `raw_worker`. width, height: of the sensor."""

    kind: int
    flip: int
    width: int
    height: int
    shape: tuple[int, int, int]
    body: bytes


class _Worker:
    """The process of LibRaw, started when the first raw photo comes, and again after it died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, data: bytes) -> _Reply:
        """The preview of one raw file. Raises ImageError when the process ends over it."""
        with self._lock:
            process = self._started()
            timer = threading.Timer(WAIT_SECONDS, process.kill)
            timer.daemon = True
            timer.start()
            try:
                return self._exchange(process, data)
            except (OSError, EOFError, struct.error):
                self.close()
                raise ImageError(
                    "a raw photo that LibRaw ended over (damaged, or larger than the limits): "
                    "convert it to JPEG"
                ) from None
            except BaseException:  # Ctrl-C, in the middle of an answer
                self.close()
                raise
            finally:
                timer.cancel()

    def _exchange(self, process: subprocess.Popen[bytes], data: bytes) -> _Reply:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(raw_worker.REQUEST.pack(len(data)))
        process.stdin.write(data)
        process.stdin.flush()
        head = process.stdout.read(raw_worker.REPLY.size)
        kind, flip, width, height, *shape, length = raw_worker.REPLY.unpack(head)
        if length > max_file_bytes():
            raise EOFError
        body = process.stdout.read(length)
        if len(body) < length:
            raise EOFError
        return _Reply(kind, flip, width, height, (shape[0], shape[1], shape[2]), body)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        megabytes = 3 * max_file_bytes() // 1_000_000 + SPARE_MEGABYTES
        # -P: a photo folder that is the current one must not lend it modules.
        command = [sys.executable, "-P", raw_worker.__file__, str(megabytes), str(CPU_SECONDS)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        atexit.register(self.close)
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
            atexit.unregister(self.close)


_WORKERS: dict[int, _Worker] = {}  # by process id, because a fork must not share a pipe
