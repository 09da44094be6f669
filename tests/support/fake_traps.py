"""The small city with everything odd that Commons and Wikidata hold, and some that only an attacker
would send.

    city = trap_city()
    city.traps["nc"]         the file; all stand in the category of the first landmark

Items: Q90090 merged into the first landmark, Q90091 deleted, Q90110 … Q90119 as `ITEMS` says.
"""

from __future__ import annotations

from tests.support.fake_city import CENTRE, CITY, Builder, offset, small_city
from tests.support.fake_world import Claim, Drawing, FakeFile, FakeItem, World
from whichlandmark.data.synthetic.families import landmark_name

LICENCE_TRAPS = ("nc", "nd", "nonfree", "unknown", "none", "pd", "cc0", "cc-by-sa-3.0-de")

# Name of the trap → what stands between "File:" and the end. Titles with / .. and % cannot exist on
# Commons; the fake sends them as a hostile server would.
NAMES = {
    "cyrillic": "Собор Бруривы, вид с востока.jpg",
    "cjk": "ブルリヴァ大聖堂の正面.jpg",
    "quotes": "The \"old\" nave & 'choir', 1 + 1 = 2?.jpg",
    "slash": "Nave/Choir.jpg",
    "parent": "../../../escaped.jpg",
    "percent": "..%2F..%2Fescaped.jpg",
    "long": "Very long name " + "of a photo " * 19 + ".jpg",
    "formula": "=HYPERLINK(1).jpg",
    "hidden": ".bashrc.jpg",
    "bidi": "Abbey \u202egpj.exe\u202c.jpg",
    "device": "CON.jpg",
    "no suffix": "Abbey without a suffix",
}

ARTISTS = {
    "script": '<script>alert("author")</script><style>p{}</style><a href="javascript:alert(1)" '
    "onclick=alert(2)>Eve &lt;b&gt; Adams</a>",
    "hidden span": '<span style="display: none;">Unknown author</span><bdi><a href="//x.example">'
    "Grace H.</a></bdi>",
    "long author": "<p>" + "Anna &amp; " * 4_000 + "</p>",
    "lines": "Line one<br>line two\n\tline three \u202eleft-to-right",
    "no author": "",
    "template": '<table><tr><td>Photo:</td><td><div class="fn">Ada L.</div></td></tr></table>',
}

# State → see FakeFile.state.
STATES = ("filehidden", "userhidden", "thumberror", "nothumb", "filemissing")

MIMES = {"image/tiff": "tif", "application/pdf": "pdf", "image/svg+xml": "svg", "audio/ogg": "ogg",
         "image/png": "png", "image/webp": "webp"}  # fmt: skip

ITEMS = {
    "Q90110": "two coordinates, one preferred, one deprecated",
    "Q90111": "two coordinates and two pictures of equal rank",
    "Q90112": "coordinates of unknown value",
    "Q90113": "a category of no value",
    "Q90114": "a place on the Moon",
    "Q90115": "no label in English",
    "Q90116": "only a link to a category of Commons",
    "Q90117": "a name with HTML and a line break",
    "Q90118": "the item of a category, with the first landmark as its topic",
}


def trap_city(*, seed: int = 20, side: int = 64) -> World:
    """`small_city()` with the traps of this file."""
    build = Builder(seed, side, 1600, small_city(seed=seed, side=side), pageid=2_000_000)
    name = landmark_name(seed, 0)
    files = [*_licences(build), *_names(build), *_artists(build), *_odd_files(build)]
    for trap, file in files:
        file.categories = (name,)
        build.world.traps[trap] = file
    build.world.traps["series"] = build.world.file("series 004")
    _items(build, name)
    build.world.redirects = {
        "Category:Old name of the abbey": f"Category:{name}",
        "File:Old name.jpg": f"File:{name} 01.jpg",
    }
    return build.world


def _add(build: Builder, trap: str, title: str, **more: object) -> tuple[str, FakeFile]:
    drawing = Drawing(build.seed, 0, f"trap {trap}", build.side)
    options = {"licence": "cc-by-sa-4.0", "width": 1600, "height": 800, **more}
    return trap, build.file(title, drawing, f"trap {trap}", **options)


