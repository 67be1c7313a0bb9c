"""The automatic recipe: regularisation is chosen from the training rows (``recipe.py``)."""
