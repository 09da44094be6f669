"""XMP packets as programs write them, by hand: their layout, with keywords of our own.

Each is what its program would have left beside a photo that a person rated and tagged "Paris" and
"Holiday". `SHAPES` are those that labels can be added to, by name; `HOSTILE` are files called .xmp
that must be left alone, with a part of the reason that is told.
"""

from __future__ import annotations

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
LR = 'xmlns:lr="http://ns.adobe.com/lightroom/1.0/"'
EXIF = 'xmlns:exif="http://ns.adobe.com/exif/1.0/"'
EXT = 'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
XMP = 'xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
DIGIKAM = 'xmlns:digiKam="http://www.digikam.org/ns/1.0/"'

ACDSEE = (
    "&lt;Categories&gt;&lt;Category Assigned=&quot;1&quot;&gt;Holiday&lt;/Category&gt;"
    "&lt;/Categories&gt;"
)

DARKTABLE = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about=""
    {EXIF}
    {XMP}
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:darktable="http://darktable.sf.net/"
    {DC}
    {LR}
   exif:DateTimeOriginal="2024:05:03 11:22:33"
   exif:GPSLatitude="48,51.366600N"
   exif:GPSLongitude="2,21.132000E"
   xmp:Rating="3"
   xmpMM:DerivedFrom="IMG.jpg"
   darktable:import_timestamp="63850000000000000"
   darktable:change_timestamp="-1"
   darktable:xmp_version="5"
   darktable:raw_params="0"
   darktable:auto_presets_applied="1"
   darktable:history_end="2"
   darktable:iop_order_version="4">
   <darktable:masks_history>
    <rdf:Seq/>
   </darktable:masks_history>
   <darktable:history>
    <rdf:Seq>
     <rdf:li
      darktable:num="0"
      darktable:operation="exposure"
      darktable:enabled="1"
      darktable:modversion="6"
      darktable:params="00000000000080b90000003f00004842000080c0"
      darktable:multi_name=""
      darktable:blendop_params="gz11eJxjYGBgkGAAgRNODGiAEV0AJ2iwh+CRyscOAAdeGQQ="/>
     <rdf:li
      darktable:num="1"
      darktable:operation="flip"
      darktable:enabled="1"
      darktable:modversion="2"
      darktable:params="ffffffff"
      darktable:multi_name=" &lt;1&gt; > 0"
      darktable:blendop_params="gz11eJxjYGBgkGAAgRNODGiAEV0AJ2iwh+CRyscOAAdeGQQ="/>
    </rdf:Seq>
   </darktable:history>
   <dc:subject>
    <rdf:Seq>
     <rdf:li>Paris</rdf:li>
     <rdf:li>Holiday</rdf:li>
    </rdf:Seq>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Seq>
     <rdf:li>Holiday</rdf:li>
     <rdf:li>Travel|France|Paris</rdf:li>
    </rdf:Seq>
   </lr:hierarchicalSubject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

DIGIKAM_SIDECAR = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about=""
    {DIGIKAM}
    xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/"
    {LR}
    xmlns:mediapro="http://ns.iview-multimedia.com/mediapro/1.0/"
    xmlns:acdsee="http://ns.acdsee.com/iptc/1.0/"
    {DC}
    {XMP}
   digiKam:PickLabel="0"
   digiKam:ColorLabel="0"
   xmp:Rating="4"
   acdsee:categories="{ACDSEE}">
   <digiKam:TagsList>
    <rdf:Seq>
     <rdf:li>Holiday</rdf:li>
     <rdf:li>Travel/France/Paris</rdf:li>
    </rdf:Seq>
   </digiKam:TagsList>
   <MicrosoftPhoto:LastKeywordXMP>
    <rdf:Bag>
     <rdf:li>Holiday</rdf:li>
     <rdf:li>Travel/France/Paris</rdf:li>
    </rdf:Bag>
   </MicrosoftPhoto:LastKeywordXMP>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>Holiday</rdf:li>
     <rdf:li>Travel|France|Paris</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <mediapro:CatalogSets>
    <rdf:Bag>
     <rdf:li>Holiday</rdf:li>
     <rdf:li>Travel|France|Paris</rdf:li>
    </rdf:Bag>
   </mediapro:CatalogSets>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Holiday</rdf:li>
     <rdf:li>Paris</rdf:li>
    </rdf:Bag>
   </dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""

