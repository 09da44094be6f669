"""XMP packets: what they say, what is added, and that all of it can be taken out again.

What was written is read by ElementTree here, and by exiftool too where that is installed.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.xmp_shapes import (
    DARKTABLE,
    EXIF,
    EXT,
    HOSTILE,
    LR,
    SHAPES,
    UNCHANGEABLE,
    keywords,
    packet,
)
from whichlandmark.library.xmp import (
    Additions,
    Metadata,
    Place,
    XmpError,
    add,
    read_xmp,
    remove,
)

EIFFEL = Place("Eiffel Tower", "Q243", "Paris", "France", "FR", 48.8583, 2.2945)
WANTED = Additions(
    keywords=("Eiffel Tower", "Paris"), hierarchy=("Places|France|Paris|Eiffel Tower",),
    places=(EIFFEL,), position=(48.8583, 2.2945),
)  # fmt: skip
NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "ext": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "exif": "http://ns.adobe.com/exif/1.0/",
}

EXIFTOOL = shutil.which("exiftool")
needs_exiftool = pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed")


def tree_of(data: bytes) -> ElementTree.Element:
    """The packet as another reader sees it."""
    if b"\xc9t\xe9" in data:  # Latin-1, whatever it says
        data = data.replace(b"UTF-8", b"ISO-8859-1", 1)
    for mark, encoding in ((b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"),
                           (b"\xfe\xff", "utf-16"), (b"<\0", "utf-16-le")):  # fmt: skip
        if data.startswith(mark):
            return ElementTree.fromstring(data.decode(encoding))
    return ElementTree.fromstring(data.rstrip(b"\0"))


def texts(tree: ElementTree.Element, path: str) -> list[str]:
    """Texts of the items of a list, in all descriptions."""
    found = []
    for item in tree.findall(f".//rdf:Description/{path}/*/*", NAMESPACES):
        value = item.find("rdf:value", NAMESPACES)
        found.append("".join((item if value is None else value).itertext()).strip())
    return found


def facts(data: bytes) -> Counter[str]:
    """Everything that a packet says, item by item, whatever it is written like."""
    found: Counter[str] = Counter()

    def walk(element: ElementTree.Element, path: str) -> None:
        here = f"{path}/{element.tag}"
        resource = f"{{{NAMESPACES['rdf']}}}parseType"
        text = (element.text or "").strip()
        if text or not (len(element) or element.attrib):
            found[f"{here}={text}"] += 1
        for name, value in element.attrib.items():
            if name != resource and not name.endswith("about"):
                found[f"{here}/{name}={value}"] += 1
        for child in element:
            walk(child, here)

    walk(tree_of(data), "")
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_what_was_added_is_there_and_can_be_taken_out_exactly(name: str) -> None:
    before = SHAPES[name]
    after, added = add(before, WANTED)
    tree = tree_of(after)
    assert {"eiffel tower", "paris"} <= {text.casefold() for text in texts(tree, "dc:subject")}
    assert "Places|France|Paris|Eiffel Tower" in texts(tree, "lr:hierarchicalSubject")
    ids = tree.findall(
        ".//ext:LocationShown/rdf:Bag/rdf:li/ext:LocationId/rdf:Bag/rdf:li", NAMESPACES
    )
    assert [item.text for item in ids if item.text] == ["http://www.wikidata.org/entity/Q243"]
    # "plain text" becomes a list, and empty elements are filled; nothing else may go
    lost = facts(before) - facts(after)
    assert all(re.search(r"(subject|Bag|RDF|Description)=", one) for one in lost), lost
    assert Counter(read_xmp(after).keywords) == Counter(read_xmp(before).keywords + added.keywords)
    assert remove(after, added) == before
    assert add(after, WANTED) == (after, Additions())


@pytest.mark.parametrize("name", SHAPES)
def test_each_part_can_be_added_alone_and_one_after_the_other(name: str) -> None:
    data, steps = SHAPES[name], list[Additions]()
    for part in (
        Additions(keywords=WANTED.keywords), Additions(hierarchy=WANTED.hierarchy),
        Additions(places=WANTED.places), Additions(position=WANTED.position),
        Additions(keywords=("one more",), places=(Place("Elsewhere"),)),
    ):  # fmt: skip
        new, added = add(data, part)
        assert remove(new, added) == data
        data = new
        steps.append(added)
    for added in reversed(steps):
        rest = remove(data, added)
        assert rest is not None
        data = rest
    assert data == SHAPES[name]


@pytest.mark.parametrize("name", SHAPES)
def test_after_another_program_wrote_the_file_anew_only_ours_is_taken_out(name: str) -> None:
    before = SHAPES[name]
    after, added = add(before, WANTED)
    rest = remove(ElementTree.tostring(tree_of(after)), added)
    assert rest is not None
    assert read_xmp(rest) == read_xmp(before)
    assert facts(rest) - facts(before) <= Counter()
    lost = facts(before) - facts(rest)
    assert all(re.search(r"(RDF|Description)=$", one) for one in lost), lost


def test_a_new_packet_is_written_as_other_programs_write_theirs() -> None:
    data, added = add(None, Additions(("Tour <Eiffel> & co",), (), (replace(EIFFEL, city=""),)))
    assert (
        data.decode()
        == """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="whichlandmark">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"\
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Tour &lt;Eiffel&gt; &amp; co</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <Iptc4xmpExt:LocationShown>
    <rdf:Bag>
     <rdf:li rdf:parseType="Resource">
      <Iptc4xmpExt:LocationName>
       <rdf:Alt>
        <rdf:li xml:lang="x-default">Eiffel Tower</rdf:li>
       </rdf:Alt>
      </Iptc4xmpExt:LocationName>
      <Iptc4xmpExt:LocationId>
       <rdf:Bag>
        <rdf:li>http://www.wikidata.org/entity/Q243</rdf:li>
       </rdf:Bag>
      </Iptc4xmpExt:LocationId>
      <Iptc4xmpExt:CountryName>France</Iptc4xmpExt:CountryName>
      <Iptc4xmpExt:CountryCode>FR</Iptc4xmpExt:CountryCode>
      <exif:GPSLatitude>48,51.498N</exif:GPSLatitude>
      <exif:GPSLongitude>2,17.67E</exif:GPSLongitude>
     </rdf:li>
    </rdf:Bag>
   </Iptc4xmpExt:LocationShown>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
    )
    assert read_xmp(data).places == (replace(EIFFEL, city=""),)
    assert read_xmp(data).position is None, "where the photo was taken is another thing"
    assert remove(data, added) is None
    assert add(None, Additions()) == (b"", Additions())


