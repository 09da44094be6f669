"""Palettes of building materials, and the light of a photo that changes their colours."""

from __future__ import annotations

from dataclasses import dataclass

from .geometry import Point, cosine, sine
from .seeded_random import SeededRandom

Colour = tuple[int, int, int]

Tint = tuple[float, float, float]

# All landmarks use these, because colour alone must not identify a landmark.
WALLS: tuple[Colour, ...] = (
    (206, 188, 156), (188, 178, 164), (214, 208, 198), (172, 118, 92), (196, 160, 118),
    (160, 158, 158), (222, 200, 160), (182, 146, 124),
)  # fmt: skip

ROOFS: tuple[Colour, ...] = (
    (112, 92, 84), (94, 104, 112), (148, 86, 66), (96, 128, 116), (84, 84, 92), (126, 112, 92),
)  # fmt: skip


def palette(rng: SeededRandom) -> dict[str, Colour]:
    """A random palette for one building: tone → colour."""
    wall, roof = rng.choice(WALLS), rng.choice(ROOFS)
    light = rng.uniform(1.08, 1.22)
    return {
        "wall": wall,
        "trim": _scaled(wall, light),
        "shade": _scaled(wall, 0.74),
        "base": _scaled(wall, 0.86),
        "roof": roof,
        "dome": rng.choice((roof, _scaled(wall, 1.1), (104, 140, 128), (170, 150, 96))),
        "glass": (62, 72, 86),
        "dark": (44, 40, 40),
        "metal": rng.choice(((116, 96, 84), (110, 118, 126), (150, 70, 56), (92, 112, 104))),
        "pale": (228, 224, 212),
        "accent": rng.choice(((196, 164, 84), (150, 60, 52), (86, 110, 140), roof)),
        "paving": (150, 146, 138),
    }


def _scaled(colour: Colour, by: float) -> Colour:
    r, g, b = (min(255, round(c * by)) for c in colour)
    return r, g, b


def weathered(colours: dict[str, Colour], rng: SeededRandom) -> dict[str, Colour]:
    """The palette with a random tint: a building may be dirty in one photo, clean in another."""
    tint = [rng.uniform(0.92, 1.08) for _ in range(3)]
    return {
        tone: tuple(min(255, round(c * t)) for c, t in zip(rgb, tint, strict=True))  # type: ignore[misc]
        for tone, rgb in colours.items()
    }


@dataclass(frozen=True, kw_only=True)
class Light:
    """The light of one photo.

    Attributes:
        kind: "day", "golden", "overcast", "dusk" or "night".
        sun: unit vector towards the sun or the floodlight.
        direct, ambient: factors of colours, per channel.
        zenith, horizon: colours of the sky above and at the horizon.
        haze: share of the horizon's colour that is mixed into other colours, 0 to 1.
        lit: share of lit windows, 0 to 1.
        clouds: cover of the sky, 0 to 1.
    """

    kind: str
    sun: Point
    direct: Tint
    ambient: Tint
    zenith: Colour
    horizon: Colour
    haze: float
    lit: float
    clouds: float

    def surface_colour(self, colour: Colour, normal: Point) -> Colour:
        """The colour in the photo of a surface with this unit normal."""
        x, y, z = normal
        facing = max(0.0, x * self.sun[0] + y * self.sun[1] + z * self.sun[2])
        open_sky = 0.86 + 0.14 * z
        r, g, b = (
            c * (a * open_sky + d * facing)
            for c, a, d in zip(colour, self.ambient, self.direct, strict=True)
        )
        return self._hazed(r, g, b)

    def flat_colour(self, colour: Colour, share: float = 0.75, haze_factor: float = 1.0) -> Colour:
        """The colour in the photo of an object without a normal: trees, people, hills.

        Args:
            share: of the direct light that falls on the object.
            haze_factor: over 1 for distant objects.
        """
        r, g, b = (
            c * (a + d * share * 0.6)
            for c, a, d in zip(colour, self.ambient, self.direct, strict=True)
        )
        return self._hazed(r, g, b, haze_factor)

    def _hazed(self, r: float, g: float, b: float, haze_factor: float = 1.0) -> Colour:
        h = min(0.92, self.haze * haze_factor)
        low = self.horizon
        return (
            min(255, round(r * (1 - h) + low[0] * h)),
            min(255, round(g * (1 - h) + low[1] * h)),
            min(255, round(b * (1 - h) + low[2] * h)),
        )


def random_light(rng: SeededRandom) -> Light:
    """A random light: day, golden hour, overcast, dusk or night."""
    kind = rng.choice(
        ("day",) * 12 + ("golden",) * 4 + ("overcast",) * 5 + ("dusk",) * 2 + ("night",) * 2
    )
    # At most 130 degrees from the direction straight behind the camera.
    turn, rise = rng.uniform(-130.0, 130.0), rng.uniform(18.0, 62.0)
    haze = rng.choice((0.0, 0.0, 0.03, 0.06, 0.2)) + rng.uniform(0.0, 0.05)
    clouds = rng.uniform(0.0, 1.0)
    variation = [rng.uniform(0.93, 1.07) for _ in range(3)]
    settings = {
        "day": ((0.62, 0.59, 0.52), (0.5, 0.53, 0.58), (84, 132, 196), (188, 208, 226), 0.0),
        "golden": ((0.74, 0.54, 0.3), (0.42, 0.4, 0.44), (104, 128, 172), (240, 196, 142), 0.08),
        "overcast": ((0.1, 0.1, 0.1), (0.78, 0.79, 0.81), (168, 174, 182), (204, 206, 208), 0.05),
        "dusk": ((0.14, 0.12, 0.12), (0.38, 0.36, 0.48), (46, 52, 96), (206, 136, 118), 0.45),
        "night": ((0.8, 0.62, 0.38), (0.24, 0.23, 0.27), (10, 14, 32), (38, 40, 62), 0.6),
    }
    direct, ambient, zenith, horizon, lit = settings[kind]
    if kind == "golden":
        rise = rng.uniform(8.0, 22.0)
    sun = (sine(turn) * cosine(rise), -cosine(turn) * cosine(rise), sine(rise))
    if kind == "night":  # floodlights are on the ground
        sun = (sun[0], sun[1], 0.05)
        haze *= 0.4
    return Light(
        kind=kind,
        sun=sun,
        direct=_times(direct, variation),
        ambient=_times(ambient, variation),
        zenith=_tinted(zenith, variation),
        horizon=_tinted(horizon, variation),
        haze=haze,
        lit=lit,
        clouds=clouds if kind != "overcast" else 1.0,
    )


def _times(tint: Tint, by: list[float]) -> Tint:
    return tint[0] * by[0], tint[1] * by[1], tint[2] * by[2]


def _tinted(colour: Colour, by: list[float]) -> Colour:
    r, g, b = (min(255, round(c * f)) for c, f in zip(colour, by, strict=True))
    return r, g, b
