"""Explanations as page and picture: correct coordinates, safe with any name."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image as Pillow

import whichlandmark
from tests.support.photos import picture, write_photo
from whichlandmark.core.errors import OptionError
from whichlandmark.core.prediction import Decision, Prediction
from whichlandmark.gallery.records import Credit
from whichlandmark.recognition.candidates import FEATURES, GEOMETRY_FEATURES
from whichlandmark.recognition.explanation.drawing import (
    MAX_LINES,
    PART_TITLES,
    Explanation,
    NearDistractor,
    Reasons,
    Reference,
    ScorePart,
    load_small_photo,
    side_by_side,
)
from whichlandmark.recognition.explanation.page import page, write_explanation
from whichlandmark.recognition.explanation.sentences import why_sentences, why_title

RED, BLUE = (250, 10, 10), (10, 10, 250)


def dotted(path: Path, shape: tuple[int, int], dots: list[tuple[float, float]]) -> Path:
    """A grey photo with a red square of 21 pixels around each point (x, y)."""
    image = np.full((*shape, 3), 90, np.uint8)
    for x, y in dots:
        image[round(y) - 10 : round(y) + 11, round(x) - 10 : round(x) + 11] = RED
    Pillow.fromarray(image).save(path)
    return path


HERE = np.array([[100, 80], [400, 200]], np.float32)
THERE = np.array([[60, 300], [250, 500]], np.float32)


def evidence(folder: Path, **changes: object) -> Explanation:
    query = dotted(folder / "query.png", (360, 640), [tuple(p) for p in HERE.tolist()])
    other = dotted(folder / "other.png", (800, 500), [tuple(p) for p in THERE.tolist()])
    found = Explanation(
        photo=str(query),
        name="query.png",
        decision="landmark",
        words="This is Old Bridge.",
        confidence=0.874,
        guess="Old Bridge",
        second="New Bridge",
        why="Your photo looks like it.",
        parts=(
            ScorePart("similarity", 0.8, "How like."),
            ScorePart("like distractors", -0.4, "Pulls."),
            ScorePart("score", 0.4, "The sum."),
        ),
        references=(
            Reference("g1", "Old Bridge", str(other), 0.83, 0.41, 23, HERE, THERE),
            Reference("g2", "Old Bridge", str(folder / "gone.jpg"), 0.7, None, 0, HERE, THERE),
        ),
        distractors=(NearDistractor("d1", str(other), 0.55), NearDistractor("d2", "", 0.5)),
        box=(50, 40, 450, 240),
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


class Tags(HTMLParser):
    """All tags with their attributes, and the text; every tag that opens is closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_answer_comes_first_and_every_part_is_shown(tmp_path: Path) -> None:
    text = Tags(page(evidence(tmp_path))).text
    told = ["This is Old Bridge.", "Your photo looks like it.", "87%", "0.40", "New Bridge",
            "similarity 0.830", "similarity to distractors 0.410", "23 details agree",
            "no details agree", "similarity 0.800 How like.", "−0.400 Pulls.",
            "d1 similarity 0.550"]  # fmt: skip
    places = [text.find(words, text.find("or none?")) for words in told]
    assert min(places) > 0
    assert places == sorted(places)


def test_lines_and_box_are_drawn_at_their_coordinates(tmp_path: Path) -> None:
    """The drawn points, mapped to the pixels of the pictures inside the page, are red."""
    tags = Tags(page(evidence(tmp_path)))
    images = tags.all("image")
    assert len(images) == 4  # the query, query and reference, query beside a missing reference
    pictures = [
        Pillow.open(io.BytesIO(base64.b64decode(image["href"].split(",")[1]))) for image in images
    ]
    circles = [(float(c["cx"]), float(c["cy"])) for c in tags.all("circle")]
    assert len(circles) == 4
    marked = {1: 0, 2: 0}
    for x, y in circles:
        for number in marked:
            left, top, width, height = (
                float(images[number][name]) for name in ("x", "y", "width", "height")
            )
            if left <= x <= left + width and top <= y <= top + height:
                drawn = pictures[number]
                at = (int((x - left) / width * drawn.width), int((y - top) / height * drawn.height))
                assert np.abs(np.array(drawn.convert("RGB").getpixel(at)) - RED).max() < 60
                marked[number] += 1
    assert marked == {1: 2, 2: 2}
    box = next(r for r in tags.all("rect") if r.get("class") == "box")
    scale = float(images[0]["width"]) / 640
    found = [float(box[name]) for name in ("x", "y", "width", "height")]
    assert found == pytest.approx([50 * scale, 40 * scale, 400 * scale, 200 * scale], abs=0.1)