def test_a_new_packet_stays_when_others_have_written_into_it() -> None:
    data, added = add(None, WANTED)
    new, _ = add(data, Additions(keywords=("by others",)))
    rest = remove(new, added)
    assert rest is not None
    assert read_xmp(rest) == Metadata(keywords=("by others",))
    rated = data.replace(b' rdf:about=""', b' rdf:about="" xmlns:xmp="urn:x" xmp:Rating="3"')
    assert b'xmp:Rating="3"' in (remove(rated, added) or b"")


def test_a_new_packet_goes_whatever_the_order_in_which_its_parts_are_taken_out() -> None:
    data, first = add(None, Additions(keywords=("a",)))
    data, second = add(data, Additions(keywords=("b",), position=(1.5, -2.25)))
    rest = remove(data, first)
    assert rest is not None
    assert remove(rest, second) is None


@pytest.mark.parametrize(
    ("position", "latitude", "longitude"),
    [((48.8583, 2.2945), "48,51.498N", "2,17.67E"), ((-33.85678, 151.215), "33,51.4068S",
     "151,12.9E"), ((-0.5, -0.0000001), "0,30.0S", "0,0.000006W"),
     ((0.9999999999, 10.0), "1,0.0N", "10,0.0E"), ((90.0, -180.0), "90,0.0N", "180,0.0W")],
)  # fmt: skip
def test_positions_are_degrees_and_minutes_with_a_letter(
    position: tuple[float, float], latitude: str, longitude: str
) -> None:
    data, added = add(packet("").encode(), Additions(position=position))
    tree = tree_of(data)
    assert tree.findtext(".//exif:GPSLatitude", None, NAMESPACES) == latitude
    assert tree.findtext(".//exif:GPSLongitude", None, NAMESPACES) == longitude
    assert read_xmp(data).position == pytest.approx(position, abs=1e-7)
    assert remove(data, added) == packet("").encode()


