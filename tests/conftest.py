"""Fixtures that several test modules share.

They set double precision, shorten the automatic recipe, draw fewer samples, fit
densities of a target, and run the pipeline.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

# Small computations are faster with one thread, especially if other processes use the cores, since
# waiting threads spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import helpers
import pandas as pd
import pytest
import torch
from frames import PEOPLE, WARDS, cities, clinic, every_sort, gappy_wards, people, wards
from pipeline import IN_ONE_PROCESS, ROOT, Clone, make_clone

import flows
from flows.tables.columns.notices import TableNotice

TESTS = Path(__file__).parent


@pytest.fixture
def float64() -> Iterator[None]:
    """Use double precision by default within the test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads of PyTorch within the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def notices_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print each ``TableNotice`` like the command line, for tests that read standard error."""
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], *others: Any) -> None:
        if issubclass(category, TableNotice):
            print(message, file=sys.stderr)
        else:
            shown(message, category, *others)

    warnings.simplefilter("always", TableNotice)
    monkeypatch.setattr(warnings, "showwarning", show)


@pytest.fixture
def in_the_top_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in the folder from which workers import code."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def short_recipe() -> Iterator[None]:
    """Shorten the automatic recipe within the test."""
    with helpers.shortened():
        yield


@pytest.fixture(scope="module")
def few_samples() -> Iterator[None]:
    """Draw fewer samples for pictures and proposals in all tests of a module."""
    with helpers.few_samples():
        yield


@pytest.fixture
def models_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Return a function that puts another folder in the place of ``flows/models``."""
    return lambda folder: monkeypatch.setattr("flows.models.__path__", [str(folder)])


@pytest.fixture(scope="session")
def of_number() -> flows.Density:
    """Return the density of a count given the other columns, with the automatic recipe."""
    settings = {"recipe": helpers.short_recipe(steps=200)}
    return flows.fit(clinic(), target="visits", members=2, settings=settings)


@pytest.fixture(scope="session")
def of_label() -> flows.Density:
    """Return the density of a label given the other columns, with the automatic recipe."""
    settings = {"recipe": helpers.short_recipe(steps=50)}
    return flows.fit(clinic(), target="state", members=2, settings=settings)


@cache
def fitted(table: str) -> flows.Density:
    """Fit a table once per process."""
    how = {"members": 2, "settings": helpers.SHORT}
    if table == "wards":
        return flows.fit(wards(), columns=WARDS, **how)
    if table == "people":
        return flows.fit(people(), columns=PEOPLE, **how)
    if table == "cities":
        return flows.fit(cities(), members=2, settings={**helpers.SHORT, "hidden": 4})
    return helpers.quick_fit(every_sort())


def anew(density: flows.Density) -> flows.Density:
    """Return a density for one module: modules set the numbers of draws that a density keeps."""
    return flows.Density(density.population, density.schema, density.record)


@pytest.fixture(scope="module")
def of_wards() -> flows.Density:
    return anew(fitted("wards"))


@pytest.fixture(scope="module")
def of_people() -> flows.Density:
    return anew(fitted("people"))


@pytest.fixture(scope="module")
def of_cities() -> flows.Density:
    """Return a fitted density with rare labels."""
    return anew(fitted("cities"))


@pytest.fixture(scope="module")
def of_sorts() -> flows.Density:
    return anew(fitted("every sort"))


@pytest.fixture
def gaps() -> pd.DataFrame:
    return gappy_wards()


@pytest.fixture
def folder_of_wards(
    of_wards: flows.Density, gaps: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Run in a folder with a density, rows with gaps, and rows without one of the columns."""
    monkeypatch.chdir(tmp_path)
    of_wards.save("m.flow")
    gaps.to_csv("gaps.csv", index=False)
    gaps.drop(columns="bmi").to_csv("rows.csv", index=False)
    return tmp_path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Run the whole pipeline in one process with two threads, without DVC."""
    clone = make_clone(tmp_path_factory.mktemp("small"))
    clone.run(sys.executable, "-c", IN_ONE_PROCESS, *clone.commands(), threads=2)
    return clone


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Run the whole pipeline with `make repro`, one thread per stage, and commit the results."""
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


LONGEST = """stages/test_pipeline test_brute_force tables/density/test_report test_workers
stages/test_table_pipeline
tables/questions/test_asking test_require tables/columns/kinds/test_whole plotting/test_plotting
networks/test_image_flow mixtures/test_gaussian_mixture tables/command_line/test_verbs"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, because the last file keeps only one process busy."""
    order = {TESTS / f"{name}.py": place for place, name in enumerate(LONGEST.split())}
    for path in order:
        assert path.is_file(), f"LONGEST: no file {path.relative_to(TESTS)}"
    items.sort(key=lambda item: order.get(item.path, len(order)))
