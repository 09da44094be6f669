"""Decode photos safely: size limits, EXIF orientation and location; write thumbnails.

All photos of the package are decoded by `read_image`, so its limits hold everywhere.
"""

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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from .errors import ImageError, OptionError
from .storage import MAX_BYTES, read_bytes
from .types import Image

MAX_PIXELS = 50_000_000

MAX_SIDE = 20_000

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"})

THUMBNAIL_SIDE = 200  # pixels of the long side

THUMBNAIL_QUALITY = 80

LatLon = tuple[float, float]  # latitude, longitude in degrees

# Memory that decoding takes per pixel: Pillow's picture and the array; libwebp keeps a second one.
_DECODING_BYTES_PER_PIXEL = {"JPEG": 7, "MPO": 7, "PNG": 8, "GIF": 8}

_OTHER_DECODING_BYTES_PER_PIXEL = 16

_STRIP_ROWS = 512

_ORIENTATION = 0x0112  # the EXIF tag

_GPS = 0x8825  # the EXIF directory of positions; its tags:

_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE, _STATUS = 1, 2, 3, 4, 9

# Pillow raises these on files that are cut short, corrupt or hostile.
_DECODE_ERRORS = (OSError, ValueError, SyntaxError, struct.error, EOFError, MemoryError,
                  IndexError, KeyError, TypeError, ZeroDivisionError, RuntimeError)  # fmt: skip

_METADATA_ERRORS = (*_DECODE_ERRORS, AttributeError, OverflowError)


