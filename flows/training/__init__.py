"""Training: the loop, the optimiser, sharpened noise, workers, and the automatic recipe."""
