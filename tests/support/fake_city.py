"""An invented city: landmarks, photos of them, other photos, and items that are no landmarks.

`small_city()` is for tests, `drawn_city()` for a whole story. Equal arguments give equal worlds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tests.support.fake_imageinfo import LICENCES
from tests.support.fake_world import Claim, Drawing, FakeCategory, FakeFile, FakeItem, World
from whichlandmark.data.synthetic.families import FAMILIES, landmark_name
from whichlandmark.data.synthetic.seeded_random import SeededRandom

CENTRE = (44.5, -20.25)  # in the Atlantic
CITY = "Q90001"
COUNTRY = "Q90000"
DISTRICTS = ("Q90002", "Q90003", "Q90004")
FIRST = 90101  # the number of the first landmark's item
# Class → what it is a kind of.
CLASSES = {
    "Q811979": (), "Q41176": ("Q811979",), "Q12518": ("Q811979",), "Q12280": ("Q811979",),
    "Q1370598": ("Q811979",), "Q16970": ("Q1370598", "Q41176"), "Q2977": ("Q16970",),
    "Q44539": ("Q1370598",), "Q32815": ("Q1370598",), "Q16560": ("Q41176",), "Q23413": ("Q811979",),
    "Q4989906": (), "Q12516": ("Q811979",), "Q82117": ("Q811979",), "Q11303": ("Q41176",),
    "Q515": ("Q486972",), "Q486972": (), "Q123705": ("Q486972",), "Q4830453": (), "Q783794":
    ("Q4830453",), "Q1190554": (), "Q132241": ("Q1190554",), "Q5": (), "Q79007": ("Q34442",),
    "Q34442": (), "Q6256": ("Q56061",), "Q56061": (), "Q4167836": (), "Q54050": (),
}  # fmt: skip
# Family → class, French noun, Russian noun, Japanese noun.
KINDS = {
    "cathedral": ("Q2977", "Cathédrale", "Собор", "大聖堂"),
    "campanile": ("Q12518", "Campanile", "Колокольня", "鐘楼"),
    "arch bridge": ("Q12280", "Pont", "Мост", "橋"),
    "domed": ("Q32815", "Mosquée", "Мечеть", "モスク"),
    "palace": ("Q16560", "Palais", "Дворец", "宮殿"),
    "pagoda": ("Q44539", "Pagode", "Пагода", "塔"),
    "gate": ("Q82117", "Porte", "Ворота", "門"),
    "high-rise": ("Q11303", "Tour", "Небоскрёб", "タワー"),
    "temple": ("Q44539", "Temple", "Храм", "神殿"),
    "hung bridge": ("Q12280", "Pont suspendu", "Висячий мост", "吊橋"),
    "castle": ("Q23413", "Château", "Замок", "城"),
    "stepped pyramid": ("Q12516", "Pyramide", "Пирамида", "ピラミッド"),
    "lattice tower": ("Q12518", "Tour de fer", "Железная башня", "鉄塔"),
    "arena": ("Q811979", "Arènes", "Арена", "闘技場"),
    "column": ("Q4989906", "Colonne", "Колонна", "記念柱"),
}
SITES = ("dewiki", "ruwiki", "frwiki", "jawiki", "enwiki", *(f"{c}wiki" for c in (
    "es", "it", "pl", "pt", "nl", "sv", "uk", "zh", "ar", "he", "cs", "fi", "hu", "ko", "tr", "ca",
    "da", "el", "fa", "id", "no", "ro", "vi", "bg", "eo", "et", "eu", "gl", "hr", "hy", "ka", "lt",
)))  # fmt: skip
PEOPLE = ("Mira Ansel", "Tomás Ribera", "Ö. Lindqvist", "Наталья К.", "写真太郎", "photo-walker",
          "Ines Duarte", "J. van der Berg", "Rooftop99", "Kofi A.", "Élise Marchand",
          "BotFlickr")  # fmt: skip
# Share of photos of each licence, in percent.
USUAL = {"cc-by-sa-4.0": 42, "cc-by-sa-3.0": 20, "cc-by-4.0": 9, "cc-by-2.0": 9, "cc0": 8, "pd": 5,
         "cc-by-sa-3.0-de": 2, "nc": 1, "nd": 1, "none": 1, "unknown": 1, "nonfree": 1}  # fmt: skip
_LETTERS = dict(zip("abcdefghiklmnopqrstuvyz", "абцдефгхиклмнопкрстувиз", strict=True))


def cyrillic(name: str) -> str:
    """A name in Cyrillic letters, roughly."""
    text = "".join(_LETTERS.get(letter, letter) for letter in name.lower())
    return text[:1].upper() + text[1:]


@dataclass
class Builder:
    """A world that is being made."""

    seed: int
    side: int  # pixels that are drawn
    wide: int  # width of the originals of most files
    world: World = field(default_factory=World)
    pageid: int = 1_000_000

    def rng(self, key: str) -> SeededRandom:
        return SeededRandom(self.seed, f"city {key}")

    def number(self) -> int:
        self.pageid += 37
        return self.pageid

    def category(self, name: str, *parents: str, item: str = "") -> str:
        self.world.categories[name] = FakeCategory(self.number(), name, parents, item)
        return name

    def about(self, licence: str, author: str, date: str, title: str) -> dict[str, str]:
        """`extmetadata` of a usual photo."""
        link = f'<a href="//commons.wikimedia.org/wiki/User:{author}" title="User:{author}">'
        found = {
            "ObjectName": title, "DateTimeOriginal": date,
            "ImageDescription": f"<p>{title}, <i>Velmora</i> &amp; around</p>",
            "Artist": f"{link}{author}</a>", "Credit": '<span class="int-own-work">Own work</span>',
        }  # fmt: skip
        return found | LICENCES[licence]

    def file(self, title: str, drawing: Drawing, key: str, **more: object) -> FakeFile:
        """Add a file: licence, uploader, date and shape are drawn by `key` unless given."""
        rng = self.rng(f"file {key}")
        licences = [name for name, share in USUAL.items() for _ in range(share)]
        licence = str(more.pop("licence", "")) or rng.choice(licences)
        person = str(more.pop("uploader", "")) or PEOPLE[min(rng.integer(0, 15), 11)]
        day = (rng.integer(2008, 2024), rng.integer(1, 12), rng.integer(1, 28))
        date = "{:04d}-{:02d}-{:02d}".format(*day)
        share = drawing.shape() or rng.choice((0.75, 0.75, 0.667, 1.25, 1.333))
        wide = self.wide if rng.uniform(0, 1) < 0.85 else 900  # some are smaller than asked for
        file = FakeFile(
            self.number(), f"File:{title}", drawing, wide, round(wide * share), uploader=person,
            timestamp=f"{date}T10:20:30Z", about=self.about(licence, person, date, title[:-4]),
            statements="empty" if rng.bernoulli(0.2) else "virtual",
        )  # fmt: skip
        for name, value in more.items():
            setattr(file, name, value)
        self.world.files.append(file)
        return file

    def item(self, number: str, label: str, kind: str, *claims: Claim, links: int = 3) -> FakeItem:
        """Add an item of a class, with so many sitelinks."""
        made = FakeItem(number, {"en": label}, {}, [Claim("P31", kind), *claims])
        made.sitelinks = dict.fromkeys(SITES[max(0, 5 - links) : max(5, links)][:links], label)
        self.world.items[number] = made
        return made


def offset(place: tuple[float, float], metres: float, degrees: float) -> tuple[float, float]:
    """The place so many metres away in a direction (0 = north)."""
    north = metres * math.cos(math.radians(degrees)) / 111_195
    east = metres * math.sin(math.radians(degrees)) / 111_195 / math.cos(math.radians(place[0]))
    return round(place[0] + north, 6), round(place[1] + east, 6)


def place_of(number: int) -> tuple[float, float]:
    """Where landmark `number` stands: on a spiral around the centre, at least 300 m apart."""
    return offset(CENTRE, 420 * math.sqrt(number + 0.5), 137.508 * number)


def add_landmark(build: Builder, number: int, links: int) -> FakeItem:
    """A landmark's item and its category."""
    family = FAMILIES[number % len(FAMILIES)]
    kind, french, russian, japanese = KINDS[family.kind]
    name, qid = landmark_name(build.seed, number), f"Q{FIRST + number}"
    words = [word for word in name.split() if word not in " ".join(family.nouns) and word != "of"]
    town = words[0]
    build.category(name, "Buildings in Velmora", item=qid)
    place = place_of(number)
    item = build.item(
        qid, name, kind, Claim("P625", place), Claim("P373", name),
        Claim("P18", f"{name} 01.jpg"), Claim("P131", DISTRICTS[number % len(DISTRICTS)]),
        Claim("P17", COUNTRY), Claim("P17", "Q90010", ended=True),
        links=links,
    )  # fmt: skip
    item.labels |= {"fr": f"{french} de {town}", "ru": f"{russian} {cyrillic(town)}",
                    "ja": f"{town}の{japanese}", "de": name}  # fmt: skip
    item.descriptions = {"en": f"{family.kind} in Velmora", "fr": "à Velmore"}
    for site, language in (("enwiki", "en"), ("frwiki", "fr"), ("ruwiki", "ru"), ("jawiki", "ja")):
        if site in item.sitelinks:
            item.sitelinks[site] = item.labels[language]
    item.sitelinks["commonswiki"] = f"Category:{name}"
    return item


