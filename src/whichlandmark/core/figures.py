"""Draw figures with matplotlib (the extra `report`), loaded only when one is drawn.

The user's own matplotlib settings do not change a figure, and no window system is opened.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import util
from typing import TYPE_CHECKING, Any

from .errors import OptionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# DejaVu Sans comes with matplotlib: Latin, Greek, Cyrillic and more. Others where they are there.
FONTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "Microsoft YaHei", "Noto Sans",
    "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS",
)  # fmt: skip


def require_matplotlib(purpose: str) -> None:
    """Raises OptionError with the install command when matplotlib is missing; loads nothing."""
    if util.find_spec("matplotlib") is None:
        raise OptionError(
            f"{purpose} needs matplotlib, which is not installed; install it with: "
            "pip install 'whichlandmark[report]'"
        )


@contextmanager
def new_figure(
    width: float, height: float, style: Mapping[str, Any] | None = None
) -> Iterator[Figure]:
    """A figure of so many inches, laid out by itself; to be drawn and saved within the block.

    style: settings of matplotlib that differ from its defaults. Text is shown as it is: no "$"
    begins a formula. Raises OptionError without matplotlib.
    """
    require_matplotlib("a figure")
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.figure import Figure

    known = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(name for name in FONTS if name in known)]
    # "backend" would open a window system.
    defaults = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}
    own = {"font.family": fonts, "text.parse_math": False}
    with warnings.catch_warnings(), matplotlib.rc_context({**defaults, **own, **(style or {})}):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # shown as an empty box
        yield Figure(figsize=(width, height), layout="constrained")


def as_svg(figure: Figure) -> str:
    """SVG text without date or program: the same drawing gives the same bytes."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    data = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(data, format="svg", metadata=nothing)
    return data.getvalue()
