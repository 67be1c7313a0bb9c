"""Every front end gives the same answer to a question, however the rows are divided.

The front ends are ``Asking`` on pieces of a frame, the methods of ``Density``, the estimators of
scikit-learn, and the command line on CSV and Parquet files. Training is short, because these tests
do not depend on the quality of the fit.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from helpers import SHORT, SHORT_WORDS, changed, further

import flows
from flows.__main__ import main
from flows.core import progress
from flows.core.arrays import rounded
from flows.tables.columns import files
from flows.tables.columns.notices import Notice, python_words
from flows.tables.questions import asking, reading
from flows.tables.questions.asking import Asking
from flows.tables.questions.conditions import conditions, event_conditions
from flows.tables.questions.draw import Draw
from flows.tables.questions.impute import Impute
from flows.tables.questions.predict import Predict
from flows.tables.questions.probability import EventProbability
from flows.tables.questions.question import Answer, Question
from flows.tables.questions.reading import UserRows
from flows.tables.questions.score import Score
from flows.tables.questions.surprise import Surprise

pytestmark = pytest.mark.usefixtures("few_samples", "small_blocks")
ROWS = 15  # that are asked about


@pytest.fixture(scope="module")
def small_blocks() -> Iterator[None]:
    """Read 7 rows, convert 6 rows and ask about 4 rows at a time; announce no expected time."""
    pieces = {files: {"ROWS_PER_PIECE": 7}, reading: {"PIECE": 6}, asking: {"BLOCK": 4}}
    with changed({**pieces, progress: {"SHORT": np.inf}}):
        yield


# Tables


class Table(NamedTuple):
    """A density, rows to ask about, and the estimator of scikit-learn that fitted the density."""

    density: flows.Density
    rows: pd.DataFrame
    estimator: Any = None


def with_gaps(frame: pd.DataFrame, *gaps: tuple[Any, ...]) -> pd.DataFrame:
    """Return a frame whose rows are numbered as in a file, with gaps: a row and its columns."""
    frame = frame.set_axis(range(1, len(frame) + 1))
    for row, *names in gaps:
        frame.loc[row, names] = None
    return frame


def of_numbers(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    return pd.DataFrame({"a": a, "b": b, "c": a * b + 0.3 * rng.normal(size=n)})


@cache
def numbers() -> Table:
    estimator = flows.DensityEstimator(members=2, settings=SHORT).fit(of_numbers(80, 0))
    gaps = [(2, "a"), (3, "a", "b"), (4, "b"), (6, "a", "b", "c"), (7, "c"), (10, "a", "c")]
    gaps += [(13, "a"), (14, "b"), (15, "c")]  # no row of the last piece is complete
    rows = with_gaps(of_numbers(ROWS, 1), *gaps).assign(note="as it is, always")
    rows.loc[7, "b"] = 50.0  # far outside of the range
    return Table(afresh(estimator.density_), rows, estimator)


def afresh(density: flows.Density) -> flows.Density:
    """Return the density of an estimator, which says each notice once, with all notices."""
    return flows.Density(density.population, density.schema, density.record)


def of_kinds(n: int, seed: int) -> pd.DataFrame:
    """Return rows with labels, rare labels, dates, two steps, a bound, a sum and a name."""
    rng = np.random.default_rng(seed)
    age, days = rng.integers(20, 80, n), pd.to_timedelta(rng.integers(0, 500, n), "D")
    shares = np.r_[np.full(19, 0.04), np.full(24, 0.01)]
    columns = {
        "who": [f"p{k}, jr" for k in range(n)],
        "age": pd.array(age, "Int64"),
        "ward": rng.choice(["east", "west"], n),
        "bmi": (age / 4 + rng.normal(10, 2, n)).round(1),
        "city": rng.choice([f"city {k}" for k in range(43)], n, p=shares),
        "day": (pd.Timestamp("2021-03-01") + days).strftime("%d.%m.%Y"),
        "share": rng.beta(2, 3, n),
        "double": pd.array(2 * age + 1, "Int64"),
    }
    return pd.DataFrame(columns)


@cache
def kinds() -> Table:
    own = {"age": "integer", "share": "interval:0:1"}
    density = flows.fit(of_kinds(200, 0), members=2, columns=own, settings=SHORT)
    gaps = [(2, "age"), (3, "ward", "city"), (4, "bmi", "share"), (6, "city"), (7, "day", "age")]
    gaps += [(8, "city"), (9, "ward"), (11, "double")]
    rows = with_gaps(of_kinds(ROWS, 1), *gaps)
    rows.loc[5, "ward"], rows.loc[12, "city"] = "north", "elsewhere"  # unknown labels
    rows.loc[[1, 10], "double"], rows.loc[15, "share"] = 0, 1.5  # a wrong sum, beyond the bound
    rows.loc[7, "bmi"] = 900.0  # far outside of the range
    return Table(density, rows)


def of_targets(n: int, seed: int, cost: str) -> pd.DataFrame:
    """Return rows in which the label ``state`` and the number ``cost`` depend on the others."""
    rng = np.random.default_rng(seed)
    age, dose, ward = rng.uniform(20, 80, n), rng.normal(size=n), rng.choice(["a", "b"], n)
    state = np.where(rng.logistic(size=n) < (age - 50) / 5, "ill", "well")
    costs = age / 20 + (ward == "b") + rng.normal(size=n)
    return pd.DataFrame({"age": age, "dose": dose, "ward": ward, "state": state, cost: costs})


@cache
def target() -> Table:
    frame, own = of_targets(80, 0, "target"), {"recipe": "quick", "hidden": 8, "bins": 3}
    regressor = flows.DensityRegressor(members=2, settings=own)
    regressor.fit(frame.drop(columns="target"), frame["target"])
    gaps = [(2, "dose"), (3, "ward"), (6, "state", "age"), (8, "target"), (11, "dose", "target")]
    rows = with_gaps(of_targets(ROWS, 1, "target"), *gaps)
    rows.loc[5, "ward"] = "elsewhere"  # an unknown label
    return Table(afresh(regressor.density_), rows, regressor)


@cache
def targets() -> Table:
    frame, names = of_targets(80, 0, "cost"), ["cost", "state"]
    quick = {"recipe": "quick", "hidden": 8}
    density = flows.fit(frame, target=names, members=2, settings=quick)
    gaps = [(2, "dose"), (3, "ward"), (6, "dose", "age"), (8, "cost", "state"), (11, "cost")]
    return Table(density, with_gaps(of_targets(ROWS, 1, "cost"), *gaps))


# Questions


@dataclass(frozen=True, eq=False)
class Case:
    """A question, in the ways in which it is asked.

    Args:
        question: the question.
        words: the words of the command line, if it asks the question.
        method: the columns that a method of the density returns for rows, rounded as in a file;
            ``None`` if no method asks the question.
        rows: the rows to ask about, from the rows of the table.
        given: the conditions of a question without rows.
    """

    question: Callable[[flows.Density], Question]
    words: str
    method: Callable[[flows.Density, Any], pd.DataFrame] | None = None
    rows: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows
    given: Mapping[str, Any] | None = None


def score(*given: str) -> Case:
    def scored(density: flows.Density, rows: pd.DataFrame) -> pd.DataFrame:
        log_q, error = density.log_prob_and_error(rows, given)
        return rows.assign(log_density=log_q.round(6), log_density_se=error.round(6))

    words = "score model.flow TABLE" + f" --given {','.join(given)}" * bool(given)
    return Case(lambda _: Score(given), words, scored)


def versions(density: flows.Density, rows: pd.DataFrame) -> pd.DataFrame:
    """Return three versions of each row, one below the other, as in a file."""
    found = [each.assign(draw=k) for k, each in enumerate(density.impute(rows, 3, 2), 1)]
    return pd.concat(found).sort_index(kind="stable")


def surprise(density: flows.Density, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.join(density.surprise(rows).add_suffix("_surprise"))


def predict(*names: str, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> Case:
    """Return the prediction of a column, or of all targets."""

    def predicted(density: flows.Density, rows: pd.DataFrame) -> pd.DataFrame:
        found = density.predict(rows, *names, quantiles=levels)
        return rows.assign(**as_written(found))

    words = "predict model.flow TABLE" + "".join(f" --column {name}" for name in names)
    if levels != (0.05, 0.5, 0.95):
        words += f" --quantiles {','.join(map(str, levels))}"
    return Case(lambda density: Predict(names or density.targets, levels), words, predicted)


def as_written(predicted: pd.DataFrame) -> dict[str, Any]:
    """Return predictions with the digits that they have in a file."""
    columns = predicted.items()
    return {str(name): rounded(x, 8) if x.dtype.kind == "f" else x for name, x in columns}


def predict_given(name: str, words: str, **given: Any) -> Case:
    def predicted(density: flows.Density, _: Any) -> pd.DataFrame:
        return pd.DataFrame(as_written(density.predict(given=given, column=name)))

    words = f"predict model.flow --column {name} {words}"
    return Case(lambda _: Predict([name]), words, predicted, given=given)


def probability(event: Mapping[str, Any], words: str, **given: Any) -> Case:
    def question(density: flows.Density) -> Question:
        return EventProbability(event_conditions(density._array, event))

    def found(density: flows.Density, _: Any) -> pd.DataFrame:
        *numbers, error, _ = density.probability(event, given=given)
        names = ("probability", "low", "high")
        shown = {name: [rounded(x, 6)] for name, x in zip(names, numbers, strict=True)}
        return pd.DataFrame(shown | {"integration_error": [rounded(error, 2)]})

    return Case(question, f"probability model.flow {words}", found, given=given)


def sample(words: str, **given: Any) -> Case:
    def drawn(density: flows.Density, _: Any) -> pd.DataFrame:
        return density.sample(30, given=given)

    return Case(lambda _: Draw(30), f"sample model.flow -n 30 {words}", drawn, given=given)


def about(rows: Callable[[pd.DataFrame], pd.DataFrame], case: Case) -> Case:
    return replace(case, rows=rows)


def known_contexts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows in which only targets are missing, all together."""
    known = rows.assign(age=rows["age"].fillna(50.0), dose=rows["dose"].fillna(0.0), ward="a")
    return known.fillna({"state": "ill"}) if "target" in rows else known.drop(index=11)


