"""What XMP says of a photo: keywords, hierarchies, locations shown and the position."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.photo_files import LatLon, position_of_tags
from .xmp_packet import RDF, Element

URIS = {
    "rdf": RDF,
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "exif": "http://ns.adobe.com/exif/1.0/",
}

SUBJECT, HIERARCHY, DIGIKAM, MICROSOFT, PLACES = (
    "dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList", "MicrosoftPhoto:LastKeywordXMP",
    "Iptc4xmpExt:LocationShown",
)  # fmt: skip

# Lists of texts: property → field of `Additions`, its array, and what parts a path.
LISTS = {
    SUBJECT: ("keywords", "Bag", ""),
    HIERARCHY: ("hierarchy", "Bag", "|"),
    DIGIKAM: ("digikam", "Seq", "/"),
    MICROSOFT: ("microsoft", "Bag", "/"),
}

DESCRIPTION = "rdf:Description"  # in `made` and `found` of `Additions`

LATITUDE, LONGITUDE = "exif:GPSLatitude", "exif:GPSLongitude"

_GPS_TAGS = {"GPSLatitudeRef": 1, "GPSLatitude": 2, "GPSLongitudeRef": 3, "GPSLongitude": 4,
             "GPSStatus": 9}  # fmt: skip

_ITEM = re.compile(r"wikidata\.org/(?:wiki|entity)/(Q\d+)/?$")


@dataclass(frozen=True)
class Place:
    """What a photo shows, as a location of IPTC Extension: `LocationShown`."""

    name: str
    wikidata: str = ""  # "Q243"
    city: str = ""
    country: str = ""
    country_code: str = ""
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True)
class Additions:
    """What is to be added to a packet, or what was; the last two fields are for `remove` alone.

    made: properties that were not there before, and "packet" for a new packet.
    found: property → how it was written before, where it was empty or no list.
    """

    keywords: tuple[str, ...] = ()  # dc:subject
    hierarchy: tuple[str, ...] = ()  # lr:hierarchicalSubject, "Places|Paris|Eiffel Tower"
    places: tuple[Place, ...] = ()  # Iptc4xmpExt:LocationShown
    position: LatLon | None = None  # exif:GPSLatitude, exif:GPSLongitude
    digikam: tuple[str, ...] = ()  # digiKam:TagsList, "Places/Paris/Eiffel Tower"
    microsoft: tuple[str, ...] = ()  # MicrosoftPhoto:LastKeywordXMP, as digiKam's
    made: tuple[str, ...] = ()
    found: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        """Is there anything?"""
        return bool(self.position or self.places or any(
            getattr(self, name) for name, _, _ in LISTS.values()))  # fmt: skip


@dataclass(frozen=True)
class Metadata:
    """What a packet or a photo says, in the fields of `Additions`."""

    keywords: tuple[str, ...] = ()
    hierarchy: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    position: LatLon | None = None
    digikam: tuple[str, ...] = ()
    microsoft: tuple[str, ...] = ()
    has_position: bool = False  # also of a damaged position, or half of one


def comparable(text: str) -> str:
    """A keyword as it is compared: "Eiffel Tower" is known where "eiffel tower" is."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def read_about(about: Sequence[Element]) -> Metadata:
    lists = {
        name: tuple(filter(None, (item.text for item in items_of(about, prop))))
        + plain_texts(about, prop)
        for prop, (name, _, _) in LISTS.items()
    }
    places = tuple(map(place_of, items_of(about, PLACES)))
    tags = {
        tag: value for name, tag in _GPS_TAGS.items()
        for value in simple_values(about, f"exif:{name}")
    }  # fmt: skip
    return Metadata(
        **lists,
        places=places,
        position=position_of_tags(tags),
        has_position=bool(simple_values(about, LATITUDE) or simple_values(about, LONGITUDE)),
    )


def uri_and_name(prop: str) -> tuple[str, str]:
    prefix, _, name = prop.partition(":")
    return URIS[prefix], name


def elements_of(about: Sequence[Element], prop: str) -> list[Element]:
    return [found for one in about for found in one.all(*uri_and_name(prop))]


def simple_values(about: Sequence[Element], prop: str) -> list[str]:
    """Values of a property, as attributes and as elements."""
    written = [one.attribute(*uri_and_name(prop)) for one in about]
    return [*(text for text in written if text is not None),
            *(element.text for element in elements_of(about, prop))]  # fmt: skip


def plain_texts(about: Sequence[Element], prop: str) -> tuple[str, ...]:
    """Texts of a property that should be a list and is none."""
    written = [one.attribute(*uri_and_name(prop)) for one in about]
    texts = [found.text for found in elements_of(about, prop) if not found.children]
    return tuple(text for text in (*written, *texts) if text)


def array_of(element: Element) -> Element | None:
    return next((child for child in element.children
                 if child.uri == RDF and child.name in ("Bag", "Seq", "Alt")), None)  # fmt: skip


def entries_of(array: Element | None) -> list[Element]:
    return [] if array is None else [
        item for item in array.children
        if item.uri == RDF and (item.name == "li" or re.fullmatch(r"_\d+", item.name))
    ]  # fmt: skip


def items_of(about: Sequence[Element], prop: str) -> list[Element]:
    found: list[Element] = []
    for element in elements_of(about, prop):
        entries = entries_of(array_of(element))
        found += entries
        if prop == PLACES and not entries and (element.children or members_of(element)):
            found.append(element)  # one location that is no list
    return found


def members_of(item: Element) -> dict[tuple[str, str], list[str]]:
    """Members of a structure, however it is written → their texts, that of the language first."""
    found: dict[tuple[str, str], list[str]] = {}
    for holder in (item, *item.all(RDF, "Description")):
        for uri, name, value, _ in holder.attributes:
            if uri not in (RDF, "", "http://www.w3.org/XML/1998/namespace"):
                found.setdefault((uri, name), []).append(value.strip())
        for child in holder.children:
            if child.uri != RDF:
                array = array_of(child)
                texts = [each.text for each in (entries_of(array) if array else [child])]
                found.setdefault((child.uri, child.name), []).extend(texts)
    return found


def place_of(item: Element) -> Place:
    members = members_of(item)

    def text(prop: str) -> str:
        return next(iter(members.get(uri_and_name(prop), ())), "")

    ids = members.get(uri_and_name("Iptc4xmpExt:LocationId"), [])
    wikidata = next((found[1] for one in ids if (found := _ITEM.search(one))), "")  # fmt: skip
    position = position_of_tags({
        tag: text(f"exif:{name}") for name, tag in _GPS_TAGS.items()
        if text(f"exif:{name}")
    })  # fmt: skip
    return Place(
        text("Iptc4xmpExt:LocationName"), wikidata, text("Iptc4xmpExt:City"),
        text("Iptc4xmpExt:CountryName"), text("Iptc4xmpExt:CountryCode"),
        *(position or (None, None)),
    )  # fmt: skip
