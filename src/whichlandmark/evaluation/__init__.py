"""Measure a recognizer on labelled photos: predictions, scores, comparison, report."""
