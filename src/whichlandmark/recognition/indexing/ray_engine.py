"""Shards made by the machines of a Ray cluster: Ray schedules them, and repeats what was lost.

The driver sends each task its rows of the table and gets its number back: vectors go straight from
the machine that made them into the shard's file. So the shard folder, the photos and the embedder
must be found under the same names on all machines (a shared file system, or URLs), as must this
package.
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

from ...core.errors import OptionError, WhichLandmarkError
from ...core.types import Embedder
from ...features.embedders.load import load_embedder
from ...features.pipeline import Progress
from .shards import Task, make_shard

MAX_RETRIES = 5  # of a shard whose machine or process was lost

QUEUED_TASKS = 4  # handed to Ray for each that can run: no machine waits for the driver

CONNECT_SECONDS = 10.0

OBJECT_STORE_BYTES = 200_000_000  # for rows of tables, where a cluster is started here


@dataclass(frozen=True)
class Opening:
    """source, device: as `load_embedder` takes them, on the machine that makes the shard."""

    source: str
    device: str


@dataclass(frozen=True)
class Share:
    """What of a machine one task takes: a whole one's CPUs, or those beside one of its GPUs."""

    cpus: int
    gpus: int
    at_once: int  # tasks that can run at the same time


def made_by_ray(
    tasks: list[Task],
    opening: Opening,
    *,
    progress: Progress | None = None,
    make: Callable[[Task, Opening, int], int] | None = None,
) -> Iterator[int]:
    """Make every shard; yields the numbers of tasks, each when its shard is done.

    Joins the cluster of the environment variable RAY_ADDRESS, or one that this process belongs to
    already; else starts one of this machine alone. make: what a task does (None = `make_here`).
    When a shard cannot be made, the others are made first. Raises what its photos raised, or
    WhichLandmarkError after its machine or process was lost six times.
    """
    with _cluster() as ray:
        share = _share(ray.nodes(), opening.device)
        # By default Ray ends a process that has used a GPU after one task: the network would be
        # opened for each shard.
        remote = ray.remote(
            num_cpus=share.cpus, num_gpus=share.gpus, max_calls=0, max_retries=MAX_RETRIES,
            retry_exceptions=[OSError, MemoryError],
        )(make or make_here)  # fmt: skip
        lost: dict[int, Exception] = {}
        calls = (lambda task=task: remote.remote(task, opening, share.cpus) for task in tasks)
        results = _ended(ray, calls, QUEUED_TASKS * share.at_once)
        for ended, (turn, error) in enumerate(results, 1):
            if error is None:
                yield turn
            else:
                lost[turn] = error
            if progress:
                progress(ended, len(tasks))
        if lost:
            raise _lost_shards_error(lost, tasks)


def _ended(
    ray: Any, calls: Iterable[Callable[[], Any]], most: int
) -> Iterator[tuple[int, Exception | None]]:
    """Every call handed to Ray, `most` of them at a time: its number when it has ended, and what
    it raised, or what Ray says of its end.
    """
    waiting: dict[Any, int] = {}
    turns = enumerate(calls)
    while True:
        for turn, call in islice(turns, most - len(waiting)):
            waiting[call()] = turn
        if not waiting:
            return
        (reference,), _ = ray.wait(list(waiting), num_returns=1)
        turn = waiting.pop(reference)
        try:
            ray.get(reference)
        except Exception as error:
            yield turn, error
        else:
            yield turn, None


def make_here(task: Task, opening: Opening, threads: int) -> int:
    """What runs on a machine of the cluster: one shard. Returns its number."""
    make_shard(task, _embedder(opening), threads=threads)
    return task.shard.number


@lru_cache(maxsize=1)  # a process makes many shards
def _embedder(opening: Opening) -> Embedder:
    return load_embedder(opening.source, device=opening.device)


@contextmanager
def _cluster() -> Iterator[Any]:
    """Ray, joined or started; left as it was found. Raises OptionError when it is not installed, or
    the cluster cannot be joined.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the cluster
    try:
        import ray
    except ImportError:
        raise OptionError(
            "--engine ray: Ray is not installed; "
            "install it with: pip install 'whichlandmark[cluster]'"
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
    """Ray itself waits for minutes. Raises OptionError when nobody answers at HOST:PORT."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return  # "auto", "local", "ray://…": known to Ray alone
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise OptionError(f"RAY_ADDRESS={address}: no cluster answers there ({error})") from None


def _share(nodes: list[dict[str, Any]], device: str) -> Share:
    """One task a GPU where there are GPUs, else one a machine, by the smallest of them: a network
    and the threads that decode fill a machine, and two tasks on it would fight.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    with_gpus = [found for found in alive if found.get("GPU", 0) >= 1]
    if with_gpus and device != "cpu":
        cpus = min(int(found.get("CPU", 0) // found["GPU"]) for found in with_gpus)
        return Share(max(1, cpus), 1, sum(int(found["GPU"]) for found in with_gpus))
    cpus = min((int(found["CPU"]) for found in alive if found.get("CPU", 0) >= 1), default=1)
    at_once = sum(math.floor(found.get("CPU", 0) / cpus) for found in alive)
    return Share(cpus, 0, max(1, at_once))


def _lost_shards_error(lost: dict[int, Exception], tasks: list[Task]) -> Exception:
    """The error of the first lost shard: as it was raised where it is one of this package."""
    number, error = min(lost.items())
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, WhichLandmarkError):
        return cause
    return WhichLandmarkError(
        f"{len(lost)} of {len(tasks)} shards could not be made; of the first, {number}: "
        f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}; "
        "the same command goes on with what is missing"
    )
