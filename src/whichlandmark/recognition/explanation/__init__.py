"""Explain an answer: its evidence as values, as an HTML page, as a PNG picture."""

from .drawing import Explanation, NearDistractor, Reference, ScorePart
from .page import write_explanation

__all__ = ["Explanation", "NearDistractor", "Reference", "ScorePart", "write_explanation"]
