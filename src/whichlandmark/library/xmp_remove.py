"""The splices that take out of an XMP packet what was added to it."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import replace

from ..core.photo_files import LatLon, position_of_tags
from .xmp_fields import (
    DESCRIPTION,
    LATITUDE,
    LISTS,
    LONGITUDE,
    PLACES,
    Additions,
    Place,
    array_of,
    elements_of,
    entries_of,
    members_of,
    place_of,
    simple_values,
    uri_and_name,
)
from .xmp_packet import RDF, Element, Packet, Splice, descriptions


class Removing:
    """The splices that take out of a packet what was added to it."""

    def __init__(self, packet: Packet, added: Additions) -> None:
        self._packet, self._added = packet, added
        self._found = dict(added.found)
        self._about = [*descriptions(packet.rdf)]
        self._splices: list[Splice] = []

    def splices(self) -> list[Splice]:
        for prop in (*LISTS, PLACES):
            self._take_from_list(prop)
        if self._added.position:
            self._take_position(self._added.position)
        blank = [one for one in self._about if self._is_blank(one)]
        emptied = [one for one in blank if not self._has_attributes(one)]
        kept = emptied[:1] if len(emptied) == len(self._about) else []
        gone = [
            one for one in blank
            if any(one.start < splice[0] < one.end for splice in self._splices)
            and self._empty(one, one in emptied and one not in kept)
        ]  # fmt: skip
        rdf = self._packet.rdf
        if gone and len(gone) == len(rdf.children) and "rdf:RDF" in self._found:
            self._restore(rdf, self._found["rdf:RDF"])
        return self._splices

    def _take_from_list(self, prop: str) -> None:
        elements = elements_of(self._about, prop)
        all_ours = self._ours(prop, [e for one in elements for e in entries_of(array_of(one))])
        for element in elements:
            items = entries_of(array_of(element))
            ours = [one for one in items if one in all_ours]
            if not ours:
                continue
            if prop in self._found and self._put_back(prop, element, len(items) - len(ours)):
                continue
            if len(ours) == len(items) and prop in self._added.made:
                self._splices.append(self._packet.with_space(element))
            else:
                self._splices += map(self._packet.with_space, ours)

    def _ours(self, prop: str, items: list[Element]) -> list[Element]:
        """Items that are still as they were added, one for each."""
        found: list[Element] = []
        if prop == PLACES:
            for place in self._added.places:
                found += [one for one in items if one not in found and _is_same(place, one)][:1]
            return found
        for text in getattr(self._added, LISTS[prop][0]):
            same = unicodedata.normalize("NFC", text)
            found += [
                one for one in items
                if one not in found and unicodedata.normalize("NFC", one.text) == same
            ][:1]  # fmt: skip
        return found

    def _put_back(self, prop: str, element: Element, left: int) -> bool:
        """Write a property as it was before, where that still has all the items that are left."""
        before = self._found[prop]
        had_text = bool(re.search(r">[^<]*[^<\s][^<]*<", before))
        if left != had_text or not before.startswith(f"<{element.tag}"):
            return False
        self._splices.append((element.start, element.end - element.start, before.encode()))
        return True

    def _take_position(self, position: LatLon) -> None:
        """Take out latitude and longitude, if both are still those that were added."""
        about, taken = self._about, list[Splice]()
        latitudes, longitudes = simple_values(about, LATITUDE), simple_values(about, LONGITUDE)
        if len(latitudes) != 1 or len(longitudes) != 1:
            return
        there = position_of_tags({2: latitudes[0], 4: longitudes[0]})
        if not there or not _is_near(there, position):
            return
        for prop in (LATITUDE, LONGITUDE):
            taken += map(self._packet.with_space, elements_of(about, prop))
            for one in about:
                taken += [
                    self._packet.attribute_splice(one, written)
                    for uri, name, _, written in one.attributes
                    if (uri, name) == uri_and_name(prop)
                ]
        self._splices += taken

    def _is_blank(self, description: Element) -> bool:
        """Is nothing left inside a description of the photo?"""
        source, at, left = self._packet.source, description.inside, b""
        for offset, taken, new in sorted(self._splices):
            if description.inside <= offset < description.close:
                left += source[at:offset] + new
                at = offset + taken
        return not (left + source[at : description.close]).strip()

    def _has_attributes(self, description: Element) -> bool:
        """Has a description properties that are written as attributes, and not taken out?"""
        properties = [one for one in description.attributes if one[0] != RDF and one[1] != "about"]
        return len(properties) > sum(
            description.start < offset < description.inside for offset, _, _ in self._splices
        )

    def _empty(self, description: Element, is_empty: bool) -> bool:
        """Write a description as it was when it was blank, or take it out if nothing is left."""
        if DESCRIPTION in self._found:
            self._restore(description, self._found[DESCRIPTION])
        elif is_empty or (
            DESCRIPTION in self._added.made and not self._has_attributes(description)
        ):
            self._drop(description.start, description.end)
            self._splices.append(self._packet.with_space(description))
            return True
        return False

    def _restore(self, element: Element, before: str) -> None:
        """Write what stood inside an element that was empty: "/>" or white space."""
        start, end = element.inside, element.close
        if before == "/>":
            start, end = element.inside - 1, element.end
        if not element.closed:
            self._drop(start, end)
            self._splices.append((start, end - start, before.encode()))

    def _drop(self, start: int, end: int) -> None:
        """Forget splices in what is spliced whole."""
        self._splices = [one for one in self._splices if not start <= one[0] < end]


def _is_near(there: LatLon, added: LatLon) -> bool:
    return all(math.isclose(*pair, abs_tol=1e-6) for pair in zip(there, added, strict=True))


def _is_same(place: Place, item: Element) -> bool:
    """Does a location say what was added, and nothing else?"""
    shown, members = place_of(item), members_of(item)
    texts = replace(place, latitude=None, longitude=None)
    if replace(shown, latitude=None, longitude=None) != texts:
        return False
    count = 1 + sum(map(bool, (place.wikidata, place.city, place.country, place.country_code)))
    if place.latitude is not None and place.longitude is not None:
        count += 2
        if shown.latitude is None or shown.longitude is None:
            return False
        was, there = (place.latitude, place.longitude), (shown.latitude, shown.longitude)
        if not _is_near(there, was):
            return False
    return len(members) == count and all(len(values) == 1 for values in members.values())
