"""Train a population of networks: check the arguments, and select the recipe."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, cast

import numpy as np
import torch

from flows.core.arrays import Array
from flows.core.settings import TrainingSettings, folds_and_kept
from flows.networks import registry
from flows.networks.building import build_described
from flows.networks.flow import Flow
from flows.networks.network_population import DensityPopulation, NetworkPopulation
from flows.recipe.fold import Learned
from flows.recipe.network_candidate import Family, NetworkCandidate
from flows.recipe.recipe import learn
from flows.recipe.record import Record
from flows.training import trainer
from flows.training.trainer import OnLog, Task


def train(
    population: NetworkPopulation,
    rows: Any,
    test: Any = None,
    settings: TrainingSettings | None = None,
    *,
    groups: Any = None,
    on_log: OnLog | None = None,
    name: str = "model",
    device: str = "cpu",
) -> NetworkPopulation:
    """Train every member of ``population`` on ``rows``, and return the population.

    A recipe is a training procedure, chosen by ``settings.recipe``. The fixed recipe trains for a
    given number of epochs; the automatic recipe chooses the regularisation and the number of steps
    by cross-validation (``recipe.py``).

    Args:
        population: a population of ``flows.build``.
        rows: training rows in the user's units: ``(n, *event)``, shared by all members, or
            ``(n, M, *event)``, one set per member. Any array of numbers is accepted. The
            automatic recipe also accepts rows with missing values (``NaN``). Scalers are fitted to
            these rows; the automatic recipe fits one to the training rows of each fold.
        test: rows in the same units and of the same shape, without missing values. They are scored
            for the history; no member learns from them or is selected by them.
        settings: the settings of the training; by default ``flows.TrainingSettings()``.
        groups: integers ``(n,)`` for the automatic recipe: rows with equal numbers share a
            fold, such as copies of a row, or the rows of a subject. By default, equal rows share a
            fold. The fixed recipe has no folds and ignores ``groups``.
        on_log: called as ``on_log(epoch, curves)`` every ``log_every`` epochs, with the numbers
            that ``population.history`` keeps; with the automatic recipe, after the training.
        name: the name of the population in messages.
        device: ``"cpu"``, or ``"cuda"`` for a flow with the fixed recipe. A GPU can be
            faster for flows that the kernels do not cover. The last bits differ. After training,
            the population is on the CPU.

    A member whose loss is no longer finite is reported on standard error and stays in the results.
    The training of the other members does not change. Raises ``TypeError`` or ``ValueError``, with
    one line, for rows that cannot be learned.

    Examples:
        >>> import flows, numpy as np
        >>> rows = np.random.default_rng(0).normal(size=(100, 2))
        >>> population = flows.build(flows.RealNVP(couplings=2, hidden=4), (2,), members=3)
        >>> settings = flows.TrainingSettings(epochs=20, log_every=10)
        >>> population = flows.train(population, rows, settings=settings)
        >>> population.history["epoch"], population.history["train_nll"].shape
        (array([10., 20.]), (2, 3))
    """
    settings = settings or TrainingSettings()
    if not isinstance(population, NetworkPopulation):
        raise TypeError(f"train takes a population of flows.build; got {type(population).__name__}")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device = {device!r}: must be cpu, or cuda if torch finds a GPU")
    auto = _is_automatic(population, settings)
    if device == "cuda" and (auto or not isinstance(population, Flow)):
        raise ValueError("device = 'cuda': only flows with the fixed recipe can be trained there")
    settings.check_batch_size(len(population.rows(rows, "train", may_have_gaps=auto)))
    task = Task(rows, test, settings, on_log, name)
    if auto:
        return _train_automatically(cast(DensityPopulation, population), task, groups)
    population.forget_automatic()
    population.to(device)
    for member, epoch in trainer.run(population, task).items():
        print(
            f"{name}: the loss of member {member} was not finite from epoch {epoch} on; the "
            "member stays in the results",
            file=sys.stderr,
        )
    population.record = Record("fixed", len(rows))
    population.to("cpu").eval()
    return population


def _train_automatically(
    population: DensityPopulation, task: Task, groups: Any
) -> DensityPopulation:
    """Train ``population`` with the automatic recipe, which trains another one, and copies it."""
    folds, kept = folds_and_kept(population.members)
    rows, test = _checked_rows(population, task)
    build = partial(_build_like, population)
    networks = NetworkCandidate([Family(build)], kept, task.settings, test, task.name)
    learned = Learned(
        rows,
        population.to_real,
        given=population.context,
        is_context=bool(population.context),
        groups=groups,
        seed=task.settings.seed,
        recipe=task.settings.numbers,
    )
    ensemble, population.record = learn(learned, [networks], folds)
    population.load_state_dict(ensemble.networks.state_dict())
    population.weights.copy_(ensemble.weights)
    population.history = ensemble.history
    trainer.replay(population.history, task.on_log)
    return population.eval()


def _build_like(population: DensityPopulation, members: int) -> DensityPopulation:
    description = {**population.description, "members": [0, members]}
    return cast(DensityPopulation, build_described(description, population.to_real))


def _checked_rows(population: DensityPopulation, task: Task) -> tuple[Array, Array | None]:
    """Return the training rows ``(n, D)`` and the test rows, or raise ``ValueError``."""
    shared = population.rows(task.rows, "train", may_have_gaps=True).double().numpy()
    if population.member_range.start or shared.shape[1] != 1:
        raise ValueError(
            "the automatic recipe trains a whole population of flows.build, "
            "on rows that all members share"
        )
    rows, test = shared[:, 0], None
    for row in np.flatnonzero(np.isnan(rows[:, population.context :]).any(axis=1))[:1].tolist():
        if population.context:
            raise ValueError(f"row {row} of train has a gap in the point y; only x may have gaps")
    if task.test is not None:
        test = population.rows(task.test, "test").double().numpy()[:, 0]
    return rows, test


def _is_automatic(population: NetworkPopulation, settings: TrainingSettings) -> bool:
    """Return whether the automatic recipe trains ``population``.

    Raises ``ValueError`` if the recipe is automatic and the population was assembled by hand.
    """
    if settings.recipe == "fixed":
        return False
    if "model" not in population.description:
        raise ValueError("the automatic recipe trains only populations of flows.build")
    return registry.find(population.description["model"]).is_automatic(settings)