SCORE = score()
SCORE_COMPLETE = Case(lambda _: Score(missing="drop"), f"{SCORE.words} --missing drop")
COMPLETE = Case(
    lambda _: Draw(1, 3),
    "sample model.flow --given-rows TABLE --seed 3",
    lambda density, rows: density.sample(given=rows, seed=3),
)
IMPUTE = Case(lambda _: Impute(), "impute model.flow TABLE", flows.Density.impute)
DRAWS = Case(lambda _: Impute(3, 2), "impute model.flow TABLE --draws 3 --seed 2", versions)
SURPRISE = Case(lambda _: Surprise(), "", surprise)

CASES: dict[Callable[[], Table], dict[str, Case]] = {
    numbers: {
        "score": SCORE,
        "score given columns": score("a", "b"),
        "score complete rows": SCORE_COMPLETE,
        "complete": COMPLETE,
        "impute": IMPUTE,
        "impute draws": DRAWS,
        "surprise": SURPRISE,
        "predict": predict("c", levels=(0.1, 0.9)),
        "predict given": predict_given("b", "--given a=0.5 --given c=0..1", a=0.5, c=(0, 1)),
        "probability": probability({"c": (0, None)}, "c=0.. --given a=..0.5", a=(None, 0.5)),
        "sample given": sample("--given a=0.2..0.5", a=(0.2, 0.5)),
    },
    kinds: {
        "score": SCORE,
        "score given columns": score("age", "city"),
        "score complete rows": SCORE_COMPLETE,
        "complete": COMPLETE,
        "impute": IMPUTE,
        "impute draws": DRAWS,
        "surprise": SURPRISE,
        "predict a label": predict("ward"),
        "predict a rare label": predict("city"),
        "predict a number": predict("bmi", levels=(0.1, 0.5)),
        "predict a date": predict("day"),
        "predict given": predict_given("ward", "--given age=30,31,60", age=[30, 31, 60]),
        "probability": probability(
            {"ward": "west", "age": (None, 50)},
            "ward=west age=..50 --given share=0.2.. --given 'city=city 3,city 30'",
            share=(0.2, None),
            city=["city 3", "city 30"],
        ),
        "sample given": sample(
            "--given age=50 --given ward=east --given 'city=city 30,city 3,city 40'",
            age=50,
            ward="east",
            city=["city 30", "city 3", "city 40"],
        ),
    },
    target: {
        "score": SCORE,
        "score complete rows": SCORE_COMPLETE,
        "complete": about(lambda rows: rows.drop(columns="target"), COMPLETE),
        "impute": about(known_contexts, IMPUTE),
        "impute draws": about(known_contexts, DRAWS),
        "surprise": SURPRISE,
        "predict": predict("target", levels=(0.25, 0.75)),
        "predict given": predict_given(
            "target", "--given age=50 --given state=ill", age=50.0, state="ill"
        ),
        "probability": probability(
            {"target": (3, None)}, "target=3.. --given age=50..", age=(50, None)
        ),
        "sample given": sample("--given age=50 --given ward=a", age=50.0, ward="a"),
    },
    targets: {
        "score": SCORE,
        "complete": about(lambda rows: rows.drop(columns=["cost", "state"]), COMPLETE),
        "impute": about(known_contexts, IMPUTE),
        "impute draws": about(known_contexts, DRAWS),
        "predict": predict("cost"),
        "predict all": predict(),
        "predict given": predict_given("state", "--given age=50..60", age=(50, 60)),
        "probability": probability(
            {"cost": (3, None), "state": "ill"},
            "cost=3.. state=ill --given age=50..",
            age=(50, None),
        ),
        "sample given": sample("--given age=50", age=50.0),
    },
}


