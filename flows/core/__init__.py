"""Arrays, seeds, errors, progress, settings and checkpoint files, for all other packages."""