@pytest.mark.parametrize(
    "position", [(0.0, 0.0), (91.0, 0.0), (10.0, 181.0), (float("nan"), 1.0), (float("inf"), 1.0)]
)
def test_impossible_positions_are_not_written(position: tuple[float, float]) -> None:
    place = Place("Somewhere", latitude=position[0], longitude=position[1])
    data, added = add(None, Additions(("a",), places=(place,), position=position))
    assert added.position is None
    assert read_xmp(data).places == (Place("Somewhere"),)
    assert b"GPS" not in data


@pytest.mark.parametrize("name", ["darktable", "immich", "half a position", "damaged position"])
def test_a_position_that_is_there_stays_even_if_it_is_half_or_damaged(name: str) -> None:
    said = read_xmp(SHAPES[name])
    assert said.has_position
    data, added = add(SHAPES[name], Additions(position=(1.0, 2.0)))
    assert (data, added) == (SHAPES[name], Additions())


def test_positions_of_locations_are_not_that_of_the_photo() -> None:
    said = read_xmp(SHAPES["locations"])
    assert not said.has_position
    assert said.places[0] == Place("Notre-Dame de Paris", "Q2981", "Paris", "", "",
                                   pytest.approx(48.853), pytest.approx(2.34983333))  # fmt: skip
    assert said.places[1] == Place("", "", "Paris", "France")
    assert said.places[2] == Place("", "", "Lyon", "", "FR")
    assert read_xmp(SHAPES["darktable"]).position == pytest.approx((48.85611, 2.3522))
    assert read_xmp(SHAPES["immich"]).position == pytest.approx((48.858333, 2.351667))


@pytest.mark.parametrize(
    "known", ["Eiffel Tower", "eiffel  tower", "EIFFEL TOWER", " Eiffel\n Tower ",
              "<![CDATA[Eiffel Tower]]>", "Eiffel&#32;Tower"]
)  # fmt: skip
def test_a_keyword_is_known_in_any_letter_case_and_spacing(known: str) -> None:
    data = packet(keywords(known)).encode()
    assert add(data, Additions(keywords=("Eiffel Tower",))) == (data, Additions())


def test_a_keyword_is_known_however_its_accents_are_written() -> None:
    for form in ("NFC", "NFD"):
        data = packet(keywords(unicodedata.normalize(form, "Château"))).encode()
        for other in ("NFC", "NFD"):
            wanted = Additions(keywords=(unicodedata.normalize(other, "CHÂTEAU"),))
            assert add(data, wanted) == (data, Additions())


def test_a_place_is_known_by_its_item_or_else_by_its_name_in_any_language() -> None:
    data = SHAPES["locations"]
    for known in (Place("Our Lady", "Q2981"), Place("notre-dame"), Place("Notre-Dame de Paris")):
        assert add(data, Additions(places=(known,))) == (data, Additions())
    other = Place("Notre-Dame", "Q1", "Reims")
    assert add(data, Additions(places=(other,)))[1].places == (other,)


def test_names_that_xml_cannot_hold_are_cleaned() -> None:
    name = "Tour\0 \x1b[1m\ud800«]]>» \"'\n\t 🗼\ufffe"
    data, added = add(None, Additions((name, ""), (f"A|{name}",), (Place(name),)))
    clean = "Tour [1m «]]>» \"' 🗼"
    assert added.keywords == (clean,)
    assert read_xmp(data).keywords == (clean,)
    assert read_xmp(data).hierarchy == (f"A|{clean}",)
    assert read_xmp(data).places == (Place(clean),)
    assert texts(tree_of(data), "dc:subject") == [clean]
    assert remove(data, added) is None