# Front ends


class Found(NamedTuple):
    """The rows with the answer, the answer as arrays, and the notices."""

    rows: pd.DataFrame
    answer: Answer
    notices: str


def asked(table: Table, case: Case, size: int = ROWS) -> Found:
    """Ask a question about pieces of ``size`` rows, or about conditions."""
    array, question, rows = table.density._array, case.question(table.density), table.rows
    rows, about = case.rows(rows), conditions(array, case.given)
    if case.given is None:
        about = UserRows([rows[start : start + size] for start in range(0, len(rows), size)])
    said = list[Notice]()
    found = [*Asking(question, array, about, said.extend)]
    notices = "".join(f"{each.text(python_words)}\n" for each in said)
    return Found(
        pd.concat([question.rows(array, *each) for each in found]),
        Answer.joined([answer for _, answer in found]),
        notices,
    )


@cache
def whole(table: Callable[[], Table], case: Case) -> Found:
    """Return the answer for all rows in one piece."""
    return asked(table(), case)


def method(table: Table, case: Case) -> pd.DataFrame:
    assert case.method is not None
    return case.method(table.density, case.rows(table.rows))


def ask(table: Table, case: Case) -> pd.DataFrame:
    question, rows = case.question(table.density), case.rows(table.rows)
    return table.density.ask(question, None if case.given else rows, given=case.given)


