"""Answers as files for FiftyOne and for Label Studio, to look through and to correct there.

Both are written by their formats alone; neither program is needed. FiftyOne's own importers (1.22)
read both of its files and found the photos, because a key of `labels` that is a whole path is the
photo itself; Label Studio's own library (label-studio-sdk 2.1) accepted the labeling configuration,
the tasks and the predictions. The programs themselves, with database and page, were not run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..core.errors import ImageError, OptionError
from ..core.files import local_path, valid_text, write_json, write_text
from ..core.images import header_size
from ..core.storage import is_url, read_bytes
from ..core.types import Prediction

GENERATOR = "whichlandmark"

MOST_CHOICES = 500  # landmarks of a gallery that are all offered; of more, those that were named

DOCUMENT_ROOT = "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"  # Label Studio's own setting

Row = tuple[str, Prediction]  # path of the photo, its answer

_WHOLE = (0.0, 0.0, 1.0, 1.0)  # box of a landmark of which it is not known where it is


@dataclass(frozen=True)
class AnswerFiles:
    """Files that the answers are written into, each None = not written.

    csv: a table. fiftyone, label_studio: for these programs, with boxes where they were looked for.
    """

    csv: Path | None = None
    fiftyone: Path | None = None
    label_studio: Path | None = None

    def results(self) -> list[tuple[Path, str]]:
        """Each file and its kind, as `check_results` takes them."""
        found: list[tuple[Path, str]] = []
        if self.csv:
            found.append((self.csv, "table of answers"))
        if self.fiftyone:
            found.append((self.fiftyone, "file for FiftyOne"))
        if self.label_studio:
            found.append((self.label_studio, "file for Label Studio"))
            found.append((config_path(self.label_studio), "labeling configuration"))
        return found


def write_fiftyone(
    path: Path, rows: Sequence[Row], titles: Mapping[str, str], *, boxes: bool
) -> int:
    """Write the answers as FiftyOne's labels.json, whole or not at all.

    Args:
        path: The file to write.
        rows: The photos and their answers.
        titles: Landmark → title, for those that have one.
        boxes: True = `FiftyOneImageDetectionDataset`, a box for each landmark; False =
            `FiftyOneImageClassificationDataset`, one label for each photo.

    Returns:
        The number of photos left out, because they are in no file of their own: URLs, and members
        of tars.
    """
    used = [(local_path(photo), answer) for photo, answer in rows if answer.error is None]
    files = [(os.path.abspath(photo), answer) for photo, answer in used if _is_file(photo)]
    named = sorted({name for _, answer in files for name in _named(answer)})
    numbers = {name: number for number, name in enumerate(named)}
    make = _detections if boxes else _classification
    labels = {valid_text(photo): make(answer, numbers, titles) for photo, answer in files}
    kind = "Detection" if boxes else "Classification"
    value = {
        "info": {"generator": GENERATOR, "dataset_type": f"FiftyOneImage{kind}Dataset"},
        "classes": named,
        "labels": labels,
    }
    write_json(path, value, "file for FiftyOne")
    return len(used) - len(files)


def _is_file(photo: str) -> bool:
    return not is_url(photo) and os.path.isfile(photo)


def _named(answer: Prediction) -> list[str]:
    """The landmarks that an answer gives a photo: those in it, or the guess it is not sure of."""
    if answer.decision == "landmark":
        return [found.landmark for found in answer.landmarks] or [answer.landmark or ""]
    return [answer.guess] if answer.decision == "uncertain" and answer.guess else []


def _label(
    answer: Prediction, name: str, confidence: float, number: int, titles: Mapping[str, str]
) -> dict[str, Any]:
    said: dict[str, Any] = {"decision": answer.decision}
    if title := titles.get(name):
        said["title"] = title
    return {"label": number, "confidence": confidence, "attributes": said}


def _classification(
    answer: Prediction, numbers: Mapping[str, int], titles: Mapping[str, str]
) -> dict[str, Any] | None:
    """The label of a photo; None = no landmark."""
    for name in _named(answer):
        return _label(answer, name, answer.confidence, numbers[name], titles)
    return None


def _detections(
    answer: Prediction, numbers: Mapping[str, int], titles: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The boxes of a photo, left, top, width and height in shares of the upright picture.

    A landmark without a box gets the whole picture, and says so.
    """
    result = []
    for name, confidence, box in _boxes(answer):
        left, top, right, bottom = box or _WHOLE
        label = _label(answer, name, confidence, numbers[name], titles)
        label["attributes"]["located"] = box is not None
        result.append({**label, "bounding_box": [left, top, right - left, bottom - top]})
    return result


def _boxes(
    answer: Prediction,
) -> list[tuple[str, float, tuple[float, float, float, float] | None]]:
    found = {detection.landmark: detection for detection in answer.landmarks}
    return [
        (name, found[name].confidence, found[name].box) if name in found
        else (name, answer.confidence, None)
        for name in _named(answer)
    ]  # fmt: skip


