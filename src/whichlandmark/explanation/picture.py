"""The evidence for one answer → one PNG: the words, the photo, its three best references."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from ..files import whole_file
from .drawing import GAP, HIGH, WIDE, Shown, Side, box_on, colours, matched, number, shown
from .drawing import side_by_side as beside
from .evidence import Explanation, Part, Reference

ROOM = 2 * WIDE + GAP  # pixels of the drawn part
EDGE = 36
REFERENCES = 3
FINE = 2  # everything is drawn so much larger, then made small: smooth lines
PAPER, INK, SOFT, RULE = "#ffffff", "#1b2130", "#576074", "#e0e4eb"
ADDS, TAKES = "#009e73", "#d55e00"


class Canvas:
    """A growing page of which everything is drawn below what stands there."""

    def __init__(self) -> None:
        from PIL import Image as Pillow
        from PIL import ImageDraw

        self.picture = Pillow.new("RGB", (FINE * (ROOM + 2 * EDGE), FINE * 2600), PAPER)
        self.pen = ImageDraw.Draw(self.picture)
        self.y = float(EDGE)

    def text(self, words: str, size: int, colour: str = INK, *, x: float = 0, bold: bool = False,
             width: float = ROOM) -> None:  # fmt: skip
        """Lines of words from x on, within a width; below them goes on what comes next."""
        font = _font(size, bold)
        clean = "".join(c if c.isprintable() else " " for c in words)
        for line in textwrap.wrap(clean, max(8, int(width / (0.56 * size)))) or [""]:
            self.pen.text(self.at(x, self.y), line, fill=colour, font=font)
            self.y += size * 1.35

    def photo(self, photo: Shown | None, box: tuple[float, float, float, float]) -> None:
        """A photo in (x, y, width, height) below the current height; a placeholder for none."""
        from PIL import Image as Pillow

        x, y, width, height = box
        corner, size = self.at(x, self.y + y), (round(width * FINE), round(height * FINE))
        if photo is None:
            self.pen.rectangle([*corner, corner[0] + size[0], corner[1] + size[1]], fill=RULE)
            middle = (corner[0] + size[0] / 2, corner[1] + size[1] / 2)
            self.pen.text(middle, "photo not found", SOFT, _font(16, False), anchor="mm")
            return
        pasted = Pillow.fromarray(photo.image).resize(size, Pillow.Resampling.LANCZOS)
        self.picture.paste(pasted, corner)

    def at(self, x: float, y: float) -> tuple[int, int]:
        """Place of the page → pixel of the picture."""
        return round((EDGE + x) * FINE), round(y * FINE)

    def save(self, path: Path) -> None:
        """Write what was drawn, and no more."""
        high = min(self.picture.height, round((self.y + EDGE) * FINE))
        cut = self.picture.crop((0, 0, self.picture.width, high))
        cut.reduce(FINE).save(path, "PNG", optimize=True)


def write_picture(explanation: Explanation, path: str | Path) -> None:
    """Write the picture, atomically. A photo that cannot be read gets a placeholder."""
    query = shown(explanation.photo, explanation.shape)
    canvas = Canvas()
    canvas.text(f"Which landmark is in {explanation.name}, or none?", 15, SOFT)
    canvas.text(explanation.words, 26, bold=True)
    canvas.y += 14
    _answer(canvas, explanation, query)
    for reference in explanation.references[:REFERENCES]:
        canvas.y += 22
        _pair(canvas, query, reference)
    with whole_file(path) as temporary:
        canvas.save(temporary)


def _answer(canvas: Canvas, explanation: Explanation, query: Shown | None) -> None:
    """The photo with its box on the left; the decision and the parts on the right."""
    top, (width, height) = canvas.y, query.fitted if query else (WIDE, HIGH)
    canvas.photo(query, (0, 0, width, height))
    if query and (box := box_on(explanation, query)):
        low = canvas.at(box[0], top + box[1])
        high = canvas.at(box[0] + box[2], top + box[1] + box[3])
        canvas.pen.rectangle([*low, *high], outline="#000000", width=4 * FINE)
        canvas.pen.rectangle([*low, *high], outline="#ffffff", width=2 * FINE)
    x, room = float(WIDE + GAP + 12), WIDE - 12.0
    said = explanation.decision.replace("_", " ")
    canvas.text(f"decision: {said}", 18, x=x, bold=True, width=room)
    canvas.text(f"best guess: {explanation.guess or 'none'}", 15, x=x, width=room)
    canvas.text(f"{explanation.confidence:.0%} that the best guess is right", 15, SOFT, x=x,
                width=room)  # fmt: skip
    if explanation.second:
        canvas.text(f"next best: {explanation.second}", 15, SOFT, x=x, width=room)
    canvas.y += 10
    most = max((abs(part.value) for part in explanation.parts), default=0.0) or 1.0
    for part in explanation.parts:
        _part(canvas, part, most, x)
    canvas.y = max(canvas.y, top + height)


def _part(canvas: Canvas, part: Part, most: float, x: float) -> None:
    """One line: the name, the value, and a bar that grows from its middle."""
    font, y = _font(14, False), canvas.y
    name = part.name if len(part.name) <= 26 else part.name[:25] + "…"
    canvas.pen.text(canvas.at(x, y), name, INK, font)
    canvas.pen.text(canvas.at(x + 285, y), number(part.value), INK, font, anchor="ra")
    half, middle = 80.0, x + 380
    length = half * part.value / most
    canvas.pen.rectangle(
        [*canvas.at(middle - half, y + 5), *canvas.at(middle + half, y + 13)], RULE
    )
    low, high = sorted((middle, middle + length))
    canvas.pen.rectangle(
        [*canvas.at(low, y + 5), *canvas.at(high, y + 13)], ADDS if part.value >= 0 else TAKES
    )
    canvas.pen.line([*canvas.at(middle, y + 2), *canvas.at(middle, y + 16)], SOFT, FINE)
    canvas.y += 24


def _pair(canvas: Canvas, query: Shown | None, reference: Reference) -> None:
    """The query beside a reference, lines between matched points, a caption."""
    other = shown(reference.path, reference.shape)
    side = beside(query, other, reference)
    canvas.photo(query, side.query)
    canvas.photo(other, side.other)
    _lines(canvas, side)
    canvas.y += side.size[1] + 6
    told = [reference.landmark or "no landmark", reference.photo_id,
            f"similarity {number(reference.similarity)}", matched(reference)]  # fmt: skip
    canvas.text(" · ".join(told), 15, SOFT)


def _lines(canvas: Canvas, side: Side) -> None:
    for (x0, y0, x1, y1), colour in zip(side.lines.tolist(), colours(len(side.lines)), strict=True):
        one, two = canvas.at(x0, canvas.y + y0), canvas.at(x1, canvas.y + y1)
        canvas.pen.line([*one, *two], colour, FINE + 1)
        for x, y in (one, two):
            canvas.pen.circle((x, y), 3 * FINE, fill=colour, outline="#000000")


def _font(size: int, bold: bool) -> Any:
    """DejaVu Sans, which matplotlib brings: Latin, Greek, Cyrillic and more."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size * FINE)
