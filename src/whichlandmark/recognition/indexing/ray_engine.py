"""Make shards on a Ray cluster, which schedules them and repeats those whose machine was lost.

The driver sends each task its rows of the table and gets the task's number back; each machine
writes its vectors into the shard's file itself. So shard folder, photos and embedder must have the
same names on all machines (a shared file system, or URLs), and this package must be installed.
"""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from ...core.errors import OptionError, WhichLandmarkError, install_command
from ...core.types import Embedder, Progress
from ...features.embedders.load import load_embedder
from .shards import ShardTask, make_shard

MAX_RETRIES = 5  # for a shard whose machine or process was lost

QUEUED_TASKS = 4  # submitted per task that can run, so that no machine waits for the driver

CONNECT_SECONDS = 10.0

OBJECT_STORE_BYTES = 200_000_000  # for rows of tables, where this process starts the cluster


@dataclass(frozen=True)
class EmbedderSource:
    """What each machine opens with `load_embedder`: folder or name, and device."""

    address: str
    device: str


@dataclass(frozen=True)
class TaskResources:
    """What one task uses: all CPUs of a machine, or one GPU and its share of the CPUs."""

    cpus: int
    gpus: int
    parallel: int  # tasks that can run at the same time


def make_shards_on_ray(
    tasks: list[ShardTask],
    source: EmbedderSource,
    *,
    progress: Progress | None = None,
    make: Callable[[ShardTask, EmbedderSource, int], int] | None = None,
) -> Iterator[int]:
    """Make all shards; yields the number of each task when its shard is done.

    Joins the cluster that this process belongs to already, or that of the environment variable
    RAY_ADDRESS; otherwise starts one on this machine alone.

    Args:
        tasks: The shards.
        source: The embedder to open on each machine.
        progress: Counts finished tasks.
        make: What a task does; None = `make_shard_on_worker`.

    Raises:
        WhichLandmarkError: After all other shards are made, when one could not be: the error of
            its photos, or that its machine or process was lost six times.
    """
    with _cluster() as ray:
        resources = _task_resources(ray.nodes(), source.device)
        # max_calls=0 keeps the processes, because Ray ends one that has used a GPU after one task,
        # and the embedder would be opened for each shard.
        remote = ray.remote(
            num_cpus=resources.cpus, num_gpus=resources.gpus, max_calls=0, max_retries=MAX_RETRIES,
            retry_exceptions=[OSError, MemoryError],
        )(make or make_shard_on_worker)  # fmt: skip
        lost: dict[int, Exception] = {}
        calls = (lambda task=task: remote.remote(task, source, resources.cpus) for task in tasks)
        results = _finished_calls(ray, calls, QUEUED_TASKS * resources.parallel)
        for finished, (number, error) in enumerate(results, 1):
            if error is None:
                yield number
            else:
                lost[number] = error
            if progress:
                progress(finished, len(tasks))
        if lost:
            raise _lost_shards_error(lost, tasks)


def _finished_calls(
    ray: Any, calls: Iterable[Callable[[], Any]], most: int
) -> Iterator[tuple[int, Exception | None]]:
    """Submit all calls, `most` at a time; yields the number of each finished call and its error.

    The error is what the call raised, or Ray's when its process was lost; None = it succeeded.
    """
    waiting: dict[Any, int] = {}
    numbered = enumerate(calls)
    while True:
        for number, call in islice(numbered, most - len(waiting)):
            waiting[call()] = number
        if not waiting:
            return
        (reference,), _ = ray.wait(list(waiting), num_returns=1)
        number = waiting.pop(reference)
        try:
            ray.get(reference)
        except Exception as error:
            yield number, error
        else:
            yield number, None


def make_shard_on_worker(task: ShardTask, source: EmbedderSource, threads: int) -> int:
    """Make one shard on a machine of the cluster; returns its number."""
    make_shard(task, _embedder(source), threads=threads)
    return task.shard.number


@lru_cache(maxsize=1)  # because a process makes many shards
def _embedder(source: EmbedderSource) -> Embedder:
    return load_embedder(source.address, device=source.device)


@contextmanager
def _cluster() -> Iterator[Any]:
    """Ray, connected to a cluster; shut down afterwards unless it was connected before.

    Raises OptionError when Ray is not installed, or the cluster cannot be joined.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no statistics
    try:
        import ray
    except ImportError:
        raise OptionError(
            f"--engine ray: Ray is not installed; install it with: {install_command('cluster')}"
        ) from None
    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS", "")
    _require_answer(address)
    started: dict[str, Any] = {
        "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES,
    }  # fmt: skip
    options = {"address": address} if address else {"address": "local", **started}
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise OptionError(f"RAY_ADDRESS={address!r}: no cluster joined ({error})") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raises OptionError at once when no server listens at HOST:PORT, because Ray waits minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return  # "auto", "local", "ray://…" are resolved by Ray
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise OptionError(
            f"RAY_ADDRESS={address}: no cluster answers at this address ({error})"
        ) from None


def _task_resources(nodes: list[dict[str, Any]], device: str) -> TaskResources:
    """One task per GPU where there are GPUs, otherwise one per machine, sized by the smallest.

    Not more, because one task's network and decoding threads use a whole machine.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    with_gpus = [found for found in alive if found.get("GPU", 0) >= 1]
    if with_gpus and device != "cpu":
        cpus = min(int(found.get("CPU", 0) // found["GPU"]) for found in with_gpus)
        return TaskResources(max(1, cpus), 1, sum(int(found["GPU"]) for found in with_gpus))
    cpus = min((int(found["CPU"]) for found in alive if found.get("CPU", 0) >= 1), default=1)
    parallel = sum(math.floor(found.get("CPU", 0) / cpus) for found in alive)
    return TaskResources(cpus, 0, max(1, parallel))


def _lost_shards_error(lost: dict[int, Exception], tasks: list[ShardTask]) -> Exception:
    """The error of the first lost shard, unchanged where it is one of this package."""
    number, error = min(lost.items())
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, WhichLandmarkError):
        return cause
    return WhichLandmarkError(
        f"{len(lost)} of {len(tasks)} shards could not be made; of the first, {number}: "
        f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}; "
        "the same command makes those that are missing"
    )
