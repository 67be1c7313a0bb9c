"""Training: the loop, the optimiser, and sharpened noise."""
