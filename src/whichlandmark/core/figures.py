"""Draw figures with matplotlib (the extra `report`), loaded only when one is drawn.

The user's own matplotlib settings do not change a figure, and no window system is opened.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module, util
from typing import TYPE_CHECKING, Any

from .errors import OptionError, install_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Used where installed, for scripts that DejaVu Sans lacks; DejaVu Sans comes with matplotlib and
# has Latin, Greek, Cyrillic and more.
FALLBACK_FONTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "Microsoft YaHei", "Noto Sans",
    "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS",
)  # fmt: skip


def require_matplotlib(purpose: str) -> None:
    """Check that matplotlib is installed, without loading it.

    Args:
        purpose: what needs it; begins the error message.

    Raises:
        OptionError: with the install command, when matplotlib is missing.
    """
    if util.find_spec("matplotlib") is None:
        raise OptionError(
            f"{purpose} needs matplotlib, which is not installed; install it with: "
            f"{install_command('report')}"
        )


@contextmanager
def new_figure(
    width: float, height: float, style: Mapping[str, Any] | None = None
) -> Iterator[Figure]:
    """Yield an empty figure with automatic layout; draw and save it within the block.

    Args:
        width, height: size in inches.
        style: matplotlib settings (rcParams) that differ from matplotlib's defaults. Text is
            shown literally, because "$" in a landmark's name must not begin a formula.

    Raises:
        OptionError: when matplotlib is not installed.
    """
    require_matplotlib("a figure")
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.figure import Figure

    installed = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed)]
    # Setting "backend" would open a window system.
    defaults = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}
    own = {"font.family": fonts, "text.parse_math": False}
    with warnings.catch_warnings(), matplotlib.rc_context({**defaults, **own, **(style or {})}):
        # A character that no font has is drawn as an empty box, which needs no warning.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield Figure(figsize=(width, height), layout="constrained")


def as_svg(figure: Figure) -> str:
    """The figure as SVG text without date or program name: equal drawings give equal bytes."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    data = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(data, format="svg", metadata=no_metadata)
    return data.getvalue()


def require_pandas() -> Any:
    """The module pandas. Raises OptionError with the install command where there is none."""
    try:
        return import_module("pandas")
    except ImportError:
        raise OptionError(
            "to_pandas needs pandas, which is not installed: pip install pandas; to_dict works "
            "without it"
        ) from None
