"""One photo of a landmark: viewpoint, light, surroundings, weather."""

from __future__ import annotations

import math
from functools import lru_cache

from ...types import Image
from .backdrop import Ground, sky_and_ground, skyline
from .billboards import crowd, trees
from .chance import Chance
from .families import Landmark
from .finish import developed, weather
from .houses import ordinary
from .light import Colour, aged, light, palette
from .model import Model, joined, shifted, toned
from .render import Painter
from .viewpoint import frame, shape_of, viewpoint

BRIDGES = ("arch bridge", "hung bridge")
NEIGHBOURS = 16


def landmark_photo(landmark: Landmark, chance: Chance, size: int) -> Image:
    """Draw a landmark: (H, W, 3) uint8, the long side `size` pixels."""
    model = landmark.model
    width, _, tall = (float(b - a) for a, b in zip(model.low, model.high, strict=True))
    height, wide = frame(chance, size, tall / width)
    camera = viewpoint(model, (2 * height, 2 * wide), chance)
    sun = light(chance)
    canvas = sky_and_ground((height, wide), camera, sun, chance, _ground(landmark, chance))
    painter = Painter(canvas, camera, sun, chance)
    skyline(painter, chance)
    _, radius, _ = shape_of(model)
    distance = _distance(painter, model)
    dry = landmark.kind not in BRIDGES
    if dry:
        trees(painter, chance, (distance + radius, distance + 3 * radius), chance.whole(0, 4))
    scene, colours = model, aged(landmark.colours, chance)
    if dry and chance.yes(0.35):
        scene, colours = _with_neighbours(painter, model, colours)
    painter.model(scene, colours)
    if dry:
        _in_front(painter, max(4.0, distance - radius), chance)
    weather(painter, chance)
    return developed(canvas, chance)


def _ground(landmark: Landmark, chance: Chance) -> Ground:
    if landmark.kind in BRIDGES:
        return chance.pick(("water", "water", "water", "grass"))
    return chance.pick(("paving", "paving", "grass", "grass", "sand", "asphalt", "snow"))


def _distance(painter: Painter, model: Model) -> float:
    """Metres from the camera to the middle of the model, along the ground."""
    (x, y), _, _ = shape_of(model)
    dx, dy = painter.camera.position[0] - x, painter.camera.position[1] - y
    return math.sqrt(dx * dx + dy * dy)


def _in_front(painter: Painter, room: float, chance: Chance) -> None:
    """People and cars up to the landmark's foot; on some photos a tree in the way."""
    if chance.yes(0.7):
        crowd(painter, chance, (max(6.0, room * 0.35), room), chance.whole(1, 7))
    if chance.yes(0.2):
        trees(painter, chance, (max(5.0, room * 0.45), room), chance.whole(1, 2))
    if chance.yes(0.08):
        crowd(painter, chance, (max(3.0, room * 0.08), max(4.0, room * 0.25)), chance.whole(1, 2))


def _with_neighbours(
    painter: Painter, model: Model, colours: dict[str, Colour]
) -> tuple[Model, dict[str, Colour]]:
    """The landmark with ordinary buildings at its sides and behind it."""
    chance = painter.chance
    models, tones = [model], dict(colours)
    for side in chance.shuffled(("left", "right", "behind"))[: chance.whole(1, 3)]:
        other, materials = neighbour(chance.whole(0, NEIGHBOURS - 1))
        placed = _beside(model, other, side, chance)
        # Not in the way, and with a box of its own: see camera.far_to_near.
        in_the_way = _distance(painter, placed) < 0.8 * _distance(painter, model)
        if in_the_way or not all(_apart(placed, there) for there in models):
            continue
        models.append(toned(placed, f"{side} "))
        tones.update({f"{side} {tone}": rgb for tone, rgb in materials.items()})
    return joined(models), tones


def _beside(model: Model, other: Model, side: str, chance: Chance) -> Model:
    """The other building moved to a side of the model, some metres away."""
    (x0, y0, _), (x1, y1, _) = model.low.tolist(), model.high.tolist()
    half = float(other.high[0] - other.low[0]) / 2
    gap, share = chance.uniform(1.0, 9.0), chance.uniform(0.0, 1.0)
    x = {"left": x0 - gap - half, "right": x1 + gap + half, "behind": x0 + (x1 - x0) * share}[side]
    y = y1 + gap if side == "behind" else y0 + (y1 - y0) * share
    return shifted(other, x - float(other.low[0]) - half, y - float(other.low[1]))


def _apart(one: Model, other: Model) -> bool:
    return bool((one.low >= other.high).any() or (other.low >= one.high).any())


@lru_cache(maxsize=NEIGHBOURS)
def neighbour(number: int) -> tuple[Model, dict[str, Colour]]:
    """One of the ordinary buildings that stand beside landmarks in every world."""
    chance = Chance(0, f"neighbour {number}")
    return ordinary(chance), palette(chance)
