"""Tables as they come: kinds by rules, columns without a density, dates, groups, and samples."""

from __future__ import annotations

import datetime
import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from frames import every_sort
from helpers import SHORT_RECIPE, answered, field, learned

import flows
from flows.__main__ import main
from flows.density.questions.predict import Predict
from flows.density.questions.score import Score
from flows.tables import files, parsing
from flows.tables.duplicates import merged_groups
from flows.tables.field import Field
from flows.tables.kinds.unlearned import Carried, Unlearned
from flows.tables.notices import TableError, python_words
from flows.tables.rounding import count_decimals

pytestmark = pytest.mark.usefixtures("few_samples")
N = 240
QUICK = {"recipe": "fixed", "epochs": 2}


def fit(frame, **others):
    return flows.fit(frame, members=1, settings=QUICK, **others)


def rng(seed=0):
    return np.random.default_rng(seed)


def taken(frame, kinds=None, missing="learn", **others):
    """The rows that a fit learns, and what is said on each column."""
    table = parsing.from_user(frame, kinds or {}, others.get("na", ()))
    rows = learned(table, kinds or {}, missing, **others)
    said = {notice.column: notice.text(python_words) for notice in rows.notices}
    return rows, said


def column(values, **others):
    """The column that a fit learns from ``values``, beside a column of numbers."""
    rows, _ = taken(pd.DataFrame({"x": values, "y": rng().normal(size=len(values))}), **others)
    return rows.columns[0] if rows.columns[0].name == "x" else None


@pytest.fixture(scope="module")
def density():
    return fit(every_sort())


# Kinds


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (rng().normal(size=N), "real"),
        (np.exp(rng().normal(size=N)), "positive"),
        (rng().uniform(1, 5, N), "real"),
        (rng().integers(0, 2, N), "category"),
        (np.where(rng().random(N) < 0.5, -1.5, 2.5), "category"),
        (rng().poisson(3, N), "count"),
        (rng().integers(20, 80, N), "count"),
        (5 * rng().poisson(3, N), "count"),
        (rng().poisson(3, N) - 3, "integer"),
        (rng().integers(-(10**9), 10**9, N), "real"),
        (pd.array(rng().poisson(3, N), "Int64"), "count"),
    ],
)
def test_kinds_follow_the_rules(values, word):
    assert column(values).word == word


def test_whole_numbers_get_no_notice():
    _, said = taken(pd.DataFrame({"x": rng().poisson(3, N), "y": rng().normal(size=N)}))
    assert said == {}


def test_the_kind_that_a_user_names_wins_over_the_rules():
    frame = pd.DataFrame({"id": np.arange(N), "sex": rng().integers(0, 2, N)})
    rows, _ = taken(frame, {"id": "real", "sex": "integer:0:1"})
    assert [each.word for each in rows.columns] == ["real", "integer:0:1"]


@pytest.mark.parametrize("mark", [-999, -9, 99999])
def test_a_number_of_nines_far_from_all_others_gets_a_notice(mark):
    x = rng().uniform(10, 12, N)
    x[:10] = mark
    _, said = taken(pd.DataFrame({"cost": x, "y": rng().normal(size=N)}))
    assert f"holds {mark:g} in 10 rows, far from all other values" in said["cost"]
    assert f"to read it as missing, pass na=['{mark:g}']" in said["cost"]
    rows, said = taken(pd.DataFrame({"cost": x, "y": 1.5 * rng(1).normal(size=N)}), na=[str(mark)])
    assert np.isnan(rows.values[:, 0]).sum() == 10
    assert "cost" not in said
    assert rows.schema.na == (str(mark),)


def test_nines_among_other_values_get_no_notice():
    x = rng().uniform(0, 200, N)
    x[:10] = 99
    assert column(x).kind == "real"
    assert "cost" not in taken(pd.DataFrame({"cost": x, "y": rng().normal(size=N)}))[1]


def test_a_density_remembers_the_marks_of_missing_values(tmp_path):
    frame = pd.DataFrame({"x": rng().normal(size=N), "y": rng(1).normal(size=N)})
    marked = frame.astype(object)
    marked.loc[:4, "x"] = "unknown"
    settings = {"batch_size": 64, **SHORT_RECIPE}
    found = flows.fit(marked, members=5, settings=settings, na=["unknown"])
    found.save(tmp_path / "m.flow")
    loaded = flows.load(tmp_path / "m.flow")
    expected = loaded.log_prob(frame.mask(frame.index.to_numpy()[:, None] < [[5, 0]]))
    np.testing.assert_array_equal(loaded.log_prob(marked), expected)


