"""Open a photo file without decoding it: its format by content, its metadata, its position.

Pillow's plugins are called directly, because the limits of `PIL.Image.open` are the same for all
formats and for the whole process. Files of other kinds are named.
"""

from __future__ import annotations

import importlib
import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)
from PIL import Image as Pillow

from .errors import ImageError, TooLargeError
from .file_kinds import (
    CONVERT,
    HEAD_BYTES,
    HEIC_PACKAGE,
    kind_of,
    photo_format,
    raw_maker,
    tiff_tags,
)
from .hardware import max_file_bytes
from .raw_previews import maker_of, position_tags

LatLon = tuple[float, float]  # latitude, longitude in degrees

_GPS = 0x8825  # the EXIF directory of positions; its tags:

_NORTH_SOUTH, _EAST_WEST = (("n", "north"), ("s", "south")), (("e", "east"), ("w", "west"))

_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE, _STATUS = 1, 2, 3, 4, 9

# Places in XMP with positions of their own: what the photo shows, and where somebody says it was.
_LOCATIONS = re.compile(r"<(/?)\w{1,40}:Location(?:Shown|Created)\b")

_MAX_SCANS = 100  # of a JPEG: each takes time for every pixel; cameras write 1, encoders about 10

# Chunks that Pillow decompresses, or refuses a photo for, though nothing here reads most of them.
_PNG_TEXTS = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")

_PNG_READ_TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type exif")  # may have the orientation

_MAX_TEXT_BYTES = 500_000  # of one such text, decompressed

_MAX_WEBP_CHUNKS = 10_000  # each frame of an animation is one

_PLUGINS: dict[str, Callable[..., ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.jpeg_factory,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}

# Of a TIFF, as Pillow names them. Others (fax, old JPEG, LZMA, ZSTD, …) are hardly used for photos;
# they are not tried, because each is more code that reads outside data.
_TIFF_COMPRESSIONS = (
    "raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate", "jpeg",
)  # fmt: skip

_TIFF_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "I;16", "I;16B")

# Pillow raises these on files that are cut short, corrupt or hostile.
DECODE_ERRORS = (OSError, ValueError, SyntaxError, struct.error, EOFError, MemoryError,
                  IndexError, KeyError, TypeError, ZeroDivisionError, RuntimeError)  # fmt: skip

METADATA_ERRORS = (*DECODE_ERRORS, AttributeError, OverflowError)


def open_photo(data: bytes) -> ImageFile.ImageFile:
    """The photo's header and metadata; no pixel is decoded.

    As Pillow's `open` without its limit on pixels, which is the same for all formats and for the
    whole process. PNG texts are left out, because Pillow refuses photos with megabytes of them.

    Raises:
        ImageError: when the file is empty or of a kind that is known but not decoded.
        UnidentifiedImageError, or what decoders raise: for all other files.
    """
    if not data:
        raise ImageError("the file is empty; if a cloud drive keeps it, download it first")
    form = photo_format(data)
    if form == "PNG":
        data = _without_texts(data)
    if form == "JPEG" and data.count(b"\xff\xda\0") > _MAX_SCANS:
        raise ImageError(f"damaged: a JPEG of more than {_MAX_SCANS} scans")
    if form == "TIFF":
        return _open_tiff(data)
    if form == "AVIF" and not re.search(b"avi[fs]", data[8:64]):  # its decoder insists on the brand
        data = data[:8] + b"avif" + data[12:]
    if form == "HEIC":  # loaded only when it is needed
        heic: ImageFile.ImageFile = importlib.import_module(HEIC_PACKAGE).HeifImageFile(
            io.BytesIO(data), ""
        )
        return heic
    if form:
        try:
            return _PLUGINS[form](io.BytesIO(data), "")
        except Pillow.DecompressionBombError as error:  # only the plugin of WebP checks this
            raise TooLargeError(f"its header is that of an enormous photo ({error})") from None
    if what := kind_of(data[:HEAD_BYTES], raw=False):
        raise ImageError(f"its content: {what}")
    raise UnidentifiedImageError