def test_letters_that_the_encoding_lacks_are_written_as_numbers() -> None:
    for name in ("Latin-1", "ASCII", "Latin-1 that says UTF-8"):
        data, added = add(SHAPES[name], Additions(keywords=("東京 Été",)))
        assert b"&#26481;&#20140; " in data
        assert read_xmp(data).keywords == ("Paris", "Été", "東京 Été")
        assert remove(data, added) == SHAPES[name]


def test_digikam_sees_the_path_because_its_own_lists_get_it() -> None:
    data, added = add(SHAPES["digikam"], Additions(("AC/DC Lane",), ("Places|AC/DC Lane",)))
    assert added.digikam == added.microsoft == ("Places/AC\\DC Lane",)
    tree = tree_of(data)
    assert texts(tree, "digiKam:TagsList")[-1] == "Places/AC\\DC Lane"
    assert texts(tree, "MicrosoftPhoto:LastKeywordXMP")[-1] == "Places/AC\\DC Lane"
    data, added = add(SHAPES["immich"], WANTED)
    assert texts(tree_of(data), "digiKam:TagsList") == [
        "Travel/France/Paris", "Places/France/Paris/Eiffel Tower"]  # fmt: skip
    assert remove(data, added) == SHAPES["immich"]
    without_stroke = SHAPES["digikam"].replace(b"com/photo/1.0/", b"com/photo/1.0")
    assert add(without_stroke, WANTED)[1].microsoft == ("Places/France/Paris/Eiffel Tower",)


def test_a_new_hierarchy_repeats_the_keywords_that_it_would_hide() -> None:
    before = packet(keywords("Holiday", "A|B", "eiffel tower")).encode()
    data, added = add(before, Additions(hierarchy=("Places|Eiffel Tower",)))
    assert added.hierarchy == ("Holiday", "A-B", "Places|Eiffel Tower")
    assert remove(data, added) == before
    assert add(SHAPES["immich"], WANTED)[1].hierarchy == (
        "Travel|France|Paris", "Places|France|Paris|Eiffel Tower")  # fmt: skip
    only_keywords = add(before, Additions(keywords=("Paris",)))[1]
    assert only_keywords.hierarchy == ()


def test_wanted_lists_of_digikam_are_made_where_they_are_missing() -> None:
    data, added = add(None, replace(WANTED, digikam=("Holiday/Nice",)))
    assert read_xmp(data).digikam == ("Holiday/Nice", "Places/France/Paris/Eiffel Tower")
    assert tree_of(data).find(".//digiKam:TagsList/rdf:Seq", NAMESPACES) is not None
    assert remove(data, added) is None


def test_keywords_that_others_took_out_or_changed_are_left_alone() -> None:
    before = packet(keywords("Holiday")).encode()
    data, added = add(before, Additions(keywords=("Eiffel Tower", "Paris")))
    gone = data.replace(b"\n     <rdf:li>Paris</rdf:li>", b"")
    assert remove(gone, added) == before
    changed = data.replace(b">Paris<", b">PARIS<").replace(b">Holiday<", b">Holidays<")
    assert read_xmp(remove(changed, added) or b"").keywords == ("Holidays", "PARIS")
    nothing = packet("").encode()
    assert remove(nothing, added) == nothing


def test_a_keyword_that_stands_twice_is_taken_out_once() -> None:
    data, added = add(packet(keywords("a")).encode(), Additions(keywords=("b",)))
    twice = data.replace(b"<rdf:li>b</rdf:li>", b"<rdf:li>b</rdf:li><rdf:li>b</rdf:li>")
    assert read_xmp(remove(twice, added) or b"").keywords == ("a", "b")