def add_surroundings(build: Builder) -> None:
    """The city, its districts, and items in it that nobody would call a landmark."""
    for name, above in CLASSES.items():
        claims = [Claim("P279", one) for one in above]
        build.world.items[name] = FakeItem(name, {"en": f"class {name}"}, claims=claims)
    build.category("Velmora", item=CITY)
    for name in ("Buildings in Velmora", "Streets in Velmora"):
        build.category(name, "Velmora")
    country = build.item(COUNTRY, "Atlantic Republic", "Q6256", Claim("P625", CENTRE),
                         Claim("P297", "XA"), Claim("P17", COUNTRY), links=30)  # fmt: skip
    country.labels["fr"] = "République atlantique"
    build.item("Q90010", "Kingdom of the Atlantic", "Q6256", links=8)  # of former times, no code
    city = build.item(CITY, "Velmora", "Q515", Claim("P625", CENTRE), Claim("P131", COUNTRY),
                      Claim("P373", "Velmora"), links=34)  # fmt: skip
    city.labels |= {"fr": "Velmore", "ru": "Вельмора", "ja": "ヴェルモラ", "ar": "فيلمورا"}
    city.descriptions = {"en": "city in the Atlantic", "fr": "ville de l'Atlantique"}
    for i, name in enumerate(("Velmora Old Town", "Velmora Docks", "Velmora Heights")):
        build.category(name, "Velmora", item=DISTRICTS[i])
        build.item(DISTRICTS[i], name, "Q123705", Claim("P131", CITY), Claim("P373", name),
                   Claim("P625", offset(CENTRE, 700, 120 * i)), links=20 - i)  # fmt: skip
    here = (Claim("P131", CITY), Claim("P625", offset(CENTRE, 350, 80)))
    others = (
        ("Q90051", "Velmora Shipping Company", "Q783794"),
        ("Q90052", "Velmora Film Festival", "Q132241"),
        ("Q90055", "Harbour Road", "Q79007"),
    )
    for i, (number, name, kind) in enumerate(others):
        build.category(name, "Velmora", item=number)
        build.item(number, name, kind, *here, Claim("P373", name), links=26 - i)
    build.item("Q90053", "Unphotographed House", "Q41176", *here, links=12)  # no category
    build.category("Old Customs House", "Velmora", item="Q90054")
    build.item("Q90054", "Old Customs House", "Q41176", *here, Claim("P373", "Old Customs House"),
               Claim("P576", "+1951-00-00T00:00:00Z"), links=14)  # fmt: skip
    namesake = build.item("Q90060", "Velmora", "Q5", links=2)  # a person of that name
    namesake.descriptions = {"en": "painter"}
    build.world.items["Q90090"] = FakeItem("Q90090", redirect=f"Q{FIRST}")
    build.world.items["Q90091"] = FakeItem("Q90091", deleted=True)