# Columns without a density


def test_every_column_of_a_table_comes_back_in_samples(density, tmp_path):
    frame, drawn = every_sort(), density.sample(500, seed=1)
    assert list(drawn) == list(frame)
    assert (drawn.dtypes == frame.dtypes).all()
    assert (drawn["const"] == "x").all()
    assert drawn["empty"].isna().all()
    assert (drawn["copy"] == drawn["a"]).all()
    np.testing.assert_array_equal(
        drawn["total"], (2 * drawn["a"] - drawn["b"] + 3).round(3).to_numpy()
    )
    assert drawn["number"].tolist() == list(range(1, 501))
    assert drawn["id"].tolist() == [str(k) for k in range(1, 501)]
    assert set(drawn["grade"]) == {"1", "2", "3+"}
    assert set(drawn["city"]) <= set(frame["city"])
    assert (drawn["income"] % 1 == 0).all()
    density.save(tmp_path / "m.flow")
    pd.testing.assert_frame_equal(flows.load(tmp_path / "m.flow").sample(500, seed=1), drawn)


def of_many_types():
    r = rng()
    return pd.DataFrame(
        {
            "small": r.integers(0, 255, N).astype("uint8"),
            "sparse": pd.arrays.SparseArray(r.poisson(1, N)),
            "nullable": pd.array(r.poisson(3, N), "Int64"),
            "ordered": pd.Categorical(r.choice(list("abc"), N), list("cbad"), ordered=True),
            "names": pd.Categorical([f"p{k}" for k in range(N)]),
            "intervals": pd.cut(r.uniform(size=N), 40),
            "zone": pd.date_range("2020", periods=N, freq="7h", tz="Europe/Berlin"),
            "months": pd.period_range("2020-01", periods=N, freq="M"),
            "constant": [True] * N,
            "never": [pd.NaT] * N,
            "lists": [[1, 2], [3]] * (N // 2),
            "y": r.normal(size=N),
        }
    )


@pytest.fixture(scope="module")
def samples_of_many_types():
    return fit(of_many_types()).sample(20)


@pytest.mark.parametrize("name", list(of_many_types()))
def test_samples_have_the_type_of_the_column(samples_of_many_types, name):
    assert str(samples_of_many_types[name].dtype) == str(of_many_types()[name].dtype)


def test_a_description_lists_learned_carried_and_excluded_columns(density):
    said = repr(density).splitlines()
    assert "column total: carried along, 2 a - b + 3" in said
    assert "column const: carried along, 'x'" in said
    assert "column id: excluded, samples number their rows" in said
    names = [each.name for each in density.columns]
    assert not {"const", "total", "copy", "id", "number", "empty"} & {*names}


def test_carried_and_excluded_columns_get_notices():
    _, said = taken(every_sort())
    assert "holds 'x' in every row, and in samples" in said["const"]
    assert "equals 2 a - b + 3, so samples compute it" in said["total"]
    assert "equals a, so samples compute it" in said["copy"]
    assert "holds 240 different texts in 240 rows, so it is excluded" in said["id"]
    assert "numbers the rows (1001, 1002, ...), so it is excluded" in said["number"]
    assert "samples number their rows from 1 instead" in said["number"]
    assert "the 19 most frequent are labels of a category" in said["city"]
    assert "'3+', which is not a number; the column is taken as a category of 3" in said["grade"]


def test_a_strict_fit_refuses_columns_that_would_be_carried_excluded_or_pooled():
    with pytest.raises(TableError) as caught:
        fit(every_sort(), strict=True)
    refused = {fault.column for fault in caught.value.faults}
    assert refused == {"id", "const", "total", "copy", "city", "grade", "number", "empty"}


def test_a_redundant_column_changes_no_score():
    frame = every_sort()[["a", "b", "visits"]]
    alone = fit(frame)
    beside = fit(frame.assign(sum=frame["a"] + frame["visits"], c=5, id=range(N)))
    np.testing.assert_array_equal(alone.log_prob(frame), beside.log_prob(frame))


def test_a_carried_column_may_be_missing_or_wrong_in_rows_that_are_scored(density, capsys):
    frame = every_sort()[:30]
    expected = density.log_prob(frame)
    capsys.readouterr()
    without = frame.drop(columns=["total", "const", "id", "number"])
    np.testing.assert_array_equal(density.log_prob(without), expected)
    assert capsys.readouterr().err == ""
    wrong = frame.assign(total=frame["total"] + np.where(frame.index < 3, 1, 0))
    np.testing.assert_array_equal(density.log_prob(wrong), expected)
    said = capsys.readouterr().err
    assert said == "column total differs from 2 a - b + 3 in 3 rows; log-densities ignore it\n"


@pytest.mark.parametrize("missing", ["keep", "drop"])
def test_rows_with_repeated_index_labels_are_scored_as_if_they_were_numbered(density, missing):
    frame = every_sort()[:6].copy()
    frame.loc[2, "a"] = np.nan
    repeated = frame.set_axis([0, 0, 1, 1, 2, 2])
    kept, expected = answered(density, Score(missing=missing), frame)
    found, answer = answered(density, Score(missing=missing), repeated)
    np.testing.assert_array_equal(answer["members"], expected["members"])
    pd.testing.assert_frame_equal(found.frame.set_axis(kept.frame.index), kept.frame)
    assert len(found.frame) == (5 if missing == "drop" else 6)
    # The other questions, too
    for ask in (
        density.impute,
        density.surprise,
        lambda rows: density.predict(rows, "b"),
        lambda rows: density.sample(given=rows.drop(columns="b")),
    ):
        pd.testing.assert_frame_equal(ask(repeated).set_axis(frame.index), ask(frame))


def test_missing_values_of_carried_columns_are_imputed(density):
    gaps = every_sort()[:4].copy()
    gaps.loc[0, ["total", "copy"]] = np.nan
    gaps.loc[1, "const"] = None
    gaps.loc[2, ["a", "total", "copy"]] = np.nan
    filled = density.impute(gaps)
    assert filled.loc[0, "total"] == every_sort().loc[0, "total"]
    assert filled.loc[1, "const"] == "x"
    expected = round(2 * filled.loc[2, "a"] - filled.loc[2, "b"] + 3, 3)
    assert filled.loc[2, "total"] == pytest.approx(expected)
    assert filled.loc[2, "copy"] == filled.loc[2, "a"]
    assert (filled["id"] == gaps["id"]).all()


@pytest.mark.parametrize(
    "ask",
    [
        lambda density, frame: density.predict(frame, "total"),
        lambda density, frame: density.sample(2, given={"total": 1}),
        lambda density, frame: density.log_prob(frame, given=["total"]),
    ],
    ids=["predict", "sample", "score"],
)
def test_a_question_about_a_carried_column_says_why_there_is_no_answer(density, ask):
    with pytest.raises(TableError, match=r"column total is not learned: it equals 2 a - b \+ 3"):
        ask(density, every_sort()[:2])


@pytest.mark.parametrize(
    ("x", "step", "said"),
    [
        (lambda a, b: a + b, None, "a + b"),
        (lambda a, b: 0.1 * a - 3 * b - 7, None, "0.1 a - 3 b - 7"),
        (lambda a, b: -a + 1e6, None, "-a + 1e+06"),
    ],
)
def test_a_linear_combination_is_found_exactly(x, step, said):
    a, b = rng().normal(size=(2, 50)).round(2)
    both = np.column_stack([a, b])
    names = ["a", "b"] if "b" in said else ["a"]
    own = field("x", step=step)
    carried = Carried.from_values(own, x(a, b), names, both[:, : len(names)])
    assert carried.formula == said
    found = carried.values([field("a"), field("b")], both)
    np.testing.assert_allclose(found, x(a, b), rtol=1e-12)
    assert Unlearned.from_json(carried.to_json()) == carried


def test_a_reversed_label_is_computed_from_the_other_label():
    sex = rng().choice(["f", "m"], N)
    frame = pd.DataFrame(
        {"sex": sex, "is_female": np.where(sex == "f", 1, 0), "y": rng().normal(size=N)}
    )
    density = fit(frame)
    drawn = density.sample(200)
    assert [each.name for each in density.columns] == ["sex", "y"]
    assert ((drawn["sex"] == "f") == (drawn["is_female"] == 1)).all()
    assert drawn["is_female"].dtype == frame["is_female"].dtype


def test_rare_labels_are_pooled_drawn_by_frequency_and_given_as_they_are(density):
    city = next(each for each in density.columns if each.name == "city")
    counts = every_sort()["city"].value_counts()
    assert len(city.labels) == 20
    assert city.labels[-1] == f"{len(counts) - 19} others"
    assert sum(count for _, count in city.pooled) == counts.iloc[19:].sum()
    rare = city.pooled[0][0]
    assert (density.sample(3, given={"city": rare})["city"] == rare).all()
    chunk = every_sort()[:3].assign(city=["a new city", rare, None], a=np.nan)
    drawn = density.sample(given=chunk)["city"].tolist()
    assert drawn[:2] == ["a new city", rare]
    rows = every_sort()[:1]
    one, other = (density.log_prob(rows.assign(city=name))[0] for name in (rare, "a new city"))
    assert one == other
    assert np.isfinite(one)


def test_text_among_many_numbers_counts_as_missing():
    x = rng().normal(size=N).astype(object)
    x[3], x[5] = ".", "n.d."
    rows, said = taken(pd.DataFrame({"x": x, "y": rng(1).normal(size=N)}))
    assert np.isnan(rows.values[:, 0]).sum() == 2
    assert "holds text among numbers in 2 rows, such as '.', which counts as a missing" in said["x"]
    assert "pass na=['.']" in said["x"]


@pytest.mark.parametrize(
    ("x", "excluded"),
    [
        (np.arange(100_001, 100_601), True),
        (np.cumsum(rng().integers(1, 3, 600)), True),
        (np.cumsum(rng().integers(1, 9, 600)), False),
        (rng().permutation(600), False),
        (np.arange(600) / 7, False),
    ],
)
def test_whole_numbers_that_count_the_rows_are_excluded(x, excluded):
    assert (column(x) is None) == excluded


def test_a_table_without_a_column_to_learn_is_refused():
    frame = pd.DataFrame({"a": "x", "b": 3, "id": [f"p{k}" for k in range(N)]})
    with pytest.raises(TableError, match="no column has a density"):
        fit(frame)
    with pytest.raises(TableError, match="there is no column to learn"):
        fit(frame[["id"]])


@pytest.mark.parametrize(
    ("x", "decimals"), [([1, 2.0], 0), ([1.5, np.nan], 1), ([0.1, 0.3], 1), ([1 / 3], None)]
)
def test_decimals_are_counted(x, decimals):
    assert count_decimals(np.array(x)) == decimals


# Dates


FORMATS = {
    "%Y-%m-%d": ("days", 1),
    "%d/%m/%Y": ("days", 1),
    "%m/%d/%Y": ("days", 1),
    "%d.%m.%Y": ("days", 1),
    "%Y-%m-%d %H:%M": ("seconds", 60),
    "%Y-%m-%dT%H:%M:%S": ("seconds", 60),
    "%d %B %Y": ("days", 1),
    None: ("seconds", 60),
}


@pytest.fixture(scope="module")
def dates():
    """A table with a column of independent dates for each format, and its density."""
    r, frame = rng(), pd.DataFrame()
    for form in FORMATS:
        when = pd.Timestamp("2021-03-01") + pd.to_timedelta(r.integers(0, 500_000, N), "min")
        frame[str(form)] = when if form is None else when.strftime(form)
    frame["y"] = r.normal(size=N)
    return frame, fit(frame)


@pytest.mark.parametrize("form", FORMATS)
def test_dates_are_found_drawn_and_predicted_in_their_format(dates, form):
    frame, density = dates
    name = str(form)
    (own,) = [each for each in density.columns if each.name == name]
    assert (own.kind, own.unit, own.step, own.form) == ("date", *FORMATS[form], form)
    assert Field.from_json(own.to_json()) == own
    drawn = density.sample(50)
    assert drawn.dtypes.equals(frame.dtypes)
    read = pd.to_datetime(drawn[name], format=form)
    assert read.between("2018-01-01", "2026-01-01").mean() > 0.9
    given = frame.loc[0, name]
    assert (density.sample(3, given={name: given})[name] == given).all()
    found = density.predict(frame[:2], name, [0.5])
    assert pd.to_datetime(found["q0.5"], format=form).between("2018-01-01", "2026-01-01").all()
    gaps = frame[:3].copy()
    gaps.loc[1, name] = None
    filled = density.impute(gaps)[name]
    assert pd.to_datetime(filled, format=form).notna().all()
    assert filled[0] == given


@pytest.fixture(scope="module")
def of_durations():
    hours = rng().gamma(2, 2, N).round()
    frame = pd.DataFrame({"x": hours + rng(1).normal(size=N), "rest": pd.to_timedelta(hours, "h")})
    frame["stay"] = pd.to_timedelta(hours + rng(2).gamma(2, 1, N), "h")
    return frame, fit(frame, columns={"rest": "count:3600"})


@pytest.mark.parametrize(
    "of_hours", [lambda h: pd.Timedelta(h, "h"), lambda h: datetime.timedelta(hours=h)]
)
def test_durations_may_be_given_as_values_ranges_and_sets(of_durations, of_hours):
    density, two, three = of_durations[1], of_hours(2), of_hours(3)
    drawn = density.sample(20, given={"stay": three})
    assert (drawn["stay"] == pd.Timedelta("3h")).all()
    drawn = density.sample(20, given={"stay": (two, three), "rest": [two, three]})
    assert drawn["stay"].between(two, three).all()
    assert drawn["rest"].isin([two, three]).all()
    for given, seconds in (
        ({"stay": (None, three)}, {"stay": (None, 10_800)}),
        ({"rest": {two}}, {"rest": [7_200]}),
    ):
        assert density.probability(given) == density.probability(seconds)
        assert density.probability({"x": (2, None)}, given=given) == density.probability(
            {"x": (2, None)}, given=seconds
        )
        pd.testing.assert_frame_equal(
            density.predict(given=given, column="x"), density.predict(given=seconds, column="x")
        )


def test_durations_are_predicted_as_durations(of_durations, tmp_path):
    frame, density = of_durations
    names = ["mean", "sd", "q0.05", "q0.5", "q0.95"]
    predicted = density.predict(frame.head(3), "stay")
    seconds = answered(density, Predict(["stay"]), frame.head(3))[1]["stay"]
    found = predicted[names].apply(lambda each: each.dt.total_seconds())
    np.testing.assert_allclose(found, seconds, atol=1e-5)
    assert density.predict(given={"x": 2.0}, column="rest")["q0.5"].dtype.kind == "m"
    two = fit(frame, target=["rest", "stay"]).predict(frame.head(2))
    assert (two[["rest_mean", "stay_sd"]] > pd.Timedelta(0)).all(axis=None)
    # A file of text has no durations
    density.save(tmp_path / "t.flow")
    seconds = frame.assign(**{name: frame[name].dt.total_seconds() for name in ("rest", "stay")})
    seconds.head(3).to_csv(tmp_path / "t.csv", index=False)
    words = ["predict", tmp_path / "t.flow", tmp_path / "t.csv", "-o", tmp_path / "p.csv"]
    main([*map(str, words), "--column", "stay"])
    np.testing.assert_allclose(pd.read_csv(tmp_path / "p.csv")[names], found, rtol=1e-6)


@pytest.mark.parametrize("kind", [object, "duration[ns][pyarrow]"])
def test_durations_of_python_and_arrow_are_learned_as_durations_of_pandas(of_durations, kind):
    frame, expected = of_durations
    stay = pd.Series([each.to_pytimedelta() for each in frame["stay"]], dtype=object)
    other = fit(frame.assign(stay=stay if kind is object else frame["stay"].astype(kind)))
    assert other.columns[2].word == expected.columns[2].word
    np.testing.assert_allclose(
        other.sample(5)["stay"].dt.total_seconds().astype(float),
        fit(frame).sample(5)["stay"].dt.total_seconds(),
        rtol=1e-3,
    )


def test_a_date_may_be_named_and_a_wrong_one_is_refused():
    days = [f"2020{month:02}{day:02}" for month in range(1, 13) for day in range(1, 21)]
    frame = pd.DataFrame({"day": list(map(int, days)), "y": rng().normal(size=len(days))})
    density = fit(frame, columns={"day": "date"})
    assert density.columns[0].form == "%Y%m%d"
    assert density.sample(3, given={"day": "20200229"})["day"].tolist() == [20200229] * 3
    with pytest.raises(TableError, match=r"column day, row 1 holds 'monday', which is not a date"):
        learned(
            parsing.from_user(frame.astype(object).assign(day=["20200101", "monday"] * 120), {}),
            {"day": "date"},
        )


@pytest.mark.parametrize("words", [["May", "June"], ["12:30", "13:40"], ["2020Q1", "2020Q2"]])
def test_texts_without_a_whole_date_are_labels(words):
    assert column(words * 60).kind == "category"


# Groups


def test_rows_of_a_group_share_a_fold_and_the_column_is_not_learned():
    n = 60
    frame = pd.DataFrame({"patient": np.repeat(np.arange(n // 3), 3), "x": rng().normal(size=n)})
    frame["y"] = frame["x"] + rng(1).normal(size=n)
    rows, said = taken(frame, group="patient")
    assert [each.name for each in rows.columns] == ["x", "y"]
    assert (rows.groups[::3] == rows.groups[2::3]).all()
    assert len(np.unique(rows.groups)) == 20
    assert "holds the subjects, 20 in 60 rows; all rows of a subject" in said["patient"]
    density = flows.fit(frame, members=5, group="patient", settings=SHORT_RECIPE)
    fold = density.record.row_scores.fold
    assert (fold[::3] == fold[1::3]).all()
    assert (fold[::3] == fold[2::3]).all()
    assert density.sample(4)["patient"].tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="group = 'patient': only the automatic recipe keeps"):
        fit(frame, group="patient")
    with pytest.raises(TableError, match="there is no column person"):
        flows.fit(frame, group="person")


def test_groups_that_share_a_row_are_merged():
    merged = merged_groups(np.array([0, 0, 1, 2, 3]), np.array([5, 6, 6, 7, 8]))
    assert merged[0] == merged[1] == merged[2]
    assert len(np.unique(merged)) == 3


# Inspection, and the command line


def test_a_table_is_inspected_without_training_and_without_torch(tmp_path, capsys):
    found = flows.inspect(every_sort())
    assert list(found.index) == list(every_sort())
    assert found.loc["total"].tolist()[:2] == ["carried", "2 a - b + 3"]
    assert found.loc["visits"].tolist() == ["learned", "count", ""]
    assert found.loc["id", "use"] == "excluded"
    assert "samples compute it" in found.loc["copy", "notice"]
    with pytest.raises(TableError, match="column const holds 'x' in every row"):
        flows.inspect(every_sort(), strict=True)
    every_sort().drop(columns="stay").to_csv(tmp_path / "t.csv", index=False)
    capsys.readouterr()
    main(["inspect", str(tmp_path / "t.csv"), "--column", "visits=integer:0:20"])
    out, err = capsys.readouterr()
    assert "carried   total   2 a - b + 3" in out.splitlines()
    assert "learned   visits  integer:0:20" in out.splitlines()
    assert out.splitlines()[-1] == "2 excluded, 12 learned, 4 carried of 18 columns"
    assert "column total equals 2 a - b + 3, so samples compute it" in err
    code = "import sys, flows.command_line.overview; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_file_is_fitted_and_sampled_with_all_of_its_columns(tmp_path, capsys):
    table = every_sort().drop(columns=["stay", "single", "flag"])
    table.to_csv(tmp_path / "t.csv", index=False)
    quick = ["--members=1", "-Srecipe=fixed", "-Sepochs=2"]
    main(["fit", str(tmp_path / "t.csv"), "-o", str(tmp_path / "m.flow"), *quick])
    out = tmp_path / "s.csv"
    main(["sample", str(tmp_path / "m.flow"), "-n", "40", "-o", str(out)])
    drawn = pd.read_csv(out)
    assert list(drawn) == list(table)
    own = pd.read_csv(tmp_path / "t.csv").dtypes.drop("id")
    assert (drawn.dtypes.drop("id") == own).all()
    with pytest.raises(SystemExit, match="column total is a linear combination of a, b, so no"):
        main(["fit", str(tmp_path / "t.csv"), "-o", str(tmp_path / "m"), "--strict", *quick])


def test_a_table_is_read_from_standard_input(tmp_path, capsys, monkeypatch):
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    give(every_sort()[["a", "visits"]].to_csv(index=False).encode())
    main(["inspect", "-"])
    assert capsys.readouterr().out.splitlines()[0] == "learned   a       real"
    give(b"a,b\n1,2\n")
    with pytest.raises(SystemExit, match=r"^flows: standard input: the table has 1 rows; a fit"):
        main(["inspect", "-"])


def test_an_output_follows_a_symbolic_link(tmp_path):
    every_sort()[["a", "visits"]].to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "link.flow").symlink_to(tmp_path / "real.flow")
    (tmp_path / "real.flow").write_text("")
    quick = ["--members=1", "-Srecipe=fixed", "-Sepochs=1"]
    main(["fit", str(tmp_path / "t.csv"), "-o", str(tmp_path / "link.flow"), *quick])
    assert (tmp_path / "link.flow").is_symlink()
    assert not (tmp_path / "real.flow").is_symlink()
    assert flows.load(tmp_path / "real.flow").columns[0].name == "a"


def test_rows_are_counted_for_the_progress_bar(tmp_path):
    frame = every_sort()[["a", "visits"]]
    for name, save in {"t.csv": frame.to_csv, "t.csv.gz": frame.to_csv}.items():
        save(tmp_path / name, index=False)
        assert files.count_rows(tmp_path / name) == N
    frame.to_parquet(tmp_path / "t.parquet")
    assert files.count_rows(tmp_path / "t.parquet") == N
    assert files.count_rows(tmp_path / "missing.csv") is None


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("flows 0.")


def test_a_given_value_far_outside_of_the_data_gets_a_notice(density, capsys):
    capsys.readouterr()
    density.sample(3, given={"a": 0.5})
    assert "far outside" not in capsys.readouterr().err
    density.sample(3, given={"a": 50})
    said = capsys.readouterr().err
    assert "column a is given as 50, far outside of its range, which is about " in said
    density.predict(every_sort()[:3].assign(a=[0.1, 70, 80]), "visits")
    assert "column a is given as 70 and 1 more, far outside" in capsys.readouterr().err
    density.sample(2, given={"day": "01.01.2050"})
    assert "column day is given as 01.01.2050, far outside" in capsys.readouterr().err


def test_samples_of_a_parquet_file_have_its_types(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    table = every_sort()
    table["born"] = table["when"].dt.date
    table.to_parquet(tmp_path / "t.parquet", index=False)
    quick = ["--members=1", "-Srecipe=fixed", "-Sepochs=1"]
    main(["fit", str(tmp_path / "t.parquet"), "-o", str(tmp_path / "m.flow"), *quick])
    main(["sample", str(tmp_path / "m.flow"), "-n", "9", "-o", str(tmp_path / "s.parquet")])
    before, after = (pq.read_schema(tmp_path / name) for name in ("t.parquet", "s.parquet"))
    assert after.names == before.names
    differ = [a for a, b in zip(before, after, strict=True) if a.type != b.type]
    assert differ == []


def hospital(n=600, seed=3):
    """Patients of at most 101 years with at most 11 visits, a skewed cost and a share."""
    r = rng(seed)
    age = np.clip(np.round(r.normal(56, 18, n)), 18, 101).astype(int)
    severity = r.gamma(2.0, 0.5, n) * (0.5 + age / 112)
    visits = np.minimum(r.poisson(1.2 * severity + 0.5), 11)
    cost = np.round(4000 * (1 + visits) * np.exp(0.7 * r.normal(size=n)), 2)
    share = 1 / (1 + np.exp(1 - 0.3 * visits - r.normal(size=n)))
    columns = {"patient": np.arange(100_001, 100_001 + n), "age": age, "visits": visits}
    return pd.DataFrame({**columns, "cost": cost, "share": share, "smoker": r.integers(0, 2, n)})


@pytest.mark.slow
@pytest.mark.parametrize(
    "kinds",
    [{}, {"age": "count", "visits": "count", "cost": "positive", "share": "interval:0:1"}],
    ids=["default", "advised"],
)
def test_samples_of_hospital_rows_are_believable(kinds):
    table = hospital()
    drawn = flows.fit(table, columns=kinds).sample(200_000, seed=1)
    names = ["age", "visits", "cost", "share", "smoker"]
    ratio = drawn[names].std() / table[names].std()
    assert ratio.between(1 / 1.15, 1.15).all(), ratio
    for name in ("age", "visits"):
        assert drawn[name].min() >= 0
        assert drawn[name].max() <= 3 * table[name].max()
    assert (drawn["cost"] > 0).all()


NUMBERS = {"a": np.arange(20) % 7, "b": np.arange(20) % 5, "y": np.arange(20) % 3 + 0.5}


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"a": [1, None] * 10, "b": [None, 1] * 10}, {"missing": "drop"}, "lacks a value"),
        ({"y": None}, {"target": "y"}, "lacks a target"),
    ],
)
def test_a_table_in_which_no_row_is_left_is_refused(change, options, said):
    with pytest.raises(TableError, match=f"^no row is left: every row {said}$"):
        flows.inspect(pd.DataFrame(NUMBERS | change), **options)