def webp_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) from the header of a WebP; None = another format, or damaged.

    Pillow's plugin allocates both pictures of its decoder when it opens a file.
    """
    kind, head = data[12:16], data[20:30]
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(head) < 10:
        return None
    if kind == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None


def webp_exif(data: bytes) -> bytes | None:
    """The EXIF data of a WebP, without opening it; None = there are none."""
    at = 12
    for _ in range(_MAX_WEBP_CHUNKS):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            return data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return None


def _open_tiff(data: bytes) -> ImageFile.ImageFile:
    """The first page of a TIFF. Raises ImageError for raw files of cameras and rare kinds."""
    try:
        tags, end = tiff_tags(data)
    except ValueError as error:
        raise ImageError(f"damaged: a TIFF, but {error}") from None
    if maker := raw_maker(tags):
        raise ImageError(f"its content: {maker} RAW, {CONVERT}")
    stream = io.BytesIO(data)
    pointer = data[end : end + (8 if data[2:4] in (b"+\0", b"\0+") else 4)]
    if any(pointer):  # Pillow would follow it through all pages, however many there are
        stream.seek(end)
        stream.write(bytes(len(pointer)))
        stream.seek(0)
    try:
        opened = _PLUGINS["TIFF"](stream, "")
    except (SyntaxError, KeyError) as error:
        raise ImageError(f"its content: TIFF ({error}), {CONVERT}") from None
    form = str(opened.info.get("compression", ""))
    if form not in _TIFF_COMPRESSIONS or opened.mode not in _TIFF_MODES:
        kind = opened.mode if form in _TIFF_COMPRESSIONS else form.removeprefix("tiff_")
        raise ImageError(f"its content: TIFF (of the rare kind {kind}), {CONVERT}")
    return opened


def _without_texts(data: bytes) -> bytes:
    """A PNG without its color profile and texts, except short ones that may have metadata.

    EXIF data that follow the pixels are moved before them, where they are found without decoding.
    """
    whole = memoryview(data)  # whose slices are no copies
    parts: list[memoryview] = []  # that precede the pixels …
    after: list[memoryview] = []  # … and the rest
    start, at, kept = 0, 8, parts
    while at + 12 <= len(data):
        kind, length = data[at + 4 : at + 8], int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if kind == b"IDAT" and kept is parts:
            parts.append(whole[start:at])
            start, kept = at, after
        moved = kind == b"eXIf" and kept is after and end <= len(data)
        if moved or (kind in _PNG_TEXTS and not _is_read(data[at + 8 : end - 4])):
            kept.append(whole[start:at])
            start = end
            if moved:
                parts.append(whole[at:end])
        if kind == b"IEND":
            break
        at = end
    return b"".join((*parts, *after, whole[start:])) if len(parts) + len(after) > 1 else data


def _is_read(text: bytes) -> bool:
    """Is this the content of a PNG text that is read, and short?"""
    name, _, rest = text.partition(b"\0")
    if name not in _PNG_READ_TEXTS or len(rest) > _MAX_TEXT_BYTES:
        return False
    try:  # wherever the compressed part begins: after one byte (zTXt) or some (iTXt)
        start = rest.find(b"\x78", 0, 200)
        inflated = zlib.decompressobj().decompress(rest[max(0, start) :], _MAX_TEXT_BYTES + 1)
    except zlib.error:  # it is not compressed
        return True
    return len(inflated) <= _MAX_TEXT_BYTES


def location_of(data: bytes) -> LatLon | None:
    """Read the position from a photo's metadata, EXIF or else XMP, without decoding the photo.

    Call it only when the user has turned the use of positions on, because positions are private.

    Args:
        data: the photo file's bytes.

    Returns:
        (latitude, longitude) in degrees, north and east positive; None when the position is
        missing, damaged, ambiguous, impossible, marked as void by the receiver, or exactly 0° 0'.
    """
    if len(data) > max_file_bytes():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if maker := maker_of(data):
                tags, info = position_tags(data, maker)
            else:
                with open_photo(data) as opened:
                    tags, info = exif_of(opened).get_ifd(_GPS), opened.info
            if not tags:
                tags = _xmp_position(info)
            return position_of_tags(tags)
    except (ImageError, *METADATA_ERRORS):
        return None


def position_of_tags(tags: Mapping[int, object]) -> LatLon | None:
    """The position that GPS tags of EXIF say, by their numbers; None as in `location_of`."""
    try:
        if _plain_text(tags.get(_STATUS, "A")).upper() == "V":
            return None
        latitude = _degrees(tags[_LATITUDE], tags.get(_LATITUDE_REF, ""), _NORTH_SOUTH, 90)
        longitude = _degrees(tags[_LONGITUDE], tags.get(_LONGITUDE_REF, ""), _EAST_WEST, 180)
    except METADATA_ERRORS:
        return None
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None
    return latitude, longitude


def exif_of(opened: ImageFile.ImageFile) -> Pillow.Exif:
    """The EXIF data in front of the pixels. A PNG's own `getexif` would decode the whole photo."""
    return Pillow.Image.getexif(opened)


