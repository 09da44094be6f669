"""The splices that add lists, locations and a position to an XMP packet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple
from xml.sax.saxutils import escape

from ..core.photo_files import LatLon
from .xmp_fields import (
    DESCRIPTION,
    LATITUDE,
    LISTS,
    LONGITUDE,
    PLACES,
    URIS,
    Additions,
    Place,
    array_of,
    elements_of,
    entries_of,
    uri_and_name,
)
from .xmp_packet import RDF, Element, Packet, Splice, XmpError, descriptions

WIKIDATA = "http://www.wikidata.org/entity/"  # the start of an item's URI


class _Node(NamedTuple):
    """An element to be written: usual name, attributes as text, and text or elements in it."""

    tag: str
    inside: str | list[_Node]
    attributes: str = ""


def _list_nodes(added: Additions) -> Iterator[tuple[str, str, list[_Node]]]:
    """Property, array and items of each list that gets something."""
    for prop, (name, array, _) in LISTS.items():
        yield prop, array, [_Node("rdf:li", text) for text in getattr(added, name)]
    yield PLACES, "Bag", [*map(_place_node, added.places)]


def _place_node(place: Place) -> _Node:
    """The structure Location of IPTC Extension, with the value types that exiftool writes."""
    title = _Node("rdf:li", place.name, ' xml:lang="x-default"')
    members = [_Node("Iptc4xmpExt:LocationName", [_Node("rdf:Alt", [title])])]
    if place.wikidata:
        items = _Node("rdf:Bag", [_Node("rdf:li", WIKIDATA + place.wikidata)])
        members.append(_Node("Iptc4xmpExt:LocationId", [items]))
    for name, text in (("City", place.city), ("CountryName", place.country),
                       ("CountryCode", place.country_code)):  # fmt: skip
        if text:
            members.append(_Node(f"Iptc4xmpExt:{name}", text))
    if place.latitude is not None and place.longitude is not None:
        members += _position_nodes((place.latitude, place.longitude))
    return _Node("rdf:li", members, ' rdf:parseType="Resource"')


def _position_nodes(position: LatLon) -> list[_Node]:
    latitude, longitude = position
    return [_Node(LATITUDE, _minutes(latitude, "NS")), _Node(LONGITUDE, _minutes(longitude, "EW"))]


def _minutes(degrees: float, letters: str) -> str:
    """ "48,51.498N": whole degrees and minutes, to 2 mm."""
    whole, part = divmod(round(abs(degrees) * 60_000_000), 60_000_000)
    minutes = f"{part / 1_000_000:.6f}".rstrip("0")
    return f"{whole},{minutes}{'0' * minutes.endswith('.')}{letters[degrees < 0]}"


class Adding:
    """The splices that add something to a packet, and the record of it for `remove`."""

    def __init__(self, packet: Packet, missing: Additions) -> None:
        self._packet, self._missing = packet, missing
        self._splices: list[Splice] = []
        self._made, self._found = list[str](), list[tuple[str, str]]()
        self._about = [*descriptions(packet.rdf)]

    def done(self) -> tuple[list[Splice], Additions]:
        new: list[_Node] = []
        for prop, array, nodes in _list_nodes(self._missing):
            if not nodes:
                continue
            if any(one.attribute(*uri_and_name(prop)) is not None for one in self._about):
                raise XmpError(f"{prop} is written as an attribute, which cannot be a list")
            found = elements_of(self._about, prop)
            if found:
                self._extend(prop, array, found, nodes)
            else:
                self._made.append(prop)
                new.append(_Node(prop, [_Node(f"rdf:{array}", nodes)]))
        if self._missing.position:
            new += _position_nodes(self._missing.position)
        if new:
            self._insert(new)
        return self._splices, replace(
            self._missing, made=tuple(self._made), found=tuple(self._found)
        )

    def _extend(self, prop: str, kind: str, found: list[Element], nodes: list[_Node]) -> None:
        """Add items to a list that is there, the first one with items if there are several."""
        element = next((one for one in found if entries_of(array_of(one))), found[0])
        array = array_of(element)
        if entries := entries_of(array):
            last = entries[-1]
            lead = self._packet.indent(last)
            self._splices.append((last.end, 0, self._render(nodes, array or element, lead)))
            return
        odd = {(RDF, "parseType"), (RDF, "resource")} & {one[:2] for one in element.attributes}
        if odd or element.children != [array] * bool(array) or (array and array.children):
            raise XmpError(f"{prop} is no list, but something that cannot be changed safely")
        raw = self._packet.raw(element)
        self._found.append((prop, raw.decode()))
        text = self._packet.source[element.inside : element.close] if element.text else b""
        lead = self._packet.indent(element)
        opening = raw[: element.inside - element.start]
        if element.closed:
            opening = opening[:-2].rstrip() + b">"
        if array:
            kind = array.name
        inner = self._deeper(lead)
        rdf = _prefix(element.scope, "rdf")[0].encode()
        first = self._deeper(inner) + b"<%s:li>%s</%s:li>" % (rdf, text, rdf) if text else b""
        items = self._render(nodes, element, self._deeper(inner))
        self._splices.append((element.start, len(raw), b"".join((
            opening, inner, b"<%s:%s>" % (rdf, kind.encode()), first, items, inner,
            b"</%s:%s>" % (rdf, kind.encode()), lead, b"</%s>" % element.tag.encode()
        ))))  # fmt: skip

    def _insert(self, nodes: list[_Node]) -> None:
        """Put properties into the first description that has some, or else into any, or a new."""
        if not self._about:
            self._made.append(DESCRIPTION)
            self._fill(self._packet.rdf, "rdf:RDF",
                       [_Node(DESCRIPTION, nodes, ' rdf:about=""')])  # fmt: skip
            return
        about = next((one for one in self._about if one.children), self._about[0])
        self._fill(about, DESCRIPTION, nodes)

    def _fill(self, element: Element, name: str, nodes: list[_Node]) -> None:
        packet = self._packet
        if element.children:
            last = element.children[-1]
            lead = packet.indent(last)
            self._splices.append((last.end, 0, self._render(nodes, element, lead)))
            return
        lead = packet.indent(element)
        inner = self._render(nodes, element, self._deeper(lead))
        if element.closed:
            self._found.append((name, "/>"))
            end = b"</%s>" % element.tag.encode()
            self._splices.append((element.inside - 2, 2, b">" + inner + lead + end))
        elif packet.is_blank(element):
            blank = packet.source[element.inside : element.close]
            self._found.append((name, blank.decode()))
            self._splices.append((element.inside, len(blank), inner + lead))
        else:  # comments
            self._splices.append((element.inside, 0, inner))

    def _deeper(self, lead: bytes) -> bytes:
        """The line break and indent of what stands inside an element with this one."""
        return lead + self._packet.step if lead else b""

    def _render(self, nodes: Sequence[_Node], inside: Element, lead: bytes) -> bytes:
        return b"".join(self._rendered(node, inside.scope, lead) for node in nodes)

    def _rendered(self, node: _Node, scope: dict[str, str], lead: bytes) -> bytes:
        """An element, with the namespaces that it and its members need declared on it."""
        prefixes: dict[str, str] = {}
        declared = ""
        for usual in sorted(_prefixes(node)):
            prefixes[usual], new = _prefix(scope, usual)
            if new:
                declared += f' xmlns:{prefixes[usual]}="{URIS[usual]}"'
        return self._written(node, prefixes, lead, declared)

    def _written(self, node: _Node, prefixes: dict[str, str], lead: bytes, more: str) -> bytes:
        usual, _, name = node.tag.partition(":")
        tag = f"{prefixes[usual]}:{name}"
        attributes = node.attributes.replace(" rdf:", f" {prefixes['rdf']}:") + more
        start, end = f"<{tag}{attributes}>".encode(), f"</{tag}>".encode()
        if isinstance(node.inside, str):
            text = escape(node.inside)
            written = text.encode(
                "ascii" if self._packet.is_mixed else "utf-8", "xmlcharrefreplace"
            )
            return b"".join((lead, start, written, end))
        inner = [self._written(one, prefixes, self._deeper(lead), "") for one in node.inside]
        return b"".join((lead, start, *inner, lead, end))


def _prefixes(node: _Node) -> set[str]:
    found = {node.tag.partition(":")[0], "rdf"}
    return found.union(*map(_prefixes, node.inside)) if isinstance(node.inside, list) else found


def _prefix(scope: dict[str, str], usual: str) -> tuple[str, bool]:
    """The prefix of a namespace, and whether it has to be declared."""
    uri = URIS[usual]
    for prefix in (usual, *scope):
        if prefix and scope.get(prefix) == uri:
            return prefix, False
    free = (f"{usual}{number or ''}" for number in range(len(scope) + 1))
    return next(prefix for prefix in free if prefix not in scope), True