def content_hash(data: bytes) -> str:
    """SHA-256 of a photo file's bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def read_image(
    source: str | Path | bytes,
    *,
    short_side: int = 0,
    long_side: int = 0,
    name: str = "",
    reserve: Callable[[int], object] | None = None,
) -> Image:
    """Decode one photo.

    Args:
        source: a path or address, or the file's bytes.
        short_side, long_side: pixels needed on these sides; a JPEG may be decoded at a smaller
            scale that still has them. Both 0: full size. There is no other resizing.
        name: the photo's name in error messages, for a source of bytes.
        reserve: called with the peak number of bytes that decoding will take, after all limits
            are checked and before the first pixel is decoded; it may wait, or raise.

    Returns:
        (H, W, 3) uint8 RGB, EXIF orientation applied, transparent parts on white.

    Raises:
        ImageError: naming the file and the reason.
    """
    name = name or (str(source) if not isinstance(source, bytes) else "photo")
    data = source if isinstance(source, bytes) else read_bytes(source)
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name}: larger than {MAX_BYTES // 10**6} MB")
    try:
        with warnings.catch_warnings():
            # Pillow warns about odd metadata and large photos; the limits here replace the latter.
            warnings.simplefilter("ignore")
            return _decode(data, (short_side, long_side), reserve)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except Pillow.DecompressionBombError:  # Pillow's limit is higher, but is checked earlier
        raise ImageError(f"{name}: over {MAX_PIXELS // 10**6} megapixels") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a photo in one of {', '.join(FORMATS)}") from None
    except _DECODE_ERRORS as error:
        raise ImageError(f"{name}: damaged or cut short ({error})") from None


def photo_size(path: str | Path, *, short_side: int = 0) -> tuple[int, int]:
    """(height, width) in pixels that `read_image` would return, read from the header alone.

    Raises:
        ImageError: when the file is missing or is not a photo.
    """
    try:
        with Pillow.open(io.BytesIO(read_bytes(path)), formats=FORMATS) as opened:
            _draft(opened, (short_side, 0))
            width, height = opened.size
            turned = opened.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except (UnidentifiedImageError, Pillow.DecompressionBombError, *_DECODE_ERRORS) as error:
        raise ImageError(f"{path}: the photo's size cannot be read ({error})") from None
    return (width, height) if turned else (height, width)


def _decode(data: bytes, sides: tuple[int, int], reserve: Callable[[int], object] | None) -> Image:
    if not data:
        raise ImageError("the file is empty")
    with Pillow.open(io.BytesIO(data), formats=FORMATS) as opened:
        _check_header(opened.size)
        _draft(opened, sides)
        if reserve:
            bytes_per_pixel = _DECODING_BYTES_PER_PIXEL.get(
                opened.format or "", _OTHER_DECODING_BYTES_PER_PIXEL
            )
            reserve(opened.width * opened.height * bytes_per_pixel)
        opened.load()
        with suppress(*_DECODE_ERRORS):  # a photo with broken metadata is still usable
            # In place, because a copy of a large photo takes much memory.
            ImageOps.exif_transpose(opened, in_place=True)
        return _array(opened)


def _draft(opened: Pillow.Image, sides: tuple[int, int]) -> None:
    """Let a JPEG be decoded at a smaller scale whose (short, long) side still has these pixels."""
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


def _array(picture: Pillow.Image) -> Image:
    """(H, W, 3) uint8, converted in strips so that at most two copies of a large photo exist."""
    image = np.empty((picture.height, picture.width, 3), dtype=np.uint8)
    for top in range(0, picture.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, picture.height)
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


def image_of_pillow(picture: Pillow.Image) -> Image:
    """A Pillow image of any mode → (H, W, 3) uint8 RGB, as `read_image` would give its file.

    The EXIF orientation is applied and transparent parts become white; `picture` stays as it is.

    Raises:
        ImageError: When its file turns out to be damaged, or it is too large.
    """
    try:
        _check_header(picture.size)
        upright = picture
        with suppress(*_METADATA_ERRORS):
            upright = ImageOps.exif_transpose(picture)
        return _array(upright)
    except ImageError as error:
        raise ImageError(f"the Pillow image: {error}") from None
    except _DECODE_ERRORS as error:
        raise ImageError(f"the Pillow image cannot be decoded ({error})") from None


def image_of_array(array: NDArray[Any]) -> Image:
    """An array of pixels, of one of the forms below → (H, W, 3) uint8 RGB.

    (H, W) or (H, W, 1) is gray, (H, W, 3) RGB, (H, W, 4) RGBA, whose transparent parts become
    white. uint8 is 0 to 255, float is 0 to 1.

    Raises:
        OptionError: For any other shape, type or range; it says how to convert the array.
    """
    shape = " × ".join(map(str, array.shape))
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        raise OptionError(
            f"an array of {shape} given, with the channels first; use array.transpose(1, 2, 0)"
        )
    if array.ndim == 4:
        raise OptionError(f"an array of {shape} given; expected one photo: use list(array)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise OptionError(
            f"an array of {shape or 'no dimension'} given; expected height × width, and 1, 3 or 4 "
            "channels last"
        )
    if 0 in array.shape:
        raise OptionError(f"an array of {shape} given; it has no pixels")
    pixels = _bytes_of(array)
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if pixels.shape[2] == 4:
        return _array(Pillow.fromarray(np.ascontiguousarray(pixels), "RGBA"))
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The pixels as 0 to 255. Raises OptionError for a type or range that is not plain."""
    if array.dtype == np.uint8:
        return np.asarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        how = {"uint16": "array / 65535.0", "bool": "array.astype(float)"}.get(
            str(array.dtype), "array.astype(np.uint8) if its values are 0 to 255"
        )
        raise OptionError(
            f"an array of type {array.dtype} given; expected uint8 (0 to 255) or float (0 to 1): "
            f"use {how}"
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        use = "array.astype(np.uint8)" if low >= 0 and high <= 255 else "other pixels"
        raise OptionError(
            f"a float array from {low:.4g} to {high:.4g} given; floats are 0 (black) to 1 (white), "
            f"without NaN: use {use}"
        )
    pixels: Image = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    return pixels


def thumbnail(path: str, side: int = THUMBNAIL_SIDE) -> str:
    """A small JPEG as a data: URI; "" when the photo is missing or cannot be decoded."""
    if not path:
        return ""
    try:
        return data_uri(jpeg(read_image(path, short_side=side), side))
    except ImageError:
        return ""


def jpeg(image: Image, side: int = THUMBNAIL_SIDE) -> bytes:
    """(H, W, 3) uint8 → a JPEG of at most `side` pixels a side, without metadata."""
    picture = Pillow.fromarray(image)
    picture.thumbnail((side, side))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return data.getvalue()


def data_uri(data: bytes) -> str:
    """A JPEG's bytes as a data: URI, for a picture inside an HTML page."""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def location_of(data: bytes) -> LatLon | None:
    """Read the position from a photo's EXIF data, without decoding the photo.

    Call it only when the user has turned the use of positions on, because positions are private.

    Args:
        data: the photo file's bytes.

    Returns:
        (latitude, longitude) in degrees, north and east positive; None when the position is
        missing, damaged, impossible, marked as void by the receiver, or exactly 0° 0'.
    """
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
    except (Pillow.DecompressionBombError, *_METADATA_ERRORS):
        return None
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None
    return latitude, longitude


def _degrees(parts: object, direction: object, names: str, limit: int) -> float | None:
    """EXIF degrees, minutes and seconds → signed degrees; None when impossible.

    Args:
        direction: one letter of `names`; the second letter makes the result negative.
        limit: the largest possible number of degrees.
    """
    if isinstance(direction, bytes):
        direction = direction.decode("ascii", "replace")
    direction = str(direction).strip("\0 ").upper()
    degrees, minutes, seconds = (float(part) for part in parts)  # type: ignore[attr-defined]
    if direction not in tuple(names):
        return None
    # Written so that NaN fails too.
    if not (degrees >= 0 and 0 <= minutes < 60.001 and 0 <= seconds < 60.001):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not value <= limit:
        return None
    return -value if direction == names[1] else value
