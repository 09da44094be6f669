"""The report's four plots, as inline SVG in the colours of the page."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ..core.figures import as_svg, new_figure
from ..core.types import Floats
from ..metrics.calibration_error import calibration_bins, risk_coverage
from ..metrics.ranking import gap, precision_recall
from .predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito, "Color universal design", 2008: distinguishable with colour blindness. In the page
# each becomes a CSS variable, so that the dark theme can use lighter ones.
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#7f7f7f"

CSS_VARIABLES = {
    "#000000": "currentColor",
    BLUE: f"var(--blue, {BLUE})",
    GREY: f"var(--grey, {GREY})",
    ORANGE: f"var(--orange, {ORANGE})",
    GREEN: f"var(--green, {GREEN})",
}

HISTOGRAM_BINS = 36

MAX_CURVE_POINTS = 600  # more than a plot has pixels across


def score_histogram(p: Predictions) -> str:
    """Histograms of the scores of known, unknown and non-landmark queries, as inline SVG."""
    kinds = [
        ("known landmark", p.known, BLUE, "-"),
        ("unknown landmark", p.unknown, ORANGE, "--"),
        ("no landmark", p.no_landmark, GREY, "-"),
    ]
    shown = p.predicted & np.isfinite(p.score)

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        edges = _bin_edges(p.score[shown])
        highest = 1
        for name, of_kind, colour, line in kinds:
            scores = p.score[of_kind & shown]
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
        # The axis ends above the highest bar, so that the legend covers no bar.
        axes.set(xlabel="score", ylabel="queries", ylim=(0, 1.42 * highest))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))

    return _svg("scores", "Histogram of the scores of each kind of query", draw)


def _bin_edges(scores: Floats) -> Floats:
    """Edges of HISTOGRAM_BINS equal bins; of positive width also when all scores are equal."""
    low, high = (scores.min(), scores.max()) if len(scores) else (0.0, 1.0)
    min_width = 1e-6 * max(1.0, abs(low), abs(high))
    if high - low < min_width:
        low, high = low - min_width, high + min_width
    return np.linspace(low, high, HISTOGRAM_BINS + 1)


def precision_recall_plot(p: Predictions) -> str:
    """Precision over recall as the score falls, as inline SVG; the area under it is the GAP.

    Raises DataError when no query shows a known landmark.
    """
    known = int(p.known.sum())
    value = gap(p.score, p.right, known, predicted=p.predicted)
    precision, recall = precision_recall(p.score[p.predicted], p.right[p.predicted], known)
    shown_points = np.unique(np.linspace(0, len(recall) - 1, MAX_CURVE_POINTS).round().astype(int))
    if not len(recall):
        shown_points = shown_points[:0]
    across = np.concatenate([[0.0], recall[shown_points]])
    up = np.concatenate([precision[:1], precision[shown_points]])

    def draw(axes: Axes) -> None:
        if len(up) == len(across):  # else no query has a guess
            axes.fill_between(across, up, step="pre", color=BLUE, alpha=0.14, linewidth=0)
            axes.plot(across, up, drawstyle="steps-pre", color=BLUE, linewidth=1.8)
        axes.text(0.035, 0.06, f"area = GAP {value:.3f}", transform=axes.transAxes, fontsize=11)
        axes.set(
            xlim=(0, 1.01), ylim=(0, 1.04), xlabel="recall of known landmarks", ylabel="precision"
        )

    return _svg("curve", f"Precision over recall; the area, the GAP, is {value:.3f}", draw)


def reliability_plot(p: Predictions) -> str:
    """Share of right guesses at each confidence, in bins of about equally many queries, as SVG.

    Calibrated confidences are on the diagonal. Queries without a guess are not plotted. The bins
    are those of the calibration error; the vertical bars are the distances that it averages.
    """
    confidence, right = p.confidence[p.predicted], p.right[p.predicted]
    bins = calibration_bins(confidence, right) if len(right) else None

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        if bins:
            axes.vlines(bins.confidence, bins.confidence, bins.right, color=ORANGE, linewidth=1.4)
            area = 24 + 240 * bins.sizes / len(right)  # points², in proportion to the bin's queries
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
    """Share of wrong guesses (risk) over the share of guesses answered (coverage), as inline SVG.

    Raises DataError when no query has a guess.
    """
    curve = risk_coverage(p.confidence[p.predicted], p.right[p.predicted])
    shown_points = np.unique(
        np.linspace(0, len(curve.risk) - 1, MAX_CURVE_POINTS).round().astype(int)
    )
    across, up = curve.coverage[shown_points], curve.risk[shown_points]
    highest = max(0.05, float(up.max()))

    def draw(axes: Axes) -> None:
        marker = (
            "o" if len(up) == 1 else None
        )  # all confidences equal: a line of one point is invisible
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


def _svg(name: str, label: str, draw: Callable[[Axes], None]) -> str:
    """Render what `draw` draws as an <svg> element: the same bytes for the same predictions.

    name: prefix of the element's ids, because ids must be unique in the page. label: for screen
    readers.
    """
    style = {
        "svg.hashsalt": name,
        "svg.fonttype": "none",
        "font.family": "DejaVu Sans",
        "font.size": 10.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
    }
    with new_figure(4.6, 3.3, style) as figure:
        figure.set_facecolor("none")
        draw(figure.add_subplot(facecolor="none"))
        text = as_svg(figure)
    text = text[text.index("<svg") :]  # drops the XML header, because the SVG is part of the page
    for colour, variable in CSS_VARIABLES.items():
        text = text.replace(colour, variable)
    text = text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
    text = text.replace(' id="', f' id="{name}-').replace("url(#", f"url(#{name}-")
    return text.replace('href="#', f'href="#{name}-')
