"""Train a model: the checks, the recipe, and where its members are trained."""

from __future__ import annotations

import sys
from typing import Any, cast

import torch

from flows.core.settings import TrainingSettings
from flows.networks import registry
from flows.networks.flow import Flow
from flows.networks.network import DensityNetwork, Network
from flows.training import slices, trainer
from flows.training.automatic.recipe import train_auto
from flows.training.trainer import OnLog, Task


def train(
    model: Network,
    rows: Any,
    test: Any = None,
    settings: TrainingSettings | None = None,
    *,
    groups: Any = None,
    on_log: OnLog | None = None,
    name: str = "model",
    device: str = "cpu",
) -> Network:
    """Train every member of ``model`` on ``rows``, and return it.

    Args:
        model: what ``flows.build`` makes.
        rows: training rows in the user's units: ``(n, *event)``, shared by all members, or
            ``(n, M, *event)``, one set per member. Any array of numbers is accepted. By the
            automatic recipe, a flow learns from rows with gaps, which are ``NaN``. Scalers are
            fitted to these rows: by the automatic recipe, one to the training rows of each fold.
        test: rows in the same units and of the same form, without gaps. They are scored for the
            history; no member learns from them or is selected by them.
        settings: how to train.
        groups: integers ``(n,)``, for a flow by the automatic recipe: rows with equal numbers are
            copies and share a fold. Without it, equal rows share a fold. The fixed recipe has no
            folds and ignores it.
        on_log: called as ``on_log(epoch, curves)`` every ``log_every`` epochs; the same numbers are
            kept in ``model.history``.
        name: of the model, in messages.
        device: ``"cpu"``, or ``"cuda"`` for a flow by the fixed recipe: what runs in plain torch
            may be faster, and low bits differ; the model is on the CPU again when it is done.

    Where ``FLOWS_WORKERS`` names workers (``workers.py``), each trains a slice of the members, to
    the same bytes where kernels train; ``on_log`` is then called at the end, as by the automatic
    recipe. On a GPU, and for a flow by the automatic recipe, one process trains all.

    A member whose loss is no longer finite is reported on standard error and stays in the results;
    the others go on as if it weren't there. Raises ``TypeError`` or ``ValueError``, with one line,
    for rows that can't be learnt.
    """
    settings = settings or TrainingSettings()
    if not isinstance(model, Network):
        raise TypeError(f"train takes what flows.build makes; got {type(model).__name__}")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device = {device!r}: must be cpu, or cuda where torch finds a GPU")
    auto = _is_automatic(model, settings)
    if device == "cuda" and (auto or not isinstance(model, Flow)):
        raise ValueError("device = 'cuda': only flows train there, by the fixed recipe")
    task = Task(rows, test, settings, on_log, name, groups)
    if auto:
        train_auto(cast(DensityNetwork, model), task)
        model.eval()
        return model
    model.to(device)
    parts = slices.cut(model, name) if device == "cpu" else []
    failed = slices.run(parts, model, task) if parts else trainer.run(model, task)
    for member, epoch in failed.items():
        print(
            f"{name}: the loss of member {member} was not finite from epoch {epoch} on; it stays "
            "in the results",
            file=sys.stderr,
        )
    model.to("cpu").eval()
    return model


def _is_automatic(network: Network, settings: TrainingSettings) -> bool:
    """Return whether the automatic recipe trains ``network``, by its architecture.

    Raises ``ValueError`` for that recipe and a network that was put together by hand.
    """
    if settings.recipe != "auto":
        return False
    if "model" not in network.description:
        raise ValueError("the automatic recipe trains networks of flows.build alone")
    return registry.find(network.description["model"]).is_automatic(settings)