def test_a_list_that_was_not_ours_stays_when_others_emptied_it() -> None:
    data, added = add(packet(keywords("a")).encode(), Additions(keywords=("b",)))
    rest = remove(data.replace(b"<rdf:li>a</rdf:li>", b""), added)
    assert rest is not None
    assert read_xmp(rest) == Metadata()
    assert b"<rdf:Bag>" in rest


def test_a_place_or_position_that_others_changed_stays() -> None:
    before = packet("\n  ").encode()
    data, added = add(before, Additions(places=(EIFFEL,), position=(48.8583, 2.2945)))
    corrected = data.replace(b">48,51.498N<", b">48,51.5N<")
    rest = remove(corrected, added)
    assert rest is not None
    assert read_xmp(rest).position == pytest.approx((48.858333, 2.2945))
    assert read_xmp(rest).places[0].name == "Eiffel Tower"
    described = data.replace(
        b"</Iptc4xmpExt:City>",
        b"</Iptc4xmpExt:City><Iptc4xmpExt:Region>Level 2</Iptc4xmpExt:Region>",
    )
    rest = remove(described, added)
    assert rest is not None
    assert b"Level 2" in rest
    assert not read_xmp(rest).has_position


def test_a_position_is_taken_out_when_others_write_it_as_attributes() -> None:
    before = packet("", f" {EXIF}").encode()
    data, added = add(before, Additions(position=(48.8583, 2.2945)))
    line = data.decode().replace("exif:GPSLatitude>", "X>")
    assert "X>" in line
    attributes = packet(
        "", f" {EXIF}\n  exif:GPSLatitude='48,51.49800000N' a=\"1\" exif:GPSLongitude = "
        '"2,17.67000000E"'.replace(' a="1"', ' dc:source="&gt; exif:GPSLatitude=\'1\'"')
    )  # fmt: skip
    rest = remove(attributes.encode(), added)
    assert rest is not None
    assert not read_xmp(rest).has_position
    assert b"&gt; exif:GPSLatitude='1'" in rest
    half = attributes.replace("exif:GPSLongitude", "exif:GPSAltitude").encode()
    assert remove(half, added) == half, "only both together are what was written"


def test_ours_is_taken_out_of_what_exiv2_writes() -> None:
    """As exiv2 0.28 writes a new packet with a rating: structures and positions as attributes."""
    _, added = add(None, WANTED)
    anew = packet(
        keywords("Eiffel Tower", "Paris") + "<lr:hierarchicalSubject><rdf:Bag><rdf:li>"
        "Places|France|Paris|Eiffel Tower</rdf:li></rdf:Bag></lr:hierarchicalSubject>"
        "<Iptc4xmpExt:LocationShown><rdf:Bag><rdf:li><rdf:Description Iptc4xmpExt:City='Paris' "
        "Iptc4xmpExt:CountryName='France' Iptc4xmpExt:CountryCode='FR' "
        "exif:GPSLatitude='48,51.498N' exif:GPSLongitude='2,17.67E'><Iptc4xmpExt:LocationName>"
        "<rdf:Alt><rdf:li xml:lang='x-default'>Eiffel Tower</rdf:li></rdf:Alt>"
        "</Iptc4xmpExt:LocationName><Iptc4xmpExt:LocationId><rdf:Bag><rdf:li>"
        "http://www.wikidata.org/entity/Q243</rdf:li></rdf:Bag></Iptc4xmpExt:LocationId>"
        "</rdf:Description></rdf:li></rdf:Bag></Iptc4xmpExt:LocationShown>",
        f' {LR} {EXIF} {EXT} xmlns:xmp="http://ns.adobe.com/xap/1.0/"\n   xmp:Rating="5"\n'
        '   exif:GPSLatitude="48,51.4980000N"\n   exif:GPSLongitude="2,17.6700000E"',
    )
    rest = remove(anew.encode(), added)
    assert rest is not None
    assert read_xmp(rest) == Metadata()
    assert b'xmp:Rating="5"></rdf:Description>' in rest
    assert remove(anew.replace('\n   xmp:Rating="5"', "").encode(), added) is None


