"""Train slices of the members of a population on workers (``workers.py``).

Members share no parameter, and the random streams of a member depend only on its index in the
population. With the compiled kernels, slices that are trained separately and joined have the same
bytes as a population trained in one process. Without the kernels, the last bits differ, and
training amplifies the differences.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from flows.core.arrays import Array
from flows.core.progress import progress
from flows.networks import building
from flows.networks.network_population import NetworkPopulation
from flows.training import trainer, workers
from flows.training.trainer import Task

# The result of a slice: its state and history, and the members that failed
Trained = tuple[dict[str, Array], dict[str, Array], dict[int, int]]


def cut(population: NetworkPopulation, name: str) -> list[slice]:
    """Return slices of the members, at most one for each worker.

    The list is empty if one process trains all members. A population that was assembled or changed
    by hand, or has a map of the user's own, also gives an empty list, because workers rebuild the
    population from its description; a line on standard error says so. Raises ``UserError`` if
    ``FLOWS_WORKERS`` is invalid.
    """
    count = min(population.members, workers.count()) if population.members > 1 else 1
    if count < 2:
        return []
    about, map_module = population.description, type(population.to_real).__module__
    if "model" not in about or _form(population) != _form(building.build_described(about)):
        why = "flows.build did not make it"
    elif not map_module.startswith("flows."):
        why = f"workers do not import {map_module}, which has its map to the real line"
    else:
        parts = np.array_split(np.arange(population.members), count)
        return [slice(int(part[0]), int(part[-1]) + 1) for part in parts]
    print(f"{name}: trained in one process, as {why}", file=sys.stderr)
    return []


def _form(population: NetworkPopulation) -> list[Any]:
    """Return the modules, plain settings and shapes of a population, without its numbers."""
    plain = (bool, int, float, str, tuple, list)
    modules = [
        (name, type(module), key, repr(value))
        for name, module in population.named_modules()
        for key, value in sorted(vars(module).items())
        if isinstance(value, plain) and key != "training"
    ]
    return [*modules, *((key, value.shape) for key, value in population.state_dict().items())]


def run(parts: Sequence[slice], population: NetworkPopulation, task: Task) -> dict[int, int]:
    """Train each of the ``parts`` on a worker; return the failed members like ``trainer.run``.

    The population changes only after all parts are trained. ``on_log`` is then called. Raises
    ``UserError`` if workers are lost or differ from this process.
    """
    rows = population.rows(task.rows, "train").numpy()
    test = None if task.test is None else population.rows(task.test, "test").numpy()
    tasks = []
    for part in parts:
        start = population.member_range.start
        about = {**population.description, "members": [start + part.start, start + part.stop]}
        state = {
            key: _own(value.numpy(), part, 0) for key, value in population.state_dict().items()
        }
        own, unseen = [None if each is None else _own(each, part, 1) for each in (rows, test)]
        tasks.append((about, state, Task(own, unseen, task.settings, None, task.name)))
    done: dict[int, Trained] = {}
    with progress(task.name, population.members, "member") as bar:
        for i, result, _ in workers.completed(_train, tasks):
            done[i] = result
            bar.update(parts[i].stop - parts[i].start)
    states, histories, failed = zip(*(done[i] for i in range(len(parts))), strict=True)
    joined = {key: torch.from_numpy(_joined(states, key, 0)) for key in states[0]}
    population.load_state_dict(joined, assign=True)
    population.history = {key: _joined(histories, key, 1) for key in histories[0]}
    trainer.replay(population.history, task.on_log)
    return {member: epoch for each in failed for member, epoch in each.items()}


def _own(values: Array, part: slice, axis: int) -> Array:
    """Select members along ``axis``; return arrays that members share unchanged."""
    if values.ndim <= axis or values.shape[axis] == 1:
        return values
    return values.swapaxes(0, axis)[part].swapaxes(0, axis)


def _joined(parts: Sequence[dict[str, Array]], key: str, axis: int) -> Array:
    """Join the arrays ``key`` of all parts along ``axis``; arrays without this axis are equal."""
    arrays = [part[key] for part in parts]
    return np.concatenate(arrays, axis) if arrays[0].ndim > axis else arrays[0]


def _train(description: dict[str, Any], state: dict[str, Array], task: Task) -> Trained:
    """Train a slice on a worker. Its arrays may be read-only, so they are copied."""
    population = building.restored(
        description, {key: torch.tensor(each) for key, each in state.items()}
    )
    failed = trainer.run(population, task)
    trained = {key: each.numpy() for key, each in population.state_dict().items()}
    return trained, population.history, failed
