"""Tables on the command line and in Python: fit, sample, score, info and plot.

Training is short, because these tests do not depend on the quality of the fit.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from frames import PRICES, prices
from helpers import SHORT, SHORT_RECIPE, error_message
from safetensors.numpy import load_file

import flows
from flows.__main__ import main
from flows.command_line.parser import parser
from flows.core.errors import UserError
from flows.density.fitting import AUTO_SETTINGS
from flows.recipe.record import MemberRecord, Record, RowScores, RowState
from flows.tables import files as table

pytestmark = pytest.mark.usefixtures("few_samples")
WORDS = [f"--column={name}={kind}" for name, kind in PRICES.items()]
WORDS += [*(f"-S{key}={value}" for key, value in SHORT.items()), "--members=3"]


def run(*words):
    main([str(word) for word in words])


def error(capsys, *words):
    """Return the error line of a command; check that the exit status is 1."""
    message = error_message(run, *words, error=SystemExit)
    assert message.startswith("flows: ")
    assert capsys.readouterr().out == ""
    return message


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a table in both formats, a wider table, and a density of the table.

    The wider table has one more column, and its columns are in reverse order.
    """
    folder = tmp_path_factory.mktemp("tables")
    frame = prices()
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet", index=False)
    more = frame[frame.columns[::-1]].assign(who=[f"p{i}, jr" for i in range(len(frame))])
    more[["who", *frame.columns]].to_csv(folder / "more.csv", index=False)
    run("fit", folder / "t.csv", "-o", folder / "m.flow", *WORDS)
    return folder


@pytest.fixture
def density(folder):
    return flows.load(folder / "m.flow")


def scored(folder, out, table="t.csv", *words):
    run("score", folder / "m.flow", folder / table, "-o", out, *words)
    return pd.read_parquet(out) if out.suffix == ".parquet" else pd.read_csv(out)


# Fit


def test_the_same_command_gives_the_same_bytes_for_both_formats(folder, tmp_path):
    run("fit", folder / "t.parquet", "-o", tmp_path / "m.flow", *WORDS)
    assert (tmp_path / "m.flow").read_bytes() == (folder / "m.flow").read_bytes()


def test_python_and_the_command_line_give_the_same_fit_and_text(density):
    fitted = flows.fit(prices(), members=3, columns=PRICES, settings=SHORT)
    assert (fitted.log_prob(prices()) == density.log_prob(prices())).all()
    assert fitted.sample(50).equals(density.sample(50))
    assert str(fitted) == str(density)


def test_an_array_and_one_column_can_be_fitted():
    rows = np.random.default_rng(0).normal(size=(50, 1))
    density = flows.fit(rows, members=1, settings=SHORT)
    assert density.log_prob(rows).shape == (50,)
    assert list(density.sample(5).columns) == ["x0"]


@pytest.mark.parametrize("factor", [1000, 1 / 7])
def test_another_unit_shifts_log_densities_by_the_logarithm_of_the_factor(factor):
    """One of the columns is rounded, and the step has the new unit, too."""
    frame = prices()[["bmi", "age"]].astype(float)
    before, after = (
        flows.fit(each, members=2, columns={"age": "real"}, settings=SHORT).log_prob(each)
        for each in (frame, factor * frame)
    )
    np.testing.assert_allclose(before - after, 2 * np.log(factor), rtol=0, atol=1e-6)