@pytest.mark.parametrize(
    ("value", "kinds"), [(3.0, {}), ("2020-01-31", {"a": "date"}), ("2020-01-31", {})]
)
def test_a_column_with_values_only_in_rows_without_a_target_is_carried(value, kinds):
    frame = pd.DataFrame(NUMBERS | {"a": [value, None] * 10, "y": [None, 1.5, 2.5, None] * 5})
    frame.loc[~frame["y"].isna(), "a"] = None
    frame = pd.concat([frame, pd.DataFrame({"a": None, "b": NUMBERS["b"], "y": NUMBERS["y"]})])
    found = flows.inspect(frame, target="y", columns=kinds).loc["a"]
    assert found["use"] == "carried"
    assert "holds a value in 0 rows" in found["notice"]


def test_numbers_that_count_the_rows_that_are_left_are_excluded():
    frame = pd.DataFrame({"n": [1, *range(1, 20)], "y": [None, *NUMBERS["y"][1:]]})
    frame["x"] = NUMBERS["a"]
    assert flows.inspect(frame, target="y").loc["n", "use"] == "excluded"
    assert flows.inspect(frame, missing="drop").loc["n", "use"] == "excluded"


def test_inspect_prints_notices_on_columns_without_a_name(capsys):
    frame = pd.DataFrame({"": range(20), **NUMBERS})
    assert list(flows.inspect(frame).index) == ["a", "b", "y"]
    assert "column '' is left out: it has no name" in capsys.readouterr().err


