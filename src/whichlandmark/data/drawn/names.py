"""Invented names: "Velmora Bridge", "Tower of Issun"."""

from __future__ import annotations

from functools import lru_cache

from .chance import Chance

_FIRST = (
    "Vel", "Iss", "Kar", "Ono", "Tal", "Mer", "Bru", "Ast", "Lin", "Dor", "Sel", "Pav", "Ru",
    "Hes", "Cal", "Nim", "Oru", "Fen", "Gal", "Zan", "Ely", "Tor", "Ves", "Aru", "Bel", "Qui",
)  # fmt: skip
_MIDDLE = ("mo", "ra", "li", "ve", "do", "sa", "tu", "ne", "ri", "ka", "lo", "mi")
_LAST = ("ra", "n", "s", "th", "via", "nia", "r", "sk", "lle", "don", "va", "mar", "ssa", "l")


def name_of(seed: int, number: int, nouns: tuple[str, ...]) -> str:
    """The name of landmark `number`: ASCII, at most 40 characters, never given twice.

    The place is number `number` of a shuffled list of all places, so no two are equal.
    """
    places = _places(seed)
    rest, first = divmod(places[number % len(places)], len(_FIRST))
    last, middle = divmod(rest, len(_MIDDLE))
    place = _FIRST[first] + _MIDDLE[middle] + _LAST[last]
    chance = Chance(seed, f"name {number}")
    noun = chance.pick(nouns)
    return f"{noun} of {place}" if chance.yes(0.35) else f"{place} {noun}"


@lru_cache(maxsize=4)
def _places(seed: int) -> tuple[int, ...]:
    total = len(_FIRST) * len(_MIDDLE) * len(_LAST)
    return tuple(Chance(seed, "places").shuffled(range(total)))
