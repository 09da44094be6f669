"""Decode photos safely: limits of memory, EXIF orientation, names of foreign files; thumbnails.

All photos of the package are decoded by `read_image`, so its limits hold everywhere.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageFile, ImageOps, UnidentifiedImageError

from .errors import ImageError, OptionError, TooLargeError
from .file_kinds import formats_in_words
from .hardware import MEGAPIXELS_VARIABLE, max_file_bytes, max_megapixels
from .photo_files import DECODE_ERRORS, METADATA_ERRORS, exif_of, open_photo, webp_exif, webp_size
from .raw_previews import photo_data
from .storage import read_bytes
from .types import Image

MAX_SIDE = 65_500  # the most that libjpeg reads and writes; panoramas are long

BYTES_PER_PIXEL = 8  # of the limit: memory that one photo may take is this times `max_megapixels`

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".tif", ".tiff"})

THUMBNAIL_SIDE = 200  # pixels of the long side

THUMBNAIL_QUALITY = 80

# Bytes that decoding takes at its peak for each pixel: Pillow's picture, the array, and what the
# decoder keeps. Measured by benchmarks/decode_limits.py, rounded up.
_PEAK_BYTES = {
    "JPEG": 8, "MPO": 8, "PNG": 9, "GIF": 7, "WEBP": 17.5, "AVIF": 15, "TIFF": 9, "HEIF": 10,
}  # fmt: skip

_TURNED_BYTES = 3  # more, where EXIF data say that the picture has to be turned

_NAMES = {"WEBP": "WebP", "HEIF": "HEIC", "MPO": "JPEG"}  # of formats, as people write them

_STRIP_ROWS = 512

# Tags of EXIF data and TIFF:
_ORIENTATION, _TILE_WIDTH, _TILE_LENGTH, _SAMPLES = 0x0112, 322, 323, 277


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
    memory: int = 0,
    raw: bool = True,
) -> Image:
    """Decode one photo.

    Args:
        source: a path or address, or the file's bytes.
        short_side, long_side: pixels needed on these sides; a JPEG may be decoded at a smaller
            scale that still has them. Both 0: full size. There is no other resizing.
        name: the photo's name in error messages, for a source of bytes.
        reserve: called with the peak number of bytes that decoding will take, after all limits
            are checked and before the first pixel is decoded; it may wait, or raise.
        memory: bytes that there are for the file and its decoding; 0 = as many as it takes. A
            photo that needs more is refused before it is decoded.
        raw: read raw photos of cameras by their previews, where LibRaw is installed; otherwise they
            are refused.

    Returns:
        (H, W, 3) uint8 RGB, EXIF orientation applied, transparent parts on white.

    Raises:
        ImageError: naming the file and the reason.
    """
    name = name or (str(source) if not isinstance(source, bytes) else "photo")
    data = source if isinstance(source, bytes) else read_bytes(source)
    return _read(data, name, raw, partial(_decode, sides=(short_side, long_side), reserve=reserve,
                                          memory=memory))  # fmt: skip


def stored_image(
    data: bytes, *, short_side: int = 0, long_side: int = 0, name: str = "photo",
    reserve: Callable[[int], object] | None = None,
) -> Image:  # fmt: skip
    """As `read_image`, with the pixels as they are stored, not turned as EXIF data say."""
    decode = partial(_decode, sides=(short_side, long_side), reserve=reserve, upright=False)
    return _read(data, name, True, decode)


def _read(data: bytes, name: str, raw: bool, decode: Callable[[bytes], Image]) -> Image:
    """Decode within the limits. Raises ImageError, naming the file and the reason."""
    if len(data) > max_file_bytes():
        raise TooLargeError(
            f"{name}: {len(data) / 1e6:.0f} MB; larger than {max_file_bytes() / 1e6:.0f} MB; set "
            f"{MEGAPIXELS_VARIABLE} to more than {max_megapixels():g} to read it"
        )
    try:
        with warnings.catch_warnings():
            # Pillow warns about odd metadata and large photos; the limits here replace the latter.
            warnings.simplefilter("ignore")
            if raw:
                data = photo_data(data, name)
            return decode(data)
    except ImageError as error:
        raise type(error)(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a photo in one of {formats_in_words()}") from None
    except MemoryError:
        raise TooLargeError(f"{name}: decoding needs more memory than there is") from None
    except DECODE_ERRORS as error:
        if str(error).endswith("-bit layers"):
            reason = "a JPEG of 12 bits a color; save it with 8"
        else:
            reason = f"damaged or cut short ({str(error).strip()})"
        raise ImageError(f"{name}: {reason}") from None


def photo_size(path: str | Path, *, short_side: int = 0) -> tuple[int, int]:
    """(height, width) in pixels that `read_image` would return, read from the header alone.

    Raises:
        ImageError: when the file is missing, is not a photo, or is larger than the limits.
    """
    return header_size(read_bytes(path), short_side=short_side, name=str(path))


def header_size(
    data: bytes, *, short_side: int = 0, full: bool = False, name: str = "photo"
) -> tuple[int, int]:
    """As `photo_size`, of a file's bytes. full: the photo's own size, whatever its limits are."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = photo_data(data, name)
            with open_photo(data) as opened:
                if not full:
                    _fit(opened, data, (short_side, 0))
                width, height = opened.size
                # Pillow gives the upright size of a TIFF.
                turned = opened.format != "TIFF" and _orientation(opened) in (5, 6, 7, 8)
    except ImageError as error:
        raise type(error)(f"{name}: {error}") from None
    except (UnidentifiedImageError, *DECODE_ERRORS) as error:
        raise ImageError(f"{name}: the photo's size cannot be read ({error})") from None
    return (width, height) if turned else (height, width)