def test_a_rounded_column_gets_a_notice_on_standard_error(folder, tmp_path, capsys):
    words = [word for word in WORDS if "age" not in word]
    run("fit", folder / "t.csv", "-o", tmp_path / "m.flow", *words, "--column=age=real")
    assert capsys.readouterr().err.startswith("column age holds 5")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--column=agee=integer", "no column agee; the columns are: age, bmi, share, price"),
        ("--column=bmi=whole", "column bmi: 'whole' is not a kind"),
        ("--column=age=positive", "--column age=... is given 2 times"),
        ("--drop=agee", "no column agee; the columns are: age, bmi, share, price"),
        ("--only=bmi", "there is no column age; the columns are: bmi"),
        ("--column=bmi=interval:0:1", "column bmi, row 1 holds"),
        ("--members=0", "members = 0: must be a whole number of at least 1"),
        ("--model=realnvp_image", "'realnvp_image' is not a model of tables; these are: "),
        ("--model=gan", "'gan' is not a model of tables (it has no density); these are: "),
        ("-Shiden=3", "hiden is not a known key; allowed in nsf: couplings, hidden, bins"),
        ("-Sdevice=cuda", "device is not a known key; "),
        ("-Sdevice=cuda", "; in training: recipe, epochs, batch_size, "),
        ("-Slog_every=many", "log_every = 'many'"),
        ("-Sepochs=4", "-S epochs=... is given 2 times"),
        ("-Sseed=4", "seed is not a setting; it has its own argument"),
        ("-Sbatch_size=121", "batch_size = 121: must be at most 120, the number of rows"),
        ("--sep=ab", "sep = 'ab': must be one character, or"),
        ("--thousands=.", "--thousands and --decimal are both '.'; name two marks"),
        ("--encoding=nonsense", "unknown encoding: nonsense"),
    ],
)
def test_invalid_commands_give_a_one_line_error(folder, tmp_path, capsys, word, said):
    assert said in error(capsys, "fit", folder / "t.csv", "-o", tmp_path / "m.flow", *WORDS, word)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "output", "said"),
    [
        ("fit t.csv", "other.csv", "is a folder or a table"),
        ("fit t.csv", "", "is a folder or a table"),
        ("fit t.csv", "t.csv", "is read by this command"),
        ("sample m.flow", "m.flow", "is read by this command"),
        ("score m.flow t.csv", "t.csv", "is read by this command"),
        ("score m.flow t.csv --anomalies 3", "link.csv", "is read by this command"),
        ("plot m.flow t.csv", "m.flow", "is read by this command"),
        ("plot m.flow t.csv", "page.csv", "a picture goes into a .png file"),
    ],
)
def test_no_verb_overwrites_its_input(folder, tmp_path, capsys, monkeypatch, words, output, said):
    for name in ("t.csv", "m.flow"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "link.csv").symlink_to(tmp_path / "t.csv")
    monkeypatch.chdir(tmp_path)
    assert said in error(capsys, *words.split(), "-o", tmp_path / output)
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv", "m.flow", "link.csv"}
    for name in ("t.csv", "m.flow"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("word", ["ignore", "keep"])
def test_an_unknown_policy_for_missing_values_is_an_error(word):
    frame = prices()
    frame.loc[3, "bmi"] = np.nan
    with pytest.raises(ValueError, match=f"missing = '{word}': must be 'learn', 'drop' or"):
        flows.fit(frame, settings=SHORT, missing=word)


@pytest.mark.parametrize(
    "key", sorted({*flows.TrainingSettings.model_fields} - AUTO_SETTINGS - {"seed"})
)
def test_settings_that_the_automatic_recipe_does_not_use_are_rejected(key):
    value = flows.TrainingSettings.model_fields[key].default
    with pytest.raises(ValueError, match=f"^{key}: the automatic recipe does not use it"):
        flows.fit(prices(), settings={key: value})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"members": 0}, "members = 0: must be a whole number of at least 1"),
        ({"members": -1}, "members = -1: must be a whole number of at least 1"),
        ({"members": 7}, "members = 7: the automatic recipe keeps at most 5 networks"),
        ({"members": 100}, "members = 100: the automatic recipe keeps at most 5 networks"),
        ({"mixtures": 3}, "mixtures = 3: must be 0, 1 or 2"),
        ({"mixtures": -1}, "mixtures = -1: must be 0, 1 or 2"),
        ({"seed": -1}, "seed = -1: input should be greater than or equal to 0"),
        ({"minutes": -1.0}, "minutes = -1.0: must be a finite number above 0"),
        ({"model": "nothing"}, "'nothing' is not a model of tables"),
    ],
)
def test_arguments_that_are_wrong_for_any_table_are_refused_before_it_is_read(
    tmp_path, capsys, arguments, said
):
    words = [f"--{name}={value}" for name, value in arguments.items()]
    # A table that is read gives another error
    (tmp_path / "t.csv").write_text("x\n1\n")
    assert said in error(capsys, "fit", tmp_path / "t.csv", "-o", tmp_path / "m.flow", *words)
    assert said in error(capsys, "fit", tmp_path / "none.csv", "-o", tmp_path / "m.flow", *words)
    with pytest.raises((ValueError, LookupError)) as caught:
        flows.fit(pd.DataFrame({"x": [1j]}), **arguments)
    assert said in caught.value.args[0]


