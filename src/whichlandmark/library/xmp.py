"""Read XMP, add what is missing in it, and take the same out again; all other bytes stay.

    new, added = add(data, Additions(keywords=("Eiffel Tower",)))
    remove(new, added) == data

`remove` also works after other programs have written the file anew: it takes out the items of
`added` that are still there as they were added, and the lists that were made for them.

What programs read decides what is written (their source code was read, no run of them):

- digiKam reads the first of digiKam:TagsList, MicrosoftPhoto:LastKeywordXMP, lr:hierarchicalSubject
  and dc:subject that has something (`DMetadata::getItemTagsPath` in its default order), and takes
  "/" in a name for "\\"; Immich the first of TagsList, hierarchicalSubject and the IPTC keywords
  (`getTagList` of its metadata service); darktable dc:subject only where there is no
  hierarchicalSubject (`_exif_decode_xmp_data`).
- So a path is added to each of these lists that is there, and a hierarchy that is new repeats the
  keywords that the packet had without one, because they would not be seen beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from .xmp_add import Adding
from .xmp_fields import (
    LISTS,
    PLACES,
    Additions,
    Metadata,
    Place,
    array_of,
    comparable,
    entries_of,
    items_of,
    members_of,
    place_of,
    read_about,
    uri_and_name,
)
from .xmp_packet import RDF, Element, Packet, XmpError, descriptions
from .xmp_remove import Removing

__all__ = ["Additions", "Metadata", "Place", "XmpError", "add", "comparable", "read_xmp", "remove"]

_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_PACKET, _TOOLKIT = "packet", "whichlandmark"

_NEW = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="{_TOOLKIT}">\n'
    f' <rdf:RDF xmlns:rdf="{RDF}">\n'
    " </rdf:RDF>\n"
    "</x:xmpmeta>\n"
    '<?xpacket end="w"?>\n'
).encode()


def read_xmp(data: bytes) -> Metadata:
    """What a packet says.

    Raises:
        XmpError: it is no XMP, or too odd to change safely.
    """
    return read_about([*descriptions(Packet(data).rdf)])


def add(data: bytes | None, wanted: Additions) -> tuple[bytes, Additions]:
    """Add to a packet what it does not say yet. None = a new packet.

    Returns:
        The new bytes, the same as before where everything is known, and what was added.

    Raises:
        XmpError: it is no XMP, or too odd to change safely.
    """
    new = data is None
    packet = Packet(_NEW if data is None else data)
    missing = _missing(packet, wanted)
    if not missing:
        return b"" if data is None else data, Additions()
    splices, added = Adding(packet, missing).done()
    if new:
        added = replace(added, made=(*added.made, _PACKET), found=())
    changed = packet.spliced(splices)
    if remove(changed, added) != data or _missing(Packet(changed), wanted):
        raise XmpError("written in a way that cannot be changed and restored exactly")
    return changed, added


def remove(data: bytes, added: Additions) -> bytes | None:
    """A packet without what was added; what others wrote meanwhile stays.

    Returns:
        The bytes; None when the packet was made by `add` and there is nothing else in it.

    Raises:
        XmpError: it is no XMP any more.
    """
    packet = Packet(data)
    splices = Removing(packet, added).splices()
    rest = packet.spliced(splices) if splices else data
    root = packet.rdf.parent
    ours = root is not None and root.attribute("adobe:ns:meta/", "xmptk") == _TOOLKIT
    return None if (ours or _PACKET in added.made) and _says_nothing(rest) else rest


def _says_nothing(data: bytes) -> bool:
    """Is there nothing in a packet but empty lists of the kinds that are added here?"""
    lists = [uri_and_name(prop) for prop in (*LISTS, PLACES)]
    return not any(
        one[0] != RDF for about in Packet(data).rdf.children
        for one in (*about.attributes, *(
            (child.uri, child.name) for child in about.children
            if (child.uri, child.name) not in lists or child.text or entries_of(array_of(child))
        ))
    )  # fmt: skip


def _missing(packet: Packet, wanted: Additions) -> Additions:
    """What of `wanted` the packet does not say, cleaned of what XML cannot hold."""
    about = [*descriptions(packet.rdf)]
    known = read_about(about)
    paths = _new(wanted.hierarchy, known.hierarchy, "|")
    if paths and not known.hierarchy:
        paths = _new((*_repeated(known, wanted), *wanted.hierarchy), (), "|")
    tags = tuple(
        path.replace("/", "\\").replace("|", "/") for path in map(_clean, wanted.hierarchy)
    )
    places = []
    for place in map(_clean_place, wanted.places):
        shown = [*items_of(about, PLACES)]
        if place.name and place not in places and not any(_is_known(place, one) for one in shown):
            places.append(place)
    position = wanted.position
    if known.has_position or not position or not _is_position(*position):
        position = None
    return Additions(
        _new(wanted.keywords, known.keywords, ""), paths, tuple(places), position,
        _new((*wanted.digikam, *(tags if known.digikam or wanted.digikam else ())),
             known.digikam, "/"),
        _new((*wanted.microsoft, *(tags if known.microsoft or wanted.microsoft else ())),
             known.microsoft, "/"),
    )  # fmt: skip


def _repeated(known: Metadata, wanted: Additions) -> Iterator[str]:
    """Keywords that programs would not see any more beside a new hierarchy, as its paths."""
    seen = {comparable(path.rpartition("|")[2]) for path in wanted.hierarchy}
    for path in (*known.digikam, *known.microsoft):
        yield path.replace("|", "-").replace("/", "|")
        seen.add(comparable(path.rpartition("/")[2]))
    for keyword in known.keywords:
        if comparable(keyword) not in seen:
            yield keyword.replace("|", "-")


def _new(wanted: Sequence[str], known: Sequence[str], separator: str) -> tuple[str, ...]:
    seen, new = {_compared(text, separator) for text in known}, []
    for text in map(_clean, wanted):
        if text and _compared(text, separator) not in seen:
            seen.add(_compared(text, separator))
            new.append(text)
    return tuple(new)


def _compared(text: str, separator: str) -> tuple[str, ...]:
    parts = text.strip(separator).split(separator) if separator else [text]
    return tuple(map(comparable, parts))


def _clean(text: str) -> str:
    return " ".join(_NOT_XML.sub(" ", text).split())


def _is_position(latitude: float | None, longitude: float | None) -> bool:
    return (
        latitude is not None and longitude is not None and abs(latitude) <= 90
        and abs(longitude) <= 180 and (latitude, longitude) != (0, 0)
    )  # fmt: skip


def _clean_place(place: Place) -> Place:
    there = _is_position(place.latitude, place.longitude)
    return Place(
        _clean(place.name), place.wikidata if re.fullmatch(r"Q\d+", place.wikidata) else "",
        _clean(place.city), _clean(place.country), _clean(place.country_code),
        place.latitude if there else None, place.longitude if there else None,
    )  # fmt: skip


def _is_known(place: Place, item: Element) -> bool:
    """Is this location the place, by its Wikidata item, or else by its name in any language?"""
    shown = place_of(item)
    if place.wikidata and shown.wikidata:
        return place.wikidata == shown.wikidata
    names = members_of(item).get(uri_and_name("Iptc4xmpExt:LocationName"), [])
    return comparable(place.name) in map(comparable, names)
