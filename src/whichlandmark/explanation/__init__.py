"""Why was a photo answered so? Evidence as values, as a page, as a picture."""

from .evidence import Explanation, Part, Pulled, Reference
from .page import write_explanation

__all__ = ["Explanation", "Part", "Pulled", "Reference", "write_explanation"]
