"""Parts piled on one another about an upright axis: towers, domes, finials."""

from __future__ import annotations

from dataclasses import dataclass, field

from .curves import Profile, dome
from .solids import Dress, Part, Round, box, frustum, turned


@dataclass
class Stack:
    """A pile of parts about the axis (x, y); `z` is its height so far, in metres.

    sides, turn: the shape of round parts (see `solids.Round`).
    """

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    sides: int = 12
    turn: float = 0.0
    parts: list[Part] = field(default_factory=list)

    def block(
        self, half: float, high: float, tone: str = "wall", dress: Dress | None = None
    ) -> None:
        """Pile a square block, `half` metres to each side of the axis."""
        low = (self.x - half, self.y - half, self.z)
        self.parts.append(box(low, (self.x + half, self.y + half, self.z + high), tone, dress))
        self.z += high

    def pyramid(
        self, half: float, high: float, tone: str = "roof", dress: Dress | None = None
    ) -> None:
        """Pile a four-sided pyramid."""
        low = (self.x - half, self.y - half, self.z)
        peak = (self.x + half, self.y + half, self.z + high)
        self.parts.append(frustum(low, peak, (half, half), tone, dress))
        self.z += high

    def ring(
        self,
        radius: float,
        high: float,
        tone: str = "wall",
        dress: Dress | None = None,
        *,
        top: float | None = None,
    ) -> None:
        """Pile a round part; `top` is its upper radius where it differs (0 = a point)."""
        self.parts.append(turned(self._round(radius, high, top), tone, dress))
        self.z += high

    def dome(
        self,
        radius: float,
        high: float,
        profile: Profile,
        *,
        tone: str = "dome",
        ribs: bool = False,
    ) -> None:
        """Pile a dome."""
        self.parts += dome(self._round(radius, high, None), profile, tone, ribs)
        self.z += high

    def _round(self, radius: float, high: float, top: float | None) -> Round:
        return Round(
            x=self.x, y=self.y, z0=self.z, z1=self.z + high, radius=radius, top=top,
            sides=self.sides, turn=self.turn,
        )  # fmt: skip