def add_photo(build: Builder, number: int, index: int, count: int, all_: int) -> None:
    """Photo `index` of `count` of a landmark; some are wrong, alike, or of two landmarks."""
    name, key = landmark_name(build.seed, number), f"{number}/{index}"
    rng = build.rng(f"photo {key}")
    qid, category = f"Q{FIRST + number}", name
    kind = rng.uniform(0, 1) if index else 1.0  # the first is the item's picture, a good one
    inner = [f"{name} by night", f"Details of {name}"]
    if rng.uniform(0, 1) < 0.35 and index:
        category = rng.choice(inner)
        if category not in build.world.categories:
            build.category(category, name)
    depicts: tuple[str, ...] = (qid,) if index == 0 or rng.uniform(0, 1) < 0.6 else ()
    more: dict[str, object] = {"categories": (category, "Taken with a camera"), "depicts": depicts}
    drawing = Drawing(build.seed, number, key, build.side)
    title = f"{name} {index + 1:02d}.jpg"
    if rng.uniform(0, 1) < 0.5:
        away = offset(place_of(number), rng.uniform(25, 170), rng.uniform(0, 360))
        more["camera"] = away
    if 4 <= index < 4 + count // 4 and number % 3 == 0:  # a series of one person
        more["uploader"], title = "Rooftop99", f"{name} series {index:03d}.jpg"
    if kind < 0.05:  # stands in the category and shows something else
        other = (number + len(FAMILIES)) % all_ if all_ > len(FAMILIES) else (number + 1) % all_
        scene = rng.bernoulli(0.5)
        shown = -1 if scene else other
        drawing = Drawing(build.seed, shown, f"wrong {key}", build.side, indoor=scene)
        more["depicts"] = ()
    elif kind < 0.09:  # the picture before, cropped by somebody else
        before = f"{number}/{index - 1}"
        drawing = Drawing(build.seed, number, before, build.side, cropped=True)
        title = f"{name} {index:02d} (cropped).jpg"
    elif kind < 0.12:
        other = (number + 1) % all_
        drawing = Drawing(build.seed, number, key, build.side, second=other)
        title = f"{name} and {landmark_name(build.seed, other)} {index}.jpg"
        more["depicts"] = (qid, f"Q{FIRST + other}")
        more["categories"] = (name, landmark_name(build.seed, other))
    elif kind < 0.17 and depicts:  # depicts it, and is filed elsewhere
        more["categories"] = ("Buildings in Velmora",)
    build.file(title, drawing, key, **more)


