"""The page of `discover`: the groups with their photos, and the command that names each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.files import write_text
from ..core.html import render
from ..core.images import data_uri
from ..recognition.folder.discoveries import Discovery

MAX_PHOTOS = 24  # of a group that are shown

MAX_GROUPS = 100  # that are shown with photos, about 10 KB a photo


def write_page(
    path: Path, groups: Sequence[Discovery], *, title: str, command: str, photos: int, compared: int
) -> None:
    """Write the page.

    Args:
        path: The file; an earlier page is replaced.
        groups: The open ones, with thumbnails, the largest first.
        title: Of the page.
        command: The command that lists them, to which options that name a group are appended.
        photos: In the library.
        compared: Of these the gallery does not name.
    """
    page = render(
        "discoveries.html", title=title, photos=photos, compared=compared, total=len(groups),
        groups=[_card(one, command) for one in groups[:MAX_GROUPS]],
    )  # fmt: skip
    write_text(path, page, "page")


def _card(one: Discovery, command: str) -> dict[str, Any]:
    name = one.suggestion.title if one.suggestion else "NAME"
    return {
        "number": one.number,
        "size": one.size,
        "count": len(one.photos),
        "suggestion": one.suggestion,
        "photos": [
            {"picture": data_uri(photo.thumbnail) if photo.thumbnail else "", "name": photo.name}
            for photo in one.photos[:MAX_PHOTOS]
        ],
        "name_it": f"{command} --name {shlex.quote(f'{one.number}={name}')}",
        "dismiss": f"{command} --not-a-landmark {one.number}",
    }