def test_the_fixed_recipe_takes_any_number_of_members():
    density = flows.fit(prices(), members=7, settings=SHORT)
    assert density.population.members == 7
    with pytest.raises(ValueError, match=r"members = 2\.5: must be a whole number"):
        flows.fit(prices(), members=2.5)


def test_errors_come_without_notices_and_notices_before_training(tmp_path, capsys):
    """The table has a rounded column, a column of text and a column without a name."""
    frame = prices().assign(who=["a", "b"] * 60)
    frame["age"] += 0.5
    frame.to_csv(tmp_path / "t.csv")
    words = ["fit", tmp_path / "t.csv", "-o", tmp_path / "m.flow", "--members=1", *WORDS[3:-1]]
    for wrong in ("-Sbatch_size=121", "-Shidden=0", "-Sclip=0", "--column=share=positive:1"):
        with pytest.raises(SystemExit):
            run(*words, wrong)
        assert capsys.readouterr().err == ""
    run(*words)
    notices = capsys.readouterr().err.splitlines()
    assert notices[0].startswith("column 'Unnamed: 0' is left out: it has no name")
    assert notices[1] == "column who is taken as a category of 2 labels"
    assert notices[2].startswith("column age holds ")
    assert len(notices) == 3


def test_help_and_the_error_for_an_unknown_model_list_the_same_models(folder, tmp_path, capsys):
    said = error(capsys, "fit", folder / "t.csv", "-o", tmp_path / "m", "--model=nothing")
    names = said.partition("these are: ")[2].split(", ")
    with pytest.raises(SystemExit):
        run("fit", "--help")
    assert sorted(names) == ["flow_matching", "glow", "nsf", "realnvp", "vae"]
    assert "nsf (default), realnvp, glow, vae or flow_matching" in " ".join(
        capsys.readouterr().out.split()
    )


def test_fit_and_score_accept_the_same_format_options(tmp_path):
    frame = prices().rename(columns={"bmi": "größe"}).assign(who="x", id=range(120))
    frame.to_csv(tmp_path / "plain.csv", index=False)
    options = {"sep": ";", "decimal": ",", "encoding": "latin-1"}
    frame.to_csv(tmp_path / "other.csv", index=False, **options)
    words = [f"--{key}={value}" for key, value in options.items()]
    chosen = ["--only=age", "--only=share", "--only=price", "--only=größe"]
    run("fit", tmp_path / "plain.csv", "-o", tmp_path / "a", "--drop=who", "--drop=id", *WORDS)
    run("fit", tmp_path / "other.csv", "-o", tmp_path / "b", *chosen, *words, *WORDS)
    a, b = flows.load(tmp_path / "a"), flows.load(tmp_path / "b")
    assert [column.name for column in a.columns] == ["age", "größe", "share", "price"]
    assert a.log_prob(frame).tolist() == b.log_prob(frame).tolist()
    run("score", tmp_path / "a", tmp_path / "other.csv", *words, "-o", tmp_path / "o.csv.gz")
    found = pd.read_csv(tmp_path / "o.csv.gz")
    np.testing.assert_allclose(found["log_density"], a.log_prob(frame), rtol=0, atol=1e-6)
    assert found["share"].str.contains(",").all()  # unchanged text
    run("plot", tmp_path / "a", tmp_path / "other.csv", *words, "-o", tmp_path / "page.png")


