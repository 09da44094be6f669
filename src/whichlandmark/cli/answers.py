"""What `recognize` does with many photos: find them, answer in batches, print a table or JSON."""

from __future__ import annotations

import csv
import glob
import os
import shutil
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core.errors import DataError, ImageError, OptionError
from ..core.files import atomic_file, local_path
from ..core.storage import is_url
from ..core.types import Photo, Photos, Prediction
from ..data.folders import find_photos
from ..data.left_out import lost_photos
from ..data.table import read_photos
from ..library.exports import (
    DOCUMENT_ROOT,
    AnswerFiles,
    config_path,
    served_folders,
    write_fiftyone,
    write_label_studio,
)
from ..recognition.answer import (
    CSV_COLUMNS,
    GalleryFacts,
    answer_and_confidence,
    answer_object,
    confidence_in_words,
    csv_row,
)
from ..recognition.faults import failed_object
from ..recognition.predictions import prediction
from ..recognition.recognizer import Recognizer
from . import output

PHOTOS_WITHOUT_PROGRESS = 16  # so few are answered before a progress bar would be of use

MIN_TABLE_WIDTH = 50  # columns of a terminal; a narrower one gets two lines for each photo


def photos_of_arguments(given: Sequence[str]) -> Photos:
    """The photos that the arguments of a command name, each once, in their order.

    An argument is a photo, a folder (every photo below it), a pattern with `*`, `?`, `[…]` or `**`
    that the shell has not expanded, a photo table (.csv), or a URL. `~` is the home folder. A
    photo's id is its name as the arguments give it. An argument that is nowhere stays in the
    table, so that it fails as a photo that cannot be read.
    """
    found: dict[str, str] = {}  # path → name
    left_out: dict[str, str] = {}
    seen: set[str] = set()  # absolute paths, because a folder's photos may be given one by one, too
    waiting = list(reversed(given))

    def add(photo: str, name: str) -> None:
        whole = local_path(photo)
        whole = whole if is_url(whole) else os.path.abspath(whole)
        if whole not in seen:
            seen.add(whole)
            found[photo] = name

    while waiting:
        argument = waiting.pop()
        path = argument
        if path.startswith("~") and not os.path.exists(path):
            path = os.path.expanduser(path)
        if os.path.isdir(path):
            below = find_photos(path)
            left_out |= below.left_out
            for photo in below.photos:
                add(photo, _name_below(photo, argument, path))
        elif os.path.exists(path):
            if path.lower().endswith(".csv"):
                table = read_photos(path)
                for photo in table.paths:
                    add(photo, photo)
            else:
                add(path, argument)
        elif glob.has_magic(path) and (matches := sorted(glob.glob(path, recursive=True))):
            waiting += reversed(matches)
        else:
            add(path, argument)
    names: dict[str, None] = {}
    for name in found.values():
        while name in names:
            name += " "
        names[name] = None
    table = Photos.of_columns(list(names), list(found), [""] * len(found))
    return replace(table, left_out=left_out)


def _name_below(photo: str, argument: str, folder: str) -> str:
    """The name of a photo of a folder, beginning as the argument does."""
    below = local_path(photo)[len(os.path.abspath(folder).rstrip(os.sep)) :].lstrip(os.sep)
    return os.path.join(argument, below)


