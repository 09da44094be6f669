"""Queries: photos decoded once, with location, then embedded; the input of `Recognizer.answer`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ..core.errors import ImageError, OptionError
from ..core.images import image_of_array, image_of_pillow, read_image
from ..core.photo_files import LatLon, location_of
from ..core.storage import read_bytes
from ..core.types import Image, Photo, Vectors
from ..features.local.keypoints import GreyImage, Keypoints
from .spatial_verification import nothing_to_compare, query_keypoints

KeypointsOf = Callable[[int], Keypoints | None]  # row of a query → its keypoints

MIN_RELIABLE_SIDE = 100  # pixels; a shorter side adds a warning to the answer

Shape = tuple[int, int]  # height and width

PhotoSource = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Pillow.Image
    | NDArray[Any] | Photo
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class QueryPhoto:
    """One decoded photo.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        location: Latitude and longitude in degrees where it was taken; None = unknown or not read.
    """

    image: Image
    location: LatLon | None = None


@dataclass(frozen=True, eq=False)
class Queries:
    """Q embedded photos.

    Attributes:
        vectors: (Q, D) unit rows.
        keypoints_of: Row → keypoints, called only for rows that are verified; None = no query is
            verified.
        shapes: Height and width of the pixels that these keypoints refer to.
        locations: Latitude and longitude where each was taken; used only when the rules have
            `location_km`.
        nothing_in: Row → why that photo cannot show a landmark (`nothing_to_compare`), called only
            for rows that would be answered; None = it is not known.
    """

    vectors: Vectors
    keypoints_of: KeypointsOf | None = None
    shapes: Sequence[Shape] | None = None
    locations: Sequence[LatLon | None] | None = None
    nothing_in: Callable[[int], str] | None = None

    @classmethod
    def of(cls, vectors: Vectors, photos: Sequence[QueryPhoto]) -> Queries:
        """Queries from photos and their vectors (Q, D)."""
        return cls(
            vectors,
            keypoints_of=lambda row: query_keypoints(photos[row].image),
            shapes=[(photo.image.shape[0], photo.image.shape[1]) for photo in photos],
            locations=[photo.location for photo in photos],
            nothing_in=lambda row: nothing_to_compare(photos[row].image),
        )

    @classmethod
    def of_greys(
        cls,
        vectors: Vectors,
        greys: Sequence[GreyImage],
        locations: Sequence[LatLon | None],
        *,
        shapes: Sequence[Shape] | None = None,
        verify: bool = True,
    ) -> Queries:
        """Queries from vectors (Q, D) and what is kept of many photos. verify: use keypoints?"""
        return cls(
            vectors,
            keypoints_of=(lambda row: query_keypoints(greys[row])) if verify else None,
            shapes=shapes,
            locations=locations,
            nothing_in=lambda row: nothing_to_compare(greys[row]),
        )


def read_query(photo: PhotoSource, *, short_side: int, location: bool = False) -> QueryPhoto:
    """Read and decode a photo, its bytes read only once.

    Args:
        photo: As in a call of a recognizer.
        short_side: Pixels that the short side must have at least.
        location: Read the location in the EXIF data too; only of files and bytes.

    Raises:
        ImageError: When the photo cannot be read or decoded.
        OptionError: When the object is no photo; the message says what to give.
    """
    if isinstance(photo, np.ndarray):
        return QueryPhoto(image_of_array(photo))
    if isinstance(photo, Pillow.Image):
        return QueryPhoto(image_of_pillow(photo))
    name = name_of(photo)
    data = _bytes_of(photo, name)
    image = read_image(data, short_side=short_side, name=name)
    return QueryPhoto(image, location_of(data) if location else None)


def name_of(photo: PhotoSource) -> str:
    """What a photo is called: its path, or the name of its file; "" = it has none."""
    if isinstance(photo, Photo):
        return str(photo.path)
    if isinstance(photo, str | os.PathLike):
        return str(os.fsdecode(photo))
    name = getattr(photo, "name", None) or getattr(photo, "filename", None)
    return name if isinstance(name, str) else ""


def is_many(photo: object) -> bool:
    """Is it a list, tuple, generator, column of paths or other iterable of photos, not a photo?"""
    if isinstance(photo, np.ndarray):
        return photo.ndim == 1 and photo.dtype.kind in "OU"
    if getattr(photo, "ndim", 0) == 1 and hasattr(photo, "iloc"):  # a column of pandas
        return True
    one = (str, bytes, bytearray, memoryview, Mapping, os.PathLike, Pillow.Image)
    return (
        isinstance(photo, Iterable)
        and not isinstance(photo, one)
        and not any(hasattr(photo, name) for name in ("read", "__array__", "detach"))
    )


def size_warnings(height: int, width: int) -> tuple[str, ...]:
    """The warning about a very small photo; none for others."""
    if min(height, width) >= MIN_RELIABLE_SIDE:
        return ()
    return (
        f"the photo is very small ({width} × {height} px), so the answer is less reliable",
    )  # fmt: skip


def _bytes_of(photo: Any, name: str) -> bytes:
    """The bytes of the file. Raises ImageError, or OptionError for what is no photo."""
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    if isinstance(photo, Photo):
        return read_bytes(photo.path)
    if isinstance(photo, str | os.PathLike):
        return read_bytes(checked_path(name))
    if callable(read := getattr(photo, "read", None)):
        try:
            data = read()
        except (OSError, ValueError) as error:  # ValueError: the file is closed
            raise ImageError(f"{name or 'the file object'}: cannot be read ({error})") from None
        if isinstance(data, str):
            raise OptionError(
                f"{name or 'the file object'} was opened as text; open it with open(path, 'rb')"
            )
        if not isinstance(data, bytes | bytearray | memoryview):
            raise OptionError(f"read() of {type(photo).__name__} gave no bytes")
        if not data:
            raise ImageError(
                f"{name or 'the file object'}: no bytes left to read; photo.seek(0) goes back to "
                "the beginning"
            )
        return bytes(data)
    raise OptionError(_no_photo(photo))


def checked_path(name: str) -> str:
    """The path, with ~ expanded. Raises OptionError for a folder or an empty path."""
    if not name:
        raise OptionError("an empty path given; expected the path of a photo")
    if name.startswith("~") and not os.path.exists(name):
        name = os.path.expanduser(name)
    if os.path.isdir(name):
        raise OptionError(
            f"{name} is a folder; for its photos use "
            f"recognizer(read_folder({name!r}, labelled=False))"
        )
    return name


def _no_photo(photo: object) -> str:
    kind = type(photo)
    given = f"{kind.__module__}.{kind.__name__}".removeprefix("builtins.")
    if hasattr(photo, "detach"):
        use = ".permute(1, 2, 0)" if getattr(photo, "ndim", 0) == 3 else ""
        return f"{given} given; use the array photo{use}.cpu().numpy(), uint8 or 0 to 1"
    if hasattr(photo, "__array__"):
        return f"{given} given; use numpy.asarray(photo)"
    return (
        f"{given} given; expected a photo: a path, the bytes of a file, a binary file object, a "
        "Pillow image, an array of pixels, or a list of them"
    )