# Categories

SIZES = pd.CategoricalDtype(["small", "mid", "tall"], ordered=True)


def people(n=120):
    rng = np.random.default_rng(0)
    size = pd.Categorical(np.array(["tall", "small", "mid"])[rng.integers(0, 3, n)], dtype=SIZES)
    return prices(n)[["bmi"]].assign(
        ward=np.array(["west", "east"])[rng.integers(0, 2, n)],
        grade=rng.integers(1, 5, n),
        well=rng.uniform(size=n) < 0.5,
        size=size,
        visits=rng.poisson(0.5, n),
    )


PEOPLE = {"grade": "category", "visits": "count"}


@pytest.fixture(scope="module")
def of_people():
    return flows.fit(people(), members=2, columns=PEOPLE, settings=SHORT)


def test_samples_have_labels_of_the_original_type_and_whole_counts(of_people):
    frame, drawn = people(), of_people.sample(3000)
    for name in ("ward", "grade", "well"):
        assert set(drawn[name].unique()) == set(frame[name])
        assert drawn[name].dtype == frame[name].dtype
    assert drawn["size"].dtype == SIZES
    assert drawn["size"].nunique() == 3
    assert drawn["visits"].dtype == np.int64
    assert drawn["visits"].min() == 0
    assert np.isfinite(of_people.log_prob(drawn[:300])).all()
    assert "column ward: category of 2 labels: east, west\n" in str(of_people)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.tsv.gz"])
def test_labels_have_the_same_scores_in_frames_and_files_and_after_saving(
    of_people, tmp_path, name
):
    of_people.save(tmp_path / "m.flow")
    assert flows.load(tmp_path / "m.flow").columns == of_people.columns
    frame = people()[list(people())[::-1]][:12]
    table.write(tmp_path / name, [frame.astype({"grade": float})])  # 4.0 is 4
    run("score", tmp_path / "m.flow", tmp_path / name, "-o", tmp_path / "o.parquet")
    found = pd.read_parquet(tmp_path / "o.parquet")
    np.testing.assert_allclose(found["log_density"], of_people.log_prob(frame), rtol=0, atol=1e-6)
    assert found["ward"].tolist() == frame["ward"].tolist()
    run("sample", tmp_path / "m.flow", "-n", 10, "-o", tmp_path / name)
    run("score", tmp_path / "m.flow", tmp_path / name, "-o", tmp_path / "o.csv")
    assert np.isfinite(pd.read_csv(tmp_path / "o.csv")["log_density"]).all()
    if name == "t.tsv.gz":
        run("plot", tmp_path / "m.flow", tmp_path / name, "-o", tmp_path / "page.png")


def test_an_unknown_label_has_density_0_and_one_notice_for_all_rows(
    of_people, tmp_path, capsys, small_pieces
):
    small_pieces(rows=7)
    frame = people()[:20].assign(ward=["south"] * 9 + ["east"] * 11)
    frame.to_csv(tmp_path / "t.csv", index=False)
    of_people.save(tmp_path / "m.flow")
    run("score", tmp_path / "m.flow", tmp_path / "t.csv", "-o", tmp_path / "o.csv")
    said = (
        "column ward holds the label 'south' in 9 rows; the fitted table did not hold it, so the "
        "log-density is minus infinity there\n"
    )
    assert capsys.readouterr().err == said
    assert (
        np.isneginf(pd.read_csv(tmp_path / "o.csv")["log_density"]).tolist()
        == [True] * 9 + [False] * 11
    )
    assert np.isneginf(of_people.log_prob(frame)).sum() == 9
    assert capsys.readouterr().err == said


# Sample