def add_others(build: Builder, count: int, landmarks: int) -> None:
    """Photos of the same city without a landmark; every tenth is one that must not be taken."""
    for index in range(count):
        rng = build.rng(f"other {index}")
        drawing = Drawing(build.seed, -1, f"other {index}", build.side)
        more: dict[str, object] = {"categories": ("Streets in Velmora",)}
        title = f"Street scene {index:03d} in Velmora.jpg"
        place = offset(CENTRE, 3_800 * math.sqrt(rng.uniform(0, 1)), rng.uniform(0, 360))
        number = rng.integer(0, landmarks - 1)
        name = landmark_name(build.seed, number)
        if index % 10 == 3:  # says that it depicts one
            drawing = Drawing(build.seed, number, f"far {index}", build.side)
            more["depicts"] = (f"Q{FIRST + number}",)
        elif index % 20 == 7:  # stands in the category of one
            drawing = Drawing(build.seed, number, f"far {index}", build.side)
            more["categories"] = (name,)
        elif index % 20 == 12:  # is called like one
            drawing = Drawing(build.seed, number, f"far {index}", build.side)
            title = f"View of {name} {index}.jpg"
        elif index % 10 == 8:  # was taken beside one
            place = offset(place_of(number), rng.uniform(20, 150), rng.uniform(0, 360))
        build.file(title, drawing, f"other {index}", camera=place, **more)


def city(landmarks: int, photos: int, *, seed: int, side: int, wide: int) -> World:
    """A world of so many landmarks and files."""
    build = Builder(seed, side, wide)
    build.world.city, build.world.centre = CITY, CENTRE
    add_surroundings(build)
    build.category("Taken with a camera")
    build.world.categories["Taken with a camera"].hidden = True
    for number in range(landmarks):
        add_landmark(build, number, max(3, 30 - number))
    others = max(8, photos // 4)
    weights = [1 / (number + 6) for number in range(landmarks)]
    spare, until, before = photos - others - 3 * landmarks, 0.0, 0
    for number, weight in enumerate(weights):
        until += weight
        upto = round(spare * until / sum(weights))
        for index in range(3 + upto - before):
            add_photo(build, number, index, 3 + upto - before, landmarks)
        before = upto
    add_others(build, others, landmarks)
    night = f"{landmark_name(seed, 0)} by night"
    if night not in build.world.categories:
        build.category(night, landmark_name(seed, 0))
    top = build.world.categories[landmark_name(seed, 0)]
    top.parents = (*top.parents, night)  # a cycle
    build.world.landmarks = tuple(f"Q{FIRST + number}" for number in range(landmarks))
    return build.world


def drawn_city(landmarks: int = 25, photos: int = 900, *, seed: int = 20) -> World:
    """A city with photos of 960 pixels; every fifteenth landmark looks much like another."""
    return city(landmarks, photos, seed=seed, side=960, wide=3264)


def small_city(*, seed: int = 20, side: int = 128) -> World:
    """4 landmarks and 40 files, which are drawn quickly and enlarged."""
    return city(4, 40, seed=seed, side=side, wide=2048)
