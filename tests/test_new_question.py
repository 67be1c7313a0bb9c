"""The question of docs/extending.md: about frames, pieces, conditions, targets and in the shell."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pipeline import ROOT, text
from scipy.stats import norm

import flows
from flows.core.errors import UserError
from flows.mixtures.mixture import Mixture
from flows.tables.questions.asking import Asking
from flows.tables.questions.conditions import conditions
from flows.tables.questions.question import Answer
from flows.tables.questions.reading import UserRows

NAME = "flows.tables.questions.exceedance"
BLOCKS: dict[str, str] = dict(
    re.findall(
        r"<!-- question: ([^\n]+) -->\n```\w+\n(.*?)```", text("docs/extending.md"), flags=re.S
    )
)
CODE = BLOCKS["flows/tables/questions/exceedance.py"]
QUICK = {"recipe": "quick"}
# Runs the Python of the page, and then its command, in the folder of a copy of the package
SESSION = """
import doctest, sys
from pathlib import Path
import flows
from flows.__main__ import main

example = doctest.DocTestParser().get_doctest(sys.stdin.read(), {}, "page", None, 0)
result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example)
assert result.attempted and not result.failed
assert Path(flows.__file__).parent.parent == Path.cwd()
main(sys.argv[1:])
"""


@pytest.fixture(scope="module", autouse=True)
def exceedance() -> Iterator[type[Any]]:
    """Define the question as the page does, and forget it after these tests."""
    module = types.ModuleType(NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, NAME, module)  # where dataclasses look
        exec(compile(CODE, "exceedance.py", "exec"), module.__dict__)
        yield module.Exceedance


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a copy of the package that has the question and its verb."""
    folder = tmp_path_factory.mktemp("question")
    shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("*.pyc"))
    (folder / "flows/tables/questions/exceedance.py").write_text(CODE, encoding="utf-8")
    for name in ("flows/tables/command_line/parser.py", "flows/tables/command_line/verbs.py"):
        (folder / name).write_text(changed(text(name), BLOCKS[name]), encoding="utf-8")
    return folder


def changed(content: str, difference: str) -> str:
    """Return the content of a file after a difference, whose parts are divided by ``@@``."""
    for part in difference.split("@@\n"):
        lines = part.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] == " ")
        assert content.count(f"\n{before}") == 1
        content = content.replace(f"\n{before}", "\n" + "".join(line[1:] for line in lines))
    return content


def table() -> pd.DataFrame:
    """Return the table of the page."""
    rng = np.random.default_rng(0)
    age = rng.integers(20, 80, size=200)
    return pd.DataFrame({"age": age, "pressure": 80 + age / 2 + 5 * rng.normal(size=200)})


@pytest.fixture(scope="module")
def density() -> flows.Density:
    return flows.fit(table(), columns={"age": "integer"}, members=2, settings=QUICK)


@pytest.fixture(scope="module")
def of_target() -> flows.Density:
    return flows.fit(table(), target="pressure", members=2, settings=QUICK)


@pytest.fixture(scope="module")
def gaussian() -> tuple[flows.Density, np.ndarray]:
    """Return the density of a Gaussian of three columns, and its covariance."""
    covariance = np.array([[1.0, 0.6, 0.3], [0.6, 1.0, 0.5], [0.3, 0.5, 1.0]])
    truth = Mixture(np.ones(1), np.zeros((1, 3)), covariance[None])
    return flows.Density(flows.GaussianMixture.of(truth)), covariance


def asked(question: Any, density: flows.Density, rows: Any) -> Answer:
    """Return the answer about pieces of rows, or about conditions."""
    given = isinstance(rows, dict)
    about = conditions(density._array, rows) if given else UserRows(rows)
    return Asking(question, density._array, about, lambda notices: None).answer()


@pytest.mark.slow
def test_the_python_and_the_command_of_the_page_give_the_shown_outputs(copy: Path) -> None:
    command, _, shown = BLOCKS["in the shell"].partition("\n")
    dollar, *words = shlex.split(command)
    assert [dollar, *words[:3]] == ["$", "python", "-m", "flows"]
    done = subprocess.run(
        [sys.executable, "-c", SESSION, *words[3:]],
        cwd=copy,
        input=BLOCKS["in Python"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found, expected = (pd.read_csv(StringIO(each)) for each in (done.stdout, shown))
    pd.testing.assert_frame_equal(found, expected, atol=0.005)  # another processor rounds otherwise


def test_the_answer_is_the_closed_form_for_known_and_drawn_values(exceedance, gaussian) -> None:
    density, covariance = gaussian
    rng = np.random.default_rng(0)
    rows = rng.multivariate_normal(np.zeros(3), covariance, size=40)
    rows[20:, 2] = np.nan  # drawn, together with the column of the question
    found = asked(exceedance("x0", 0.5), density, [pd.DataFrame(rows, columns=["x0", "x1", "x2"])])
    for row, above, draws in zip(rows, found["above"], found.effective, strict=True):
        known = np.flatnonzero(~np.isnan(row[1:])) + 1
        slope = np.linalg.solve(covariance[np.ix_(known, known)], covariance[known, 0])
        deviation = np.sqrt(1 - slope @ covariance[known, 0])
        expected = norm.sf(0.5, slope @ row[known], deviation)
        error = 4 * np.sqrt(expected * (1 - expected) / draws)  # 0 without draws
        assert above == pytest.approx(expected, abs=0.02 + error)


def test_conditions_are_ranges_too(exceedance, density) -> None:
    question, given = exceedance("age", 60), {"pressure": (110, None)}
    event = density.probability({"age": (61, None)}, given=given)
    answer = asked(question, density, given)
    error = 0.5 / np.sqrt(answer.effective[0])
    assert answer["above"][0] == pytest.approx(
        event.probability, abs=3 * (error + event.integration_error)
    )
    assert list(density.ask(question, given=given)) == ["above"]
    # A range of the column itself
    over = density.ask(question, given={"pressure": 110.0, "age": (50, 60)})
    assert over["above"].tolist() == [0]
    with pytest.raises(UserError, match=r"^given: age is predicted; leave it out, or give a range"):
        density.ask(question, given={"age": 70})


def test_a_density_of_a_target_answers_about_its_target_alone(exceedance, of_target) -> None:
    frame = table()[:3]
    found = of_target.ask(exceedance("pressure", 110.0), frame)["above"]
    for age, above in zip(frame["age"], found, strict=True):
        event = of_target.probability({"pressure": (110, None)}, given={"age": age})
        assert above == pytest.approx(event.probability, abs=0.02 + 3 * event.integration_error)
    message = r"^column age is not a target, so its values cannot be predicted or filled"
    for how in ({"frame": frame}, {"given": {"pressure": (110, None)}}):
        with pytest.raises(UserError, match=message):
            of_target.ask(exceedance("age", 60), **how)
