"""Recognizers whose gallery is searched by an index in Qdrant: the same answers, also without it.

The server is the stand-in, behind real gRPC messages.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recognition.test_maintain import predictions, quiet, same
from tests.support.galleries import postgres_address
from tests.support.photos import photos_of
from whichlandmark.core.errors import GalleryError, OptionError
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.address import LINK_FILE, Link, gallery_in, read_link
from whichlandmark.gallery.index import remote
from whichlandmark.gallery.qdrant import sync as sync_module
from whichlandmark.recognition.folder import edit, maintain
from whichlandmark.recognition.folder import load as load_module
from whichlandmark.recognition.folder.load import load, search_index_state, sync_search_index
from whichlandmark.recognition.folder.tune import tune
from whichlandmark.recognition.indexing.index_photos import IndexOptions, index_photos
from whichlandmark.recognition.rules import Rules
from whichlandmark.serving import live_recognizer

pytest.importorskip("qdrant_client")
from tests.support.qdrant_stand_in import StandIn, serving

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes:UserWarning",
                                        "ignore:Local mode performs:UserWarning")  # fmt: skip


@pytest.fixture
def world(colour_world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for home in (load_module, maintain, edit, live_recognizer):
        monkeypatch.setattr(home, "load_embedder", lambda source, **_: HistogramEmbedder())
    monkeypatch.setattr(sync_module, "WATCH_SECONDS", 0.0)
    return colour_world


@pytest.fixture
def server() -> Iterator[tuple[StandIn, str]]:
    with serving(stand_in := StandIn()) as port:
        yield stand_in, f"qdrant://127.0.0.1:{port}/paris?timeout=2"


def index(world: Path, folder: Path, **options: str | None) -> dict[str, int | str]:
    done = index_photos(
        photos_of(world / "gallery"), photos_of(world / "bank", False), folder, HistogramEmbedder(),
        IndexOptions(**options), progress=quiet,  # type: ignore[arg-type]
    )  # fmt: skip
    return done.counts


def searches(stand_in: StandIn) -> int:
    return sum(method == "points_QueryBatch" for method, _ in stand_in.requests)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def state(folder: Path) -> str:
    with gallery_in(folder) as gallery:
        return str(search_index_state(folder, gallery)["text"]).partition(": ")[2]


@pytest.mark.parametrize("on", ["file", "postgres"])
def test_answers_are_those_of_the_gallery_alone(
    world: Path, server: tuple[StandIn, str], on: str, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in, address = server
    gallery = postgres_address() if on == "postgres" else None
    index_photos(photos_of(world / "gallery"), photos_of(world / "bank", False), world / "file.wl",
                 HistogramEmbedder(), IndexOptions(rules=Rules(whitening="none")),
                 progress=quiet)  # fmt: skip
    index(world, world / "q.wl", gallery=gallery, search=address)
    assert read_link(world / "q.wl") == Link(address=gallery, search=address)
    assert (world / "q.wl" / "gallery.sqlite").exists() == (on == "file")
    assert state(world / "q.wl").startswith("up to date, generation ")
    expected = predictions(world / "file.wl")
    same(expected, predictions(world / "q.wl"))
    asked = searches(stand_in)
    assert asked > 0
    assert warnings(caplog) == []
    # Edits sync at once.
    for folder in (world / "file.wl", world / "q.wl"):
        edit.remove_photos(folder, [], "place 2")
        edit.relabel_photos(folder, [], "place 3", "place 9")
    assert state(world / "q.wl").startswith("up to date")
    same(predictions(world / "file.wl"), predictions(world / "q.wl"))
    assert searches(stand_in) > asked
    # Out of step, the gallery answers.
    stand_in.local.set_payload("paris", {"complete": False}, [0])
    asked = searches(stand_in)
    same(predictions(world / "file.wl"), predictions(world / "q.wl"))
    assert searches(stand_in) == asked
    assert sum("a sync has not ended; it is not searched" in text for text in warnings(caplog)) == 1
    assert "a sync has not ended: not searched until" in state(world / "q.wl")
    done = sync_search_index(world / "q.wl")
    assert (done.photos, done.written) == (len_of(world / "q.wl"), 0)
    same(predictions(world / "file.wl"), predictions(world / "q.wl"))
    assert searches(stand_in) > asked


def len_of(folder: Path) -> int:
    with gallery_in(folder) as gallery:
        return gallery.count()


def test_a_stale_index_is_said_once_and_used_again_after_a_sync(
    world: Path, server: tuple[StandIn, str], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    stand_in, address = server
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.0)
    index(world, world / "q.wl", search=address)
    stand_in.local.set_payload("paris", {"generation": 77}, [0])
    opened, photo = load(world / "q.wl"), next((world / "queries").glob("*.jpg"))
    with opened.gallery:
        answers = [opened(photo) for _ in range(3)]
        assert searches(stand_in) == 0
        (said,) = warnings(caplog)
        assert "holds generation 77, the gallery is at" in said
        assert "it is not searched, the gallery itself answers. `whichlandmark gallery sync" in said
        sync_search_index(world / "q.wl")
        assert opened(photo) == answers[0] == answers[2]
        assert searches(stand_in) > 0
        assert len(warnings(caplog)) == 1
        stand_in.local.set_payload("paris", {"complete": False}, [0])
        assert opened(photo) == answers[0]
        assert len(warnings(caplog)) == 2


def test_an_open_recognizer_notices_that_its_gallery_was_edited(
    world: Path, server: tuple[StandIn, str]
) -> None:
    stand_in, address = server
    index(world, world / "q.wl", search=address)
    opened, photo = load(world / "q.wl"), next((world / "queries").glob("*.jpg"))
    with opened.gallery:
        opened(photo)
        asked, removed = searches(stand_in), opened(photo).matches[0].photo_id
        asked = searches(stand_in)
        edit.remove_photos(world / "q.wl", [removed], None)
        assert removed not in [match.photo_id for match in opened(photo).matches]
        assert searches(stand_in) == asked
    with load(world / "q.wl").gallery:
        pass


@pytest.mark.parametrize("ended", [True, False])
def test_edits_that_cannot_be_synced_are_made_and_say_so(
    world: Path, caplog: pytest.LogCaptureFixture, ended: bool
) -> None:
    """ended: the server is gone; else a sync was interrupted before."""
    with serving(stand_in := StandIn()) as port:
        index(world, world / "q.wl", search=f"qdrant://127.0.0.1:{port}/paris?timeout=1")
        if not ended:
            stand_in.local.set_payload("paris", {"complete": False}, [0])
            before = len(stand_in.requests)
            done = edit.remove_photos(world / "q.wl", [], "place 2")
            assert not any(name == "points_Delete" for name, _ in stand_in.requests[before:])
    if ended:
        done = edit.remove_photos(world / "q.wl", [], "place 2")
    assert int(done.counts["removed"]) > 0
    said = "\n".join(warnings(caplog))
    assert ("The gallery is up to date, and answers without" in said) == ended
    assert "gallery sync" in said
    assert ("a sync has not ended" in said) != ended
    caplog.clear()
    assert "place 2" not in {answer.landmark for answer in predictions(world / "q.wl")}
    assert any("no server answers there" in text for text in warnings(caplog))
    assert "no server answers there" in state(world / "q.wl")


def test_index_says_at_once_when_the_server_does_not_answer(world: Path) -> None:
    with pytest.raises(GalleryError, match="no server answers there"):
        index(world, world / "q.wl", search="qdrant://127.0.0.1:9/paris?timeout=1")
    assert not (world / "q.wl" / "gallery.sqlite").exists()


def test_an_existing_folder_gets_an_index_and_loses_it(
    world: Path, server: tuple[StandIn, str], caplog: pytest.LogCaptureFixture
) -> None:
    _, address = server
    index(world, world / "q.wl")
    with pytest.raises(OptionError, match="has no search index; `whichlandmark index PHOTOS -o"):
        sync_search_index(world / "q.wl")
    counts = index(world, world / "q.wl", search=address)
    assert "whitening is left out, because a server searches" in warnings(caplog)[0]
    assert counts["added"] == 0
    assert state(world / "q.wl").startswith("up to date")
    index(world, world / "q.wl")  # stays
    assert read_link(world / "q.wl") == Link(search=address)
    index(world, world / "q.wl", search="here")
    assert read_link(world / "q.wl") == Link()
    with gallery_in(world / "q.wl") as gallery:
        assert search_index_state(world / "q.wl", gallery) == {}


def test_copies_have_an_index_of_their_own(world: Path, server: tuple[StandIn, str]) -> None:
    _, address = server
    index_photos(photos_of(world / "gallery"), photos_of(world / "bank", False), world / "file.wl",
                 HistogramEmbedder(), IndexOptions(rules=Rules(whitening="none")),
                 progress=quiet)  # fmt: skip
    maintain.copy_to(str(world / "file.wl"), str(world / "q.wl"), link=Link(search=address))
    assert state(world / "q.wl").startswith("up to date")
    same(predictions(world / "file.wl"), predictions(world / "q.wl"))
    maintain.copy_to(str(world / "q.wl"), str(world / "back.wl"))
    assert read_link(world / "back.wl") is None


def test_a_key_that_would_be_sent_unencrypted_stops_the_search_and_not_the_folder(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_photos(photos_of(world / "gallery"), None, world / "q.wl", HistogramEmbedder(),
                 IndexOptions(rules=Rules(whitening="none")), progress=quiet)  # fmt: skip
    (world / "q.wl" / LINK_FILE).write_text(json.dumps({"search": "qdrant://db.example/paris"}))
    monkeypatch.setenv("WHICHLANDMARK_QDRANT_KEY", "sesame")
    with gallery_in(world / "q.wl") as gallery:
        assert gallery.count()
    for use in (lambda: predictions(world / "q.wl"), lambda: sync_search_index(world / "q.wl")):
        with pytest.raises(OptionError, match="the key would be sent unencrypted; add"):
            use()


def test_tune_chooses_rules_that_the_index_can_search_by(
    world: Path, server: tuple[StandIn, str]
) -> None:
    stand_in, address = server
    index(world, world / "q.wl", search=address)
    done = tune(world / "q.wl", None, embedder=HistogramEmbedder(), progress=quiet)
    assert done.rows
    assert {row.rules.whitening for row in done.rows} == {"none"}
    predictions(world / "q.wl")
    assert searches(stand_in) > 0


def test_folders_of_a_gallery_on_qdrant_are_refused(world: Path) -> None:
    index(world, world / "q.wl")
    old = {"address": "qdrant://db:6334/paris", "search": "there"}
    (world / "q.wl" / LINK_FILE).write_text(json.dumps(old))
    with pytest.raises(GalleryError, match="names a gallery on Qdrant, which is only a search"):
        load(world / "q.wl")


def test_a_server_that_reloads_uses_the_index_of_the_new_generation(
    world: Path, server: tuple[StandIn, str], caplog: pytest.LogCaptureFixture
) -> None:
    stand_in, address = server
    index(world, world / "q.wl", search=address)
    photo = next((world / "queries").glob("*.jpg"))
    live = live_recognizer.LiveRecognizer(world / "q.wl")
    try:
        with live.use() as opened:
            removed = opened.recognizer(photo).matches[0].photo_id
        edit.remove_photos(world / "q.wl", [removed], None)
        with gallery_in(world / "q.wl") as gallery:
            now, end = gallery.generation, time.monotonic() + 20
        while live.generation < now and time.monotonic() < end:
            live.refresh()
        asked = searches(stand_in)
        with live.use() as opened:
            assert removed not in [m.photo_id for m in opened.recognizer(photo).matches]
        assert searches(stand_in) > asked
        assert warnings(caplog) == []
    finally:
        live.close()


def test_the_command_line(
    world: Path, server: tuple[StandIn, str], capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from whichlandmark.cli import main

    _, address = server

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["whichlandmark", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capfd.readouterr()

    folder = str(world / "q.wl")
    index(world, world / "q.wl", search=address)
    assert "up to date, generation " in run("gallery", "list", folder)[1]
    listed = json.loads(run("gallery", "list", folder, "--json")[1])["search_index"]
    assert listed["up_to_date"]
    assert listed["photos"] == 34
    code, out, _ = run("gallery", "sync", folder, "--json")
    assert (code, json.loads(out)["written"]) == (0, 0)
    code, out, _ = run("gallery", "sync", folder, "--rebuild", "--json")
    assert (code, json.loads(out)["written"]) == (0, 34)
    table = str(world / "gallery")
    for arguments, code, words in (
        (("--gallery", "qdrant://db/paris"), 2, "give --search qdrant://db/paris, with or without"),
        (("--search", "away"), 2, "search 'away' given; expected here, there or qdrant://HOST"),
        (("--search", "there"), 2, "--search there given without --gallery"),
    ):
        found, _, said = run("index", table, "-o", str(world / "new.wl"), *arguments)
        assert (found, words in said) == (code, True), said
        assert not (world / "new.wl").exists()
