"""Static checks of the page's files: no inline code, no other hosts, size, ids, imports."""

from __future__ import annotations

import gzip
import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

import whichlandmark
from whichlandmark.serving.page_files import (
    STATIC,
    imported_modules,
    page_html,
    page_language,
    page_script,
    page_style,
)

JOINED = ("static/page.js", "static/page.css")  # made by the server of the files beside them
LOADED_LATER = {"strings_fr.js", "shrink_worker.js"}  # when they are needed
ROOT = Path(whichlandmark.__file__).parents[2]
BUDGET = 150_000  # bytes, gzipped
LINKS = (
    "https://www.openstreetmap.org/",
    "https://www.wikidata.org/",
)  # links that users may follow
NAMES = ("http://www.w3.org/2000/svg",)  # a namespace, never fetched
HTML = (STATIC / "index.html").read_text()


def own(suffix: str) -> list[Path]:
    return sorted(STATIC.glob(f"*{suffix}"))


class Tags(HTMLParser):
    """Every tag with its attributes; the text inside scripts and styles."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style") and data.strip():
            self.inline.append(data)


def inline(markup: str) -> list[str]:
    """Inline code that the Content-Security-Policy would block."""
    page = Tags(markup)
    wrong = [f"text in <{page.tags[-1][0]}>" for _ in page.inline]
    for tag, attributes in page.tags:
        wrong += [
            f"<{tag} {name}>" for name in attributes if name.startswith("on") or name == "style"
        ]
        wrong += [
            f"<{tag}>" for value in attributes.values() if (value or "").startswith("javascript:")
        ]
        wrong += [f"<{tag}>"] if tag == "style" else []
    return wrong


def elsewhere(text: str) -> list[str]:
    """Addresses of other hosts, except XML namespaces and links that users may follow."""
    found = re.findall(r"""(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s"'`)]*""", text)
    return [url for url in found if not url.startswith((*LINKS, *NAMES))]


def missing_ids(scripts: list[str], markup: str) -> set[str]:
    ids = {attributes.get("id") for _, attributes in Tags(markup).tags}
    return {name for text in scripts for name in re.findall(r'byId\("([\w-]+)"\)', text)} - ids


def markup_strings(text: str) -> list[str]:
    """Uses of APIs that turn text into markup or code."""
    pattern = r"\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|new Function)\b"
    return re.findall(pattern, text)


def test_no_inline_scripts_or_styles() -> None:
    assert inline(HTML) == []
    assert len(Tags(HTML).tags) > 60


@pytest.mark.parametrize(
    "fault",
    ["<p style='color:red'>", "<b onclick='x()'>", "<script>x()</script>", "<style>p{}</style>",
     "<a href='javascript:x()'>"],
)  # fmt: skip
def test_planted_inline_code_is_found(fault: str) -> None:
    assert inline(HTML + fault)


@pytest.mark.parametrize(
    "path", [*own(".js"), *own(".css"), *own(".html"), *own(".svg")], ids=lambda p: p.name
)
def test_no_urls_of_other_hosts(path: Path) -> None:
    text = path.read_text()
    assert elsewhere(text) == []
    assert markup_strings(text) == []


def test_planted_urls_are_found() -> None:
    assert elsewhere('<script src="https://cdn.example.com/x.js">') == [
        "https://cdn.example.com/x.js"
    ]
    assert elsewhere("url(//fonts.example.org/a.woff)") == ["//fonts.example.org/a.woff"]
    assert markup_strings("node.innerHTML = name") == ["innerHTML"]


def test_links_of_the_markup_are_existing_files() -> None:
    named = [
        a.get("src") or a.get("href") or ""
        for t, a in Tags(HTML).tags
        if t in ("script", "link", "img")
    ]
    assert set(JOINED) < set(named)
    for path in {*named} - {*JOINED, ""}:  # "" = the configuration, which the server fills in
        assert (STATIC / path.removeprefix("static/")).is_file(), path