def _licences(build: Builder) -> list[tuple[str, FakeFile]]:
    files = [_add(build, one, f"Licence {one}.jpg", licence=one) for one in LICENCE_TRAPS]
    files.append(_add(build, "attribution", "Licence with attribution.jpg"))
    files[-1][1].about["Attribution"] = "<i>Museum of Velmora</i> / M.&nbsp;Ansel"
    files.append(_add(build, "html licence", "Licence as HTML.jpg"))
    files[-1][1].about |= {
        "LicenseShortName": '<a href="//x.example">CC BY-SA 4.0</a>',
        "LicenseUrl": "javascript:alert(1)",
    }
    files.append(_add(build, "other url", "Licence at another host.jpg"))
    files[-1][1].about["LicenseUrl"] = "https://licences.example/by-sa/4.0"
    return files


def _names(build: Builder) -> list[tuple[str, FakeFile]]:
    return [_add(build, trap, title) for trap, title in NAMES.items()]


def _artists(build: Builder) -> list[tuple[str, FakeFile]]:
    files = []
    for trap, artist in ARTISTS.items():
        files.append(_add(build, trap, f"Artist {trap}.jpg"))
        files[-1][1].about["Artist"] = artist
        if not artist:
            del files[-1][1].about["Artist"]
    return files


def _odd_files(build: Builder) -> list[tuple[str, FakeFile]]:
    files = [_add(build, state, f"State {state}.jpg", state=state) for state in STATES]
    files += [_add(build, m, f"Kind {s}.{s}", mime=m) for m, s in MIMES.items()]
    for trap, file in files:
        if trap == "audio/ogg":
            file.width = file.height = 0
    small = {"width": 800, "height": 600}
    files.append(_add(build, "tiny", "Tiny.jpg", width=320, height=240))
    files.append(_add(build, "small", "Small original.jpg", **small))
    files.append(_add(build, "wrong sha1", "Wrong sum.jpg", sha1_said="0" * 40, **small))
    whole = files[-1][1].bytes_at()
    bodies = {"truncated": whole[: len(whole) // 2], "html": b"<html><body>Moved</body></html>",
              "no bytes": b"", "not an image": b"GIF87a" + bytes(200)}  # fmt: skip
    files += [_add(build, trap, f"Body {trap}.jpg", body=body) for trap, body in bodies.items()]
    files.append(_add(build, "no date", "No date.jpg"))
    del files[-1][1].about["DateTimeOriginal"]
    files.append(_add(build, "twin", "Twin of small.jpg", **small))  # equal bytes, another page
    files[-1][1].drawing = Drawing(build.seed, 0, "trap small", build.side)
    return files


def _items(build: Builder, name: str) -> None:
    here, there = offset(CENTRE, 900, 200), offset(CENTRE, 950, 205)
    inside, world = Claim("P131", CITY), build.world
    moon = "http://www.wikidata.org/entity/Q405"
    claims = {
        "Q90110": [Claim("P625", there), Claim("P625", here, "preferred"),
                   Claim("P625", CENTRE, "deprecated")],
        "Q90111": [Claim("P625", here), Claim("P625", there), Claim("P18", "One.jpg"),
                   Claim("P18", "Two.jpg")],
        "Q90112": [Claim("P625", snak="somevalue")],
        "Q90113": [Claim("P625", here), Claim("P373", snak="novalue")],
        "Q90114": [Claim("P625", (10.0, 20.0), globe=moon)],
        "Q90115": [Claim("P625", here)],
        "Q90116": [Claim("P625", here)],
        "Q90117": [Claim("P625", here)],
    }  # fmt: skip
    for number, own in claims.items():
        label = f"Trap {number}"
        if number not in ("Q90113", "Q90116"):
            own.append(Claim("P373", label))
        build.category(label, "Buildings in Velmora")
        build.item(number, label, "Q41176", inside, *own, links=3)
    world.items["Q90115"].labels = {"ru": "Дом без имени", "fr": "Maison sans nom"}
    world.items["Q90116"].sitelinks["commonswiki"] = "Category:Trap Q90116"
    world.items["Q90117"].labels["en"] = "<b>Bold</b> & \u202ebackwards\nhouse"
    topic = Claim("P301", world.landmarks[0])
    world.items["Q90118"] = FakeItem("Q90118", {"en": f"Category:{name}"}, {},
                                     [Claim("P31", "Q4167836"), topic],
                                     {"commonswiki": f"Category:{name}"})  # fmt: skip
    first = world.items[world.landmarks[0]]
    del first.sitelinks["commonswiki"]
    world.categories[name].item = "Q90118"
