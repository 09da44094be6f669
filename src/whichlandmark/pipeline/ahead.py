"""Photos read and decoded by threads ahead of whoever wants them, and handed over in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import ImageError
from .room import Claim, Room

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Read(Generic[T]):
    """What was made of one photo, with its claim; or why nothing could be (`made` is None)."""

    claim: Claim
    made: T | None
    failure: str = ""


@contextmanager
def read_ahead(
    paths: Sequence[str], work: Callable[[str, Claim], T], room: Room, *, threads: int, ahead: int
) -> Iterator[Iterator[Read[T]]]:
    """`work` on each path in threads, at most `ahead` of them before they are wanted.

    work: takes its claim before it decodes, and shrinks it to what it returns. An ImageError is
      handed over as a failure. When the block is left, by whatever way, nothing is started any
      more and nobody waits.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def one(turn: int) -> Read[T]:
        claim = Claim(room, turn)
        try:
            return Read(claim, work(paths[turn], claim))
        except ImageError as error:
            claim.give_back()
            return Read(claim, None, str(error))
        except BaseException:  # or those after it would wait for its turn
            claim.give_back()
            raise

    def in_order() -> Iterator[Read[T]]:
        turns = iter(range(len(paths)))
        waiting: deque[Future[Read[T]]] = deque()
        for turn in turns:
            waiting.append(pool.submit(one, turn))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield in_order()
    finally:
        room.close()
        pool.shutdown(cancel_futures=True)
