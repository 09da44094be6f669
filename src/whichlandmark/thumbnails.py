"""A photo → a small JPEG inside a page."""

from __future__ import annotations

import base64
import io

from .errors import ImageError
from .images import read_image
from .types import Image

SIDE = 200  # pixels of the long side
QUALITY = 80


def thumbnail(path: str, side: int = SIDE) -> str:
    """A small JPEG as a data: URI; "" when the photo is gone or cannot be decoded."""
    if not path:
        return ""
    try:
        return data_uri(jpeg(read_image(path, short_side=side), side))
    except ImageError:
        return ""


def jpeg(image: Image, side: int = SIDE) -> bytes:
    """(H, W, 3) uint8 → a small JPEG without any metadata."""
    from PIL import Image as Pillow

    picture = Pillow.fromarray(image)
    picture.thumbnail((side, side))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=QUALITY, optimize=True)
    return data.getvalue()


def data_uri(data: bytes) -> str:
    """A JPEG's bytes, as the address of a picture inside a page."""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