def test_samples_are_within_their_bounds_and_whole(density):
    frame = density.sample(100_000)
    assert list(frame.columns) == ["age", "bmi", "share", "price"]
    assert frame["age"].dtype == np.int64
    assert frame["share"].between(0, 1, inclusive="neither").all()
    assert (frame["price"] > 0).all()
    assert np.isfinite(frame.to_numpy()).all()


def test_samples_repeat_for_a_seed_and_survive_a_round_trip_through_files(
    folder, density, tmp_path, capsys
):
    for name, seed in (("a.csv", 0), ("b.csv", 0), ("c.csv", 1), ("d.parquet", 0)):
        run("sample", folder / "m.flow", "-n", 100, "-o", tmp_path / name, "--seed", seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.csv", "b.csv", "c.csv"))
    assert a == b != c
    run("sample", folder / "m.flow", "-n", 100)
    assert capsys.readouterr().out.encode() == a
    for frame in (pd.read_csv(tmp_path / "a.csv"), pd.read_parquet(tmp_path / "d.parquet")):
        pd.testing.assert_frame_equal(frame, density.sample(100), check_exact=True)


def test_zero_samples_keep_the_columns(density):
    settings = {"recipe": "fixed", "epochs": 1, "hidden": 8}
    for fitted in (density, flows.fit(prices(), "vae", members=1, settings=settings)):
        none = fitted.sample(0)
        assert len(none) == 0
        assert (none.dtypes == fitted.sample(1).dtypes).all()


def weigh(density, *weights):
    density.population.weights[:] = density.population.weights.new_tensor(weights)


def test_samples_come_from_members_in_proportion_to_their_weights(density):
    apart = density.sample(2000)
    weigh(density, 0.0, 1.0, 0.0)
    alone = density.sample(2000)
    assert not alone.equals(apart)
    assert alone["bmi"].between(-1e3, 1e3).all()
    np.testing.assert_allclose(density.log_prob(alone), density.log_prob_members(alone)[:, 1])


# Score


def test_columns_are_found_by_name_and_other_columns_are_unchanged(folder, tmp_path):
    found = scored(folder, tmp_path / "a.csv", "more.csv")
    assert found["log_density"].equals(scored(folder, tmp_path / "b.csv")["log_density"])
    files = (folder / "more.csv", tmp_path / "a.csv")
    lines = zip(*(file.read_text().splitlines() for file in files), strict=True)
    assert all(after.startswith(before + ",") for before, after in lines)


def test_a_row_with_a_disallowed_value_has_density_0_and_deviation_0(folder, tmp_path):
    frame = prices()[:4].astype(float)
    frame.loc[0, "age"], frame.loc[1, "share"], frame.loc[2, "price"] = 30.5, 1.0, -2.0
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = scored(folder, tmp_path / "o.csv", tmp_path / "t.csv")
    assert np.isneginf(found["log_density"]).tolist() == [True, True, True, False]
    assert (found["log_density_sd"] == 0).tolist() == [True, True, True, False]


def test_a_bad_row_at_the_end_leaves_no_partial_file(folder, tmp_path, capsys):
    frame = prices().astype(object)
    frame.loc[119, "bmi"] = "oops"
    frame.to_csv(tmp_path / "t.csv", index=False)
    said = error(capsys, "score", folder / "m.flow", tmp_path / "t.csv", "-o", tmp_path / "o.csv")
    assert "column bmi, row 120 holds 'oops'" in said
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ({"log_density": 7}, [], "column log_density: `score` adds a column of this name"),
        ({"log_density_sd": 7}, [], "column log_density_sd: `score` adds"),
        ({"row": 7}, ["--anomalies=3"], "column row: `score` adds"),
        ({"tail_probability": 7}, ["--anomalies=3"], "column tail_probability: `score` adds"),
        ({"bmi": None}, [], "there is no column bmi; the columns are: age, share, price"),
    ],
)
def test_a_table_with_other_columns_is_rejected(folder, tmp_path, capsys, change, words, said):
    prices().assign(**change).dropna(axis=1).to_csv(tmp_path / "t.csv", index=False)
    assert said in error(capsys, "score", folder / "m.flow", tmp_path / "t.csv", *words)