def test_coordinates_of_a_smaller_decoding_are_scaled(tmp_path: Path) -> None:
    """Keypoints of a half-size photo, given with its shape, are drawn at the same points."""
    whole = evidence(tmp_path)
    first = whole.references[0]
    halved = dataclasses.replace(first, query_points=(HERE + 0.5) / 2 - 0.5)
    half = dataclasses.replace(
        whole, shape=(180, 320), references=(halved,), box=(25, 20, 225, 120)
    )
    both = [
        [(c["cx"], c["cy"]) for c in Tags(page(e)).all("circle")]
        for e in (dataclasses.replace(whole, references=(first,)), half)
    ]
    assert both[0] == both[1]


def test_the_page_loads_no_url_and_runs_no_script(tmp_path: Path) -> None:
    source = page(evidence(tmp_path))
    tags = Tags(source)
    assert not tags.all("script")
    assert not tags.all("link")
    for name, attrs in tags.tags:
        assert not [key for key in attrs if key.startswith("on") or key == "style"], name
        for key in ("src", "href"):
            assert attrs.get(key, "data:").startswith("data:")
    assert "url(" not in source
    policy = next(m for m in tags.all("meta") if m.get("http-equiv"))
    assert policy["content"].startswith("default-src 'none'")


def test_every_picture_has_alt_text(tmp_path: Path) -> None:
    tags = Tags(page(evidence(tmp_path)))
    for svg in tags.all("svg"):
        assert svg.get("aria-hidden") == "true" or len(svg["aria-label"]) > 20
    assert all(len(img["alt"]) > 10 for img in tags.all("img"))
    told = [svg["aria-label"] for svg in tags.all("svg") if "aria-label" in svg]
    assert "23 details agree" in told[1]
    assert "not found" in told[2]


def test_html_in_names_is_escaped(tmp_path: Path) -> None:
    evil = '<script>alert(1)</script>" onload="x'
    first = dataclasses.replace(evidence(tmp_path).references[0], photo_id=evil, landmark=evil)
    tags = Tags(
        page(
            evidence(
                tmp_path, name=evil, words=evil, guess=evil, second=evil,
                parts=(ScorePart(evil, 1, evil),), references=(first,),
                distractors=(NearDistractor(evil, str(tmp_path / "other.png"), 0.1),),
            )
        )
    )  # fmt: skip
    assert not tags.all("script")
    assert not any("onload" in attrs for _, attrs in tags.tags)
    assert tags.text.count("alert(1)") >= 8


