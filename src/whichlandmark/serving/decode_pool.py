"""Processes that decode photos: fed over sockets, limited, recycled, killed when they are slow.

One thread for each process feeds it and starts the next one, so that no process outlives the pool:
each ends with the thread that started it, and when its socket is closed.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from ..core.types import Image
from . import decode_worker as child
from .api_errors import PhotoError

log = logging.getLogger("whichlandmark.serving")

JOIN_SECONDS = 5.0

# Of a worker. One thread each, for it has one photo at a time; and memory that it has had it keeps:
# a photo's pages, given back and asked for again, were a third of its work.
SETTINGS = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),  # larger pieces are given back
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "PILLOW_BLOCKS_MAX": "2",
}


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """processes: how many; megabytes, seconds (of wall time), cpu_seconds: of one; recycle: photos
    after which a process is replaced.
    """

    processes: int = 2
    megabytes: int = 400
    seconds: float = 5.0
    cpu_seconds: float = 4.0
    recycle: int = 500


@dataclass(frozen=True, eq=False)
class Decoded:
    """image: (H, W, 3) uint8, near the wanted size, or None; jpeg: bytes, or b""; height, width: of
    the whole upright photo; waited, seconds: in the queue, and being decoded; place: latitude and
    longitude where it was taken, when that was asked for.
    """

    image: Image | None
    jpeg: bytes
    height: int
    width: int
    waited: float = 0.0
    seconds: float = 0.0
    place: tuple[float, float] | None = None


@dataclass(eq=False)
class _Job:
    data: bytes
    mode: int
    side: int
    future: Future[Decoded] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class DecodePool:
    """Photos in, pixels out. `close` ends every process."""

    def __init__(
        self, limits: DecodeLimits, lost: Callable[[str], None] = lambda why: None
    ) -> None:
        """lost: called with the reason whenever a process is replaced: recycled, timeout, lost."""
        self.limits = limits
        self.lost = lost
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._feeders = [_Feeder(self) for _ in range(limits.processes)]
        for feeder in self._feeders:
            feeder.start()

    def pixels(self, data: bytes, side: int, *, place: bool = False) -> Future[Decoded]:
        """Decode a photo with a short side of `side` pixels or a little more.

        place: read in its metadata where it was taken. The future raises PhotoError.
        """
        return self._ask(data, child.PLACED if place else child.PIXELS, side)

    def jpeg(self, data: bytes, side: int) -> Future[Decoded]:
        """Encode a photo anew with a long side of `side` pixels at most, without any metadata."""
        return self._ask(data, child.JPEG, side)

    @property
    def pids(self) -> list[int]:
        """Of the processes that run now."""
        return [f.process.pid for f in self._feeders if f.process is not None]

    @property
    def waiting(self) -> int:
        """Photos that no process has begun with."""
        return self._jobs.qsize()

    def close(self) -> None:
        """Finish what was asked, then end every process."""
        self._closing.set()
        for _ in self._feeders:
            self._jobs.put(None)
        for feeder in self._feeders:
            feeder.join(JOIN_SECONDS + self.limits.seconds)
        while not self._jobs.empty():
            if job := self._jobs.get():
                job.future.set_exception(PhotoError("worker_lost", "the server was stopped"))

    def _ask(self, data: bytes, mode: int, side: int) -> Future[Decoded]:
        job = _Job(data, mode, side)
        if not known_format(data):
            words = "the file is empty" if not data else "not a photo in an accepted format"
            job.future.set_exception(
                PhotoError("unsupported_format" if data else "unreadable", words)
            )
        elif self._closing.is_set():
            job.future.set_exception(PhotoError("worker_lost", "the server is being stopped"))
        else:
            self._jobs.put(job)
        return job.future


class _Feeder(threading.Thread):
    """Feeds one process, and starts it again when it is lost."""

    def __init__(self, pool: DecodePool) -> None:
        super().__init__(name="decode", daemon=True)
        self.pool, self.limits = pool, pool.limits
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None
        self.done = 0

    def run(self) -> None:
        self._start()
        while (job := self.pool._jobs.get()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            began = time.monotonic()
            try:
                job.future.set_result(self._decode(job, began))
            except PhotoError as error:
                job.future.set_exception(error)
            except Exception as error:
                log.exception("a decode worker could not be used")
                self._end("lost")
                job.future.set_exception(PhotoError("worker_lost", type(error).__name__))
            self.done += 1
            if self.done >= self.limits.recycle:
                self._end("recycled")
        self._end("")

    def _decode(self, job: _Job, began: float) -> Decoded:
        if self.process is not None and self.process.poll() is not None:
            self._end("lost")  # it was ended while it had nothing to do
        if self.process is None:
            self._start()
        assert self.channel is not None
        deadline = time.monotonic() + self.limits.seconds
        try:
            self._send(child.ASK.pack(job.mode, job.side, len(job.data)), deadline)
            self._send(job.data, deadline)
            head = self._receive(child.REPLY.size, deadline)
            status, high, wide, deep, height, width, *place, length = child.REPLY.unpack(head)
            body = self._receive(length, deadline)
        except TimeoutError:
            self._end("timeout")
            raise PhotoError("timeout", self._too_long()) from None
        except (ConnectionError, EOFError):
            raise self._gone() from None
        if status == child.FAILED:
            raise PhotoError(**json.loads(bytes(body)))
        image, jpeg = None, b""
        if job.mode != child.JPEG:
            image = np.frombuffer(body, dtype=np.uint8).reshape(high, wide, deep)
        else:
            jpeg = bytes(body)
        now = time.monotonic()
        where = None if math.isnan(place[0]) else (place[0], place[1])
        return Decoded(image, jpeg, height, width, began - job.since, now - began, where)

    def _too_long(self) -> str:
        return f"took longer to decode than {self.limits.seconds:g} s"

    def _gone(self) -> PhotoError:
        """The process ended: of its processor time, or of something else."""
        assert self.process is not None
        code = self.process.wait()
        spent = code == -signal.SIGPROF
        self._end("timeout" if spent else "lost")
        if spent:
            return PhotoError("timeout", self._too_long())
        return PhotoError("worker_lost", "the process that decoded it was lost")

    def _send(self, data: bytes, deadline: float) -> None:
        assert self.channel is not None
        self.channel.settimeout(max(0.001, deadline - time.monotonic()))
        self.channel.sendall(data)

    def _receive(self, length: int, deadline: float) -> memoryview:
        assert self.channel is not None
        view, got = np.empty(length, dtype=np.uint8).data, 0  # not cleared first
        while got < length:
            self.channel.settimeout(max(0.001, deadline - time.monotonic()))
            count = self.channel.recv_into(view[got:])
            if count == 0:
                raise EOFError
            got += count
        return view

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        limits, number = self.limits, str(theirs.fileno())
        arguments = [number, str(os.getpid()), str(limits.megabytes), str(limits.cpu_seconds)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "whichlandmark.serving.decode_worker", *arguments],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what decoders print of a photo is for no log
            env={**os.environ, **SETTINGS},
        )  # fmt: skip
        theirs.close()
        self.channel, self.done = ours, 0

    def _end(self, why: str) -> None:
        """End the process; the next photo gets a new one, which begins to start now."""
        if self.channel is not None:
            self.channel.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        if why:
            self.pool.lost(why)
            if not self.pool._closing.is_set():
                self._start()


_AVIF = (b"avif", b"avis", b"mif1", b"msf1", b"miaf")


def known_format(data: bytes) -> bool:
    """Do these bytes begin like a photo in one of the accepted formats?"""
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")):
        return True
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return True
    return data[4:8] == b"ftyp" and (data[8:12] in _AVIF)