def test_an_output_follows_a_symbolic_link_to_a_new_file(tmp_path):
    pd.DataFrame(NUMBERS).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "link.flow").symlink_to(tmp_path / "new.flow")
    words = ["-S", "recipe=fixed", "-S", "epochs=1", "--members", "1", "-o"]
    main(["fit", str(tmp_path / "t.csv"), *words, str(tmp_path / "link.flow")])
    assert (tmp_path / "link.flow").is_symlink()
    assert (tmp_path / "new.flow").is_file()


def test_an_output_of_a_dash_is_standard_output_or_an_error(tmp_path, capsys, monkeypatch):
    pd.DataFrame(NUMBERS).to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.chdir(tmp_path)
    main(["fit", "t.csv", "-S", "recipe=fixed", "-S", "epochs=1", "--members", "1", "-o", "m.flow"])
    capsys.readouterr()
    main(["score", "m.flow", "t.csv", "-o", "-"])
    assert capsys.readouterr().out.startswith("a,b,y,log_density")
    with pytest.raises(SystemExit):
        main(["export", "m.flow", "-o", "-"])
    assert "argument -o/--output: expected a file; got '-'" in capsys.readouterr().err


@pytest.mark.parametrize(("package", "is_said"), [("pyarrow.parquet", True), ("flows.x", False)])
def test_only_a_missing_extra_is_named_with_its_installation(monkeypatch, package, is_said):
    def fail(arguments):
        raise ImportError("broken", name=package)

    monkeypatch.setattr("flows.command_line.overview.inspect", fail)
    expected = pytest.raises(SystemExit, match=r"this needs pyarrow\.parquet: pip install")
    with expected if is_said else pytest.raises(ImportError, match="broken"):
        main(["inspect", "t.csv"])
