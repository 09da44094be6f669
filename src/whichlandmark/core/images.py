"""The only decoder: limits, orientation, EXIF location, thumbnails."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from .errors import ImageError
from .storage import MAX_BYTES, read_bytes
from .types import Image

MAX_PIXELS = 50_000_000

MAX_SIDE = 20_000

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"})

# Bytes a pixel while it is decoded: Pillow's and the array's, and a second picture of libwebp's.
_BYTES = {"JPEG": 7, "MPO": 7, "PNG": 8, "GIF": 8}

_STRIP = 512  # rows

_ORIENTATION = 0x0112  # the EXIF tag

# What Pillow raises on files that are cut short, corrupt or hostile.
_DECODE_ERRORS = (OSError, ValueError, SyntaxError, struct.error, EOFError, MemoryError,
                  IndexError, KeyError, TypeError, ZeroDivisionError, RuntimeError)  # fmt: skip


def content_hash(data: bytes) -> str:
    """SHA-256 of a photo's bytes, hexadecimal: the identity of its content."""
    return hashlib.sha256(data).hexdigest()


def read_image(
    source: str | Path | bytes,
    *,
    short_side: int = 0,
    long_side: int = 0,
    name: str = "",
    admit: Callable[[int], object] | None = None,
) -> Image:
    """Decode one photo.

    source: a path, or the file's bytes (then `name` is what errors call it).
    short_side, long_side: pixels that these sides need; a JPEG may be decoded at a smaller scale
      that still has them. Both 0 = full size. No other resizing happens.
    admit: called with the bytes of memory that decoding will take at its height, after all limits
      are checked and before the first pixel is decoded; may wait, or raise.
    Returns (H, W, 3) uint8 RGB, EXIF orientation applied, transparency on white.
    Raises ImageError naming the file and the reason.
    """
    name = name or (str(source) if not isinstance(source, bytes) else "photo")
    data = source if isinstance(source, bytes) else read_bytes(source)
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name}: larger than {MAX_BYTES // 10**6} MB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd metadata; limits are ours
            return _decode(data, (short_side, long_side), admit)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except Pillow.DecompressionBombError:  # Pillow's own limit is above ours, and comes first
        raise ImageError(f"{name}: over {MAX_PIXELS // 10**6} megapixels") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a photo in one of {', '.join(FORMATS)}") from None
    except _DECODE_ERRORS as error:
        raise ImageError(f"{name}: damaged or cut short ({error})") from None


def photo_size(path: str | Path, *, short_side: int = 0) -> tuple[int, int]:
    """(height, width) in pixels of the upright photo, from its header alone: as `read_image` would
    decode it for that short side. Raises ImageError.
    """
    try:
        with Pillow.open(io.BytesIO(read_bytes(path)), formats=FORMATS) as opened:
            _draft(opened, (short_side, 0))
            width, height = opened.size
            turned = opened.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except (UnidentifiedImageError, Pillow.DecompressionBombError, *_DECODE_ERRORS) as error:
        raise ImageError(f"{path}: no photo whose size can be read ({error})") from None
    return (width, height) if turned else (height, width)


def _decode(data: bytes, sides: tuple[int, int], admit: Callable[[int], object] | None) -> Image:
    if not data:
        raise ImageError("the file is empty")
    with Pillow.open(io.BytesIO(data), formats=FORMATS) as opened:
        _check_header(opened.size)
        _draft(opened, sides)
        if admit:
            admit(opened.width * opened.height * _BYTES.get(opened.format or "", 16))
        opened.load()
        return _array(_upright(opened))


def _draft(opened: Pillow.Image, sides: tuple[int, int]) -> None:
    """Let a JPEG be decoded at a smaller scale that still has the pixels wanted of its sides."""
    width, height = opened.size
    scale = max(sides[0] / min(opened.size), sides[1] / max(opened.size))
    if scale and opened.format in ("JPEG", "MPO"):
        opened.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))


def _check_header(size: tuple[int, int]) -> None:
    width, height = size
    if max(size) > MAX_SIDE:
        raise ImageError(f"{width} × {height} px; at most {MAX_SIDE} px a side")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} × {height} px; at most {MAX_PIXELS // 10**6} megapixels")


def _upright(picture: Pillow.Image) -> Pillow.Image:
    """In place where nothing has to be turned: a copy of a large photo is a lot of memory."""
    with suppress(*_DECODE_ERRORS):  # broken metadata is no reason to lose the photo
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _array(picture: Pillow.Image) -> Image:
    """(H, W, 3) uint8, strip by strip: of a large photo, no more than two copies exist at once."""
    image = np.empty((picture.height, picture.width, 3), dtype=np.uint8)
    for top in range(0, picture.height, _STRIP):
        bottom = min(top + _STRIP, picture.height)
        image[top:bottom] = np.asarray(_rgb(picture.crop((0, top, picture.width, bottom))))
    return image


def _rgb(picture: Pillow.Image) -> Pillow.Image:
    if picture.mode.startswith("I") or picture.mode == "F":  # 16-bit grey; convert() would clip
        grey = np.asarray(picture).astype(np.float64)
        return Pillow.fromarray((grey / 257.0 + 0.5).clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Pillow.new("RGBA", picture.size, "white")
        return Pillow.alpha_composite(white, picture).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


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


LatLon = tuple[float, float]  # latitude, longitude in degrees

_GPS = 0x8825  # the EXIF folder of positions, and its tags

_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE, _STATUS = 1, 2, 3, 4, 9

# What Pillow raises on metadata that is cut short, corrupt or hostile.
_BROKEN = (OSError, ValueError, SyntaxError, struct.error, EOFError, MemoryError, IndexError,
           KeyError, TypeError, AttributeError, ZeroDivisionError, RuntimeError,
           OverflowError)  # fmt: skip


def location_of(data: bytes) -> LatLon | None:
    """A photo's bytes → (latitude, longitude) in degrees, north and east positive.

    None when the photo has no position in its EXIF data, or a damaged or impossible one; a
    position that the receiver marked as void, or 0° 0' exactly, is none. No pixel is decoded.
    Only for a user who asked that positions be used.
    """
    from PIL import Image as Pillow

    if len(data) > MAX_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(io.BytesIO(data), formats=FORMATS) as opened:
                tags = opened.getexif().get_ifd(_GPS)
        if str(tags.get(_STATUS, "A")).strip("\0 ").upper() == "V":
            return None
        latitude = _degrees(tags[_LATITUDE], tags[_LATITUDE_REF], "NS", 90)
        longitude = _degrees(tags[_LONGITUDE], tags[_LONGITUDE_REF], "EW", 180)
    except (Pillow.DecompressionBombError, *_BROKEN):
        return None
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None
    return latitude, longitude


def _degrees(parts: object, direction: object, names: str, most: int) -> float | None:
    """Degrees, minutes and seconds with their direction → signed degrees; None when impossible."""
    if isinstance(direction, bytes):
        direction = direction.decode("ascii", "replace")
    direction = str(direction).strip("\0 ").upper()
    degrees, minutes, seconds = (float(part) for part in parts)  # type: ignore[attr-defined]
    if direction not in tuple(names):
        return None
    if not (degrees >= 0 and 0 <= minutes < 60.001 and 0 <= seconds < 60.001):  # NaN is none of it
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not value <= most:
        return None
    return -value if direction == names[1] else value
