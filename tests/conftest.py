"""What several test modules share.

Double precision, a shake of all parameters, a short automatic recipe, small pieces of files, and a
finished run of the pipeline.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

# What is small is computed faster by one thread, above all where other processes want the cores
# too: waiting threads spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from pipeline import IN_ONE_PROCESS, Clone, make_clone
from shaking import shake
from torch import nn


@pytest.fixture
def float64() -> Iterator[None]:
    """Everything made within the test computes in double precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def perturb() -> Callable[[nn.Module, float], nn.Module]:
    """Moves all parameters of a module by Gaussian noise.

    At its initialisation, a coupling is the identity and proves nothing.
    """

    return shake


@pytest.fixture
def short_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The automatic recipe trains for at most 25 steps, and tells its time after 10."""
    from flows.training.automatic import fold_trainer, recipe

    shorter = {
        recipe: {"ROUNDS": (5, 10), "MOST_STEPS": 20, "TIMED": 2},
        fold_trainer: {"LEAST_STEPS": 15},
    }
    for module, limits in shorter.items():
        for name, few in limits.items():
            monkeypatch.setattr(module, name, few)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Cuts files into pieces of so many rows, and questions about rows into blocks."""
    from flows.density import chunks
    from flows.tables import files

    def cut(rows: int, block: int = chunks.BLOCK) -> None:
        for module, name, few in ((files, "ROWS_PER_PIECE", rows), (chunks, "BLOCK", block)):
            monkeypatch.setattr(module, name, few)

    return cut


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The whole pipeline, run in one process with two threads, and without DVC."""
    clone = make_clone(tmp_path_factory.mktemp("small"))
    clone.run(
        sys.executable,
        "-c",
        IN_ONE_PROCESS,
        *(stage["cmd"].removeprefix("python -m ") for stage in clone.stages().values()),
        threads=2,
    )
    return clone


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The whole pipeline, run by `make repro`, a thread a stage, and committed."""
    clone = make_clone(tmp_path_factory.mktemp("pipeline"))
    clone.run(sys.executable, "-m", "tools.repro")
    clone.commit("Results")
    return clone


@pytest.fixture
def clone(finished: Clone) -> Iterator[Clone]:
    yield finished
    if finished.git("status", "--porcelain"):
        finished.git("reset", "--quiet", "--hard")
        finished.git("clean", "--quiet", "-d", "--force")
        finished.dvc("checkout", "--force")


LONGEST = "pipeline workers table_pipeline ask command_line plotting images models auto questions"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: at the end, the last one keeps a single process busy."""
    order = {f"test_{name}": place for place, name in enumerate(LONGEST.split())}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
