"""Metrics of recognition and retrieval, computed from arrays; each docstring names its paper.

Shapes: Q queries. `score` ranks predictions, highest first; only its order matters.
"""

from .bootstrap import Paired, bootstrap_interval, paired_bootstrap
from .calibration_error import (
    Bins,
    RiskCoverage,
    calibration_bins,
    calibration_error,
    calibration_error_of_draws,
    risk_coverage,
)
from .open_set import answered_share, auroc, auroc_of_draws, threshold_at
from .ranking import (
    average_precision,
    gap,
    gap_authors,
    gap_of_draws,
    map_at_k,
    precision_recall,
    recall_at_k,
)

__all__ = [
    "Bins",
    "Paired",
    "RiskCoverage",
    "answered_share",
    "auroc",
    "auroc_of_draws",
    "average_precision",
    "bootstrap_interval",
    "calibration_bins",
    "calibration_error",
    "calibration_error_of_draws",
    "gap",
    "gap_authors",
    "gap_of_draws",
    "map_at_k",
    "paired_bootstrap",
    "precision_recall",
    "recall_at_k",
    "risk_coverage",
    "threshold_at",
]
