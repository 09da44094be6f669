"""Write the model card of a trained embedder: README.md, training curves, run.json.

The card states the protocol of every number, because numbers of different protocols cannot be
compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.figures import as_svg, new_figure
from ..core.files import write_json, write_text
from ..core.json_options import to_json
from ..features.embedders.record import UNKNOWN, is_non_commercial
from .config import TrainConfig

History = Sequence[Mapping[str, float]]


def write_model_card(
    folder: Path, config: TrainConfig, facts: Mapping[str, Any], history: History
) -> None:
    """Write README.md, training/run.json and training/curves.svg into an embedder's folder.

    facts: data hash, counts, versions, processes and validation protocol of the run.
    """
    best = max(history, key=lambda row: row["gap_nearest_photo"])
    write_json(folder / "training" / "run.json", {**facts, "best": dict(best)})
    write_text(folder / "training" / "curves.svg", curves(history))
    write_text(folder / "README.md", _card(config, facts, history, best))


def _card(
    config: TrainConfig, facts: Mapping[str, Any], history: History, best: Mapping[str, float]
) -> str:
    minutes = sum(row["seconds"] for row in history) / 60
    settings = "\n".join(f"| `{name}` | {value} |" for name, value in to_json(config).items())
    numbers = "\n".join(
        f"| {name.replace('_', ' ')} | {best[name]:.4f} |"
        for name in (
            "gap_nearest_photo",
            "gap_class_centre",
            "top1_nearest_photo",
            "top1_class_centre",
        )
    )
    dimensions = config.dim or "the backbone's number of"
    licence = str(facts.get("licence of the initial weights", UNKNOWN))
    warning = " It forbids commercial use." if is_non_commercial(licence) else ""
    run_facts = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    return f"""# {config.backbone}, an embedder of landmarks

Maps photos to unit vectors of {dimensions} dimensions, in which photos of one landmark are near
each other. Made by `whichlandmark train`; used by `whichlandmark index --embedder`.

## Numbers

Of epoch {best["epoch"]:.0f} of {len(history)}, the best one, whose weights are saved; trained for
{minutes:.1f} minutes.

| validation | |
|---|---|
{numbers}

Protocol: {facts.get("validation", "")}. Queries whose landmark is not in the database count as
wrong answers in the ranking, which is by cosine similarity alone. No test photo was used.

## Data and software

{run_facts}

## Settings

| setting | value |
|---|---|
{settings}

## Limits

The validation photos are similar to the training photos. Landmarks, countries, seasons and cameras
that are rare in them are recognised less well. The licence of the initial weights still applies
(`weights`: {config.weights}): {licence}.{warning}
"""


def curves(history: History) -> str:
    """Loss and validation GAP by epoch, as SVG; equal histories give identical bytes."""
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    style = {"svg.hashsalt": "curves", "svg.fonttype": "none", "font.family": "DejaVu Sans"}
    with new_figure(7, 3, style) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(epochs, [row["loss"] for row in history], marker="o", color="#0072b2")
        left.set(xlabel="epoch", ylabel="mean training loss")
        for name, colour in (("nearest_photo", "#0072b2"), ("class_centre", "#d55e00")):
            values = [row[f"gap_{name}"] for row in history]
            right.plot(epochs, values, marker="o", color=colour, label=name.replace("_", " "))
        right.set(xlabel="epoch", ylabel="validation GAP", ylim=(0, 1.02))
        right.legend(frameon=False)
        for axes in (left, right):  # there is no epoch 1.2
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.set_xlim(min(epochs) - 0.3, max(epochs) + 0.3)
        return as_svg(figure)
