"""An XMP packet as elements with their places in the bytes, so that text can be spliced in.

Nothing is serialised again: a change is a list of splices, and every other byte stays as it was.
The packet is edited as UTF-8; other encodings are converted and back, where that loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

from ..core.errors import DataError
from ..core.file_kinds import HEAD_BYTES, kind_of, photo_format

MAX_BYTES = 16_000_000  # of a packet; darktable's history and Lightroom's masks take some MB

_MAX_DEPTH, _MAX_ELEMENTS = 100, 100_000  # attributes count as elements

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

_XML = "http://www.w3.org/XML/1998/namespace"

# Written with and without the last stroke: by Windows and digiKam, and by exiftool.
_ALIASES = {"http://ns.microsoft.com/photo/1.0": "http://ns.microsoft.com/photo/1.0/"}

# Byte order mark → encoding; UTF-32 first, because its mark begins as that of UTF-16.
_MARKS = (
    (b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"), (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"),
)  # fmt: skip

# The first bytes of "<?" or "<x" without a mark.
_STARTS = ((b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16-le"),
           (b"\0<", "utf-16-be"))  # fmt: skip

_DECLARED = re.compile(rb"""<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")

_ENCODINGS = {
    "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "ascii": "ascii",
    "iso-8859-1": "iso-8859-1", "latin1": "iso-8859-1", "iso-8859-15": "iso-8859-15",
    "windows-1252": "cp1252", "windows-1251": "cp1251", "windows-1250": "cp1250",
    "gb18030": "gb18030", "shift_jis": "shift_jis",
}  # fmt: skip

_TAG = re.compile(rb"""<[^\s/>"']+(?:[^>"']+|"[^"]*"|'[^']*')*>""")

# A run of white space is tried from its beginning only, because it may be long.
_ATTRIBUTE = re.compile(rb"""(?<!\s)\s+([^\s=/>"']+)\s*=\s*("[^"]*"|'[^']*')""")

_SPACE = b" \t\r\n"


class XmpError(DataError):
    """XMP that cannot be read, or cannot be changed safely; nothing is written then."""


Splice = tuple[int, int, bytes]  # offset, bytes taken out, bytes put in


@dataclass(eq=False, slots=True)
class Element:
    """One element: its name, and the offsets of its parts in the packet's text.

    start, inside: of its start tag, and of what follows it. close, end: of its end tag, and of
    what follows that; of `<a/>`, inside = close = end.
    """

    uri: str
    name: str
    tag: str  # as written, with its prefix
    attributes: list[tuple[str, str, str, str]]  # uri, name, value, as written
    scope: dict[str, str]  # prefix → URI
    parent: Element | None
    start: int
    inside: int = 0
    close: int = 0
    end: int = 0
    closed: bool = False  # `<a/>`
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def is_(self, uri: str, name: str) -> bool:
        return self.name == name and self.uri == uri

    def attribute(self, uri: str, name: str) -> str | None:
        return next((one[2] for one in self.attributes if one[:2] == (uri, name)), None)

    def all(self, uri: str, name: str) -> list[Element]:
        return [child for child in self.children if child.is_(uri, name)]

    @property
    def text(self) -> str:
        """Its text, or that of the `rdf:value` or the address that stands for it."""
        for holder in (self, *self.all(RDF, "Description")):
            for value in holder.all(RDF, "value"):
                return value.text
        return "".join(self.texts).strip() or self.attribute(RDF, "resource") or ""