@dataclass(eq=False)
class Printer:
    """Prints answers as they come, and counts them.

    paths: name → path of the photos whose answers are kept. answers: those. rows: of the csv file.
    """

    facts: GalleryFacts
    as_json: bool
    table: AnswerTable | None
    paths: Mapping[str, str] = field(default_factory=dict)
    answers: list[tuple[str, Prediction]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    rows: list[list[str]] = field(default_factory=lambda: [list(CSV_COLUMNS)])

    def add(self, name: str, answer: Prediction) -> None:
        """Print one answer."""
        if name in self.paths:
            self.answers.append((self.paths[name], answer))
        self.counts[answer.decision] += 1
        self.rows.append(csv_row(replace(answer, photo=name), self.facts.titles))
        if answer.error is not None:
            self.failures[name] = answer.error
        if self.as_json:
            failed = failed_object(name, answer.error) if answer.error is not None else None
            output.say_json(failed or answer_object(name, answer, self.facts))
        elif self.table:
            self.table.add(name, answer)
        elif answer.error is None:
            print_prediction(name, answer, self.facts.titles)
            for text in answer.warnings:
                output.note(f"{name}: {text}")

    def add_lost(self, left_out: dict[str, str]) -> None:
        """Add the photos of folders that could not be used to the JSON lines and the csv."""
        for path, reason in lost_photos(left_out).items():
            self.rows.append(csv_row(Prediction.of_failed(path, reason), {}))
            if self.as_json:
                output.say_json(failed_object(path, reason))

    def summary(self) -> str:
        """How many photos got which answer."""
        words = {"landmark": "named", "uncertain": "not sure", "no_landmark": "no landmark",
                 "failed": "not readable"}  # fmt: skip
        parts = [f"{self.counts[key]} {text}" for key, text in words.items() if self.counts[key]]
        return f"{self.counts.total()} photos: {', '.join(parts)}"


def recognize_photos(
    opened: Recognizer,
    photos: Photos,
    *,
    evidence: bool = False,
    explain: Path | None = None,
    files: AnswerFiles | None = None,
    as_json: bool = False,
) -> None:
    """Answer all photos and print the answers; end with the exit code of the documentation.

    Raises:
        OptionError: When there are several photos to explain.
        DataError: When there is no photo, or none can be read.
    """
    if explain and len(photos) > 1:
        raise OptionError(f"--explain given with {len(photos)} photos; expected one photo")
    facts = GalleryFacts.of(opened)
    for text in facts.notes[len(opened.warnings) :]:  # those of the folder are on stderr already
        output.note(text)
    as_table = len(photos) > 1 and not (as_json or evidence)
    labels = [name for name in opened.index.names if name]
    table = AnswerTable(photos.ids.tolist(), labels, facts.titles) if as_table else None
    files = files or AnswerFiles()
    paths = photos.paths.tolist()
    if files.label_studio:
        served_folders(paths)  # an error before the work
    printer = Printer(facts, as_json, table)
    if files.fiftyone or files.label_studio:
        printer.paths = dict(zip(photos.ids.tolist(), paths, strict=True))
    try:
        for photo, answer in _answers(opened, photos, evidence, explain):
            printer.add(photo.id, answer)
    except KeyboardInterrupt:
        _write_files(files, printer, evidence, labels)
        output.warn(f"{printer.counts.total()} of {len(photos)} photos were answered")
        raise
    printer.add_lost(photos.left_out)
    _write_files(files, printer, evidence, labels)
    if as_table:
        output.note(printer.summary())
    lost = output.name_left_out(photos.left_out)
    if not len(photos):
        raise DataError("no photo there that can be read")
    failures = printer.failures
    output.finish_with_failures(failures, nothing_done=len(failures) == len(photos))
    if lost:
        raise output.PartlyFailedError


def _write_files(
    files: AnswerFiles, printer: Printer, boxes: bool, landmarks: Sequence[str]
) -> None:
    """Write the files, and say how the programs that read them find the photos."""
    if files.csv:
        write_csv(files.csv, printer.rows)
    answers, titles = printer.answers, printer.facts.titles
    if all(answer.error is not None for _, answer in answers):
        return
    if files.fiftyone:
        kind = "Detection" if boxes else "Classification"
        if left := write_fiftyone(files.fiftyone, answers, titles, boxes=boxes):
            output.warn(f"{files.fiftyone}: without {left} photos that are no files of their own")
        output.note(
            f"{files.fiftyone}: fo.Dataset.from_dir(labels_path={os.path.abspath(files.fiftyone)!r}"
            f", dataset_type=fo.types.FiftyOneImage{kind}Dataset)"
        )
    if files.label_studio:
        write_label_studio(files.label_studio, answers, titles, landmarks)
        root, folder = served_folders([photo for photo, _ in answers])
        output.note(
            f"{files.label_studio}: for Label Studio with {DOCUMENT_ROOT}={root} and a local "
            f"storage of {folder}; {config_path(files.label_studio)} is the labeling configuration"
        )


def _answers(
    opened: Recognizer, photos: Photos, evidence: bool, explain: Path | None
) -> Iterator[tuple[Photo, Prediction]]:
    if explain:
        for photo in photos:
            yield photo, _explain(opened, photo, explain)
        return
    many = len(photos) > PHOTOS_WITHOUT_PROGRESS
    with output.progress() if many else nullcontext() as start:
        move = start("recognizing") if start else None
        if move:
            move(0, len(photos))  # the first batch takes a while
        yield from opened.answer_table(photos, evidence=evidence, progress=move)


def _explain(opened: Recognizer, photo: Photo, target: Path) -> Prediction:
    """Answer one photo and write a page about it."""
    from ..recognition.explanation.explain import explain_answer
    from ..recognition.explanation.page import write_explanation

    try:
        read = opened.read(photo)
    except ImageError as error:
        return Prediction.of_failed(photo.id, str(error))
    answers = opened.answer(opened.embed([read]), evidence=True)
    shown = explain_answer(opened, answers, 0, read, name=Path(photo.id).name)
    write_explanation(shown, target)
    return prediction(answers, 0)


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write rows as a csv file that spreadsheets open in UTF-8, whole or not at all."""
    with (
        atomic_file(path, "table of answers") as temporary,
        open(temporary, "w", newline="", encoding="utf-8-sig") as file,
    ):
        csv.writer(file).writerows(rows)


class AnswerTable:
    """The answers to many photos as a table on stdout, one line each, printed as they come.

    A terminal gets lines of its width, where names are cut; a file or pipe gets whole names.
    """

    def __init__(
        self, names: Sequence[str], labels: Sequence[str], titles: Mapping[str, str]
    ) -> None:
        """names: of all photos that will be added. labels: of all landmarks. titles: label → title,
        of the landmarks that have one.
        """
        self.titles = titles
        self.width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
        longest = max((cells(output.visible(name)) for name in names), default=5)
        title = max((cells(output.named(label, titles)) for label in labels), default=8)
        self.sizes = [max(5, min(longest, 60)), max(8, min(title, 40))]
        rest = self.width - 26  # the other columns and the spaces between all of them
        if self.width and sum(self.sizes) > rest:
            photo = max(rest // 2, rest - self.sizes[1])
            self.sizes = [photo, rest - photo]
        self.none = "–" if has_character("–") else "-"
        if not 0 < self.width < MIN_TABLE_WIDTH:
            self._line("photo", "landmark", "answer", "confidence")

    def add(self, name: str, answer: Prediction) -> None:
        """Print the line of one photo."""
        names = [
            output.named(label, self.titles) for label in (answer.guess, answer.second) if label
        ]
        confidence = f"{answer.confidence:.2f}"
        if answer.decision == "landmark":
            self._line(name, names[0], confidence_in_words(answer), confidence)
        elif answer.decision == "uncertain":
            self._line(name, " or ".join(names), "not sure", confidence)
        else:
            words = "not readable" if answer.decision == "failed" else "no landmark"
            self._line(name, self.none, words, self.none)

    def _line(self, *columns: str) -> None:
        name, landmark, answer, confidence = columns
        if 0 < self.width < MIN_TABLE_WIDTH:  # a narrow terminal gets two lines a photo
            output.say(fitted(name, self.width, keep_end=True).rstrip())
            output.say(fitted(f"  {landmark}, {answer} {confidence}", self.width).rstrip())
            return
        if self.width:
            name = fitted(name, self.sizes[0], keep_end=True)
            landmark = fitted(landmark, self.sizes[1])
        else:
            name, landmark = (
                output.visible(text) + " " * (size - cells(output.visible(text)))
                for text, size in zip((name, landmark), self.sizes, strict=True)
            )
        if self.width and confidence == "confidence":
            confidence = "sure"
        output.say(f"{name}  {landmark}  {answer:<16}  {confidence}".rstrip())


def print_prediction(name: str, answer: Prediction, titles: Mapping[str, str]) -> None:
    """Print an answer: a sentence with boxes and the three nearest photos.

    titles: label → title, for landmarks that have one.
    """
    output.say(f"{output.visible(name)}: {output.visible(answer_and_confidence(answer, titles))}")
    for detection in answer.landmarks:
        if detection.box or detection is not answer.landmarks[0]:
            sides = " ".join(f"{side:.2f}" for side in detection.box or ())
            box = f" at {sides}" if sides else ""
            found = output.named(detection.landmark, titles)
            output.say(f"    in the photo: {found} ({detection.confidence:.2f}){box}")
    for match in answer.matches[:3]:
        inliers = "" if match.inliers is None else f"  {match.inliers} inliers"
        nearest = output.named(match.landmark, titles) if match.landmark else "distractor"
        output.say(
            f"    {match.similarity:.3f}  {nearest}  {output.visible(match.photo_id)}{inliers}"
        )


def fitted(text: str, width: int, *, keep_end: bool = False) -> str:
    """The text in exactly `width` terminal cells: padded, or cut with an ellipsis.

    keep_end: cut at the beginning, as for the path of a file.
    """
    text = output.visible(text)
    if cells(text) <= width:
        return text + " " * (width - cells(text))
    kept, used = "", 1
    for character in reversed(text) if keep_end else text:
        if used + cells(character) > width:
            break
        kept = character + kept if keep_end else kept + character
        used += cells(character)
    dots = "…" if has_character("…") else "~"
    return (dots + kept if keep_end else kept + dots) + " " * (width - used)


def cells(text: str) -> int:
    """Columns that text takes on a terminal: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(character) in ("Mn", "Me", "Cf")
        else 2 if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )  # fmt: skip


def has_character(character: str) -> bool:
    try:
        character.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