def _xmp_position(info: dict[Any, Any]) -> dict[int, object]:
    """The position that XMP metadata have, as EXIF tags; texts such as "48,51.5N"."""
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    text = xmp if isinstance(xmp, str) else bytes(xmp).decode("utf-8", "replace")
    text = _without_locations(text)
    names = {_LATITUDE: "GPSLatitude", _LONGITUDE: "GPSLongitude", _STATUS: "GPSStatus"}
    found: dict[int, object] = {}
    for tag, name in names.items():
        values = set(re.findall(rf'exif:{name}(?:\s*=\s*["\']|>)\s*([^"\'<]{{1,40}})', text))
        if len(values) == 1:
            found[tag] = values.pop()
    return found


def _without_locations(text: str) -> str:
    """The text of XMP but for what stands inside its locations."""
    parts = _LOCATIONS.split(text)
    kept = [parts[0]]
    for stroke, part in zip(parts[1::2], parts[2::2], strict=True):
        if stroke or part.startswith("/>"):  # until the next location begins
            kept.append(part)
    return "".join(kept)


def _plain_text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return str(value).strip("\0 ")


def _degrees(
    parts: object, direction: object, names: tuple[tuple[str, str], tuple[str, str]], limit: int
) -> float | None:
    """EXIF degrees, minutes and seconds → signed degrees; None when impossible or ambiguous.

    Cameras write degrees alone, degrees and minutes with seconds of 0/0, one number, or a text.

    Args:
        direction: "" where it is missing; a negative number has its own.
        names: letter and word of the positive and of the negative direction.
        limit: the largest possible number of degrees.
    """
    named = _plain_text(direction).lower()
    if isinstance(parts, (str, bytes)):
        text = _plain_text(parts)
        letter = text[-1:].lower() if text[-1:].isalpha() else ""
        if ("," in text and not letter) or (letter and named[:1] not in ("", letter)):
            return None  # "48,85" may be a decimal or minutes; or two directions
        named = named or letter
        if re.search(r"[^\d\s.,:;/°º'\"′″+-]", re.sub(r"deg|min|sec|[a-zA-Z]$", "", text)):
            return None
        parts = [Fraction(each) for each in re.findall(r"[-+]?\d+(?:\.\d+|/\d+)?", text)]
    elif not isinstance(parts, (tuple, list)):
        parts = (parts,)
    values = [_number(part) for part in parts]
    if len(values) == 2 and isinstance(parts, tuple) and not (values[1] or 0) % 1:
        return None  # the seconds were lost
    if not 1 <= len(values) <= 3 or values[0] is None or not all(map(_is_absent_or_finite, values)):
        return None
    degrees, minutes, seconds = values[0], *([*values[1:], None, None][:2])
    if minutes is None and (seconds or degrees == int(degrees)):
        return None  # whole degrees and nothing else are too coarse to be a position
    negative = degrees < 0 or (minutes or 0) < 0 or (seconds or 0) < 0
    degrees, minutes, seconds = abs(degrees), abs(minutes or 0), abs(seconds or 0)
    if (degrees % 1 and (minutes or seconds)) or (minutes % 1 and seconds):
        return None  # the fraction repeats the smaller parts, or it does not
    if named not in (*names[0], *names[1], "") or not (named or negative):
        return None
    if negative and named in names[0]:
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not (minutes < 60.001 and seconds < 60.001 and value <= limit):
        return None
    return -value if negative or named in names[1] else value


def _number(part: object) -> float | None:
    """A part of a position; None for 0/0, which says that there is none, and NaN for others / 0."""
    if getattr(part, "denominator", 1) == 0:
        return math.nan if getattr(part, "numerator", 1) else None
    if isinstance(part, (str, bytes)):
        return float(Fraction(_plain_text(part)))
    return float(part)  # type: ignore[arg-type]


def _is_absent_or_finite(value: float | None) -> bool:
    return value is None or math.isfinite(value)