LIGHTROOM = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000 1.000000   ">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about=""
    {XMP}
    xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    {DC}
    {LR}
   xmp:Rating="5"
   xmp:MetadataDate="2024-05-04T10:00:00+02:00"
   photoshop:City="Paris"
   photoshop:SidecarForExtension="JPG"
   crs:Version="16.0"
   crs:ProcessVersion="11.0"
   crs:Exposure2012="+0.35"
   crs:HasSettings="True">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Holiday</rdf:li>
     <rdf:li>Paris</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>Holiday</rdf:li>
     <rdf:li>Travel|France|Paris</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <crs:ToneCurvePV2012>
    <rdf:Seq>
     <rdf:li>0, 0</rdf:li>
     <rdf:li>255, 255</rdf:li>
    </rdf:Seq>
   </crs:ToneCurvePV2012>
   <crs:Look>
    <rdf:Description
     crs:Name="Adobe Color"
     crs:Amount="1">
    <crs:Parameters>
     <rdf:Description
      crs:Version="16.0"
      crs:ConvertToGrayscale="False"/>
    </crs:Parameters>
    </rdf:Description>
   </crs:Look>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

CAMERA_RAW = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 5.6-c140">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about=""
    {XMP}
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
   xmp:Rating="2"
   crs:Version="9.8"
   crs:Temperature="5500"/>
 </rdf:RDF>
</x:xmpmeta>
"""

EXIFTOOL = f"""<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Image::ExifTool 12.57'>
<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>

 <rdf:Description rdf:about=''
  xmlns:dc='http://purl.org/dc/elements/1.1/'>
  <dc:description>
   <rdf:Alt>
    <rdf:li xml:lang='x-default'>On the way</rdf:li>
   </rdf:Alt>
  </dc:description>
  <dc:subject>
   <rdf:Bag>
    <rdf:li>Holiday</rdf:li>
    <rdf:li>Paris</rdf:li>
   </rdf:Bag>
  </dc:subject>
 </rdf:Description>

 <rdf:Description rdf:about=''
  xmlns:xmp='http://ns.adobe.com/xap/1.0/'>
  <xmp:Rating>4</xmp:Rating>
 </rdf:Description>
