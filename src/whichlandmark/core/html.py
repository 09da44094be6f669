"""Render the pages that the package writes: one Jinja environment, everything escaped."""

from __future__ import annotations

from importlib import resources
from typing import Any


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
