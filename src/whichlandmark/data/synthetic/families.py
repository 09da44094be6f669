"""The landmarks: families of similar buildings, their options and their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from . import bridges, palaces, sacred_buildings, towers
from .geometry import Solid
from .light import Colour, palette
from .renderer import SceneModel, build
from .seeded_random import SeededRandom

FORMS = ("square", "round", "pointed")


@dataclass(frozen=True)
class Family:
    """Landmarks of one kind; each member has another combination of these options.

    Attributes:
        kind: the family's name, which is also a key of random numbers.
        nouns: kinds of building that its names contain.
        parts: builds the solids, given random numbers and one value of each option.
        options: each option's possible values.
    """

    kind: str
    nouns: tuple[str, ...]
    parts: Callable[..., list[Solid]]
    options: Mapping[str, Sequence[Any]]

    @property
    def members(self) -> int:
        """The number of different combinations."""
        count = 1
        for choices in self.options.values():
            count *= len(choices)
        return count

    def combination(self, number: int) -> dict[str, Any]:
        """The options of one combination, 0 ≤ number < members."""
        chosen = {}
        for option, choices in self.options.items():
            number, index = divmod(number, len(choices))
            chosen[option] = choices[index]
        return chosen


# fmt: off
FAMILIES: tuple[Family, ...] = (
    Family("cathedral", ("Cathedral", "Minster", "Abbey"), sacred_buildings.cathedral, {
        "towers": (0, 1, 2), "top": ("spire", "pyramid", "battlements", "lantern", "onion"),
        "bays": (4, 6, 8), "petals": (6, 8, 12), "stages": (2, 3, 4)}),
    Family("campanile", ("Bell Tower", "Campanile", "Tower"), towers.campanile, {
        "stages": (3, 4, 5), "openings": (1, 2, 3),
        "top": ("pyramid", "spire", "onion", "battlements", "lantern"),
        "form": FORMS, "dial": (False, True)}),
    Family("arch bridge", ("Bridge", "Old Bridge", "Crossing"), bridges.arch_bridge, {
        "spans": (3, 4, 5, 6), "pointed": (False, True), "gate": ("none", "one", "two", "middle"),
        "rise": (0.6, 1.0, 1.3), "piers": ("plain", "round", "wedge", "turret")}),
    Family("domed", ("Basilica", "Mosque", "Rotunda"), sacred_buildings.domed, {
        "profile": ("round", "onion", "pointed", "flat", "bell"), "minarets": (0, 2, 4),
        "small": (0, 2, 4), "drum": (0, 1, 2), "porch": ("iwan", "pediment", "arcade")}),
    Family("palace", ("Palace", "Town Hall", "Residence"), palaces.palace, {
        "floors": (2, 3, 4), "form": FORMS, "centre": ("pediment", "mansard", "clock", "dome"),
        "wings": (0, 1, 2, 3), "columns": (4, 6, 8)}),
    Family("pagoda", ("Pagoda", "Stupa"), towers.pagoda, {
        "tiers": (3, 5, 7), "sides": (4, 8), "eaves": ("straight", "flared"),
        "finial": ("rings", "cone", "spike"), "form": FORMS}),
    Family("gate", ("Gate", "Arch"), palaces.gate, {
        "openings": (1, 2, 3), "attic": (0.2, 0.32, 0.46), "columns": (0, 2, 3),
        "figure": ("none", "middle", "ends", "row"), "panels": (0, 1, 2)}),
    Family("high-rise", ("Tower", "Spire", "Exchange"), towers.high_rise, {
        "plan": ("square", "hexagon", "round"), "setbacks": (0, 1, 2, 3),
        "crown": ("flat", "pyramid", "spire", "disc"), "skin": ("grid", "upright", "bands")}),
    Family("temple", ("Temple", "Treasury"), sacred_buildings.temple, {
        "columns": (4, 5, 6, 8), "steps": (2, 3, 5), "pediment": ("gable", "attic", "dome"),
        "order": ("plain", "slab", "flared"), "depth": (3, 4, 5)}),
    Family("hung bridge", ("Bridge", "Suspension Bridge"), bridges.suspension_bridge, {
        "towers": (1, 2, 3), "frame": ("single", "double", "triple", "crown"),
        "cables": ("sag", "fan", "harp"), "hangers": (5, 8, 12), "truss": (False, True)}),
    Family("castle", ("Castle", "Citadel", "Fortress"), palaces.castle, {
        "towers": (2, 3, 4), "caps": ("cone", "battlements", "dome"),
        "keep": ("plain", "stepped", "roofed"), "gate": FORMS, "slits": (3, 4, 5)}),
    Family("stepped pyramid", ("Pyramid", "Ziggurat"), sacred_buildings.stepped_pyramid, {
        "steps": (4, 5, 6, 8), "stairs": (1, 2, 4), "shrine": ("none", "comb", "roof", "dome"),
        "slope": (0.1, 0.45, 0.75), "panels": (0, 8, 12)}),
    Family("lattice tower", ("Mast", "Iron Tower"), towers.lattice_tower, {
        "levels": (4, 5, 6, 7), "arched": (False, True), "platforms": (1, 2, 3),
        "cap": ("cabin", "dome", "mast"), "brace": ("cross", "rise", "ladder")}),
    Family("arena", ("Arena", "Theatre", "Hippodrome"), palaces.arena, {
        "tiers": (2, 3, 4), "form": FORMS, "top": ("attic", "cone", "dome", "hall"),
        "sides": (12, 16, 24), "pilaster": (False, True)}),
    Family("column", ("Column", "Pillar", "Monument"), towers.column, {
        "steps": (1, 2, 4), "rings": (0, 1, 2, 4), "top": ("ball", "urn", "statue", "obelisk"),
        "fluted": (False, True), "sides": (4, 8, 12)}),
)

# fmt: on

# Syllables of invented place names.
_FIRST = (
    "Vel", "Iss", "Kar", "Ono", "Tal", "Mer", "Bru", "Ast", "Lin", "Dor", "Sel", "Pav", "Ru",
    "Hes", "Cal", "Nim", "Oru", "Fen", "Gal", "Zan", "Ely", "Tor", "Ves", "Aru", "Bel", "Qui",
)  # fmt: skip

_MIDDLE = ("mo", "ra", "li", "ve", "do", "sa", "tu", "ne", "ri", "ka", "lo", "mi")

_LAST = ("ra", "n", "s", "th", "via", "nia", "r", "sk", "lle", "don", "va", "mar", "ssa", "l")


@dataclass(frozen=True, eq=False)
class Landmark:
    """One landmark: its name, its family, its geometry and the colours of its materials."""

    name: str
    kind: str
    model: SceneModel
    colours: dict[str, Colour]


@lru_cache(maxsize=16)
def landmark(seed: int, number: int) -> Landmark:
    """Landmark `number` of the world with this seed; it does not depend on the world's size."""
    family = FAMILIES[number % len(FAMILIES)]
    member = number // len(FAMILIES)
    order = SeededRandom(seed, f"family {family.kind}").shuffled(range(family.members))
    options = family.combination(order[member % family.members])
    rng = SeededRandom(seed, f"landmark {number}")
    colours = palette(rng)
    model = build(family.parts(rng, **options))
    return Landmark(landmark_name(seed, number), family.kind, model, colours)


@lru_cache(maxsize=4096)
def landmark_name(seed: int, number: int) -> str:
    """The name of landmark `number`, without building its geometry."""
    return name_of(seed, number, FAMILIES[number % len(FAMILIES)].nouns)


def name_of(seed: int, number: int, nouns: tuple[str, ...]) -> str:
    """The name of landmark `number`: unique, ASCII, at most 40 characters.

    Names are unique because each has another place of a shuffled list of invented places.
    """
    places = _places(seed)
    rest, first = divmod(places[number % len(places)], len(_FIRST))
    last, middle = divmod(rest, len(_MIDDLE))
    place = _FIRST[first] + _MIDDLE[middle] + _LAST[last]
    rng = SeededRandom(seed, f"name {number}")
    noun = rng.choice(nouns)
    return f"{noun} of {place}" if rng.bernoulli(0.35) else f"{place} {noun}"


@lru_cache(maxsize=4)
def _places(seed: int) -> tuple[int, ...]:
    total = len(_FIRST) * len(_MIDDLE) * len(_LAST)
    return tuple(SeededRandom(seed, "places").shuffled(range(total)))
