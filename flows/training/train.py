"""Train a network: the checks, the recipe, and where its members are trained."""

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
    network: Network,
    rows: Any,
    test: Any = None,
    settings: TrainingSettings | None = None,
    *,
    groups: Any = None,
    on_log: OnLog | None = None,
    name: str = "model",
    device: str = "cpu",
) -> Network:
    """Train every member of ``network`` on ``rows``, and return it.

    Args:
        network: a network of ``flows.build``.
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
            kept in ``network.history``.
        name: the name of the network in messages.
        device: ``"cpu"``, or ``"cuda"`` for a flow trained by the fixed recipe. A GPU can be
            faster for flows that the kernels do not cover. The last bits differ. After training,
            the network is on the CPU.

    If ``FLOWS_WORKERS`` names workers (``workers.py``), each worker trains a slice of the members.
    The bytes are the same where the kernels train. ``on_log`` is then called after the training, as
    by the automatic recipe. On a GPU, and by the automatic recipe, one process trains all members.

    A member whose loss is no longer finite is reported on standard error and stays in the results.
    The training of the other members does not change. Raises ``TypeError`` or ``ValueError``, with
    one line, for rows that cannot be learned.
    """
    settings = settings or TrainingSettings()
    if not isinstance(network, Network):
        raise TypeError(f"train takes what flows.build makes; got {type(network).__name__}")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device = {device!r}: must be cpu, or cuda where torch finds a GPU")
    auto = _is_automatic(network, settings)
    if device == "cuda" and (auto or not isinstance(network, Flow)):
        raise ValueError("device = 'cuda': only flows train there, by the fixed recipe")
    task = Task(rows, test, settings, on_log, name, groups)
    if auto:
        train_auto(cast(DensityNetwork, network), task)
        network.eval()
        return network
    network.forget_automatic()
    network.to(device)
    parts = slices.cut(network, name) if device == "cpu" else []
    failed = slices.run(parts, network, task) if parts else trainer.run(network, task)
    for member, epoch in failed.items():
        print(
            f"{name}: the loss of member {member} was not finite from epoch {epoch} on; it stays "
            "in the results",
            file=sys.stderr,
        )
    network.to("cpu").eval()
    return network


def _is_automatic(network: Network, settings: TrainingSettings) -> bool:
    """Return whether the automatic recipe trains ``network``.

    Raises ``ValueError`` if the recipe is automatic and the network was assembled by hand.
    """
    if settings.recipe != "auto":
        return False
    if "model" not in network.description:
        raise ValueError("the automatic recipe trains networks of flows.build alone")
    return registry.find(network.description["model"]).is_automatic(settings)
