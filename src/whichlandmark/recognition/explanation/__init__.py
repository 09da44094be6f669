"""Why was a photo answered so? Evidence as values, as a page, as a picture."""

from .drawing import Explanation, NearDistractor, Reference, ScorePart
from .page import write_explanation

__all__ = ["Explanation", "NearDistractor", "Reference", "ScorePart", "write_explanation"]