def test_a_description_that_others_made_for_ours_goes_with_it() -> None:
    before = SHAPES["exiftool"]
    _, added = add(before, Additions(hierarchy=("Places|Eiffel Tower",)))
    moved = before.replace(
        b"</rdf:RDF>", f"\n <rdf:Description rdf:about='' {LR}>\n  <lr:hierarchicalSubject>"
        "<rdf:Bag><rdf:li>Holiday</rdf:li><rdf:li>Paris</rdf:li>"
        "<rdf:li>Places|Eiffel Tower</rdf:li></rdf:Bag></lr:hierarchicalSubject>\n"
        " </rdf:Description>\n</rdf:RDF>".encode()
    )  # fmt: skip
    rest = remove(moved, added)
    assert rest is not None
    assert rest.count(b"<rdf:Description") == 2
    assert facts(rest) == facts(before)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_xmp_is_told_and_left_alone(name: str) -> None:
    data, reason = HOSTILE[name]
    calls = (read_xmp, lambda data: add(data, WANTED), lambda data: remove(data, WANTED))
    for call in calls[: 1 if len(data) > 100_000 else 3]:
        with pytest.raises(XmpError) as caught:
            call(data)
        assert reason in str(caught.value)
        assert len(str(caught.value)) < 150
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", UNCHANGEABLE)
def test_a_list_that_is_none_is_told_and_left_alone(name: str) -> None:
    with pytest.raises(XmpError, match="dc:subject is"):
        add(UNCHANGEABLE[name], WANTED)
    other = Additions(places=(EIFFEL,))
    data, added = add(UNCHANGEABLE[name], other)
    assert remove(data, added) == UNCHANGEABLE[name]


def test_damaged_and_random_packets_are_restored_or_refused() -> None:
    """No change of a byte leads to a packet that is written and cannot be restored."""
    rng = random.Random(5)
    refused = 0
    for _ in range(400):
        data = bytearray(rng.choice(list(SHAPES.values())))
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(data))
            data[at : at + rng.choice((0, 1, 30))] = bytes(
                rng.choices(b"<>/=\"' \n&;:aBdc\0\xff", k=2)
            )
        try:
            new, added = add(bytes(data), WANTED)
        except XmpError:
            refused += 1
            continue
        assert remove(new, added) == bytes(data)
    assert 100 < refused < 390


def test_the_history_of_darktable_stays_byte_for_byte() -> None:
    data, added = add(SHAPES["darktable"], WANTED)
    head, _, tail = DARKTABLE.partition("   <dc:subject>")
    assert data.startswith(head.encode())
    assert "<rdf:Seq>\n     <rdf:li>Paris</rdf:li>" in data.decode()
    assert added.keywords == ("Eiffel Tower",)
    assert added.position is None, "darktable's own stays"
    assert tail.endswith(data.decode()[-30:])


def exiftool(*arguments: str) -> str:
    """Its output; it ends with 1 where one of several files has a fault."""
    assert EXIFTOOL
    run = subprocess.run([EXIFTOOL, *arguments], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 or "-j" in arguments, run.stderr
    return run.stdout


def exiftool_reads(folder: Path) -> dict[str, dict[str, object]]:
    """File → what exiftool reads of it, but for facts of the file itself."""
    said = exiftool("-j", "-G1", "-struct", "-a", "-m", str(folder))
    dropped = ("System:", "File:", "ExifTool:", "Composite:", "SourceFile", "XMP-x:", "XMP-rdf:")
    return {
        Path(found["SourceFile"]).name: {
            name: value for name, value in found.items() if not name.startswith(dropped)
        }
        for found in json.loads(said)
    }  # fmt: skip


# exiftool reads nothing of UTF-32, nor of a packet whose outer elements have other prefixes, and
# a list that is written twice as one.
EXIFTOOL_READS = [
    name for name in SHAPES
    if name not in ("UTF-32", "own prefixes", "several lists")
]  # fmt: skip


def as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value] if str(value or "").strip() else []


