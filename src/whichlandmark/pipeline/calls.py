"""How an embedder is called: by what it says of itself beside `Embedder`.

An embedder with `looking` tells how photos reach its network. Photos are then decoded no larger
than it needs, threads that decode resize as well, and photos of one shape share a pass. Any other
gets photos as they were decoded, in the order of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..looking import Looking
from ..types import Embedder, Image

WHOLE = 64  # photos in a pass of an embedder that says nothing about it


@runtime_checkable
class Looks(Protocol):
    """An embedder that says how photos reach its network."""

    @property
    def looking(self) -> Looking: ...


@dataclass(frozen=True)
class Calls:
    """prepare: what is kept of a decoded photo, in the thread that decoded it. shape: photos of
    equal ones share a pass of at most `at_once`. short_side, long_side: pixels that a photo needs
    in each; 0 = no matter. most_kept: bytes of what `prepare` may return of a smaller photo.
    """

    prepare: Callable[[Image], Image]
    shape: Callable[[Image], Hashable]
    at_once: int
    short_side: int
    long_side: int
    most_kept: int = 0


def calls_of(embedder: Embedder) -> Calls:
    """What one embedder asks for."""
    if not isinstance(embedder, Looks):
        return Calls(_as_it_is, _any, WHOLE, embedder.short_side, 0)
    looking = embedder.looking
    sizes = looking.views.of(looking.preprocessing)
    return Calls(
        # Several sizes are made of one photo: it cannot be resized to each beforehand.
        prepare=sizes[0].resize if len(sizes) == 1 else _as_it_is,
        shape=lambda image: tuple(size.target(*image.shape[:2]) for size in sizes),
        at_once=looking.batch,
        short_side=max(size.least[0] for size in sizes),
        long_side=max(size.least[1] for size in sizes),
        most_kept=3 * max(side for size in sizes for side in size.target(1, 1)) ** 2,
    )


def _as_it_is(image: Image) -> Image:
    return image


def _any(image: Image) -> Hashable:
    return None
