"""Pool of processes that decode photos, with limits on time and memory.

Each process has one thread that sends it photos over a socket, kills it when it is slow, and
replaces it. A process ends with the thread that started it and when its socket is closed, so that
none outlives the pool.
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

from ..core.file_kinds import HEAD_BYTES, format_of, kind_of, photo_format
from ..core.types import Image
from . import decode_worker
from .api_errors import PhotoError

log = logging.getLogger("whichlandmark.serving")

JOIN_SECONDS = 5.0  # for a worker to end after its last photo

# Environment of a worker. One thread, because it decodes one photo at a time. Freed memory is kept,
# because returning pages to the kernel and faulting them in again took a third of the time.
WORKER_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),  # larger blocks are returned to the kernel
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "PILLOW_BLOCKS_MAX": "2",
}


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """Limits of the pool.

    Args:
        processes: number of workers.
        megabytes: memory of one worker.
        seconds: wall time for one photo.
        cpu_seconds: processor time for one photo.
        recycle: photos after which a worker is replaced.
    """

    processes: int = 2
    megabytes: int = 400
    seconds: float = 5.0
    cpu_seconds: float = 4.0
    recycle: int = 500


@dataclass(frozen=True, eq=False)
class Decoded:
    """A decoded photo.

    Args:
        image: (H, W, 3) uint8, close to the requested size; None after `DecodePool.jpeg`.
        jpeg: the file; b"" after `DecodePool.pixels`.
        height, width: size of the original photo in pixels, upright.
        queue_seconds: time in the queue.
        decode_seconds: time in the worker.
        location: latitude and longitude from the metadata; None = absent or not requested.
    """

    image: Image | None
    jpeg: bytes
    height: int
    width: int
    queue_seconds: float = 0.0
    decode_seconds: float = 0.0
    location: tuple[float, float] | None = None


@dataclass(eq=False)
class _Job:
    """data: the photo, in a list that is empty once the future is done, to free the memory."""

    data: list[bytes]
    mode: int
    side: int
    future: Future[Decoded] = field(default_factory=Future)
    enqueued: float = field(default_factory=time.monotonic)


class DecodePool:
    """Decodes photos in worker processes. `close` ends every process."""

    def __init__(
        self, limits: DecodeLimits, on_replaced: Callable[[str], None] = lambda reason: None
    ) -> None:
        """on_replaced: called with "recycled", "timeout" or "lost" when a process is replaced."""
        self.limits = limits
        self.on_replaced = on_replaced
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._feeders = [_Feeder(self) for _ in range(limits.processes)]
        for feeder in self._feeders:
            feeder.start()

    def pixels(self, data: bytes, side: int, *, location: bool = False) -> Future[Decoded]:
        """Decode a photo so that its short side has `side` pixels or a little more.

        Args:
            location: also read the location from the metadata.

        Returns:
            A future, which raises PhotoError.
        """
        return self._submit(
            data, decode_worker.PIXELS_AND_LOCATION if location else decode_worker.PIXELS, side
        )

    def jpeg(self, data: bytes, side: int) -> Future[Decoded]:
        """Re-encode a photo without metadata, with a long side of at most `side` pixels."""
        return self._submit(data, decode_worker.JPEG, side)

    @property
    def pids(self) -> list[int]:
        """Process ids of the running workers."""
        return [f.process.pid for f in self._feeders if f.process is not None]

    @property
    def waiting(self) -> int:
        """Number of photos that no process has started to decode."""
        return self._jobs.qsize()

    def close(self) -> None:
        """Decode the photos in the queue, then end every process."""
        self._closing.set()
        for _ in self._feeders:
            self._jobs.put(None)
        for feeder in self._feeders:
            feeder.join(JOIN_SECONDS + self.limits.seconds)
        while not self._jobs.empty():
            if (job := self._jobs.get()) and job.future.set_running_or_notify_cancel():
                job.future.set_exception(PhotoError("worker_lost", "the server was stopped"))

    def _submit(self, data: bytes, mode: int, side: int) -> Future[Decoded]:
        held = [data]
        job = _Job(held, mode, side)
        job.future.add_done_callback(lambda _: held.clear())  # also when its client has gone
        if not photo_format(data):
            job.future.set_exception(unsupported(data))
        elif self._closing.is_set():
            job.future.set_exception(PhotoError("worker_lost", "the server is being stopped"))
        else:
            self._jobs.put(job)
        return job.future


class _Feeder(threading.Thread):
    """Thread that sends photos to one process and restarts the process when it ends."""

    def __init__(self, pool: DecodePool) -> None:
        super().__init__(name="decode", daemon=True)
        self.pool, self.limits = pool, pool.limits
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None
        self.done = 0

    def run(self) -> None:
        self._start_worker()
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
                self._stop_worker("lost")
                job.future.set_exception(PhotoError("worker_lost", type(error).__name__))
            self.done += 1
            if self.done >= self.limits.recycle:
                self._stop_worker("recycled")
        self._stop_worker("")

    def _decode(self, job: _Job, began: float) -> Decoded:
        if self.process is not None and self.process.poll() is not None:
            self._stop_worker("lost")  # the process ended while it was idle
        if self.process is None:
            self._start_worker()
        assert self.channel is not None
        (data,) = job.data
        deadline = time.monotonic() + self.limits.seconds
        try:
            self._send(decode_worker.REQUEST_HEADER.pack(job.mode, job.side, len(data)), deadline)
            self._send(data, deadline)
            head = self._receive(decode_worker.REPLY_HEADER.size, deadline)
            status, rows, columns, channels, height, width, *location, length = (
                decode_worker.REPLY_HEADER.unpack(head)
            )
            body = self._receive(length, deadline)
        except TimeoutError:
            self._stop_worker("timeout")
            message = f"decoding took longer than {self.limits.seconds:g} s"
            raise PhotoError("timeout", message) from None
        except (ConnectionError, EOFError):
            raise self._worker_ended() from None
        if status == decode_worker.FAILED:
            raise PhotoError(**json.loads(bytes(body)))
        image, jpeg = None, b""
        if job.mode != decode_worker.JPEG:
            image = np.frombuffer(body, dtype=np.uint8).reshape(rows, columns, channels)
        else:
            jpeg = bytes(body)
        now = time.monotonic()
        known_location = None if math.isnan(location[0]) else (location[0], location[1])
        return Decoded(
            image, jpeg, height, width, began - job.enqueued, now - began, known_location
        )

    def _worker_ended(self) -> PhotoError:
        """Why the process ended: it exceeded its processor time, or it crashed or was killed."""
        assert self.process is not None
        code = self.process.wait()
        timed_out = code == -signal.SIGPROF
        self._stop_worker("timeout" if timed_out else "lost")
        if timed_out:
            most = self.limits.cpu_seconds
            return PhotoError("timeout", f"decoding took over {most:g} s of processor time")
        return PhotoError("worker_lost", "the process that decoded the photo ended unexpectedly")

    def _send(self, data: bytes, deadline: float) -> None:
        assert self.channel is not None
        self.channel.settimeout(max(0.001, deadline - time.monotonic()))
        self.channel.sendall(data)

    def _receive(self, length: int, deadline: float) -> memoryview:
        assert self.channel is not None
        view, received = (
            np.empty(length, dtype=np.uint8).data,
            0,
        )  # empty() skips the zeroing of a bytearray
        while received < length:
            self.channel.settimeout(max(0.001, deadline - time.monotonic()))
            count = self.channel.recv_into(view[received:])
            if count == 0:
                raise EOFError
            received += count
        return view

    def _start_worker(self) -> None:
        ours, theirs = socket.socketpair()
        limits, number = self.limits, str(theirs.fileno())
        arguments = [number, str(os.getpid()), str(limits.megabytes), str(limits.cpu_seconds)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "whichlandmark.serving.decode_worker", *arguments],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # decoders print details of photos, which must not be logged
            env={**os.environ, **WORKER_ENVIRONMENT},
        )
        theirs.close()
        self.channel, self.done = ours, 0

    def _stop_worker(self, reason: str) -> None:
        """Kill the process. reason: why; a replacement is started at once unless it is ""."""
        if self.channel is not None:
            self.channel.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        if reason:
            self.pool.on_replaced(reason)
            if not self.pool._closing.is_set():
                self._start_worker()


def unsupported(data: bytes) -> PhotoError:
    """Why a file of no accepted format is refused: what it is, and the way out."""
    if not data:
        return PhotoError("unreadable", "The file is empty.")
    kind = kind_of(data[:HEAD_BYTES], raw=False)
    if not kind:
        return PhotoError("unsupported_format", "This is not a photo in an accepted format.")
    return PhotoError("unsupported_format", decode_worker.sentence(kind), format_of(kind))
