"""Labels and colours of models and references, the same in all tables and figures."""

from __future__ import annotations

from flows.networks import registry

LABELS = {
    "truth": ("truth", "#000000"),
    "independent": ("independent Gaussians", "#C4B7A6"),
    "gaussian": ("one Gaussian", "#225522"),
    "gmm": ("mixture (GMM)", "#E69F00"),
    "kde": ("kernel density", "#CC79A7"),
    "sharpened_kde": ("sharpened kernels", "#6F4C9B"),
}


def label_and_color(name: str) -> tuple[str, str]:
    """Return the label of a model or a reference in tables and figures, and its colour.

    Raises ``LookupError`` for an unknown name.
    """
    if name in LABELS:
        return LABELS[name]
    model = registry.find(name)
    return model.label, model.color