def served_folders(photos: Sequence[str]) -> tuple[str, str]:
    """(document root, folder of the local storage) that Label Studio has to serve.

    The root is its own setting in the environment, or the folder around the other, because Label
    Studio wants a storage below the root. The other holds all photos.

    Raises:
        OptionError: When its setting names a folder that does not hold all photos.
    """
    files = [os.path.abspath(local_path(each)) for each in photos if not is_url(local_path(each))]
    folder = os.path.commonpath([os.path.dirname(file) for file in files] or [os.getcwd()])
    root = os.environ.get(DOCUMENT_ROOT, "").strip()
    if not root:
        return os.path.dirname(folder), folder
    root = os.path.abspath(root)
    if os.path.commonpath([folder, root]) != root:
        raise OptionError(
            f"{folder} is not in {root}, which {DOCUMENT_ROOT} names; Label Studio shows only "
            "files below that folder"
        )
    return root, folder


def write_label_studio(
    path: Path, rows: Sequence[Row], titles: Mapping[str, str], landmarks: Sequence[str]
) -> None:
    """Write the answers as tasks with predictions, and beside them the labeling configuration.

    Args:
        path: The file of tasks to write, X.json; the configuration is `config_path(path)`.
        rows: The photos and their answers.
        titles: Landmark → title, for those that have one.
        landmarks: Of the gallery.

    Raises:
        OptionError: As `served_folders`, or when a file is there that is not ours.
    """
    root, _ = served_folders([photo for photo, _ in rows])
    used = [(photo, answer) for photo, answer in rows if answer.error is None]
    named = {name for _, answer in used for name in _named(answer)}
    offered = sorted(landmarks if len(landmarks) <= MOST_CHOICES else named)
    tasks = [_task(photo, answer, root) for photo, answer in used]
    write_json(path, tasks, "file for Label Studio")
    write_text(config_path(path), _config(offered, titles), "labeling configuration")


def config_path(tasks: Path) -> Path:
    """Where the labeling configuration of a file of tasks is written: X.json → X.xml."""
    return tasks.with_suffix(".xml")


def _task(photo: str, answer: Prediction, root: str) -> dict[str, Any]:
    """One photo to look at. Sizes are those of the upright picture, as a browser shows it."""
    place = local_path(photo)
    address = place
    if not is_url(place):
        below = os.path.relpath(os.path.abspath(place), root).replace(os.sep, "/")
        address = f"/data/local-files/?d={quote(os.fsencode(below), safe='/')}"
    results: list[dict[str, Any]] = []
    named = _named(answer)
    if named:
        results.append({
            "id": "answer", "type": "choices", "from_name": "answer", "to_name": "image",
            "value": {"choices": [_text(named[0])]}, "score": answer.confidence,
        })  # fmt: skip
    located = [(name, sure, box) for name, sure, box in _boxes(answer) if box]
    size = _size(photo) if located else None
    for number, (name, confidence, box) in enumerate(located if size else []):
        assert size is not None
        left, top, right, bottom = (100 * side for side in box or _WHOLE)
        results.append({
            "id": f"box{number}", "type": "rectanglelabels", "from_name": "landmark",
            "to_name": "image", "original_width": size[1], "original_height": size[0],
            "image_rotation": 0, "score": confidence,
            "value": {"x": left, "y": top, "width": right - left, "height": bottom - top,
                      "rotation": 0, "rectanglelabels": [_text(name)]},
        })  # fmt: skip
    data = {"recognized_by": GENERATOR, "image": address, "decision": answer.decision}
    prediction = {"model_version": GENERATOR, "score": answer.confidence, "result": results}
    return {"data": data, "predictions": [prediction] if results else []}


def _size(photo: str) -> tuple[int, int] | None:
    """(height, width) of the upright photo; None = it cannot be read any more."""
    try:
        return header_size(read_bytes(photo), full=True, name=photo)
    except ImageError:
        return None


def _config(landmarks: Sequence[str], titles: Mapping[str, str]) -> str:
    """The labeling configuration that the tasks fit: one answer for a photo, and boxes."""
    from xml.sax.saxutils import quoteattr  # loads an HTTP client, so not at the start

    def each(tag: str) -> str:
        return "".join(
            f"    <{tag} value={quoteattr(_text(name))}"
            + (f" hint={quoteattr(_text(titles[name]))}" if name in titles else "")
            + "/>\n"
            for name in landmarks
        )

    return (
        f'<View className="{GENERATOR}">\n'
        '  <Image name="image" value="$image" zoom="true"/>\n'
        '  <Choices name="answer" toName="image" choice="single">\n'
        f"{each('Choice')}"
        "  </Choices>\n"
        '  <RectangleLabels name="landmark" toName="image">\n'
        f"{each('Label')}"
        "  </RectangleLabels>\n"
        "</View>\n"
    )


def _text(name: str) -> str:
    """A name as XML can hold it, the same in the tasks and in the configuration."""
    return "".join(letter if letter >= " " else " " for letter in name).strip()