@pytest.mark.parametrize("content", [b"", b"no such thing" * 20])
@pytest.mark.parametrize("verb", ["info", "sample", "score"])
def test_the_error_names_a_file_that_is_not_a_model(folder, tmp_path, capsys, verb, content):
    (tmp_path / "bad.flow").write_bytes(content)
    tables = [folder / "t.csv"] if verb == "score" else []
    assert "bad.flow" in error(capsys, verb, tmp_path / "bad.flow", *tables)


# Anomalies


def folds(density, n=40):
    """Return the density with other weights, and the record of a recipe with two folds.

    The first fold was held out of members 0 and 2, and the second of member 1.
    """
    fold = np.repeat([0, 1, 0], [15, 15, n - 30])
    state = np.repeat([RowState.SCORED, RowState.NOT_HELD_OUT], [30, n - 30])
    scores = RowScores(fold, state, np.random.default_rng(0).normal(-8, 2, n))
    members = [MemberRecord(k, {"preprocessing": "raw"}, 5) for k in (0, 1, 0)]
    record = Record("auto", n, members=members, row_scores=scores)
    weigh(density, 0.2, 0.5, 0.3)
    return flows.Density(density.population, density.schema, record)


def test_the_tail_probability_follows_its_formula(density):
    density = folds(density)
    log_q = density.log_prob_members(prices())
    held_out = density.record.row_scores.log_density
    first, second = np.log(0.4 * np.exp(log_q[:, 0]) + 0.6 * np.exp(log_q[:, 2])), log_q[:, 1]
    for found, a, b in zip(density.tail_probability(prices()), first, second, strict=True):
        assert found == (1 + sum(held_out[:15] <= a) + sum(held_out[15:30] <= b)) / 31


def test_an_export_without_record_keeps_tail_probabilities_but_no_row_scores(density, tmp_path):
    density = folds(density, 4_000)
    density.save(tmp_path / "m.flow")
    run("export", tmp_path / "m.flow", "-o", tmp_path / "public.flow", "--without-record")
    exported = flows.load(tmp_path / "public.flow")
    assert exported.record.row_scores is None
    assert {"history.held_out", "history.fold", "history.state"}.isdisjoint(
        load_file(tmp_path / "public.flow")
    )
    np.testing.assert_array_equal(exported.log_prob(prices()), density.log_prob(prices()))
    tail = density.tail_probability(prices())
    np.testing.assert_allclose(exported.tail_probability(prices()), tail, rtol=0, atol=0.1)
    density.save(tmp_path / "again.flow", record=False)
    assert (tmp_path / "again.flow").read_bytes() == (tmp_path / "public.flow").read_bytes()
    run("export", tmp_path / "m.flow", "-o", tmp_path / "copy.flow")
    assert (tmp_path / "copy.flow").read_bytes() == (tmp_path / "m.flow").read_bytes()


def test_the_least_likely_rows_have_row_numbers_and_tail_probabilities(folder, density, tmp_path):
    density = folds(density)
    density.save(tmp_path / "m.flow")
    words = ["--anomalies", 5, "-o", tmp_path / "o.csv"]
    run("score", tmp_path / "m.flow", folder / "more.csv", *words)
    found = pd.read_csv(tmp_path / "o.csv")
    log_q = density.log_prob(prices())
    assert found["row"].tolist() == (np.argsort(log_q)[:5] + 1).tolist()
    assert found["who"].tolist() == [f"p{row - 1}, jr" for row in found["row"]]
    assert found["log_density"].is_monotonic_increasing
    expected = density.tail_probability(prices())[found["row"] - 1]
    np.testing.assert_allclose(found["tail_probability"], expected, rtol=0, atol=1e-6)


