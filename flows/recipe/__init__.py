"""The automatic recipe: folds, candidates and stacking; start at ``recipe.py``."""