def test_modules_import_what_exists() -> None:
    exports = {
        p.name: set(
            re.findall(r"^export (?:async )?(?:function|const|class) (\w+)", p.read_text(), re.M)
        )
        for p in own(".js")
    }
    seen = 0
    for path in own(".js"):
        for names, file in re.findall(r'import \{([^}]*)\} from "\./([\w.]+)"', path.read_text()):
            wanted = {name.strip() for name in names.split(",") if name.strip()}
            assert wanted <= exports[file], f"{path.name} ← {file}"
            assert all(len(re.findall(rf"\b{name}\b", path.read_text())) > 1 for name in wanted), (
                path.name
            )
            seen += len(wanted)
    assert seen > 60


def top_level_names(text: str) -> list[str]:
    found = re.findall(
        r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+|\{[^}]*\})", text, re.M
    )
    return [name for names in found for name in re.findall(r"\w+", names)]


def repeated_names(modules: dict[str, str]) -> set[str]:
    names = [name for text in modules.values() for name in top_level_names(text)]
    return {name for name in names if names.count(name) > 1}


def test_the_joined_script_has_every_module_once_after_its_imports() -> None:
    modules, script = imported_modules(STATIC), page_script()
    assert {*modules} == {p.name for p in own(".js")} - LOADED_LATER
    assert repeated_names(modules) == set()
    assert not re.search(r"^(?:import|export) ", script, re.M)
    order = list(modules)
    for name, text in modules.items():
        assert " as " not in "".join(re.findall(r"^import .*", text, re.M))
        for imported in re.findall(r'^import \{[^}]*\} from "\./([\w.]+)"', text, re.M):
            assert order.index(imported) < order.index(name)
    assert len(top_level_names(script)) == sum(len(top_level_names(t)) for t in modules.values())


def test_planted_repetitions_and_cycles_are_found(tmp_path: Path) -> None:
    assert repeated_names({"a.js": "const x = 1;", "b.js": "export function x() {}"}) == {"x"}
    (tmp_path / "main.js").write_text('import { a } from "./a.js";\n')
    (tmp_path / "a.js").write_text('import { b } from "./main.js";\n')
    with pytest.raises(ValueError, match="import each other"):
        imported_modules(tmp_path)


def test_the_style_sheet_begins_with_the_base() -> None:
    style = page_style()
    assert style.startswith((STATIC / "base.css").read_text())
    assert all(path.read_text() in style for path in own(".css"))


def test_the_configuration_in_the_page_cannot_end_its_element() -> None:
    html = page_html({"title": "</script><script>x()</script> é"})
    assert html.count("<script") == 2
    assert len(inline(html)) == 1
    data = html.split('<script id="config" type="application/json">')[1].split("</script>")[0]
    assert json.loads(data) == {"title": "</script><script>x()</script> é"}


@pytest.mark.parametrize(("accepted", "language"), [
    ("fr-CA,fr;q=0.9,en;q=0.8", "fr"), ("de,en;q=0.5,fr;q=0.4", "en"), ("en;q=0.1,fr;q=0.2", "fr"),
    ("fr;q=0,de", "en"), ("*", "en"), ("", "en"), ("FR", "fr"), ("fr;q=x,,;", "fr"),
])  # fmt: skip
def test_the_language_is_the_first_that_the_page_has(accepted: str, language: str) -> None:
    assert page_language(accepted) == language


@pytest.mark.parametrize(("language", "words"), [("en", "Choose photos"),
                                                 ("fr", "Choisir des photos")])  # fmt: skip
def test_the_html_has_its_words_before_the_script_comes(language: str, words: str) -> None:
    html = page_html({"title": "A & <b>"}, language)
    assert f'<html lang="{language}">' in html
    assert f">{words}</button>" in html
    assert '<span id="brand">A &amp; &lt;b&gt;</span>' in html
    assert not re.search(r'data-text="[\w.]+"[^>]*></', html)


