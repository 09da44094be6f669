"""Fit whitening, stacker and calibration on hold-out queries from the gallery itself."""
