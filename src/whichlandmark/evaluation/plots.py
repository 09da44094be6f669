"""The report's four plots, as SVG text that takes the page's colours."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.figures import as_svg, new_figure
from ..metrics.calibration_error import calibration_bins, risk_coverage
from ..metrics.ranking import gap, precision_recall
from .predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito, "Color universal design", 2008: told apart by colour-blind readers. In the page
# each becomes a CSS variable, so that a dark page can choose lighter ones.
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#7f7f7f"

VARIABLES = {"#000000": "currentColor", BLUE: f"var(--blue, {BLUE})", GREY: f"var(--grey, {GREY})",
             ORANGE: f"var(--orange, {ORANGE})", GREEN: f"var(--green, {GREEN})"}  # fmt: skip

BINS = 36  # of the histogram

CURVE_POINTS = 600  # more than a screen has pixels for


def score_histogram(p: Predictions) -> str:
    """Scores of known, unknown and non-landmark queries over each other, as inline SVG."""
    kinds = [("known landmark", p.known, BLUE, "-"),
             ("unknown landmark", p.unknown, ORANGE, "--"),
             ("no landmark", p.truth == "", GREY, "-")]  # fmt: skip
    shown = p.predicted & np.isfinite(p.score)

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        edges = _edges(p.score[shown])
        highest = 1
        for name, of, colour, line in kinds:
            scores = p.score[np.asarray(of, dtype=bool) & shown]
            if not len(scores):
                continue
            count, _ = np.histogram(scores, edges)
            highest = max(highest, int(count.max()))
            axes.stairs(count, edges, fill=True, color=colour, alpha=0.22, linewidth=0)
            axes.stairs(
                count,
                edges,
                color=colour,
                linewidth=1.6,
                linestyle=line,
                label=f"{name} ({len(scores):,})",
            )
        if shown.any():
            axes.legend(frameon=False, loc="upper left", fontsize=9)
        # Room above for the legend, so that it covers no bar.
        axes.set(xlabel="score", ylabel="queries", ylim=(0, 1.42 * highest))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))

    return _svg("scores", "Histogram of the scores of each kind of query", draw)


def _edges(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of BINS equal bins over the scores; around them when they are (nearly) all one."""
    low, high = (scores.min(), scores.max()) if len(scores) else (0.0, 1.0)
    least = 1e-6 * max(1.0, abs(low), abs(high))
    if high - low < least:
        low, high = low - least, high + least
    return np.linspace(low, high, BINS + 1)


def precision_recall_plot(p: Predictions) -> str:
    """Precision over recall as the score falls, as inline SVG; the area under it is the GAP.

    Raises DataError when no query shows a known landmark.
    """
    known = int(p.known.sum())
    value = gap(p.score, p.right, known, predicted=p.predicted)
    precision, recall = precision_recall(p.score[p.predicted], p.right[p.predicted], known)
    kept = np.unique(np.linspace(0, len(recall) - 1, CURVE_POINTS).round().astype(int))
    if not len(recall):
        kept = kept[:0]
    across = np.concatenate([[0.0], recall[kept]])
    up = np.concatenate([precision[:1], precision[kept]])

    def draw(axes: Axes) -> None:
        if len(up) == len(across):  # else nothing was predicted
            axes.fill_between(across, up, step="pre", color=BLUE, alpha=0.14, linewidth=0)
            axes.plot(across, up, drawstyle="steps-pre", color=BLUE, linewidth=1.8)
        axes.text(0.035, 0.06, f"area = GAP {value:.3f}", transform=axes.transAxes, fontsize=11)
        axes.set(
            xlim=(0, 1.01), ylim=(0, 1.04), xlabel="recall of known landmarks", ylabel="precision"
        )

    return _svg("curve", f"Precision over recall; the area, the GAP, is {value:.3f}", draw)


def reliability_plot(p: Predictions) -> str:
    """Share of right guesses in bins of confidence that hold about as many queries each, as SVG.

    On the diagonal the confidence is honest. Queries without a guess have no place in it. The
    bins are those of the calibration error; the bars are the gaps that it averages.
    """
    confidence, right = p.confidence[p.predicted], p.right[p.predicted]
    bins = calibration_bins(confidence, right) if len(right) else None

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        if bins:
            axes.vlines(bins.confidence, bins.confidence, bins.right, color=ORANGE, linewidth=1.4)
            area = 24 + 240 * bins.sizes / len(right)  # points², so that big bins look big
            axes.scatter(
                bins.confidence, bins.right, s=area, color=GREEN, alpha=0.85, linewidths=0, zorder=3
            )
        axes.set(
            xlim=(-0.04, 1.04),
            ylim=(-0.06, 1.08),
            xlabel="confidence",
            ylabel="share of right guesses",
            yticks=np.linspace(0, 1, 6),
        )

    return _svg("reliability", "Share of right guesses at each confidence", draw)


def risk_coverage_plot(p: Predictions) -> str:
    """Share of wrong guesses among the most confident ones, as their share grows, as inline SVG.

    Raises DataError when no query has a guess.
    """
    curve = risk_coverage(p.confidence[p.predicted], p.right[p.predicted])
    kept = np.unique(np.linspace(0, len(curve.risk) - 1, CURVE_POINTS).round().astype(int))
    across, up = curve.coverage[kept], curve.risk[kept]
    highest = max(0.05, float(up.max()))

    def draw(axes: Axes) -> None:
        marker = "o" if len(up) == 1 else None  # one confidence for all: no line to see
        axes.fill_between(across, up, color=ORANGE, alpha=0.14, linewidth=0)
        axes.plot(across, up, color=ORANGE, linewidth=1.8, marker=marker)
        axes.text(0.035, 0.9, f"area = {curve.area:.3f}", transform=axes.transAxes, fontsize=11)
        axes.set(
            xlim=(0, 1.01),
            ylim=(0, 1.2 * highest),
            xlabel="share of guesses answered",
            ylabel="share of those wrong",
        )

    return _svg("risk", f"Share of wrong answers over coverage; area {curve.area:.3f}", draw)


def _svg(name: str, tells: str, draw: Callable[[Axes], None]) -> str:
    """What `draw` draws, as an <svg> element: the same bytes for the same predictions.

    `name` makes the element's ids unlike those of the page's other plots.
    """
    style = {"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "DejaVu Sans",
             "font.size": 10.0, "axes.spines.top": False, "axes.spines.right": False,
             "axes.axisbelow": True}  # fmt: skip
    with new_figure(4.6, 3.3, style) as figure:
        figure.set_facecolor("none")
        draw(figure.add_subplot(facecolor="none"))
        text = as_svg(figure)
    text = text[text.index("<svg") :]  # the page has its own document header
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    text = text.replace("<svg ", f'<svg role="img" aria-label="{escape(tells)}" ', 1)
    text = text.replace(' id="', f' id="{name}-').replace("url(#", f"url(#{name}-")
    return text.replace('href="#', f'href="#{name}-')
