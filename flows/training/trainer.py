"""One batched training loop for all networks: M of them, one computation."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from flows.core.arrays import Array, rounded
from flows.core.progress import progress, say
from flows.core.scaler import Scaler
from flows.core.seeds import Generators, normals, numpy_generators
from flows.core.settings import TrainingSettings
from flows.networks.flow import Flow
from flows.networks.network import Network, Seen
from flows.training.auto import train_auto
from flows.training.optimizer import ClippedAdam, one_cycle
from flows.training.smoothing import likelihood_bandwidth, sharpen

OnLog = Callable[[int, dict[str, Array]], None]


class Trainer:
    """The trainer of all members of ``model``, one ``epoch()`` after another.

    ``train`` are rows ``(n, *event)``, shared by all members, or ``(n, M, *event)``, one set a
    member. They are in the user's units or, with their ``scaler``, scaled. Points inside are
    features first, ``(M, *event, N)``.
    """

    def __init__(
        self, model: Network, train: Any, settings: TrainingSettings, scaler: Scaler | None = None
    ) -> None:
        self.model, self.settings = model, settings
        rows, self.scaler = scaled(model, train, "train", scaler)
        points = model.features_first(rows).double()
        model.preprocessing.fit(points, self.scaler)
        self.clean = self.seen(rows, 0)
        model.initialize(self.clean[0])
        self.visited, self.noise = _smoothed(model, points, settings)
        self.steps = math.ceil(len(rows) / min(settings.batch_size, len(rows)))  # of an epoch
        self.step = 0
        self.optimizer = ClippedAdam(model.flatten(), settings.clip, model.betas)

    def seen(self, scaled: Tensor, number: int) -> Seen:
        """Return scaled rows as the networks see them, and the log-determinant.

        ``number`` is the index of these rows among the sets that curves are kept of.
        """
        z, log_det = self.model.preprocess_scaled(scaled)
        generators = numpy_generators(self.settings.seed, "curves", self.model.member_range, number)
        return self.model.visit(z, generators), log_det

    def points(self, generators: Generators) -> Tensor:
        """Return the points that one epoch visits, ``(M, *event, N)``.

        Every member has an order of its own, and noise of its own.
        """
        order = [
            torch.from_numpy(g.permutation(self.visited.shape[-1])).to(self.visited.device)
            for g in generators
        ]
        points = torch.stack(
            [
                rows.index_select(-1, places)
                for rows, places in zip(self.visited, order, strict=True)
            ]
        )
        if self.noise is None:
            return self.model.visit(points, generators)
        return points + self.noise * normals(generators, *points.shape[1:]).to(points)

    def epoch(self) -> Tensor:
        """Pass over the points once; return whether each member's losses were finite, ``(M,)``."""
        generators = numpy_generators(
            self.settings.seed, "train", self.model.member_range, self.step // self.steps
        )
        points = self.points(generators)
        finite = torch.ones(self.model.members, dtype=torch.bool, device=points.device)
        objective = self.model.objective(points, generators)
        for batch in points.tensor_split(self.steps, dim=-1):
            loss, gradient = objective(batch)
            rate = self.settings.learning_rate * one_cycle(
                self.step / (self.settings.epochs * self.steps)
            )
            self.optimizer.step(gradient, rate)
            self.step += 1
            finite &= loss.isfinite()
        return finite


def train(
    model: Network,
    rows: Any,
    test: Any = None,
    settings: TrainingSettings | None = None,
    *,
    scaler: Scaler | None = None,
    on_log: OnLog | None = None,
    name: str = "model",
    device: str = "cpu",
) -> Network:
    """Train every member of ``model`` on ``rows``, and return it.

    Args:
        model: what ``flows.build`` makes.
        rows: ``(n, *event)``, shared by all members, or ``(n, M, *event)``, one set a member; any
            array of numbers will do.
        test: rows of the same form, scored for the history, never trained on or selected by.
        settings: how to train.
        scaler: the scaler of rows and test rows that are real and scaled already; without it they
            are in the user's units, and their scaler is fitted here. By the automatic recipe, a
            flow takes scaled rows with gaps, which are ``NaN``.
        on_log: called as ``on_log(epoch, curves)`` every ``log_every`` epochs; the same numbers are
            kept in ``model.history``.
        name: of the model, in messages.
        device: ``"cpu"``, or ``"cuda"`` for a flow by the fixed recipe: what runs in plain torch
            may be faster, and low bits differ; the model is on the CPU again when it is done.

    A member whose loss is no longer finite is reported on standard error and stays in the results;
    the others go on as if it weren't there. Raises ``TypeError`` or ``ValueError``, with one line,
    for rows that can't be learnt.
    """
    settings = settings or TrainingSettings()
    if not isinstance(model, Network):
        raise TypeError(f"train takes what flows.build makes; got {type(model).__name__}")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device = {device!r}: must be cpu, or cuda where torch finds a GPU")
    auto = settings.recipe == "auto" and model.real
    if device == "cuda" and (auto or not isinstance(model, Flow)):
        raise ValueError("device = 'cuda': only flows train there, by the fixed recipe")
    in_units = scaler is None
    if auto and isinstance(model, Flow) and scaler is not None:
        rows = model.shaped(rows, "train")
    else:
        rows, scaler = scaled(model, rows, "train", scaler)
    if test is not None:
        test, _ = scaled(model, test, "test", scaler, in_units=in_units)
    if auto and isinstance(model, Flow):  # the others have no density, or a slow one
        train_auto(model, rows, scaler, test, settings, on_log, name)
        model.eval()
        return model
    model.to(device)
    with progress(name, settings.epochs, "epoch") as bar:
        say(bar, "estimating the noise level")
        trainer = Trainer(model, rows, settings, scaler)
        failed = _run(trainer, test, on_log, bar)
    for member, epoch in failed.items():
        print(
            f"{name}: the loss of member {model.member_range[member]} was not finite from epoch "
            f"{epoch} on; it stays in the results",
            file=sys.stderr,
        )
    model.to("cpu").eval()
    return model