def test_a_notice_explains_empty_tail_probabilities(folder, tmp_path, capsys):
    found = scored(folder, tmp_path / "o.csv", "t.csv", "--anomalies", 3)
    assert found["tail_probability"].isna().all()
    assert capsys.readouterr().err.startswith("tail_probability is empty; it needs ")


def test_tail_probabilities_are_calibrated_and_info_names_the_recipe():
    """The share of fresh rows with a tail probability of at most p is p.

    The tolerance is three standard deviations of a share of 100 held-out rows.
    """
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5_100))
    frame = pd.DataFrame({"a": x, "b": x**2 + y})
    settings = {**SHORT_RECIPE, "couplings": 2, "hidden": 8, "bins": 4}
    density = flows.fit(frame[:100], members=5, settings=settings)
    found = density.tail_probability(frame[100:])
    for share in (0.05, 0.2, 0.5):
        assert abs((found <= share).mean() - share) < 3 * np.sqrt(share * (1 - share) / 100)
    assert "recipe on 100 rows" in repr(density)
    assert "out-of-fold log-density per row" in repr(density)


# Info, and the program


def test_info_prints_columns_kinds_members_and_training(folder, density, capsys):
    run("info", folder / "m.flow")
    said = capsys.readouterr().out
    assert said == f"{density}\n"
    columns = ("column age: integer", "column share: interval:0:1", "column bmi: real")
    for words in ("nsf of 3 networks", "couplings 2", *columns, "seed 0"):
        assert words in said


@pytest.mark.parametrize(
    ("names", "labels"), [(["bmi"], {"bmi"}), (["bmi", "share"], {"bmi", "share"})]
)
def test_plots_show_pairs_of_columns_or_the_margin_of_one_column(names, labels):
    figure = flows.fit(prices()[names], members=1, settings=SHORT).plot(prices())
    shown = {axis.get_xlabel() for axis in figure.axes}
    assert labels <= shown, shown
    assert len(figure.axes) == len(names) ** 2, figure.axes


def test_a_plot_of_a_table_has_the_same_bytes_each_time(folder, tmp_path):
    for name, source in (("a.png", "t.csv"), ("b.png", "t.parquet")):
        run("plot", folder / "m.flow", folder / source, "-o", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_errors_are_one_line_with_exit_status_1(folder):
    model = folder / "m.flow"
    words = [sys.executable, "-m", "flows", "sample", model, "-o", model]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"flows: {model}: is read by this command and ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "option", "said"),
    [
        (
            "fit t.csv -o m --column a",
            "--column",
            "a name and a value with = between them; got 'a'",
        ),
        ("score m t.csv --anomalies 0", "--anomalies", "a whole number of at least 1 and below "),
        ("sample m -n many", "-n", "a whole number of at least 1 and below "),
        ("sample m --seed -1", "--seed", "a whole number of at least 0 and below "),
    ],
)
def test_the_error_of_an_option_names_the_expected_value(capsys, words, option, said):
    with pytest.raises(SystemExit):
        run(*words.split())
    assert f"argument {option}: expected {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("1e-3", 0.001), ("box", "box"), ('["a", b]', ["a", "b"]), ("[", "[")],
)
def test_settings_are_parsed_as_numbers_words_or_lists(text, value):
    arguments = parser().parse_args(["fit", "t.csv", "-o", "m", "-S", f"key={text}"])
    assert arguments.settings == [("key", value)]


def test_help_does_not_import_torch():
    code = (
        "import sys, flows.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: print({'torch', 'pandas', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    for verb in ("fit", "sample", "score", "impute", "predict", "export", "info", "plot"):
        assert verb in done.stdout


@pytest.mark.slow
def test_a_closed_pipe_is_not_an_error_and_pipes_get_no_progress_bar(folder):
    command = f"{sys.executable} -m flows sample {folder / 'm.flow'} -n 5000 | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("age,bmi,share,price\n", "")


def test_an_array_with_another_number_of_columns_is_rejected(density):
    with pytest.raises(UserError, match="rows of 4 numbers"):
        density.log_prob(np.zeros((3, 5)))