def _decode(
    data: bytes, sides: tuple[int, int], reserve: Callable[[int], object] | None, memory: int = 0,
    *, upright: bool = True,
) -> Image:  # fmt: skip
    if memory and (size := webp_size(data)):
        exif = webp_exif(data)
        header = SimpleNamespace(
            size=size, width=size[0], height=size[1], format="WEBP",
            info={"exif": exif} if exif else {}, _exif=None,
        )  # fmt: skip
        _fit(header, data, sides, memory)
    with open_photo(data) as opened:
        peak = _fit(opened, data, sides, memory)
        if reserve:
            reserve(peak)
        opened.load()
        with suppress(*METADATA_ERRORS):  # a photo with broken metadata is still usable
            if upright:  # in place, because a copy of a large photo takes much memory
                ImageOps.exif_transpose(opened, in_place=True)
        return _array(opened)


def _fit(opened: Any, data: bytes, sides: tuple[int, int], memory: int = 0) -> int:
    """Check the limits, and set the scale at which a JPEG is decoded.

    A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size. It is, when the (short, long) side still
    has these pixels, and further where that many pixels would exceed the limit.

    Returns:
        The bytes that decoding takes.
    """
    width, height = opened.size
    form, limit = opened.format or "", max_megapixels() * 1e6
    if min(width, height) < 1:
        raise ImageError(f"damaged: its header says {width} × {height} px")
    if max(width, height) > MAX_SIDE:
        raise TooLargeError(f"{width} × {height} px; at most {MAX_SIDE} px a side")
    a_pixel = _PEAK_BYTES.get(form, max(_PEAK_BYTES.values()))
    if form != "HEIF" and _orientation(opened) != 1:
        a_pixel += _TURNED_BYTES
    # The plugins of most formats make a copy of the file.
    whole_file = len(data) * (1 if form in ("JPEG", "MPO") else 2)
    room = max(1, memory - whole_file) if memory else math.inf
    kept = 0
    if form in ("JPEG", "MPO"):
        kept = _coefficient_bytes(opened, data)
        part = max(sides[0] / min(opened.size), sides[1] / max(opened.size))
        scale = 1
        if part:
            most = min(width // math.ceil(width * part), height // math.ceil(height * part))
            scale = next(each for each in (8, 4, 2, 1) if each <= max(1, most))
        while scale < 8 and (width // scale) * (height // scale) > min(limit, room / a_pixel):
            scale *= 2
        if scale > 1:
            opened.draft(None, (max(1, width // scale), max(1, height // scale)))
    elif form == "TIFF":
        kept = _tile_bytes(opened)
    pixels = int(opened.width * opened.height)
    peak = int(max(kept + 4 * pixels, a_pixel * pixels))
    if memory and (peak > room or pixels > limit):
        # The largest that fits, whose file is as much smaller.
        most = width * height * min(limit / pixels, memory / (peak + whole_file))
        progressive = "progressive " if kept and form != "TIFF" else ""
        raise TooLargeError(
            f"too large to decode here: {width * height / 1e6:.1f} megapixels of {progressive}"
            f"{_NAMES.get(form, form)}; at most {math.floor(most / 1e5) / 10:g}"
        )
    if pixels > limit or kept > limit * BYTES_PER_PIXEL:
        needed = math.ceil(max(pixels, kept / BYTES_PER_PIXEL) / 1e6)
        progressive = "progressive " if kept and form != "TIFF" else ""
        raise TooLargeError(
            f"{width} × {height} px of a {progressive}{_NAMES.get(form, form)} take the memory of "
            f"{needed} megapixels; at most {limit / 1e6:g} megapixels are decoded; set "
            f"{MEGAPIXELS_VARIABLE}={needed} to decode it, or make the photo smaller"
        )
    return peak


def _tile_bytes(opened: Any) -> int:
    """Bytes of a TIFF's largest tile, which its decoder keeps whole, however small the photo is."""
    sides = [opened.tag_v2.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH)]
    samples = opened.tag_v2.get(_SAMPLES, 1)
    return int(2 * samples * sides[0] * sides[1])


def _coefficient_bytes(opened: Any, data: bytes) -> int:
    """Bytes of the coefficients that libjpeg keeps, at any scale, of a JPEG in several scans."""
    layers = opened.layer  # (name, horizontal, vertical sampling, table) of each color
    end, count = opened.fp.tell(), len(layers)  # of the first scan's header
    one_scan = data[end - 6 - 2 * count : end - 3 - 2 * count] == bytes((0, 6 + 2 * count, count))
    if one_scan and not opened.info.get("progressive"):
        return 0
    whole = max(layer[1] for layer in layers) * max(layer[2] for layer in layers)
    samples = sum(layer[1] * layer[2] for layer in layers) / whole
    return int(2 * samples * opened.width * opened.height)


def _orientation(opened: ImageFile.ImageFile) -> object:
    with suppress(*METADATA_ERRORS):
        return exif_of(opened).get(_ORIENTATION, 1)
    return 1


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
    pixels, limit = picture.width * picture.height, max_megapixels()
    if pixels > limit * 1e6:
        raise TooLargeError(
            f"the Pillow image has {pixels / 1e6:.0f} megapixels; at most {limit:g} are used; make "
            f"it smaller, or set {MEGAPIXELS_VARIABLE}"
        )
    try:
        upright = picture
        with suppress(*METADATA_ERRORS):
            upright = ImageOps.exif_transpose(picture)
        if upright.mode in ("I", "F"):  # a range that no file has said
            values = np.asarray(upright).astype(np.float64)
            scale = 255.0 if upright.mode == "F" and values.max() <= 1 else 1.0
            scale = 1 / 257 if values.max() > 255 else scale
            upright = Pillow.fromarray((values * scale + 0.5).clip(0, 255).astype(np.uint8))
        return _array(upright)
    except DECODE_ERRORS as error:
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
        use = "np.nan_to_num(array)" if np.isnan(low) else "np.clip(array, 0, 1)"
        if low >= 0 and 1 < high <= 255:
            use = "array.astype(np.uint8)"
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