def estimator(table: Table, case: Case) -> pd.DataFrame:
    """Return the columns of an answer that the estimator gives."""
    rows, fitted, question = case.rows(table.rows), table.estimator, case.question(table.density)
    if isinstance(fitted, flows.DensityEstimator):
        return pd.DataFrame({"log_density": fitted.score_samples(rows).round(6)})
    x = rows.drop(columns="target", errors="ignore")
    if isinstance(question, Score):
        return pd.DataFrame({"log_density": fitted.log_prob(x, rows["target"]).round(6)})
    if isinstance(question, Draw):
        return pd.DataFrame({"target": fitted.sample(x, 1, random_state=3)[:, 0]})
    low, high = fitted.predict_quantiles(x, question.levels).T
    columns = {"mean": fitted.predict(x), "q0.25": low, "q0.75": high}
    return pd.DataFrame({name: rounded(each, 8) for name, each in columns.items()})


def command_line(table: Table, case: Case, files: str) -> pd.DataFrame | None:
    """Ask in the current folder; return the rows in a Parquet file, ``None`` for CSV.

    ``files`` is the ending of the file to read and, after ``to``, of the file to write. CSV is
    written to standard output, or copied to it.
    """
    ending, _, out = files.partition(" to ")
    table.density.save("model.flow")
    if case.given is None:
        getattr(case.rows(table.rows), f"to_{ending}")(f"t.{ending}", index=False)
    main(shlex.split(case.words.replace("TABLE", f"t.{ending}")) + ["-o", f"o.{out}"] * bool(out))
    if out == "csv":
        print(Path("o.csv").read_text(), end="")
    return pd.read_parquet("o.parquet") if out == "parquet" else None


