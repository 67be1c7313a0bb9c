"""One batched training loop for all networks: M of them, one computation."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from flows.core.arrays import Array, rounded
from flows.core.seeds import normals, numpy_generators
from flows.core.settings import TrainingSettings
from flows.networks.flow import Flow
from flows.networks.network import Network
from flows.training.auto import fit_found
from flows.training.optimizer import ClippedAdam, one_cycle
from flows.training.smoothing import likelihood_bandwidth, sharpen


class Trainer:
    """Trains every member of ``model``, one ``epoch()`` after another.

    ``train`` are rows in the user's units: ``(n, *event)``, shared by all members, or ``(n, M,
    *event)``, one set a member. They are standardised here, once; all inside is in standardised
    units and features first, ``(M, *event, N)``.
    """

    def __init__(self, model: Network, train: Any, settings: TrainingSettings) -> None:
        rows = model.rows(train, "train")
        batch = min(settings.batch_size, len(rows))
        model.initialize_door(rows)
        self.model = model
        self.settings = settings
        self.clean = self.seen(rows, 0)
        model.initialize(self.clean[0])
        self.visited, self.noise = _smoothed(model, rows, settings)
        self.steps = math.ceil(len(rows) / batch)  # of an epoch
        self.step = 0
        self.optimizer = ClippedAdam(model.flatten(), settings.clip, model.betas)

    def seen(self, rows: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """``rows`` as the networks see them, and the log-determinant of getting there.

        They are set ``number`` of those that curves are kept of.
        """
        z, log_det = self.model.standardized(rows)
        return self.model.visit(
            z, numpy_generators(self.settings.seed, "curves", self.model.member_range, number)
        ), log_det

    def points(self, generators: Sequence[np.random.Generator]) -> Tensor:
        """What one epoch visits, ``(M, *event, N)``.

        Every member in an order of its own, and with noise of its own.
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
        """One pass over the points.

        Gives ``(M,)`` booleans: whether all losses of a member were finite.
        """
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


def fit(
    model: Network,
    train: Any,
    test: Any = None,
    settings: TrainingSettings | None = None,
    *,
    on_log: Callable[[int, dict[str, Array]], None] | None = None,
    name: str = "model",
    device: str = "cpu",
) -> Network:
    """Train every member of ``model`` on the rows ``train``, and give it back.

    As for ``Trainer``; arrays of any numbers will do.

    ``test``, rows of the same form, is scored for the history and never trained on or selected by.
    ``on_log(epoch, curves)`` is called every ``log_every`` epochs; the same numbers are kept in
    ``model.history``. A member whose loss is no longer finite is reported on standard error and
    stays in the results; the others go on as if it weren't there. On the ``device`` ``"cuda"``, by
    the fixed recipe, what runs in plain torch may be faster, and low bits differ; the model is on
    the CPU again when it is done. Raises ``TypeError`` or ``ValueError``, with one line, for rows
    that can't be learnt.
    """
    settings = settings or TrainingSettings()
    if not isinstance(model, Network):
        raise TypeError(f"fit trains what flows.build makes; got {type(model).__name__}")
    test = None if test is None else model.rows(test, "test")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device = {device!r}: must be cpu, or cuda where torch finds a GPU")
    # Others have no density, or a slow one
    if settings.recipe == "found" and isinstance(model, Flow) and model.real:
        if device == "cuda":
            raise ValueError("device = 'cuda': the found recipe trains on the cpu alone")
        fit_found(model, model.rows(train, "train"), test, settings, on_log, name)
        model.eval()
        return model
    model.to(device)
    failed: dict[int, int] = {}  # member -> first epoch with a loss that was not finite
    rows: dict[int, dict[str, Array]] = {}
    # None: quiet when not on a terminal
    with tqdm(total=settings.epochs, desc=name, unit="epoch", disable=None) as bar:
        bar.set_postfix_str("reading the noise level off the points")
        trainer = Trainer(model, train, settings)
        clean = {"train": trainer.clean}
        if test is not None:
            clean["test"] = trainer.seen(test, 1)
        for epoch in range(1, settings.epochs + 1):
            for member in (~trainer.epoch()).nonzero().flatten().tolist():
                failed.setdefault(member, epoch)
            bar.update()
            if epoch % settings.log_every == 0 or epoch == settings.epochs:
                rows[epoch] = {key: rounded(curve) for key, curve in model.curves(clean).items()}
                bar.set_postfix_str(
                    ", ".join(f"{key} {value.mean():.3f}" for key, value in rows[epoch].items())
                )
                if on_log is not None:
                    on_log(epoch, rows[epoch])
    model.description["training"] = {"recipe": "fixed", "rows": trainer.visited.shape[-1]}
    last = rows[settings.epochs]
    model.history = {
        "epoch": np.array(list(rows), dtype=np.float64),
        **{key: np.stack([row[key] for row in rows.values()]) for key in last},
    }
    for member in np.flatnonzero(~np.isfinite(np.stack(list(last.values()))).all(axis=0)).tolist():
        failed.setdefault(member, settings.epochs)
    for member, epoch in failed.items():
        number = model.member_range[member]
        print(
            (
                f"{name}: the loss of member {number} was not finite from epoch {epoch} on; "
                "it stays in the results"
            ),
            file=sys.stderr,
        )
    model.to("cpu").eval()
    return model


def _smoothed(
    model: Network, rows: Tensor, settings: TrainingSettings
) -> tuple[Tensor, Tensor | None]:
    """What training visits instead of the ``rows`` ``(n, M or 1, *event)``.

    Points ``(M, *event, N)``, and the noise's standard deviation per member, ``(M, 1, ...)``; both
    in standardised units.
    """
    standardized = model.door(model.features_first(rows).double())[0]
    if settings.noise == 0 or not model.real:
        return standardized.to(model.dtype).contiguous(), None
    visited: list[Tensor] = []
    levels: list[float] = []
    for member, points in enumerate(standardized.cpu()):
        # Members on the same data: the work is done
        if member and torch.equal(standardized[member], standardized[member - 1]):
            visited.append(visited[-1])
            levels.append(levels[-1])
            continue
        flat = points.flatten(0, -2).T.numpy()
        level = (
            float(f"{settings.noise_factor * likelihood_bandwidth(flat):.6g}")
            if settings.noise == "auto"
            else settings.noise
        )
        moved = sharpen(flat, level, settings.sharpen) if settings.sharpen else flat
        visited.append(torch.from_numpy(moved.T.reshape(points.shape)))
        levels.append(level)
    deviation = torch.tensor(levels, dtype=model.dtype, device=standardized.device).reshape(
        -1, *[1] * (standardized.ndim - 1)
    )
    return torch.stack(visited).to(deviation), deviation