def test_missing_photos_get_a_placeholder(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no photo")
    for photo in (str(tmp_path / "gone.jpg"), str(broken), b"", b"no photo"):
        tags = Tags(page(evidence(tmp_path, photo=photo)))
        assert (
            tags.text.count("photo not found") == 5
        )  # thrice the query, a reference, a distractor
        assert not tags.all("circle")
        assert not [r for r in tags.all("rect") if r.get("class") == "box"]


def test_a_photo_may_come_as_bytes(tmp_path: Path) -> None:
    whole = evidence(tmp_path)
    assert page(dataclasses.replace(whole, photo=Path(str(whole.photo)).read_bytes())) == page(
        whole
    )


def test_an_explanation_without_evidence_renders(tmp_path: Path) -> None:
    bare = Explanation(photo="", name="x", decision="no_landmark", words="None.", confidence=0)
    text = Tags(page(bare)).text
    assert "The gallery has no photos." in text
    assert "The recognizer has no distractors." in text
    write_explanation(bare, tmp_path / "bare.png")
    with Pillow.open(tmp_path / "bare.png") as drawn:
        assert drawn.size[0] > 500


def test_credits_stand_below_the_photos_with_links(tmp_path: Path) -> None:
    by, source = "https://example.org/by?a=1&b=2", "http://example.org/photo"
    found = evidence(tmp_path, credits={
        "g1": Credit("Ann <b>", "CC BY 4.0", by, source), "g2": Credit("", ""),
        "d1": Credit("", "CC0", "javascript:alert(1)", "javascript:alert(2)"),
    })  # fmt: skip
    tags = Tags(page(found))
    assert [(one["href"], one["rel"]) for one in tags.all("a")] == [
        (by, "license noopener noreferrer"), (source, "noopener noreferrer")
    ]  # fmt: skip
    assert "Photo: Ann <b>, CC BY 4.0 · source" in tags.text
    assert "Photo: author not recorded, CC0 · source" in tags.text
    assert tags.text.count("Photo:") == 2
    assert page(evidence(tmp_path)).count("Photo:") == 0
    write_explanation(found, tmp_path / "credited.png")  # has a line more in one caption
    write_explanation(evidence(tmp_path), tmp_path / "plain.png")
    assert (tmp_path / "credited.png").read_bytes() != (tmp_path / "plain.png").read_bytes()


def test_few_inliers_are_called_chance(tmp_path: Path) -> None:
    first = evidence(tmp_path).references[0]
    for inliers, chance in ((5, True), (6, True), (7, False), (None, False)):
        found = dataclasses.replace(first, inliers=inliers)
        tags = Tags(page(evidence(tmp_path, references=(found,))))
        assert ("agree, as many as by chance" in tags.text) == chance
        assert ("not compared" in tags.text) == (inliers is None)
        assert len(tags.all("circle")) == (4 if inliers == 7 else 0)  # lines above chance only


def test_many_lines_are_subsampled_evenly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    many = (rng.random((500, 2)) * [639, 359]).astype(np.float32)
    reference = Reference("g", "L", "", 0.5, None, 500, many, many)
    both = load_small_photo(str(evidence(tmp_path).photo), None)
    lines = side_by_side(both, both, reference).lines
    assert len(lines) == MAX_LINES
    assert (np.diff(lines[:, 1]) >= 0).all()  # from the top down
    assert np.ptp(lines[:, 1]) > 0.95 * 270
    # One photo beside itself: every line is level, and equally long.
    assert np.abs(lines[:, 3] - lines[:, 1]).max() < 1e-9
    assert np.ptp(lines[:, 2] - lines[:, 0]) < 1e-9
    told = Tags(page(evidence(tmp_path, references=(dataclasses.replace(
        reference, path=str(tmp_path / "other.png")),)))).text  # fmt: skip
    assert "500 details agree, 60 of them drawn" in told


def test_the_picture_shows_photos_lines_and_bars(tmp_path: Path) -> None:
    write_photo(tmp_path / "third.jpg", picture(3, 0, (300, 420)))
    write_explanation(evidence(tmp_path), tmp_path / "why.png")
    with Pillow.open(tmp_path / "why.png") as opened:
        drawn = np.asarray(opened.convert("RGB")).astype(int)
    assert drawn.shape[1] > 1.5 * (2 * 480 + 12)
    near_red = (np.abs(drawn - RED).max(axis=2) < 40).sum()
    assert near_red > 6 * 100  # two dots of the query, thrice
    bar = (np.abs(drawn - [0, 158, 115]).max(axis=2) < 4).sum()
    other = (np.abs(drawn - [213, 94, 0]).max(axis=2) < 4).sum()
    assert bar == pytest.approx(3 * other, rel=0.2)  # 0.8 and 0.4 against −0.4
    edges = [drawn[-20:], drawn[:20], drawn[:, :20], drawn[:, -20:]]
    assert all((edge == 255).all() for edge in edges)  # nothing is cut off


def hard_names(folder: Path) -> Explanation:
    """Long names, TeX formulas, and characters that the font lacks or that are invisible."""
    long = (
        "Schloss und Park der Fürstlichen Hoheiten von Hohenlohe-Schillingsfürst $\\frac{$ 清水寺\n"
        * 2
    )
    first = dataclasses.replace(evidence(folder).references[0], landmark=long, photo_id="x" * 300)
    parts = tuple(ScorePart(long, value, "") for value in (1.0, -1e-9, 0.0))
    return evidence(folder, words=long, guess=long, second=long, name="y" * 300, parts=parts,
                    references=(first, first))  # fmt: skip


@pytest.mark.parametrize("made", [evidence, hard_names])
def test_no_words_of_the_picture_cover_others_or_leave_it(
    made: Callable[[Path], Explanation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(
        Figure,
        "savefig",
        lambda figure, *_, **__: drawn.append(figure) or figure.draw_without_rendering(),
    )
    write_explanation(made(tmp_path), tmp_path / "why.png")
    texts = [text for text in drawn[0].findobj(Text) if text.get_visible() and text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    for one, box in enumerate(boxes):
        assert box.x1 - box.x0 < drawn[0].bbox.width, texts[one].get_text()
        for other in range(one):
            assert not box.overlaps(boxes[other]), (texts[one].get_text(), texts[other].get_text())
    assert len(texts) >= 10


def test_a_picture_without_matplotlib_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OptionError, match=r"pip install '[^']*\[report\]'"):
        write_explanation(evidence(tmp_path), tmp_path / "why.png")
    assert not (tmp_path / "why.png").exists()
    write_explanation(evidence(tmp_path), tmp_path / "why.html")  # the page needs none


def test_the_same_evidence_gives_the_same_bytes(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    for name in ("a.html", "b.html", "a.png", "b.png"):
        write_explanation(found, tmp_path / name)
    for suffix in ("html", "png"):
        one, two = (tmp_path / f"{letter}.{suffix}" for letter in "ab")
        assert one.read_bytes() == two.read_bytes()


def test_invalid_explanations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"\.html or \.png"):
        write_explanation(evidence(tmp_path), tmp_path / "why.pdf")
    with pytest.raises(OptionError, match="2 points of the query and 1 of the gallery photo"):
        Reference("g", "L", "", 0.5, None, 2, HERE, THERE[:1])
    assert not re.search(r"why", " ".join(p.name for p in tmp_path.iterdir()))


def answered(decision: Decision, confidence: float, guess: str | None = "old_bridge") -> Prediction:
    named = guess if decision == "landmark" else None
    return Prediction(named, decision, confidence, 0.0, guess, (), "new_bridge")


SURE, LIKELY = ("landmark", 0.8), ("landmark", 0.79)
WHOLE = "so mostly the look of the whole counts."
SENTENCES: list[tuple[tuple[Decision, float], dict[str, object], str]] = [
    (SURE, {"alike": 9, "contrast": "far", "details": 61},
     "Your photo looks like these 4 photos of Old Bridge, and far less like any other landmark. "
     "61 details agree."),
    (SURE, {"alike": 1, "contrast": "less", "details": 7, "other_details": 6},
     "Your photo looks like this photo of Old Bridge, and less like any other landmark. 7 details "
     "agree."),
    (SURE, {"alike": 2, "contrast": "close", "other": "new_bridge", "details": 20,
            "other_details": 9},
     "Your photo looks like these 2 photos of Old Bridge, but nearly as much like new bridge. 20 "
     "details agree with Old Bridge, and 9 with another landmark."),
    (SURE, {"alike": 2, "contrast": "behind", "other": "new_bridge", "details": 20},
     "Your photo looks like these 2 photos of Old Bridge, but as much like new bridge. 20 details "
     "agree."),
    (SURE, {"alike": 3, "details": 6},
     f"Your photo looks like these 3 photos of Old Bridge. Only 6 details agree, as many as by "
     f"chance, {WHOLE}"),
    (SURE, {"alike": 3, "contrast": "far", "details": 0},
     f"Your photo looks like these 3 photos of Old Bridge, and far less like any other landmark. "
     f"No details agree, {WHOLE}"),
    (LIKELY, {"alike": 4, "contrast": "far"},
     "Your photo probably shows Old Bridge: it looks rather like these 4 photos of it, and less "
     "like any other landmark. Details were not compared."),
    (LIKELY, {"alike": 0, "contrast": "behind", "other": "new_bridge"},
     "Your photo probably shows Old Bridge: it looks rather like it, but as much like new bridge. "
     "Details were not compared."),
    (("landmark", 0.3), {"alike": 1, "contrast": "less"},
     "Your photo perhaps shows Old Bridge: it looks rather like this photo of it, and less like "
     "any other landmark. Details were not compared."),
    (("uncertain", 0.45), {"alike": 4, "contrast": "far", "details": 5},
     "Your photo looks a little like Old Bridge, not enough to be sure of it. Only 5 details "
     "agree, as many as by chance."),
    (("uncertain", 0.45), {"alike": 4, "contrast": "close", "other": "new_bridge", "details": 12},
     "Your photo looks a little like Old Bridge and new bridge, not enough to be sure of either. "
     "12 details agree."),
    (("no_landmark", 0.1), {"details": 3},
     "Nothing in the gallery looks enough like your photo. The closest is Old Bridge, but only 3 "
     "details agree, as many as by chance."),
    (("no_landmark", 0.1), {"details": 9},
     "Nothing in the gallery looks enough like your photo. The closest is Old Bridge: 9 details "
     "agree, too few to be sure."),
    (("no_landmark", 0.1), {},
     "Nothing in the gallery looks enough like your photo. The closest is Old Bridge."),
    (("no_landmark", 0.01), {"details": 5, "unlike": True},
     "Nothing in the gallery looks enough like your photo. It is more like photos without a "
     "landmark than like any landmark."),
    (("no_landmark", 0.0), {"nothing": "small"},
     "Your photo is too small to compare: each side needs 16 pixels or more."),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "reasons", "words"), SENTENCES)
def test_sentences_sound_no_surer_than_the_answer(
    kind: tuple[Decision, float], reasons: dict[str, Any], words: str
) -> None:
    titles = {"old_bridge": "Old Bridge"}
    assert why_sentences(answered(*kind), Reasons(**reasons), titles) == words


def test_the_question_names_what_was_answered() -> None:
    titles = {"old_bridge": "Old Bridge"}
    questions = [
        why_title(answered(decision, 0.5), titles)
        for decision in ("landmark", "uncertain", "no_landmark")
    ]
    assert questions == ["Why Old Bridge?", "Why maybe Old Bridge?", "Why no landmark?"]
    empty = answered("no_landmark", 0.0, None)
    assert why_title(empty, {}) == "Why no landmark?"
    assert why_sentences(empty, Reasons(), {}) == (
        "The gallery has no photo that yours could be compared with."
    )


def test_page_and_served_page_name_the_parts_of_a_score_alike() -> None:
    """And every feature has a title and an explanation, in each language of the page."""
    static = Path(whichlandmark.__file__).parent / "serving" / "static"
    features = {name.replace("_", " ") for name in (*FEATURES, *GEOMETRY_FEATURES)}
    assert features - {"similarity"} == set(PART_TITLES) - {"usual"}
    others = {"similarity", "location", "score", "confidence"}
    for language in ("en", "fr"):
        strings = (static / f"strings_{language}.js").read_text(encoding="utf-8")
        found = dict(re.findall(r'^  "why\.part\.([a-z_]+)":\s+"(.+)",$', strings, flags=re.M))
        titles = {name.replace("_", " "): title.lower() for name, title in found.items()}
        assert set(titles) == {*PART_TITLES, *others}
        explained = re.findall(r'^  "why\.part\.([a-z_]+)\.text":', strings, flags=re.M)
        assert set(explained) == set(found)
        if language == "en":
            assert {name: titles[name] for name in PART_TITLES} == PART_TITLES
