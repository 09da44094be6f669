"""Labels of a library: what is planned and written, what stays, and that undo is exact."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import whichlandmark as wl
from tests.support.labelled import FakeLibrary, photo, snapshot
from tests.support.photos import photos_of, picture, write_colour_world, write_photo
from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.library.label import undo
from whichlandmark.library.plan import LabelSettings
from whichlandmark.library.planner import label_of, mix_notes
from whichlandmark.library.sidecar_files import read_sidecar
from whichlandmark.library.xmp import Additions, add, read_xmp

EIFFEL = "Places|France|Paris|Eiffel Tower"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return photo(tmp_path / "library" / "a.jpg").parent


@pytest.fixture
def library(top: Path, tmp_path: Path) -> Iterator[FakeLibrary]:
    with FakeLibrary(top, tmp_path / "state") as opened:
        opened.answer("a.jpg", "eiffel")
        yield opened


def undone(library: FakeLibrary, tmp_path: Path) -> object:
    library.journal.close()
    return undo(library.library, state=tmp_path / "state")


def said(path: Path) -> list[str]:
    return [*read_xmp(path.read_bytes()).keywords]


def sidecar(path: Path, *keywords: str) -> Path:
    path.write_bytes(add(None, Additions(keywords))[0])
    os.utime(path, (1_500_000_000, 1_500_000_000))
    return path


def test_a_label_is_keyword_path_place_and_no_position(library: FakeLibrary, top: Path) -> None:
    plan = library.planned()
    (row,) = plan
    assert (row.state, row.landmark, row.title) == ("write", "eiffel", "Eiffel Tower")
    assert row.sidecar == str(top / "a.jpg.xmp")
    assert (row.wanted.keywords, row.wanted.hierarchy) == (("Eiffel Tower",), (EIFFEL,))
    assert plan.counts == {"write": 1}
    assert plan.landmarks == {"Eiffel Tower": 1}
    assert not (top / "a.jpg.xmp").exists()  # a plan writes nothing
    assert library.write(plan).new == 1
    found = read_xmp((top / "a.jpg.xmp").read_bytes())
    (place,) = found.places
    assert found.keywords == ("Eiffel Tower",)
    assert found.hierarchy == (EIFFEL,)
    assert (place.name, place.wikidata, place.city) == ("Eiffel Tower", "Q243", "Paris")
    assert (place.country, place.country_code) == ("France", "FR")
    assert (place.latitude, place.longitude) == pytest.approx((48.8583, 2.2945), abs=1e-6)
    assert found.position is None


def test_the_same_answers_write_nothing_again(library: FakeLibrary, top: Path) -> None:
    sidecar(top / "a.jpg.xmp", "Holiday")
    library.written()
    before = snapshot(top)
    plan = library.planned()
    assert [row.state for row in plan] == ["known"]
    assert plan.sidecars == []
    library.write(plan)
    assert snapshot(top) == before


def test_undo_restores_bytes_mode_and_time_and_deletes_what_was_made(
    library: FakeLibrary, top: Path, tmp_path: Path
) -> None:
    for name in ("b.jpg", "c/d.jpg"):
        photo(top / name)
        library.answer(name, "louvre")
    sidecar(top / "a.jpg.xmp", "Holiday").chmod(0o640)
    sidecar(top / "b.xmp", "Museum")
    before = snapshot(top)
    assert library.written() == {}
    assert (top / "a.jpg.xmp").stat().st_mode & 0o777 == 0o640
    assert said(top / "a.jpg.xmp") == ["Holiday", "Eiffel Tower"]
    result = undone(library, tmp_path)
    assert (result.restored, result.deleted, result.cleaned) == (2, 1, 0)  # type: ignore[attr-defined]
    assert snapshot(top) == before
    again = undo(top, state=tmp_path / "state")
    assert (again.restored, again.deleted, again.gone, again.failures) == (0, 0, [], {})
    assert snapshot(top) == before


def test_several_runs_are_undone_together(library: FakeLibrary, top: Path, tmp_path: Path) -> None:
    sidecar(top / "a.jpg.xmp", "Holiday")
    before = snapshot(top)
    library.written()
    library.answer("a.jpg", "louvre")  # it changed its mind
    assert [row.state for row in library.planned()] == ["write"]
    library.written()
    assert said(top / "a.jpg.xmp") == ["Holiday", "Louvre"]
    library.written(language="fr", keyword_root="Lieux")
    assert said(top / "a.jpg.xmp") == ["Holiday", "Louvre"]
    assert read_xmp((top / "a.jpg.xmp").read_bytes()).hierarchy[-1] == "Lieux|France|Paris|Louvre"
    undone(library, tmp_path)
    assert snapshot(top) == before


def test_a_label_that_is_not_sure_any_more_is_taken_out(library: FakeLibrary, top: Path) -> None:
    before = snapshot(top)
    library.written()
    library.answer("a.jpg", "eiffel", 0.5)
    (row,) = library.planned()
    assert (row.state, row.labelled) == ("write", False)
    assert row.why == (
        "Eiffel Tower, written before, is taken out again: confidence 0.500, below 0.9"
    )
    written = library.write(library.planned())
    assert written.withdrawn == 1
    assert snapshot(top) == before
    assert library.journal.sidecars() == {}


def test_a_photo_that_cannot_be_read_now_keeps_its_label(library: FakeLibrary, top: Path) -> None:
    library.written()
    before = snapshot(top)
    library.answer("a.jpg", None, error="a.jpg: damaged")
    (row,) = library.planned()
    assert (row.state, row.why) == ("failed", "a.jpg: damaged")
    library.written()
    assert snapshot(top) == before


def test_what_others_change_afterwards_stays(
    library: FakeLibrary, top: Path, tmp_path: Path
) -> None:
    path = sidecar(top / "a.jpg.xmp", "Holiday")
    library.written()
    changed = path.read_bytes().replace(b"Holiday", b"Summer").replace(b"\n", b"\n ")
    path.write_bytes(changed)
    assert [row.state for row in library.planned()] == ["known"]
    assert path.read_bytes() == changed
    library.answer("a.jpg", "louvre")
    library.written()
    assert said(path) == ["Summer", "Louvre"]
    path.write_bytes(path.read_bytes().replace(b"Summer", b"Autumn"))
    result = undone(library, tmp_path)
    assert (result.restored, result.cleaned) == (0, 1)  # type: ignore[attr-defined]
    assert said(path) == ["Autumn"]
    assert b"LocationShown" not in path.read_bytes()


def test_a_sidecar_of_ours_in_which_others_wrote_is_not_deleted(
    library: FakeLibrary, top: Path, tmp_path: Path
) -> None:
    library.written()
    path = top / "a.jpg.xmp"
    path.write_bytes(add(path.read_bytes(), Additions(("Holiday",)))[0])
    undone(library, tmp_path)
    assert said(path) == ["Holiday"]


def test_a_label_that_was_taken_out_is_not_written_again(
    library: FakeLibrary, top: Path, tmp_path: Path
) -> None:
    path = sidecar(top / "a.jpg.xmp", "Holiday")
    library.written()
    path.write_bytes(path.read_bytes().replace(b"<rdf:li>Eiffel Tower</rdf:li>", b""))
    (row,) = library.planned()
    assert not row.labelled
    library.written()
    assert said(path) == ["Holiday"]
    assert b"LocationShown" not in path.read_bytes()
    (row,) = library.planned()
    assert (row.state, "taken out since" in row.why) == ("not_sure", True)
    library.answer("a.jpg", "louvre")  # another landmark may be written, and the first never again
    library.written()
    assert said(path) == ["Holiday", "Louvre"]
    library.answer("a.jpg", "eiffel")
    library.written()
    assert said(path) == ["Holiday"]
    undone(library, tmp_path)
    with FakeLibrary(top, tmp_path / "state") as after:
        after.answer("a.jpg", "eiffel")
        after.written()
    assert said(path) == ["Holiday", "Eiffel Tower"]


def test_a_deleted_sidecar_is_not_made_again_and_is_named_by_undo(
    library: FakeLibrary, top: Path, tmp_path: Path
) -> None:
    library.written()
    left = (top / "a.jpg.xmp").read_bytes()
    (top / "a.jpg.xmp").unlink()
    before = snapshot(top)
    (row,) = library.planned()
    assert (row.state, "taken out since" in row.why) == ("not_sure", True)
    library.written()
    result = undone(library, tmp_path)
    assert result.gone == [str(top / "a.jpg.xmp")]  # type: ignore[attr-defined]
    assert snapshot(top) == before
    (top / "a.jpg.xmp").write_bytes(left)  # it was only away, as with a disk
    assert undo(top, state=tmp_path / "state").deleted == 1
    assert snapshot(top) == before


def test_a_photo_moved_with_its_sidecar_is_followed(
    library: FakeLibrary, top: Path, tmp_path: Path
) -> None:
    library.written()
    (top / "2024").mkdir()
    for name in ("a.jpg", "a.jpg.xmp"):
        os.rename(top / name, top / "2024" / name)
    result = undone(library, tmp_path)
    assert (result.deleted, result.gone) == (1, [])  # type: ignore[attr-defined]
    with FakeLibrary(top, tmp_path / "state") as after:
        after.answer("2024/a.jpg", "eiffel")
        after.written()
        os.rename(top / "2024", top / "2025")
        after.given = {}
        after.answer("2025/a.jpg", "louvre")
        after.written()
        assert said(top / "2025" / "a.jpg.xmp") == ["Louvre"]
    undo(top, state=tmp_path / "state")
    assert not (top / "2025" / "a.jpg.xmp").exists()


def test_a_library_that_moved_is_undone_with_its_state(
    library: FakeLibrary, top: Path, tmp_path: Path
) -> None:
    before = snapshot(top)
    library.written()
    library.journal.close()
    os.rename(top, tmp_path / "moved")
    with pytest.raises(DataError, match=r"nothing was written here .*--state .*/state"):
        undo(tmp_path / "moved", state=tmp_path / "other")
    with FakeLibrary(tmp_path / "moved", tmp_path / "other") as planned_anew:
        planned_anew.planned()
    assert str(tmp_path / "state") in undo(tmp_path / "moved", state=tmp_path / "other").note
    undo(tmp_path / "moved", state=tmp_path / "state")
    assert snapshot(tmp_path / "moved") == before


def test_keywords_that_are_known_in_any_language_are_not_repeated(
    library: FakeLibrary, top: Path
) -> None:
    path = sidecar(top / "a.jpg.xmp", "tour eiffel")
    library.written()
    assert said(path) == ["tour eiffel"]
    assert len(read_xmp(path.read_bytes()).places) == 1


def test_language_and_root_of_keywords(library: FakeLibrary) -> None:
    (row,) = library.planned(language="fr", keyword_root="")
    assert row.wanted.keywords == ("Tour Eiffel",)
    assert row.wanted.hierarchy == ("France|Paris|Tour Eiffel",)
    label = label_of("old_mill", None, LabelSettings(0.9, keyword_root="A|B"))
    assert (label.title, label.path, label.place.wikidata) == ("old mill", "A|B|old mill", "")


def test_several_landmarks_are_written_where_they_are_as_sure(
    library: FakeLibrary, top: Path
) -> None:
    library.answer("a.jpg", "eiffel", others={"louvre": 0.95, "old_mill": 0.7})
    library.written()
    assert said(top / "a.jpg.xmp") == ["Eiffel Tower", "Louvre"]


def test_labels_of_another_gallery_stay(library: FakeLibrary, top: Path, tmp_path: Path) -> None:
    before = snapshot(top)
    library.written()
    written = snapshot(top)
    library.gallery.name, library.index.names = "rome.wl", ["colosseum"]
    library.answer("a.jpg", None)
    assert [row.state for row in library.planned()] == ["no_landmark"]
    library.written()
    assert snapshot(top) == written
    library.answer("a.jpg", "colosseum")  # both are sure: both are written
    library.written()
    assert said(top / "a.jpg.xmp") == ["Eiffel Tower", "colosseum"]
    library.answer("a.jpg", "colosseum", 0.3)
    library.written()
    assert snapshot(top)["a.jpg.xmp"][0] == written["a.jpg.xmp"][0]
    library.gallery.name = "moved/paris.wl"  # the first one again, at another place
    library.index.names = ["eiffel", "louvre"]
    library.answer("a.jpg", "louvre")
    library.written()
    assert said(top / "a.jpg.xmp") == ["Louvre"]
    undone(library, tmp_path)
    assert snapshot(top) == before


def test_a_position_is_written_only_when_asked_and_where_there_is_none(
    library: FakeLibrary, top: Path, tmp_path: Path
) -> None:
    photo(top / "b.jpg", gps=(48.86, 2.30))
    library.answer("b.jpg", "eiffel")
    before = snapshot(top)
    library.written(gps=True)
    first, second = (
        read_xmp((top / f"{name}.jpg.xmp").read_bytes()).position for name in ("a", "b")
    )
    assert first == pytest.approx((48.8583, 2.2945), abs=1e-6)
    assert second is None
    library.written()  # a later run that does not ask leaves it
    assert read_xmp((top / "a.jpg.xmp").read_bytes()).position == first
    library.answer("a.jpg", "louvre")
    library.written()  # but not under another landmark
    assert read_xmp((top / "a.jpg.xmp").read_bytes()).position is None
    undone(library, tmp_path)
    assert snapshot(top) == before


def test_a_position_far_from_the_landmark_outweighs_the_guess(
    library: FakeLibrary, top: Path
) -> None:
    for number in range(3):
        photo(top / f"{number}.jpg", gps=(51.5, -0.12))
        library.answer(f"{number}.jpg", "eiffel")
    plan = library.planned()
    assert [row.state for row in plan] == ["not_sure"] * 3 + ["write"]
    assert plan.rows[0].why == (
        "the photo's own position is 340 km from Eiffel Tower; a guess does not outweigh it"
    )
    assert "3 photos answered as Eiffel Tower" in plan.notes[0]
    assert "--far KM" in plan.notes[0]
    assert library.planned(far_km=500).counts == {"write": 4}


def test_blocked_sidecars_are_left_alone_and_say_why(library: FakeLibrary, top: Path) -> None:
    for name in ("broken", "read-only", "link", "hard", "folder"):
        photo(top / f"{name}.jpg")
        library.answer(f"{name}.jpg", "eiffel")
    (top / "broken.jpg.xmp").write_bytes(b"<x:xmpmeta")
    sidecar(top / "read-only.jpg.xmp", "Holiday").chmod(0o444)
    sidecar(top / "other.xml", "Holiday")
    (top / "link.jpg.xmp").symlink_to(top / "other.xml")
    os.link(sidecar(top / "hard.jpg.xmp", "Holiday"), top / "backup.xml")
    (top / "folder.jpg.xmp").mkdir()
    photo(top / "closed" / "x.jpg")
    library.answer("closed/x.jpg", "eiffel")
    (top / "closed").chmod(0o555)
    before = snapshot(top)
    try:
        plan = library.planned()
        why = {row.photo: row.why for row in plan if row.state == "blocked"}
        assert set(why) == {row.photo for row in plan} - {"a.jpg"}
        assert "read-only" in why["read-only.jpg"]
        assert "is a link" in why["link.jpg"]
        assert "2 names" in why["hard.jpg"]
        assert "a folder" in why["folder.jpg"]
        assert why["closed/x.jpg"] == "its folder is read-only"
        library.write(plan)
        (top / "a.jpg.xmp").unlink()
        assert snapshot(top) == before
    finally:
        (top / "closed").chmod(0o755)


def test_what_fails_while_writing_is_listed_and_the_rest_goes_on(
    library: FakeLibrary, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "full", "late"):
        photo(top / f"{name}.jpg")
        library.answer(f"{name}.jpg", "louvre")
    plan = library.planned()
    (top / "gone.jpg").unlink()
    sidecar(top / "late.jpg.xmp", "Written meanwhile")
    real = os.open

    def full(path: str, *given: int) -> int:
        if "full.jpg" in str(path):
            raise OSError(28, "No space left on device", str(path))
        return real(path, *given)

    monkeypatch.setattr(os, "open", full)
    written = library.write(plan)
    monkeypatch.undo()
    failures = {os.path.basename(path): why for path, why in written.failures.items()}
    assert failures.keys() == {"gone.jpg.xmp", "full.jpg.xmp"}
    assert failures["gone.jpg.xmp"] == "the photo is gone since it was read"
    assert "is full" in failures["full.jpg.xmp"]
    assert said(top / "late.jpg.xmp") == ["Written meanwhile", "Louvre"]
    assert (written.new, written.merged) == (1, 1)
    names = sorted(path.name for path in top.iterdir() if path.suffix != ".jpg")
    assert names == ["a.jpg.xmp", "late.jpg.xmp"]
    (top / "full.jpg.xmp").unlink(missing_ok=True)
    assert library.written() == {}  # and the next run completes it
    assert (top / "full.jpg.xmp").exists()


def test_names_of_all_kinds(library: FakeLibrary, top: Path, tmp_path: Path) -> None:
    names = ["ü/é à.JPG", "日本/写真 1.jpg", "a'b\"c|d.jpg", "x" * 240 + ".jpg", "line\nbreak.jpg"]
    for name in names:
        photo(top / name)
        library.answer(name, "eiffel")
    before = snapshot(top)
    assert library.written() == {}
    assert all((top / f"{name}.xmp").exists() for name in names)
    undone(library, tmp_path)
    assert snapshot(top) == before


def test_settings_out_of_range_are_refused() -> None:
    for above, far in ((1.5, 20.0), (float("nan"), 20.0), (0.9, 0.0)):
        with pytest.raises(OptionError, match="given; expected"):
            LabelSettings(above, far_km=far)


def test_without_a_journal_undo_says_so(top: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing was written here"):
        undo(top, state=tmp_path / "empty")
    assert not (tmp_path / "empty").exists()
    assert read_sidecar(str(top / "none.xmp")) is None
    shutil.rmtree(top)


def test_from_python(top: Path, tmp_path: Path) -> None:
    shutil.rmtree(top)
    world = write_colour_world(tmp_path / "world")
    recognizer = wl.build(
        HistogramEmbedder(), photos_of(world / "gallery"),
        distractors=photos_of(world / "bank", landmarks=False),
    )  # fmt: skip
    write_photo(top / "a.jpg", picture(1, 50))
    calls: list[tuple[int, int]] = []
    given = {"state": tmp_path / "state", "progress": lambda *numbers: calls.append(numbers)}
    plan = wl.label_folder(top, recognizer, LabelSettings(0.5), **given)  # type: ignore[arg-type]
    assert (plan.counts, calls[-1]) == ({"write": 1}, (1, 1))
    assert not (top / "a.jpg.xmp").exists()
    settings, state = LabelSettings(0.5), tmp_path / "state"
    plan = wl.label_folder(top, recognizer, settings, write=True, state=state)
    assert (said(top / "a.jpg.xmp"), plan.failures) == (["place 1"], {})
    assert undo(top, state=state).deleted == 1
    sure = wl.label_folder(top, recognizer, state=state)
    assert sure.above >= 0.5


def test_a_library_with_few_landmarks_is_told_how_many_labels_may_be_wrong() -> None:
    few = [0.99] * 20 + [0.02] * 980
    (note,) = mix_notes(few, [confidence > 0.9 for confidence in few], 0.5)
    # By Bayes' rule with a share of 1 to 2 in 100, odds of 99 become 1 to 2: a third to a half.
    assert note.startswith("about 1% of these photos show a landmark of the gallery")
    assert "of the 20 labels may be wrong" in note
    assert 5 <= int(note.split("up to ")[1].split()[0]) <= 12
    half = [0.999] * 500 + [0.001] * 500
    assert mix_notes(half, [confidence > 0.9 for confidence in half], 0.5) == ()
    assert mix_notes(few[:50], [True] * 50, 0.5) == ()  # too few to tell
    assert mix_notes([0.1] * 500, [False] * 500, 0.5) == ()
