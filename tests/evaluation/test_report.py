"""The HTML report: self-contained, correct numbers, complete when photos are missing."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.support import ROOT
from tests.support.photos import picture, write_photo
from whichlandmark.evaluation.plots import (
    precision_recall_plot,
    reliability_plot,
    risk_coverage_plot,
    score_histogram,
)
from whichlandmark.evaluation.predictions import Predictions
from whichlandmark.evaluation.report import ReportOptions, write_report
from whichlandmark.evaluation.scores import gap_interval, prediction_scores
from whichlandmark.gallery.records import Credit, GalleryRow
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.metrics.calibration_error import (
    calibration_bins,
    calibration_error,
    risk_coverage,
)
from whichlandmark.metrics.open_set import auroc
from whichlandmark.metrics.ranking import gap

WRONG, REFUSED, UNSURE, SUREST, UNNAMED = GRIDS = [
    "Named wrongly", "Refused, though the gallery has the landmark",
    "Named rightly, the least sure", "Named rightly, the surest", "Rightly not named",
]  # fmt: skip


def column(values: list[str]) -> np.ndarray:
    filled = np.empty(len(values), dtype=object)
    filled[:] = values
    return filled


def world(folder: Path | None, count: int = 80, seed: int = 0) -> Predictions:
    """Queries of four known landmarks, an unknown one and none; a folder gets their photos."""
    rng = np.random.default_rng(seed)
    known = ["Sacré-Cœur", "東京タワー", "Tower <b>& Bridge</b>", "old_town_hall"]
    truth = [[*known, "Elsewhere", ""][i % 6] for i in range(count)]
    guess = [t if t in known and rng.random() < 0.7 else known[rng.integers(4)] for t in truth]
    score = np.round(
        rng.normal(0, 1, count) + [t == g for t, g in zip(truth, guess, strict=True)], 2
    )
    paths = ["" for _ in truth]
    if folder:
        paths = [str(write_photo(folder / f"{i}.jpg", picture(i, 0, (300, 420)))) for i in range(6)]
        paths = [paths[i % 6] for i in range(count)]
    return Predictions(
        ids=column([f"q{i:03}" for i in range(count)]), guess=column(guess), score=score,
        confidence=1 / (1 + np.exp(-score)),
        decision=column([["no_landmark", "uncertain", "landmark"][int(s > 0) + int(s > 1)]
                         for s in score]),
        truth=column(truth), nearest=column([f"g{i}" for i in range(count)]),
        similarity=np.clip(score / 4, -1, 1), rank=rng.integers(0, 9, count),
        path=column(paths), nearest_path=column(paths[::-1]),
        known=np.isin(truth, known),
    )  # fmt: skip


class Page(HTMLParser):
    """A parsed page: its tags, its text, and the captions of its grids."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.captions: dict[str, list[str]] = {}
        self.heading, self.within, self.open = "", "", []
        self.feed(self.source)
        self.close()
        assert self.open == []  # every tag is closed

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag in ("meta", "img", "wbr"):
            return
        self.open.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.heading = ""
        if tag == "figcaption" and self.heading in GRIDS:
            self.captions.setdefault(self.heading, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.heading += data
        if "figcaption" in self.open and self.heading in self.captions:
            self.captions[self.heading][-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def numbers(self, grid: str) -> list[float]:
        """The scores under a grid's pairs."""
        return [float(re.search(r"score (\S+)", c).group(1).replace("−", "-"))
                for c in self.captions[grid]]  # fmt: skip


def report(p: Predictions, folder: Path, **options: object) -> Page:
    path = folder / "report.html"
    write_report(p, path, ReportOptions(**options))
    return Page(path)


def test_the_page_loads_no_url_and_runs_no_script(tmp_path: Path) -> None:
    page = report(world(tmp_path), tmp_path)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base"}
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "srcset"):
            assert attributes.get(name, "#").startswith(("data:image/jpeg;base64,", "#")), tag
        assert not [name for name in attributes if name.startswith("on")]
    css = "".join(re.findall(r"<style.*?</style>", page.source, re.DOTALL))
    assert "@import" not in css
    assert "url(" not in css
    left = re.sub(r'xmlns(:xlink)?="[^"]*"', "", page.source)
    assert "http" not in left


def test_ids_are_unique_and_every_link_has_a_target(tmp_path: Path) -> None:
    page = report(world(None), tmp_path)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 20
    links = {v[1:] for _, attributes in page.tags
             for k, v in attributes.items() if k.endswith("href")}  # fmt: skip
    clips = set(re.findall(r"url\(#([^)]+)\)", page.source))
    assert links | clips <= set(ids)
    assert {"answers", "photos", "scores", "landmarks"} <= links
    assert clips


def test_headline_numbers_are_those_of_the_predictions(tmp_path: Path) -> None:
    p = world(None)
    page = report(p, tmp_path, title="A <title> & more", protocol={"gallery": "5 photos"},
                  scores={"gap of cosine": 0.12345, "queries left out": 3})  # fmt: skip
    known = int(p.known.sum())
    named = p.decision == "landmark"
    well = np.mean([n and r if k else not n
                    for n, r, k in zip(named, p.right, p.known, strict=True)])  # fmt: skip
    for words in (
        f"Queries{len(p)}{known} of known landmarks, {(p.truth == 'Elsewhere').sum()} of unknown",
        f"GAP{gap(p.score, p.right, known):.3f}",
        f"Top-1{p.right[p.known].mean():.1%}",
        f"Recall@5{np.mean([1 <= r <= 5 for r in p.rank[p.known]]):.1%}",
        " to ".join(f"{end:.3f}" for end in gap_interval(p)),
        f"AUROC, no landmark{auroc(p.score[p.known], p.score[p.truth == '']):.3f}",
        f"AUROC, an unknown one{auroc(p.score[p.known], p.score[p.truth == 'Elsewhere']):.3f}",
        f"Calibration error (the mean distance to the line): "
        f"{calibration_error(p.confidence, p.right):.3f}.",
        f"Answered correctly{well:.1%}",
        "gallery5 photos", "gap of cosine0.123", "queries left out3", "A <title> & more",
    ):  # fmt: skip
        assert words in page.text, words


def test_answers_are_counted_by_kind_and_decision(tmp_path: Path) -> None:
    p = world(None)
    text = "".join("".join(report(p, tmp_path).words).split("\n"))
    for kind, of in (("a known landmark", p.known), ("an unknown landmark", p.truth == "Elsewhere"),
                     ("no landmark", p.truth == "")):  # fmt: skip
        named = of & (p.decision == "landmark")
        right = str((named & (p.guess == p.truth)).sum()) if kind == "a known landmark" else "–"
        counts = [of.sum(), right, (named & (p.guess != p.truth)).sum(),
                  (of & (p.decision == "uncertain")).sum(),
                  (of & (p.decision == "no_landmark")).sum()]  # fmt: skip
        assert "".join([kind, *map(str, counts)]) in text


def test_grids_follow_what_was_decided_without_repeats(tmp_path: Path) -> None:
    p = world(tmp_path, count=150)
    page = report(p, tmp_path, pairs_per_grid=6)
    assert list(page.captions) == GRIDS
    named = p.decision == "landmark"
    right = np.sort(p.score[named & p.right])[::-1]
    for grid, rows in ((WRONG, named & ~p.right), (REFUSED, ~named & p.known),
                       (UNNAMED, ~named & ~p.known)):  # fmt: skip
        assert page.numbers(grid) == np.sort(p.score[rows])[::-1][:6].tolist(), grid
    assert page.numbers(SUREST) == right[:6].tolist()
    assert page.numbers(UNSURE) == right[-6:][::-1].tolist()
    shown = re.findall(r'alt="Query (q\d+):', page.source)
    assert len(shown) == len(set(shown)) == 30


def test_the_report_works_with_few_predictions(tmp_path: Path) -> None:
    p = world(None, count=6)
    page = report(p, tmp_path)
    shown = sum(len(captions) for captions in page.captions.values())
    assert shown == 6
    assert "No such queries." in page.text


def test_a_card_says_what_was_named_and_is_coloured_by_it(tmp_path: Path) -> None:
    p = world(None, count=120)
    page = report(p, tmp_path, pairs_per_grid=60)
    named = p.decision == "landmark"
    verdicts = {
        "✕ named wrongly": named & p.known & ~p.right,
        "✕ named, though the gallery lacks what it shows": named & ~p.known,
        "– refused: not sure; the likeliest is right": (p.decision == "uncertain") & p.right,
        "– refused: taken for no landmark; the likeliest is wrong":
            (p.decision == "no_landmark") & p.known & ~p.right,
        "✓ rightly not named": ~named & ~p.known,
        "✓ named rightly": named & p.right,
    }  # fmt: skip
    captions = ["".join(c.splitlines()) for some in page.captions.values() for c in some]
    for words, rows in verdicts.items():
        assert sum(c.startswith(words) for c in captions) == rows.sum() > 0, words
    kinds = [attributes["class"] for tag, attributes in page.tags if tag == "figure"]
    refused = int((p.known & ~named).sum())
    assert kinds.count("pair refused") == refused
    assert kinds.count("pair wrong") == int((named & ~p.right).sum())
    assert kinds.count("pair right") == len(p) - refused - int((named & ~p.right).sum())
    for caption in captions:  # "✕ wrong · shows no landmark · decided: no landmark" misled
        assert not ("✕" in caption and "namednothing" in caption)
        assert ("likeliest" in caption) == ("namednothing" in caption)
    assert any("showsno landmark" in caption for caption in captions)
    assert any("showsElsewhere (not in the gallery)" in caption for caption in captions)


def test_the_page_says_what_to_do(tmp_path: Path) -> None:
    p = world(None, count=120)
    have = {"Sacré-Cœur": 2, "東京タワー": 30, "Tower <b>& Bridge</b>": 4, "old_town_hall": 9}
    titles = {"old_town_hall": "Old Town Hall", "Sacré-Cœur": "Basilica"}
    p.nearest[5] = ""  # a photo of nothing that could not be read
    page = report(p, tmp_path, gallery_photos=have, titles=titles, notes=["the first note"],
                  made={"date": "2026-01-02 03:04", "whichlandmark": "1.2.3"})  # fmt: skip
    refused = p.known & (p.decision != "landmark")
    few = int((refused & np.isin(p.truth, ["Sacré-Cœur", "Tower <b>& Bridge</b>"])).sum())
    named = p.decision == "landmark"
    unknown, none = int((p.unknown & named).sum()), int((p.no_landmark & named).sum())
    assert unknown > 1
    assert none > 1
    for words in (
        f"{few} refused photos are of 2 landmarks with fewer than 5 photos in the gallery: "
        "add photos of Basilica (2), Tower <b>& Bridge</b> (4).",
        "got a wrong name: ",  "the first note.",
        f"{unknown} of 20 photos of landmarks that the gallery lacks were named: add these "
        "landmarks.",
        f"{none} of 20 photos without a landmark were named: add photos like them to the gallery",
        "1 photo could not be read", "date2026-01-02 03:04", "whichlandmark1.2.3",
        "Old Town Hall",
    ):  # fmt: skip
        assert words in page.text, words
    assert "old_town_hall" not in page.text
    summary = prediction_scores(p)["summary"]
    assert f"{summary}." in page.text


def test_files_are_named_with_their_folder(tmp_path: Path) -> None:
    page = report(world(tmp_path / "holiday"), tmp_path)
    assert "fileholiday/0.jpg" in "".join(page.words).replace("\n", "")


@pytest.mark.parametrize(
    "name", ["x" * 300, "برج ايفل", "<img src=x onerror=alert(1)>", "a&b;'\"", "🗼"]
)
def test_odd_names_stay_text(tmp_path: Path, name: str) -> None:
    p = world(None, count=36)
    p.truth[p.truth == "old_town_hall"] = name
    p.guess[p.guess == "old_town_hall"] = name
    page = report(p, tmp_path)
    assert name in page.text
    assert not [1 for tag, attributes in page.tags if "onerror" in attributes]
    assert ("bdi", {}) in page.tags
    assert "overflow-wrap: anywhere" in page.source


@pytest.mark.parametrize("truth", ["old_town_hall", "Elsewhere", ""])
def test_one_query_makes_a_page(tmp_path: Path, truth: str) -> None:
    p = world(None, count=6)
    one = Predictions(**{f.name: getattr(p, f.name)[:1] for f in fields(Predictions)})
    one.truth[:], one.known[:] = truth, truth == "old_town_hall"
    page = report(one, tmp_path)
    assert sum(map(len, page.captions.values())) == 1
    assert ("GAP" in page.text) == (truth == "old_town_hall")


def test_thumbnails_are_small_jpegs_with_alternative_text(tmp_path: Path) -> None:
    page = report(world(tmp_path), tmp_path)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2 * sum(len(c) for c in page.captions.values()) >= 60
    for attributes in images:
        data = base64.b64decode(attributes["src"].split(",")[1])
        with Pillow.open(io.BytesIO(data)) as thumbnail:
            assert thumbnail.format == "JPEG"
            assert thumbnail.size == (200, 143)  # 420 × 300, not squashed
        assert len(attributes["alt"]) > 8
    assert len(page.source) < 2_000_000


def test_missing_or_broken_photos_get_a_placeholder(tmp_path: Path) -> None:
    p = world(tmp_path)
    (tmp_path / "0.jpg").unlink()
    (tmp_path / "1.jpg").write_bytes(b"no photo")
    page = report(p, tmp_path)
    images = sum(tag == "img" for tag, _ in page.tags)
    pairs = sum(len(captions) for captions in page.captions.values())
    placeholders = page.text.count("photo not found")
    assert images + placeholders == 2 * pairs
    assert min(images, placeholders) > 5


def test_gallery_photos_have_their_credits(tmp_path: Path) -> None:
    """Of the recognizer that was asked, where the photo of an id is still the same file."""
    found, by = world(tmp_path, 12), "https://example.org/by"
    folder, vector = tmp_path / "r.wl", np.ones(1, np.float32)
    with SqliteGallery.create(folder / "gallery.sqlite", "fake-1", 1) as gallery:
        gallery.put([GalleryRow(name, path if i else "/moved.jpg", "a", "", "", vector)
                     for i, (name, path) in enumerate(zip(found.nearest, found.nearest_path,
                                                          strict=True))])  # fmt: skip
        gallery.credit({"g0": Credit("Zoe", "CC0")})
        gallery.credit({f"g{i}": Credit(f"Ann <{i}>", "CC BY 4.0", by) for i in range(1, 12)})
    page = report(found, tmp_path, recognizer=str(folder), pairs_per_grid=12)
    captions = {one for grid in page.captions.values() for one in grid}
    assert sum("Right: Photo: Ann <" in one for one in captions) == 11
    assert not any("Zoe" in one for one in captions)
    links = [attributes for tag, attributes in page.tags if tag == "a" and "rel" in attributes]
    assert links == [{"href": by, "rel": "license noopener noreferrer"}] * 11
    for gone in ("", str(tmp_path / "gone.wl")):
        assert "Photo: Ann" not in report(found, tmp_path, recognizer=gone).text


def test_names_are_escaped_and_kept(tmp_path: Path) -> None:
    page = report(world(None), tmp_path)
    assert {"b"} & {tag for tag, _ in page.tags} == {"b"}  # only the template's own
    assert "Tower <b>& Bridge</b>" in page.text
    assert "Tower &lt;b&gt;&amp; Bridge&lt;/b&gt;" in page.source
    assert "<b>& Bridge" not in page.source
    for name in ("Sacré-Cœur", "東京タワー", "old_town_hall"):
        assert name in page.text


def test_landmarks_are_sorted_worst_first_with_their_confusions(tmp_path: Path) -> None:
    p = world(None, count=240)
    page = report(p, tmp_path)
    text = page.text[page.text.index("Landmarks, worst first") :]
    names = sorted(set(p.truth[p.known]))
    names.sort(key=lambda n: p.right[p.truth == n].mean())  # equal shares stay in order of name
    places = []
    for name in names:
        of = p.truth == name
        right = int(p.right[of].sum())
        row = rf"{re.escape(name)}{of.sum()}{right} ?{100 * right / of.sum():.0f} %"
        found = re.search(row, text)
        assert found, name
        places.append(found.start())
        wrong = p.guess[of & ~p.right].tolist()
        confused = min(set(wrong), key=lambda g: (-wrong.count(g), g))
        confidence = f"{p.confidence[of].mean():.2f}"
        assert f"{confidence}{confused}" in text[found.start() : found.start() + 90]
    assert places == sorted(places)


def test_only_the_worst_landmarks_are_listed(tmp_path: Path) -> None:
    text = report(world(None), tmp_path, landmarks=2).text
    assert "The 2 worst of 4 are shown." in text
    assert text[text.index("Landmarks, worst first") :].count(" %") == 2


@pytest.mark.parametrize("kind", ["nothing", "no guess", "no landmarks", "one score"])
def test_unusual_tables_still_make_a_page(tmp_path: Path, kind: str) -> None:
    p = world(None, count=0 if kind == "nothing" else 24)
    if kind == "no guess":
        p.guess[:], p.score[:] = "", -np.inf
    if kind == "no landmarks":
        p.truth[:], p.known[:] = "", False
    if kind == "one score":
        p.score[:] = 1e17
    page = report(p, tmp_path)
    assert ("GAP" in page.text) == (kind in ("no guess", "one score"))
    empty = {"nothing": 5, "no guess": 2, "no landmarks": 3, "one score": 1}[kind]
    assert page.text.count("No such queries.") == empty


def test_plots_are_valid_svg_in_the_colors_of_the_page() -> None:
    p = world(None)
    for plot in (score_histogram, precision_recall_plot, reliability_plot, risk_coverage_plot):
        svg = plot(p)
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg")
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert "var(--" in svg
        assert not re.search(r"(fill|stroke): #", svg)
    words = " ".join(ElementTree.fromstring(score_histogram(p)).itertext())
    for kind, of in (("known", p.known), ("unknown", p.unknown), ("no", p.truth == "")):
        assert f"{kind} landmark ({of.sum()})" in words
    value = gap(p.score, p.right, int(p.known.sum()))
    assert f"area = GAP {value:.3f}" in precision_recall_plot(p)


def test_the_area_under_the_plotted_curve_is_the_gap() -> None:
    """The areas under the drawn line and of the shading, measured in the SVG, equal the GAP."""
    p = world(None, count=12)
    p.score[:] = np.random.default_rng(3).permutation(12)  # no ties
    p.known[:], p.truth[:] = True, np.where(p.truth == "", "x", p.truth)
    root = ElementTree.fromstring(precision_recall_plot(p))

    def points(element: ElementTree.Element) -> np.ndarray:
        numbers = re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", element.get("d", ""))
        return np.array(numbers, dtype=float)

    def area(x: np.ndarray, y: np.ndarray) -> float:
        return abs(float(np.sum(np.diff(x) * (y[:-1] + y[1:]) / 2)))

    paths = [e for e in root.iter() if e.tag.endswith("path")]
    frame = next(e for e in root.iter() if e.get("id") == "curve-patch_2")
    left, top = points(frame[0]).min(axis=0)
    right, bottom = points(frame[0]).max(axis=0)
    unit = (right - left) / 1.01 * (bottom - top) / 1.04  # the axes end at 1.01 and 1.04
    line = points(next(e for e in paths if "stroke-width: 1.8" in e.get("style", "")))
    shade = max((points(e) for e in paths if e.get("id", "").startswith("curve-m")), key=len)
    value = gap(p.score, p.right, 12)
    assert area(line[:, 0], bottom - line[:, 1]) / unit == pytest.approx(value, abs=1e-4)
    assert area(*shade.T) / unit == pytest.approx(value, abs=1e-4)  # a closed path


def test_the_same_predictions_give_the_same_bytes(tmp_path: Path) -> None:
    """In new processes with different hash seeds, so that the order of sets differs."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from tests.evaluation.test_report import world, write_report\n"
        "write_report(world(None), Path(sys.argv[2]))"
    )
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", script, str(ROOT), str(tmp_path / seed)],
            env={"PYTHONHASHSEED": seed}, check=True, timeout=60,
        )  # fmt: skip
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_plots_neither_use_nor_change_matplotlib_settings() -> None:
    import matplotlib

    p = world(None, count=30)
    plain = score_histogram(p)
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "axes.grid": True}):
        assert score_histogram(p) == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_answered_shares_are_shown_with_their_false_answer_rates(tmp_path: Path) -> None:
    p = world(None, count=600)
    page = report(p, tmp_path)
    none, known = np.sort(p.score[p.truth == ""])[::-1], p.score[p.known]
    for rate in (1, 5):
        beaten = none[int(rate / 100 * len(none))]  # the first score that is no longer answered
        share = (known > beaten).mean()
        words = f"At {rate} % false answers on non-landmarks, {100 * share:.1f} % of known"
        assert words in page.text
    p.truth[p.truth == ""] = "Elsewhere"
    assert "false answers on non-landmarks" not in report(p, tmp_path).text


def test_the_tier_table_appears_only_when_photos_have_tiers(tmp_path: Path) -> None:
    p = world(None, count=120)
    assert "By tier" not in report(p, tmp_path).text
    p.tier[:] = ["day" if i % 2 else "night" for i in range(120)]
    p.tier[p.truth == ""] = "nothing"
    text = report(p, tmp_path).text
    for tier in ("day", "night"):
        of = (p.tier == tier) & p.known
        rows = of | ~p.known
        value = gap(p.score[rows], p.right[rows], int(of.sum()))
        queries = int((p.tier == tier).sum())
        row = f"{tier}{queries}{of.sum()}{100 * p.right[of].mean():.1f} %{value:.3f}"
        assert row in text.replace(" " + tier, tier), tier
    assert f"nothing{(p.truth == '').sum()}0––" in text


def dots(svg: str, style: str) -> np.ndarray:
    """(N, 2) centres of a plot's markers, in SVG units."""
    paths = [e for e in ElementTree.fromstring(svg).iter() if style in e.get("style", "")]
    outlines = [
        np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", e.get("d", "")), float) for e in paths
    ]
    return np.array([(o.min(axis=0) + o.max(axis=0)) / 2 for o in outlines])


def test_the_reliability_plot_shows_the_bins_of_its_error() -> None:
    p = world(None, count=450)
    bins = calibration_bins(p.confidence, p.right)
    places = dots(reliability_plot(p), "var(--green")
    assert len(places) == len(bins.sizes) == 15
    for of, values in ((places[:, 0], bins.confidence), (-places[:, 1], bins.right)):
        assert np.corrcoef(of, values)[0, 1] == pytest.approx(1, abs=1e-6)


def test_the_risk_plot_ends_at_the_share_of_wrong_guesses() -> None:
    p = world(None, count=60)
    p.score[:] = np.random.default_rng(1).permutation(60)
    p.confidence[:] = (p.score + 1) / 61
    svg = risk_coverage_plot(p)
    assert f"area = {risk_coverage(p.confidence, p.right).area:.3f}" in svg
    root = ElementTree.fromstring(svg)
    line = next(e for e in root.iter() if "stroke-width: 1.8" in e.get("style", ""))
    drawn = np.array(re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", line.get("d", "")), dtype=float)
    right = p.right[np.argsort(-p.score)]
    risk = np.cumsum(~right) / np.arange(1, 61)
    kept = drawn[:, 1]
    assert np.corrcoef(-kept, risk[-len(kept) :])[0, 1] == pytest.approx(1, abs=1e-3)