</rdf:RDF>
</x:xmpmeta>
{chr(10).join([" " * 100] * 24)}
<?xpacket end='w'?>"""

IMMICH = """<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Image::ExifTool 12.99'>
<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>

 <rdf:Description rdf:about=''
  xmlns:exif='http://ns.adobe.com/exif/1.0/'>
  <exif:GPSLatitude>48,51.5N</exif:GPSLatitude>
  <exif:GPSLongitude>2,21.1E</exif:GPSLongitude>
 </rdf:Description>

 <rdf:Description rdf:about=''
  xmlns:digiKam='http://www.digikam.org/ns/1.0/'>
  <digiKam:TagsList>
   <rdf:Seq>
    <rdf:li>Travel/France/Paris</rdf:li>
   </rdf:Seq>
  </digiKam:TagsList>
 </rdf:Description>

 <rdf:Description rdf:about=''
  xmlns:tiff='http://ns.adobe.com/tiff/1.0/'>
  <tiff:ImageDescription>
   <rdf:Alt>
    <rdf:li xml:lang='x-default'>Mère &amp; père</rdf:li>
   </rdf:Alt>
  </tiff:ImageDescription>
 </rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end='w'?>"""

LOCATIONS = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about="" {EXT} {EXIF} {DC}>
   <Iptc4xmpExt:LocationCreated>
    <rdf:Bag>
     <rdf:li rdf:parseType="Resource">
      <Iptc4xmpExt:City>Versailles</Iptc4xmpExt:City>
     </rdf:li>
    </rdf:Bag>
   </Iptc4xmpExt:LocationCreated>
   <Iptc4xmpExt:LocationShown>
    <rdf:Bag>
     <rdf:li rdf:parseType="Resource">
      <Iptc4xmpExt:LocationName>
       <rdf:Alt>
        <rdf:li xml:lang="fr">Notre-Dame de Paris</rdf:li>
        <rdf:li xml:lang="en">Notre-Dame</rdf:li>
       </rdf:Alt>
      </Iptc4xmpExt:LocationName>
      <Iptc4xmpExt:LocationId>
       <rdf:Bag>
        <rdf:li rdf:resource="https://www.wikidata.org/wiki/Q2981"/>
       </rdf:Bag>
      </Iptc4xmpExt:LocationId>
      <Iptc4xmpExt:City>Paris</Iptc4xmpExt:City>
      <exif:GPSLatitude>48,51.18N</exif:GPSLatitude>
      <exif:GPSLongitude>2,20.99E</exif:GPSLongitude>
     </rdf:li>
     <rdf:li>
      <rdf:Description Iptc4xmpExt:City="Paris" Iptc4xmpExt:Sublocation="Louvre">
       <Iptc4xmpExt:CountryName>France</Iptc4xmpExt:CountryName>
      </rdf:Description>
     </rdf:li>
     <rdf:li Iptc4xmpExt:City="Lyon" Iptc4xmpExt:CountryCode="FR"/>
    </rdf:Bag>
   </Iptc4xmpExt:LocationShown>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def packet(inside: str, attributes: str = "", line: str = "\n") -> str:
    """A small packet with one description around `inside`."""
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{line}'
        f"<rdf:RDF {RDF}>{line}"
        f'  <rdf:Description rdf:about="" {DC}{attributes}>{inside}</rdf:Description>{line}'
        f"</rdf:RDF>{line}</x:xmpmeta>{line}"
    )


def keywords(*texts: str, array: str = "Bag") -> str:
    """dc:subject on lines of its own."""
    items = "".join(f"\n     <rdf:li>{text}</rdf:li>" for text in texts)
    return f"\n   <dc:subject>\n    <rdf:{array}>{items}\n    </rdf:{array}>\n   </dc:subject>\n  "


_OWN_PREFIXES = (
    '<m xmlns="adobe:ns:meta/"><R:RDF xmlns:R="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<R:Description R:about="" xmlns:a="http://purl.org/dc/elements/1.1/" '
    'xmlns:dc="urn:not-dublin-core" xmlns:rdf="urn:not-rdf" dc:subject="no keyword">'
    "<a:subject><R:Bag><R:li>Paris</R:li></R:Bag></a:subject></R:Description></R:RDF></m>"
)

_TEXTS = {
    "darktable": DARKTABLE,
    "digikam": DIGIKAM_SIDECAR,
    "lightroom": LIGHTROOM,
    "camera raw": CAMERA_RAW,
    "exiftool": EXIFTOOL,
    "immich": IMMICH,
    "locations": LOCATIONS,
    "no xmpmeta": f'<rdf:RDF {RDF}>\n <rdf:Description rdf:about="" {DC}/>\n</rdf:RDF>\n',
    "empty rdf": f"<rdf:RDF {RDF}/>",
    "blank rdf": f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}>\n\n</rdf:RDF></x:xmpmeta>',
    "comment in rdf": f"<rdf:RDF {RDF}><!-- nothing yet --></rdf:RDF>",
    "blank description": packet("\n  "),
    "comment": packet("<!-- <dc:subject/> --> "),
    "empty bag": packet("\n   <dc:subject>\n    <rdf:Bag/>\n   </dc:subject>\n  "),
    "blank bag": packet("\n   <dc:subject> <rdf:Bag>\n    </rdf:Bag>\n\n   </dc:subject>\n  "),
    "empty property": packet("\n   <dc:subject />\n  "),
    "blank property": packet("<dc:subject>\n</dc:subject>"),
    "plain text": packet("\n   <dc:subject>Paris &amp; <![CDATA[<more>]]></dc:subject>\n  "),
    "one line": packet(
        "<dc:subject><rdf:Bag><rdf:li>Paris</rdf:li></rdf:Bag></dc:subject>", "", ""
    ),
    "line ends of Windows": packet(keywords("Paris")).replace("\n", "\r\n"),
    "line ends of old Macs": packet(keywords("Paris")).replace("\n", "\r"),
    "tabs and blank lines": packet(keywords("Paris", "Holiday"))
    .replace(" <", "\t<")
    .replace("<rdf:li>H", "\n\n<rdf:li>H"),
    "alternatives": packet(keywords("Paris", array="Alt")),
    "CDATA": packet(keywords("<![CDATA[Tom & Jerry]]>", "<!-- a --> Paris <!-- b -->")),
    "several lists": packet(keywords("Paris") + keywords("Holiday")),
    "comments between": packet(
        keywords("Paris").replace("\n    </rdf:Bag", "<!-- x -->\n</rdf:Bag")
    ),
    "own prefixes": _OWN_PREFIXES,
    "other URIs": packet(
        keywords("Paris"),
        ' xmlns:lr="urn:lr" xmlns:exif="urn:exif" lr:x=">" '
        "xmlns:Iptc4xmpExt='urn:\"ext\"' exif:GPSLatitude='none'",
    ),
    "about": packet(keywords("Paris")).replace('about=""', 'about="uuid:1-2-3"'),
    "about without prefix": packet(keywords("Paris")).replace("rdf:about", "about"),
    "several things": packet(keywords("Paris")).replace(
        "</rdf:RDF>",
        '<rdf:Description rdf:about="urn:a"/><rdf:Description rdf:about="urn:b"/></rdf:RDF>',
    ),
    "half a position": packet("<exif:GPSLatitude>48,51.5N</exif:GPSLatitude>", f" {EXIF}"),
    "damaged position": packet("", f" {EXIF} exif:GPSLatitude='' exif:GPSLongitude='x'"),
    "numbered items": packet("<dc:subject><rdf:Bag><rdf:_1>Paris</rdf:_1></rdf:Bag></dc:subject>"),
    "qualified": packet(
        '<dc:subject><rdf:Bag><rdf:li rdf:parseType="Resource"><rdf:value>Paris</rdf:value>'
        f"<xmp:q {XMP}>1</xmp:q></rdf:li></rdf:Bag></dc:subject>"
    ),
}

SHAPES: dict[str, bytes] = {
    **{name: text.encode() for name, text in _TEXTS.items()},
    "UTF-8 with a mark": EXIFTOOL.encode("utf-8-sig"),
    "UTF-16": IMMICH.encode("utf-16"),
    "UTF-16 big": b"\xfe\xff" + IMMICH.encode("utf-16-be"),
    "UTF-16 without a mark": IMMICH.encode("utf-16-le"),
    "UTF-32": DIGIKAM_SIDECAR.encode("utf-32"),
    "Latin-1": DARKTABLE.replace("UTF-8", "ISO-8859-1").replace("Holiday", "Été").encode("latin-1"),
    "ASCII": DARKTABLE.replace("UTF-8", "US-ASCII").replace("Holiday", "&#201;t&#xe9;").encode(),
    "zeros behind": EXIFTOOL.encode() + bytes(50),
    "Latin-1 that says UTF-8": DARKTABLE.replace("Holiday", "Été").encode("latin-1") + b"\0",
}

_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    f"<rdf:RDF {RDF}><rdf:Description>&b;</rdf:Description></rdf:RDF>"
)

_OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    f"<rdf:RDF {RDF}><rdf:Description>&a;</rdf:Description></rdf:RDF>"
)

HOSTILE: dict[str, tuple[bytes, str]] = {
    "billion laughs": (_LAUGHS.encode(), "document type or entities"),
    "external entity": (_OUTSIDE.encode(), "document type or entities"),
    "document type": (b'<!DOCTYPE xmp SYSTEM "http://localhost:1/x.dtd"><a/>', "document type"),
    "unknown entity": (packet("&nbsp;").encode(), "damaged or cut short"),
    "large": (EXIFTOOL.encode() + b" " * 16_000_000, "16 MB"),
    "deep": (packet("<dc:a>" * 5_000 + "</dc:a>" * 5_000).encode(), "nested too deep"),
    "many": (packet('<dc:a b=""/>' * 50_000).encode(), "100,000 elements"),
    "many attributes": (
        packet("", "".join(f' dc:a{number}=""' for number in range(100_000))).encode(),
        "100,000 elements",
    ),
    "zero bytes": (bytes(4096), "only zero bytes"),
    "a zero byte": (EXIFTOOL.encode().replace(b"Paris", b"Par\0is"), "damaged or cut short"),
    "empty": (b"", "empty"),
    "white space": (b"\n \n", "empty"),
    "a JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(99), "a photo (JPEG)"),
    "text": (b"IMG_1.jpg: nice\n", "text"),
    "HTML": (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
    "HTML without a type": (b"<html><head><title>Sign in</title><br></html>", "HTML"),
    "other XML": (b"<?xml version='1.0'?><gpx><trk/></gpx>", "without rdf:RDF"),
    "cut short": (DARKTABLE.encode()[:1500], "damaged or cut short"),
    "cut in a letter": (packet("é").encode().partition(b"\xa9")[0], "damaged or cut short"),
    "two packets": ((packet("") * 2).encode(), "damaged or cut short"),
    "two rdf:RDF": (f"<m><rdf:RDF {RDF}/><rdf:RDF {RDF}/></m>".encode(), "several rdf:RDF"),
    "unknown prefix": (packet("<nn:a/>").encode(), "prefix of nn:a"),
    "ASCII that is none": (
        DARKTABLE.replace("UTF-8", "US-ASCII").replace("Holiday", "Été").encode(),
        "not valid ascii",
    ),
    "unknown encoding": (b"<?xml version='1.0' encoding='ebcdic-xyz'?><a/>", "ebcdic-xyz"),
    "several things": (
        f'<rdf:RDF {RDF}><rdf:Description rdf:about="urn:a"/><rdf:Description rdf:about="urn:b"/>'
        "</rdf:RDF>".encode(), "describes several things",
    ),
}  # fmt: skip

# Readable, but the list in it cannot be changed safely.
UNCHANGEABLE: dict[str, bytes] = {
    "attribute": packet("", ' dc:subject="Paris"').encode(),
    "structure": packet("<dc:subject><rdf:Description/></dc:subject>").encode(),
    "address": packet('<dc:subject rdf:resource="urn:x"/>').encode(),
    "two arrays": packet("<dc:subject><rdf:Bag/><rdf:Seq/></dc:subject>").encode(),
}