class Packet:
    """A packet that was read: its text as UTF-8, its elements, and how it becomes bytes again.

    is_mixed: is it UTF-8 by its own word, with bytes that are none? Only ASCII is put in then.
    """

    def __init__(self, data: bytes) -> None:
        """Raises XmpError when it is no XMP, or too odd or too large to change safely."""
        if len(data) > MAX_BYTES:
            raise XmpError(
                f"{len(data) / 1e6:.1f} MB, more than the {MAX_BYTES / 1e6:.0f} MB that any "
                "program writes as XMP"
            )
        self._mark, self._encoding = _encoding_of(data)
        body = data[len(self._mark) :]
        self._tail = body[len(body.rstrip(b"\0")) :] if self._encoding == "utf-8" else b""
        body = body[: len(body) - len(self._tail)]
        if self._encoding == "utf-8" and not body.lstrip(_SPACE).startswith(b"<"):
            raise XmpError(_why_not_text(data))
        self.is_mixed = False
        try:
            self.source = body.decode(self._encoding).encode()
            if self.encoded(self.source) != data:
                raise UnicodeError
        except UnicodeError:
            if self._encoding != "utf-8":
                raise XmpError(f"its text is not valid {self._encoding}") from None
            # As exiftool leaves Latin-1. Adobe's programs take such bytes for Latin-1, too.
            self._encoding, self.is_mixed = "iso-8859-1", True
            self.source = body.decode(self._encoding).encode()
        self.rdf = _require_rdf(_parse(self.source))
        self.step = self._step()

    def encoded(self, source: bytes) -> bytes:
        """Text as the bytes of this packet's file: its encoding, its mark, what followed it."""
        if self._encoding != "utf-8":
            source = source.decode().encode(self._encoding, "xmlcharrefreplace")
        return self._mark + source + self._tail

    def spliced(self, splices: Sequence[Splice]) -> bytes:
        """The file's bytes with some text taken out and put in; splices do not overlap."""
        parts, at = [], 0
        for offset, taken, new in sorted(splices, key=lambda splice: splice[0]):
            parts += [self.source[at:offset], new]
            at = offset + taken
        return self.encoded(b"".join((*parts, self.source[at:])))

    def raw(self, element: Element) -> bytes:
        return self.source[element.start : element.end]

    def indent(self, element: Element) -> bytes:
        """The line break and white space in front of an element; b"" where it begins no line."""
        space = self._space_before(element.start)
        at = max(space.rfind(b"\n"), space.rfind(b"\r"))
        return space[at - (space[at - 1 : at + 1] == b"\r\n") :] if at >= 0 else b""

    def _step(self) -> bytes:
        """The white space by which an element is indented further than the one around it."""
        outer = self.indent(self.rdf)
        inner = self.indent(self.rdf.children[0]) if self.rdf.children else b""
        return inner[len(outer) :] if outer and inner.startswith(outer) else b" "

    def _space_before(self, offset: int) -> bytes:
        at = offset
        while at > 0 and self.source[at - 1] in _SPACE:
            at -= 1
        return self.source[at:offset]

    def with_space(self, element: Element) -> Splice:
        """The splice that takes out an element and the white space in front of it."""
        space = len(self._space_before(element.start))
        return element.start - space, element.end - element.start + space, b""

    def attribute_splice(self, element: Element, written: str) -> Splice:
        """The splice that takes an attribute, named as it is written, out of a start tag."""
        tag = self.source[element.start : element.inside]
        for found in _ATTRIBUTE.finditer(tag):
            if found[1].decode() == written:
                return element.start + found.start(), found.end() - found.start(), b""
        raise XmpError(f"the attribute {written} was not found")

    def is_blank(self, element: Element) -> bool:
        """Has the element nothing inside but white space?"""
        return not self.source[element.inside : element.close].strip(_SPACE)


def _encoding_of(data: bytes) -> tuple[bytes, str]:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return mark, encoding
    for start, encoding in _STARTS:
        if data.startswith(start):
            return b"", encoding
    declared = _DECLARED.match(data)
    name = declared[1].decode().lower() if declared else "utf-8"
    if name not in _ENCODINGS:
        raise XmpError(f"its encoding {name} is not one that is written here")
    return b"", _ENCODINGS[name]


def _require_rdf(root: Element) -> Element:
    if root.is_(RDF, "RDF"):
        return root
    found = [child for child in root.children if child.is_(RDF, "RDF")]
    if len(found) != 1:
        raise XmpError(
            f"no XMP: an XML document <{root.tag}> without rdf:RDF" if not found
            else "several rdf:RDF in one packet"
        )  # fmt: skip
    return found[0]


def _parse(source: bytes) -> Element:
    """The root element. Raises XmpError for all that is not well-formed, and for any DTD."""
    builder = _Builder(source)
    try:
        builder.parser.Parse(source, True)
    except expat.ExpatError as error:
        raise XmpError(_why_not_xml(source, error)) from None
    if builder.root is None:
        raise XmpError("no XMP: nothing in it")
    return builder.root


