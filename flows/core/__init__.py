"""What the other packages use: arrays, seeds, errors, progress, settings, checkpoint files."""
