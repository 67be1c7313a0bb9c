"""Checks of a fit against rows: samples beside rows, calibration, refits, and traces of rows."""