def strings_of(language: str) -> dict[str, str]:
    """Key → the source of its text, plurals as they stand."""
    text = (STATIC / f"strings_{language}.js").read_text()
    return dict(
        re.findall(
            r'^  "([\w.]+)":\s*(\{(?:[^{}]|\{\w+\})*\}|"(?:[^"\\]|\\.)*")',
            text,
            re.M,
        )
    )


def test_both_languages_have_the_same_texts_with_the_same_values() -> None:
    english, french = strings_of("en"), strings_of("fr")
    assert english
    assert list(english) == list(french)
    for key, text in english.items():
        assert {*re.findall(r"\{(\w+)\}", text)} == {*re.findall(r"\{(\w+)\}", french[key])}, key


def test_texts_that_the_page_names_exist() -> None:
    known = {*strings_of("en")}
    sources = "\n".join([HTML, *(p.read_text() for p in own(".js"))])
    used = {
        *re.findall(r'\bt\("([\w.]+)"', sources),
        *re.findall(r'data-(?:text|label|placeholder)="([\w.]+)"', sources),
    }
    assert used <= known | {"key"}  # of the documentation of t


def test_ids_in_scripts_exist_in_the_markup() -> None:
    scripts = [path.read_text() for path in own(".js")]
    assert missing_ids(scripts, HTML) == set()
    assert missing_ids(['byId("nowhere")'], HTML) == {"nowhere"}
    ids = [a["id"] for _, a in Tags(HTML).tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_the_first_load_is_small() -> None:
    """What a first visit loads; French, the map and its outline come when they are wanted."""
    parts = [page_script(), page_style(), HTML, (STATIC / "icon.svg").read_text()]
    sizes = [len(gzip.compress(part.encode(), 6, mtime=0)) for part in parts]
    assert sum(sizes) < BUDGET, sizes
    assert all(size > 100 for size in sizes)


def test_files_stay_small_enough_to_read() -> None:
    for path in [*own(".js"), *own(".css"), *own(".html")]:
        most = 800 if path.name.startswith("strings_") else 400
        assert len(path.read_text().splitlines()) <= most, path.name


def test_the_vendored_library_keeps_its_licence() -> None:
    licence = (STATIC / "vendor" / "leaflet" / "LICENSE").read_text()
    assert "Redistribution and use" in licence
    assert "Leaflet 1.9.4" in (STATIC / "vendor" / "leaflet" / "leaflet.js").read_text()[:200]


def test_the_map_outline_is_a_valid_world_map() -> None:
    world = json.loads((STATIC / "world.json").read_text())
    corners = []
    for steps in world["rings"]:
        x, y, ring = 0, 0, []
        for dx, dy in zip(steps[::2], steps[1::2], strict=True):
            x, y = x + dx, y + dy
            ring.append((x / world["per_degree"], y / world["per_degree"]))
        assert len(ring) >= 3
        assert all(-200 <= x <= 200 and -90 <= y <= 84 for x, y in ring)
        corners.append(ring)
    for place, land in [((75.8, 26.9), True), ((2.35, 48.85), True), ((-58, -15), True),
                        ((134, -25), True), ((-30, 30), False), ((80, -20), False)]:  # fmt: skip
        assert any(inside(place, ring) for ring in corners) is land, place


def inside(place: tuple[float, float], ring: list[tuple[float, float]]) -> bool:
    """Point in polygon: a ray to the east crosses the ring an odd number of times."""
    x, y = place
    odd = False
    for (ax, ay), (bx, by) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            odd = not odd
    return odd


def test_every_kind_of_file_is_in_the_wheel() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    package = STATIC.parents[1]
    packed = {path for pattern in data["whichlandmark"] for path in package.glob(pattern)}
    assert {path for path in STATIC.rglob("*") if path.is_file()} <= packed