def _run(trainer: Trainer, test: Tensor | None, on_log: OnLog | None, bar: tqdm) -> dict[int, int]:
    """Train for all epochs, keep the history, and return the members that failed and since when."""
    model, settings = trainer.model, trainer.settings
    failed: dict[int, int] = {}
    log: dict[int, dict[str, Array]] = {}
    clean = {"train": trainer.clean}
    if test is not None:
        clean["test"] = trainer.seen(test, 1)
    for epoch in range(1, settings.epochs + 1):
        for member in (~trainer.epoch()).nonzero().flatten().tolist():
            failed.setdefault(member, epoch)
        if epoch % settings.log_every == 0 or epoch == settings.epochs:
            log[epoch] = {key: rounded(curve) for key, curve in model.curves(clean).items()}
            means = (f"{key} {value.mean():.3f}" for key, value in log[epoch].items())
            say(bar, ", ".join(means))
            if on_log is not None:
                on_log(epoch, log[epoch])
        bar.update()
    model.description["training"] = {"recipe": "fixed", "rows": trainer.visited.shape[-1]}
    model.history = {"epoch": np.array(list(log), dtype=np.float64)}
    model.history |= {key: np.stack([row[key] for row in log.values()]) for key in log[epoch]}
    last = np.stack(list(log[epoch].values()))
    for member in np.flatnonzero(~np.isfinite(last).all(axis=0)).tolist():
        failed.setdefault(member, epoch)
    return failed


def scaled(
    model: Network, rows: Any, what: str, scaler: Scaler | None, *, in_units: bool = False
) -> tuple[Tensor, Scaler]:
    """Return rows as scaled ones ``(n, M or 1, *event)``, and their scaler.

    Rows come scaled where there is a ``scaler``, unless they are ``in_units`` of the user. Without
    one it is fitted to them.
    """
    if scaler is not None and not in_units:
        return Network.rows(model, rows, what), scaler
    real = model.preprocessing.real(model.rows(rows, what).double().numpy())
    scaler = scaler or model.fit_scaler(real)
    return torch.from_numpy(scaler.scale(real)), scaler


def _smoothed(
    model: Network, points: Tensor, settings: TrainingSettings
) -> tuple[Tensor, Tensor | None]:
    """Return the points that training visits, and the noise's standard deviation.

    The points are made of scaled ``points``, both ``(M, *event, N)``; the deviation is per member,
    ``(M, 1, ...)``, or ``None`` without noise.
    """
    if settings.noise == 0 or not model.real:
        return points.to(model.dtype).contiguous(), None
    visited: list[Tensor] = []
    levels: list[float] = []
    for member, own in enumerate(points.cpu()):
        # The work is done already for members on the same data
        if member and torch.equal(points[member], points[member - 1]):
            visited.append(visited[-1])
            levels.append(levels[-1])
            continue
        flat = own.flatten(0, -2).T.numpy()
        level = settings.noise
        if level == "auto":
            level = float(f"{settings.noise_factor * likelihood_bandwidth(flat):.6g}")
        moved = sharpen(flat, level, settings.sharpen) if settings.sharpen else flat
        visited.append(torch.from_numpy(moved.T.reshape(own.shape)))
        levels.append(level)
    deviation = torch.tensor(levels, dtype=model.dtype, device=points.device)
    deviation = deviation.reshape(-1, *[1] * (points.ndim - 1))
    return torch.stack(visited).to(deviation), deviation
