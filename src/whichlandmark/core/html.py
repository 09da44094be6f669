"""Render the pages that the package writes, and tables for notebooks; everything is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .types import Photos, Prediction

ROWS_SHOWN = 10  # of a photo table in a notebook


def render(template: str, **values: Any) -> str:
    """Fill a template of core/templates with values.

    Args:
        template: a file name such as "report.html".
        values: the template's variables; text is escaped for HTML.

    Returns:
        The page as text. Equal values give equal bytes.

    Raises:
        jinja2.UndefinedError: when the template uses a variable that is not given.
    """
    from jinja2 import Environment, StrictUndefined

    source = resources.files(__package__).joinpath("templates", template)
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return environment.from_string(source.read_text(encoding="utf-8")).render(values)


def credit_html(author: str, licence: str, licence_url: str, source: str) -> str:
    """The credit of a photo with links to licence and source, "" = nothing is known.

    Only http and https addresses become links, because a gallery may come from someone else.
    """

    def link(address: str, words: str, rel: str = "") -> str:
        if not address.startswith(("https://", "http://")):
            return escape(words)
        return f'<a href="{escape(address)}" rel="{rel}noopener noreferrer">{escape(words)}</a>'

    parts = []
    if author or licence or licence_url:
        name = link(licence_url, licence or "licence", "license ")
        parts.append(f"Photo: {escape(author or 'author not recorded')}, {name}")
    if source:
        parts.append(link(source, "source"))
    return " · ".join(parts)


def photos_html(photos: Photos) -> str:
    """The first rows of a photo table."""
    shown = [(photo.id, photo.landmark or "", str(photo.path)) for photo in photos[:ROWS_SHOWN]]
    caption = repr(photos)
    if len(photos) > len(shown):
        caption += f"; the first {len(shown)} rows"
    return html_table(shown, ("id", "landmark", "path"), caption)


def prediction_html(answer: Prediction) -> str:
    """An answer with its nearest photos."""
    titles = answer.writer.titles() if answer.writer else {}
    rows = [("photo", answer.photo), ("decision", answer.decision.replace("_", " "))]
    if answer.error:
        rows.append(("error", answer.error))
    else:
        for name, label in (("guess", answer.guess), ("second", answer.second)):
            rows += [(name, titles.get(label, label))] if label else []
        rows.append(("confidence", f"{answer.confidence:.2f}"))
        for match in answer.matches[:3]:
            nearest = f"{match.similarity:.3f} {match.landmark or 'distractor'}, {match.photo_id}"
            rows.append(("nearest photo", nearest))
    return html_table([row for row in rows if row[1]])


def html_table(
    rows: Sequence[tuple[str, ...]], header: tuple[str, ...] = (), caption: str = ""
) -> str:
    """A small HTML table for notebooks, everything escaped."""

    def line(values: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(v)}</{tag}>" for v in values) + "</tr>"

    parts = [f"<caption>{escape(caption)}</caption>"] if caption else []
    parts += [line(header, "th")] if header else []
    return "<table>" + "".join([*parts, *(line(row, "td") for row in rows)]) + "</table>"
