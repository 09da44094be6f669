"""A photo → a small JPEG inside a page."""

from __future__ import annotations

import base64
import io

from .errors import ImageError
from .images import read_image

SIDE = 200  # pixels of the long side
QUALITY = 80


def thumbnail(path: str, side: int = SIDE) -> str:
    """A small JPEG as a data: URI; "" when the photo is gone or cannot be decoded."""
    from PIL import Image as Pillow

    if not path:
        return ""
    try:
        picture = Pillow.fromarray(read_image(path, short_side=side))
    except ImageError:
        return ""
    picture.thumbnail((side, side))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