@needs_exiftool
def test_exiftool_reads_what_was_added_and_all_else_as_before(tmp_path: Path) -> None:
    before, after, edited, rest = (tmp_path / name for name in ("before", "after", "edit", "rest"))
    added: dict[str, Additions] = {}
    for folder in (before, after, edited, rest):
        folder.mkdir()
    for name in EXIFTOOL_READS:
        data, added[f"{name}.xmp"] = add(SHAPES[name], WANTED)
        (before / f"{name}.xmp").write_bytes(SHAPES[name])
        (after / f"{name}.xmp").write_bytes(data)
        if not name.startswith("Latin-1"):  # which exiftool writes anew as UTF-8 that is none
            (edited / f"{name}.xmp").write_bytes(data)
    was, now = exiftool_reads(before), exiftool_reads(after)
    changed = ("XMP-dc:Subject", "XMP-lr:HierarchicalSubject", "XMP-digiKam:TagsList",
               "XMP-microsoft:LastKeywordXMP", "XMP-iptcExt:LocationShown",
               "XMP-exif:GPSLatitude", "XMP-exif:GPSLongitude")  # fmt: skip
    for name, said in now.items():
        assert "Eiffel Tower" in as_list(said["XMP-dc:Subject"]), name
        assert "Places|France|Paris|Eiffel Tower" in as_list(said["XMP-lr:HierarchicalSubject"])
        assert as_list(said["XMP-iptcExt:LocationShown"])[-1] == {
            "LocationName": "Eiffel Tower", "LocationId": ["http://www.wikidata.org/entity/Q243"],
            "City": "Paris", "CountryName": "France", "CountryCode": "FR",
            "GPSLatitude": "48 deg 51' 29.88\" N", "GPSLongitude": "2 deg 17' 40.20\" E",
        }, name  # fmt: skip
        others = {key: value for key, value in said.items() if not key.startswith(changed)}
        assert others == {k: v for k, v in was[name].items() if not k.startswith(changed)}, name
        for key in changed[:5]:  # what was there is there still, in front
            old, new = as_list(was[name].get(key)), as_list(said.get(key))
            assert new[: len(old)] == old, (name, key)
        if added[name].position:
            assert said["XMP-exif:GPSLatitude"] == "48 deg 51' 29.88\" N", name
        else:
            assert said["XMP-exif:GPSLatitude"] == was[name]["XMP-exif:GPSLatitude"], name
    # exiftool writes the files anew, with a keyword more; ours can be taken out all the same
    exiftool("-q", "-q", "-m", "-overwrite_original", "-XMP-dc:Subject+=by exiftool",
             "-XMP-xmp:Label=Blue", str(edited))  # fmt: skip
    assert len([*edited.iterdir()]) == len(EXIFTOOL_READS) - 2 > 30
    for path in edited.iterdir():
        (rest / path.name).write_bytes(remove(path.read_bytes(), added[path.name]) or b"")
    for name, said in exiftool_reads(rest).items():
        subjects = as_list(said.pop("XMP-dc:Subject"))
        assert sorted(map(str, subjects)) == sorted(
            [*map(str, as_list(was[name].pop("XMP-dc:Subject", None))), "by exiftool"]
        ), name
        assert said.pop("XMP-xmp:Label") == "Blue"
        left, filled = (
            {key: value for key, value in one.items() if str(value).strip()}
            for one in (said, was[name])
        )
        assert left == filled, f"{name}: exiftool itself drops only what is empty"


@needs_exiftool
def test_exiftool_finds_no_fault_in_a_new_packet(tmp_path: Path) -> None:
    path = tmp_path / "new.xmp"
    path.write_bytes(add(None, WANTED)[0])
    assert exiftool("-validate", "-warning", "-error", "-a", str(path)).split(": ")[1:] == ["OK\n"]