IN_PYTHON = {"method": method, "ask": ask, "scikit-learn": estimator}
DIVISIONS = {"pieces of 7": (7, 4), "large blocks": (ROWS, ROWS)}
FILES = ["csv", "parquet to parquet"]
MORE_FILES = ["csv to parquet", "parquet to csv"]
SLOW = ["large blocks", "parquet to parquet", *MORE_FILES]
ESTIMATED = [(numbers, "score"), (target, "score"), (target, "predict"), (target, "complete")]


def front_ends(table: Callable[[], Table], name: str) -> list[str]:
    """Return the front ends that ask a question of the table."""
    case = CASES[table][name]
    found = ["method"] if case.method else []
    found += ["ask"] * (table is numbers or not case.method)
    found += ["scikit-learn"] * ((table, name) in ESTIMATED)
    if case.given is not None:
        return [*found, "standard output"]
    files = FILES + MORE_FILES * (table in (numbers, kinds))
    return found + files * bool(case.words)


def divisions(table: Callable[[], Table], name: str) -> list[str]:
    """Return the divisions of the rows, if the question is about rows."""
    return [*DIVISIONS] if CASES[table][name].given is None else []


def every(
    own: Callable[[Callable[[], Table], str], list[Any]], quick: Sequence[Callable[[], Table]]
) -> pytest.MarkDecorator:
    """Parametrise a test over tables, questions, and values that are ``own`` to both.

    Tests of tables that are not in ``quick`` are slow.
    """
    cases = []
    for table, named in CASES.items():
        for name, case in named.items():
            for value in own(table, name):
                own_id = f"{table.__name__}-{name}-{value}"
                is_slow = value in SLOW or table not in quick
                of_test = further if is_slow else pytest.param
                cases.append(of_test(table, case, value, id=own_id))
    return pytest.mark.parametrize(("table", "case", "own"), cases)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Check that two frames have the same values in a CSV file, where 1.0 is the same as 1."""
    texts = (StringIO(each.to_csv(index=False)) for each in (found, expected))
    how: Any = {"check_dtype": False, "check_exact": True}
    pd.testing.assert_frame_equal(*map(pd.read_csv, texts), **how)


@pytest.mark.slow
@every(divisions, quick=[kinds])
def test_an_answer_does_not_depend_on_the_division_of_the_rows(table, case, own):
    (size, block), expected = DIVISIONS[own], whole(table, case)
    with changed({asking: {"BLOCK": block}}):
        found = asked(table(), case, size)
    # The last bits depend on the number of rows in a block
    how: Any = {"rtol": 1e-9 if own == "large blocks" else 0, "atol": 0}
    pd.testing.assert_frame_equal(found.rows, expected.rows, **how)
    for name, values in expected.answer.results.items():
        np.testing.assert_allclose(found.answer[name], values, **how)
    np.testing.assert_allclose(found.answer.effective, expected.answer.effective, **how)
    assert found.notices == expected.notices


@every(front_ends, quick=[target])
def test_every_front_end_gives_the_same_answer(table, case, own, tmp_path, monkeypatch, capsys):
    expected = whole(table, case)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    front_end = IN_PYTHON.get(own, partial(command_line, files=own))
    found = front_end(table(), case)
    out, err = capsys.readouterr()
    if found is None:
        assert out == expected.rows.to_csv(index=False)
    elif own in ("method", "scikit-learn"):  # which may give a part of the columns
        assert_same(found, expected.rows[list(found)])
    else:
        assert_same(found, expected.rows)
        if own == "csv to parquet" and table is numbers:
            assert set(found[["a", "b", "c"]].dtypes) == {np.dtype(float)}
    if own != "scikit-learn":  # which asks more than once, and numbers the rows anew
        assert err == expected.notices


@pytest.mark.slow
@pytest.mark.parametrize("table", CASES)
def test_the_policy_drop_gives_the_scores_of_complete_rows(table):
    found, expected = whole(table, SCORE_COMPLETE), whole(table, SCORE)
    names = [column.name for column in table().density.columns]
    is_complete = table().rows[names].notna().all(axis=1)
    pd.testing.assert_frame_equal(found.rows, expected.rows[is_complete], check_exact=True)
    assert f"{(~is_complete).sum()} rows with a missing value are left out\n" in found.notices


@pytest.mark.parametrize("table", [further(numbers), further(kinds), target, further(targets)])
def test_a_written_deviation_is_that_of_the_log_densities_of_the_members(table):
    members = table().density.log_prob_members(table().rows)
    is_possible = ~np.isneginf(members).any(axis=1)
    found = whole(table, SCORE).rows["log_density_sd"].to_numpy()
    expected = members[is_possible].std(axis=1, ddof=1).round(6)
    np.testing.assert_array_equal(found[is_possible], expected)
    assert (found[~is_possible] == 0).all()


@pytest.mark.parametrize("case", [IMPUTE, DRAWS], ids=["medians", "draws"])
@pytest.mark.parametrize("table", CASES)
def test_imputing_changes_only_missing_values(table, case):
    case = next(each for each in CASES[table].values() if each.question is case.question)
    rows, found = case.rows(table().rows), whole(table, case).rows
    expected = rows.loc[found.index]
    kept = found[[*rows]].where(expected.notna())
    pd.testing.assert_frame_equal(kept, expected, check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "options"),
    [
        (numbers, "--anomalies 5"),
        (numbers, "--anomalies 9 --given a,b"),
        (kinds, "--anomalies 9"),
        (kinds, "--anomalies 3 --given age,ward"),
        (target, "--anomalies 9"),
    ],
)
def test_the_least_likely_rows_do_not_depend_on_the_pieces_of_a_file(
    table, options, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    case, found, own = replace(SCORE, words=f"{SCORE.words} {options}"), [], table()
    for ending, size in (("csv", ROWS), ("csv", 7), ("parquet", 1)):
        with changed({files: {"ROWS_PER_PIECE": size}}):
            capsys.readouterr()
            command_line(own, case, ending)
            found.append(capsys.readouterr())
    assert found[0].out.startswith("row,")
    assert found[1] == found[2] == found[0]


def test_a_rare_label_that_is_drawn_does_not_depend_on_other_rows():
    density, rows = kinds().density, of_kinds(60, 2).assign(city=None)
    known = rows.assign(city=["city 1"] * 30 + [None] * 30)
    with changed({reading: {"PIECE": len(rows)}}):
        found, expected = (density.sample(given=each)["city"][30:] for each in (known, rows))
    pd.testing.assert_series_equal(found, expected)


# Fits


@pytest.mark.slow
@pytest.mark.parametrize("front_end", ["frame", "scikit-learn", "csv", "parquet"])
def test_a_fit_with_the_policy_drop_is_a_fit_of_the_complete_rows(
    front_end, tmp_path, monkeypatch, capsys
):
    rows = with_gaps(of_numbers(60, 0), (5, "a"), (8, "b", "c"))
    expected = flows.fit(rows.dropna(), members=1, settings=SHORT)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    if front_end == "frame":
        found = flows.fit(rows, members=1, settings=SHORT, missing="drop")
    elif front_end == "scikit-learn":
        estimator = flows.DensityEstimator(members=1, missing="drop", settings=SHORT)
        found = estimator.fit(rows).density_
    else:
        getattr(rows, f"to_{front_end}")(f"t.{front_end}", index=False)
        words = f"fit t.{front_end} -o m.flow --members 1 --missing drop".split()
        main([*words, *SHORT_WORDS])
        found = flows.load("m.flow")
    assert capsys.readouterr().err.startswith("2 rows with a missing value are left out\nnsf: ")
    assert str(found) == str(expected)
    np.testing.assert_array_equal(found.log_prob(rows.dropna()), expected.log_prob(rows.dropna()))
