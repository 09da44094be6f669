"""The report's three plots, as SVG text that takes the page's colours."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

from .metrics import gap, precision_recall
from .predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito, "Color universal design", 2008: told apart by colour-blind readers.
BLUE, ORANGE, GREY, GREEN = "#0072B2", "#D55E00", "#7f7f7f", "#009E73"


def score_histogram(p: Predictions) -> str:
    """Scores of known, unknown and non-landmark queries over each other."""
    figure, axes = _figure()
    kinds = [("known landmark", p.known, BLUE), ("no landmark", p.truth == "", GREY),
             ("unknown landmark", (p.truth != "") & ~p.known, ORANGE)]  # fmt: skip
    scores = p.score[p.predicted]
    if len(scores):
        bins = np.linspace(scores.min(), scores.max() + 1e-9, 36).tolist()
        for name, of, colour in kinds:
            shown = p.score[np.asarray(of, dtype=bool) & p.predicted]
            if len(shown):
                axes.hist(
                    shown, bins=bins, histtype="stepfilled", alpha=0.25, color=colour, linewidth=0
                )
                axes.hist(shown, bins=bins, histtype="step", color=colour, linewidth=1.6,
                          label=f"{name} ({len(shown)})")  # fmt: skip
        axes.legend(frameon=False)
    axes.set_xlabel("score")
    axes.set_ylabel("queries")
    return _svg(figure, "scores")


def precision_recall_plot(p: Predictions) -> str:
    """Precision over recall as the score falls; GAP is the mean precision at right answers."""
    figure, axes = _figure()
    known = int(p.known.sum())
    precision, recall = precision_recall(p.score[p.predicted], p.right[p.predicted], known)
    value = gap(p.score, p.right, known, predicted=p.predicted)
    axes.plot(np.append(0, recall), np.append(precision[:1], precision), color=BLUE, linewidth=1.8)
    axes.fill_between(recall, precision, color=BLUE, alpha=0.12, linewidth=0)
    axes.text(0.03, 0.06, f"GAP {value:.3f}", transform=axes.transAxes, fontsize=13)
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="recall of known landmarks", ylabel="precision")
    return _svg(figure, "curve")


def reliability_plot(p: Predictions) -> str:
    """Share of right guesses at each confidence; on the diagonal the confidence is honest."""
    figure, axes = _figure()
    edges = np.linspace(0, 1, 11)
    place = np.clip(np.digitize(p.confidence, edges) - 1, 0, 9)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for b in range(10):
        of = place == b
        if of.any():
            x, y = p.confidence[of].mean(), p.right[of].mean()
            axes.scatter([x], [y], s=14 + 3 * min(of.sum(), 120), color=GREEN, alpha=0.75,
                         linewidths=0)  # fmt: skip
            axes.annotate(str(of.sum()), (x, y), textcoords="offset points", xytext=(0, 10),
                          ha="center", fontsize=8)  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.1), xlabel="confidence", ylabel="share of right guesses")
    return _svg(figure, "reliability")


def _figure() -> tuple[Figure, Axes]:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text: small, and read aloud
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure, name: str) -> str:
    """SVG without its XML header; black becomes the page's own text colour."""
    import matplotlib

    data = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fonts that this machine lacks
        figure.savefig(data, format="svg", metadata={"Date": None, "Creator": None})
    text = data.getvalue()
    text = text[text.index("<svg") :]
    text = text.replace("#000000", "currentColor").replace('id="', f'id="{name}-')
    return text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