def _why_not_text(data: bytes) -> str:
    head = data[:HEAD_BYTES]
    if not data.strip(_SPACE):
        return "the file is empty; if a cloud drive keeps it, download it first"
    if photo := photo_format(head):
        return f"no XMP: its content is a photo ({photo})"
    return f"no XMP: its content is {kind_of(head) or 'not XML'}"


def _why_not_xml(source: bytes, error: expat.ExpatError) -> str:
    if b"<html" in source[:1000].lower():
        return "no XMP: a web page (HTML)"
    if b"rdf:RDF" not in source and b"xmpmeta" not in source:
        return f"no XMP: not readable as XML (line {error.lineno})"
    reason = expat.ErrorString(error.code)
    return f"damaged or cut short: not readable as XML (line {error.lineno}: {reason})"


class _Builder:
    """Makes elements of expat's events; offsets are those of the source."""

    def __init__(self, source: bytes) -> None:
        self.root: Element | None = None
        self._source, self._open, self._count = source, list[Element](), 0
        self.parser = expat.ParserCreate("utf-8")
        self.parser.ordered_attributes = True
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _doctype(self, *_: object) -> None:
        kind = b"<html" in self._source[:2000].lower()
        raise XmpError(
            "no XMP: a web page (HTML)" if kind
            else "it declares a document type or entities, which XMP never has"
        )  # fmt: skip

    def _start(self, tag: str, flat: list[str]) -> None:
        self._count += 1 + len(flat) // 2
        if len(self._open) >= _MAX_DEPTH:
            raise XmpError("nested too deep")
        if self._count > _MAX_ELEMENTS:
            raise XmpError(f"more than {_MAX_ELEMENTS:,} elements and attributes")
        parent = self._open[-1] if self._open else None
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        scope = parent.scope if parent else {"xml": _XML}
        declared = {name[6:]: uri for name, uri in pairs if name[:6] in ("xmlns", "xmlns:")}
        if declared:
            scope = {**scope, **declared}
        uri, name = _resolve(tag, scope, scope.get("", ""))
        attributes = [
            (*_resolve(written, scope, ""), value, written)
            for written, value in pairs if _is_no_declaration(written)
        ]  # fmt: skip
        at = self.parser.CurrentByteIndex
        found = _TAG.match(self._source, at)
        if found is None:
            raise XmpError(f"the tag <{tag}> was not understood")
        inside = found.end()
        closed = self._source[inside - 2] == 47
        element = Element(uri, name, tag, attributes, scope, parent, at, inside, closed=closed)
        if parent:
            parent.children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _end(self, _: str) -> None:
        element = self._open.pop()
        if element.closed:
            element.close = element.end = element.inside
        else:
            element.close = self.parser.CurrentByteIndex
            element.end = self._source.index(b">", element.close) + 1

    def _text(self, text: str) -> None:
        self._open[-1].texts.append(text)


def _is_no_declaration(written: str) -> bool:
    return written != "xmlns" and not written.startswith("xmlns:")


def _resolve(written: str, scope: dict[str, str], default: str) -> tuple[str, str]:
    prefix, colon, name = written.rpartition(":")
    if not colon:
        return default, written
    if not scope.get(prefix):
        raise XmpError(f"the prefix of {written} is not declared")
    return _ALIASES.get(scope[prefix], scope[prefix]), name


def descriptions(rdf: Element) -> Iterator[Element]:
    """The `rdf:Description` elements about the photo.

    Raises:
        XmpError: when they are about several things, and none is about the photo itself.
    """
    found = rdf.all(RDF, "Description")
    about = [_about(one) for one in found]
    named = sorted({name for name in about if name})
    if len(named) > 1 and "" not in about:
        raise XmpError(f"it describes several things ({', '.join(named[:2])})")
    for one, name in zip(found, about, strict=True):
        if len(named) <= 1 or not name:
            yield one


def _about(description: Element) -> str:
    return description.attribute(RDF, "about") or description.attribute("", "about") or ""
