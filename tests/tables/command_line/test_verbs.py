"""The verbs fit, verify, check, sample, score, impute, predict, probability, plot, export, info.

Training is short, because these tests do not depend on the quality of the fit.
"""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from frames import (
    PRICES,
    clinic,
    every_sort,
    prices,
)
from helpers import SHORT_WORDS, error_message, shortened, with_folds
from safetensors.numpy import load_file

import flows
from flows.__main__ import main

pytestmark = pytest.mark.usefixtures("few_samples")
EUROPEAN = {"sep": ";", "decimal": ",", "encoding": "latin-1"}
QUICK_WORDS = ["--recipe=quick"]
WORDS = [f"--column={name}={kind}" for name, kind in PRICES.items()]
WORDS += [*SHORT_WORDS, "--members=3", "--mixtures=0"]


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


def test_verify_says_the_same_bytes_or_the_first_difference(folder, tmp_path, capsys):
    run("verify", folder / "m.flow", folder / "more.csv")  # with one more column
    assert capsys.readouterr().out == f"{folder / 'm.flow'}: the same bytes\n"
    prices()[1:].to_csv(tmp_path / "t.csv", index=False)
    said = error(capsys, "verify", folder / "m.flow", tmp_path / "t.csv")
    assert said.endswith("m.flow: another fit; the rows are not those of the fit")
    prices().drop(columns="bmi").to_csv(tmp_path / "t.csv", index=False)
    said = error(capsys, "verify", folder / "m.flow", tmp_path / "t.csv")
    assert "t.csv: there is no column bmi" in said


def test_a_rounded_column_gets_a_notice_on_standard_error(folder, tmp_path, capsys):
    words = [word for word in WORDS if "age" not in word]
    run("fit", folder / "t.csv", "-o", tmp_path / "m.flow", *words, "--column=age=real")
    assert capsys.readouterr().err.startswith("column age holds 5")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--column=bmi=whole", "column bmi: 'whole' is not a kind"),
        ("--drop=agee", "no column agee; the columns are: age, bmi, share, price"),
        ("--column=bmi=interval:0:1", "column bmi, row 1 holds"),
        ("--members=0", "members = 0: must be a whole number of at least 1"),
        ("--model=vae", "'vae' is not a model of tables; these are: conditional (with a target), "),
        ("-Shiden=3", "hiden is not a known key; allowed in nsf: couplings, hidden, bins"),
        ("-Shidden=4", "-S hidden=... is given 2 times"),
        ("-Sepochs=4", "epochs is not a known key; allowed in nsf: couplings, hidden, bins; "),
        ("-Sbatch_size=121", "batch_size = 121: must be at most 120, the number of rows"),
        ("--sep=ab", "sep = 'ab': must be one character, or"),
        ("--thousands=.", "--thousands and --decimal are both '.'; name two marks"),
    ],
)
def test_invalid_commands_give_a_one_line_error(folder, tmp_path, capsys, word, said):
    assert said in error(capsys, "fit", folder / "t.csv", "-o", tmp_path / "m.flow", *WORDS, word)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "output", "said"),
    [
        ("fit t.csv", "other.csv", "is a folder or a table"),
        ("fit t.csv", "t.csv", "is read by this command"),
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"members": 0}, "members = 0: must be a whole number of at least 1"),
        ({"members": 7}, "members = 7: the automatic recipe keeps at most 5 networks"),
        ({"mixtures": 3}, "mixtures = 3: input should be 0, 1 or 2"),
        ({"seed": -1}, "seed = -1: input should be greater than or equal to 0"),
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


def test_errors_come_without_notices_and_notices_before_training(tmp_path, capsys):
    """The table has a rounded column, a column of text and a column without a name."""
    frame = prices().assign(who=["a", "b"] * 60)
    frame["age"] += 0.5
    frame.to_csv(tmp_path / "t.csv")
    words = ["fit", tmp_path / "t.csv", "-o", tmp_path / "m.flow", *WORDS[3:]]
    for wrong in ("-Sbatch_size=121", "-Shidden=0", "-Sclip=0", "--column=share=positive:1"):
        with pytest.raises(SystemExit):
            run(*words, wrong)
        assert capsys.readouterr().err == ""
    run(*words)
    notices = capsys.readouterr().err.splitlines()
    assert notices[0].startswith("column 'Unnamed: 0' is left out: it has no name")
    assert notices[1] == "column who is taken as a category of 2 labels"
    assert notices[2].startswith("column age holds ")
    assert notices[3].startswith("nsf: 72 rows of 5 columns: the fit will take about ")
    assert len(notices) == 4


@pytest.mark.slow
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
    found = pd.read_csv(tmp_path / "o.csv.gz", **options)
    np.testing.assert_allclose(found["log_density"], a.log_prob(frame), rtol=0, atol=1e-6)
    assert found["share"].dtype == float
    run("plot", tmp_path / "a", tmp_path / "other.csv", *words, "-o", tmp_path / "page.png")


# Categories


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


# Score


def test_columns_are_found_by_name_and_other_columns_are_unchanged(folder, tmp_path):
    found = scored(folder, tmp_path / "a.csv", "more.csv")
    assert found["log_density"].equals(scored(folder, tmp_path / "b.csv")["log_density"])
    files = (folder / "more.csv", tmp_path / "a.csv")
    lines = zip(*(file.read_text().splitlines() for file in files), strict=True)
    assert all(after.startswith(before + ",") for before, after in lines)


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


def test_an_export_without_record_keeps_tail_probabilities_but_no_row_scores(density, tmp_path):
    density = with_folds(density, 4_000)
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
    density = with_folds(density)
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


def test_a_notice_explains_empty_tail_probabilities(folder, density, tmp_path, capsys):
    flows.Density(density.population, density.schema).save(tmp_path / "m.flow")
    words = folder / "t.csv", "-o", tmp_path / "o.csv", "--anomalies", 3
    run("score", tmp_path / "m.flow", *words)
    found = pd.read_csv(tmp_path / "o.csv")
    assert found["tail_probability"].isna().all()
    assert capsys.readouterr().err.startswith("tail_probability is empty; it needs ")


# Info and pictures


def test_info_prints_columns_kinds_members_and_training(folder, density, capsys):
    run("info", folder / "m.flow")
    said = capsys.readouterr().out
    assert said == f"{density}\n"
    columns = ("column age: integer", "column share: interval:0:1", "column bmi: real")
    for words in ("nsf of 3 networks", "couplings 2", *columns, "seed 0"):
        assert words in said


# Rows with gaps, and wrong questions

TYPES = {"age": "Int64", "bmi": float, "share": float}


def read(capsys, words):
    main(words.split())
    captured = capsys.readouterr()
    return pd.read_csv(StringIO(captured.out)), captured


def test_impute_keeps_other_fields_and_writes_numbers_in_the_format_of_the_file(
    folder_of_wards, gaps
):
    gaps.astype(TYPES).to_csv("in.csv", index=False, sep=";", decimal=",")
    main(["impute", "m.flow", "in.csv", "-o", "o.tsv", "--sep=;", "--decimal=,"])
    before, after = pd.read_csv("in.csv", sep=";", dtype=str), pd.read_table("o.tsv", dtype=str)
    assert after.where(before.notna()).equals(before)
    assert after["bmi"].str.fullmatch(r"\d+,\d+").all()


@pytest.mark.slow
def test_anomalies_name_the_column_of_the_largest_surprise(folder_of_wards, of_wards, gaps, capsys):
    gaps.loc[2, "bmi"], gaps.loc[5, "share"] = 400.0, 1.5
    gaps.to_csv("odd.csv", index=False)
    found, captured = read(capsys, "score m.flow odd.csv --anomalies 9")
    assert "4 rows with a missing value are left out\n" in captured.err
    assert found["row"][:2].tolist() == [6, 3]
    assert found["oddest"][:2].tolist() == ["share", "bmi"]
    surprise = of_wards.surprise(gaps).max(axis=1)[found["row"] - 1].to_numpy()
    np.testing.assert_allclose(found["surprise"], surprise, atol=1e-6)
    assert found["oddest"].isna().tolist() == (surprise <= 0).tolist()
    found = read(capsys, "score m.flow odd.csv --anomalies 12 --given age,ward")[0]
    assert (len(found), "tail_probability" in found) == (12, False)


WRONG = """score m.flow gaps.csv --given age,bmj: there is no column bmj
sample m.flow --given age=50.5: given: column age holds 50.5, which its kind, integer, does
sample m.flow --given-rows rows.csv -n 5: --given-rows draws a row for each
sample m.flow --given-rows other.csv: other.csv: there is no column of the density
predict m.flow rows.csv --column ward --quantiles 0.5: ward is a category
predict m.flow taken.csv --column bmi: column mean: `predict` adds a column
predict m.flow rows.csv: --column is needed
predict m.flow rows.csv --column bmi --quantiles 1: quantile 1: must be between 0 and
plot m.flow gaps.csv -o a.png --row 13: row = 13: no row has this label
sample images: images: is a model of images; load it in Python with flows.load"""


@pytest.mark.parametrize("line", WRONG.splitlines())
def test_invalid_questions_give_a_one_line_error(folder_of_wards, gaps, capsys, line):
    gaps.assign(mean=1, draw=1).to_csv("taken.csv", index=False)
    gaps[["who"]].to_csv("other.csv", index=False)
    flows.save(flows.build(flows.RealNVPImage(), (1, 4, 4), members=1), "images")
    words, said = line.split(": ", 1)
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert re.fullmatch(f"flows: .*{re.escape(said)}.*", str(caught.value), re.DOTALL)
    assert capsys.readouterr() == ("", "")


def test_info_describes_a_model_of_images(tmp_path, capsys):
    model = flows.build(flows.RealNVPImage(), (1, 4, 4), members=1)
    flows.save(model, tmp_path / "images.flow")
    run("info", tmp_path / "images.flow")
    assert capsys.readouterr().out.startswith("realnvp_image of 1 network, ")


# All columns of a table, and outputs


@pytest.mark.parametrize("exists", [True, False])
def test_an_output_follows_a_symbolic_link(tmp_path, exists):
    every_sort()[["a", "visits"]].to_csv(tmp_path / "t.csv", index=False)
    link, real = tmp_path / "link.flow", tmp_path / "real.flow"
    link.symlink_to(real)
    if exists:
        real.write_text("")
    run("fit", tmp_path / "t.csv", "-o", link, "--members=1", *QUICK_WORDS)
    assert link.is_symlink()
    assert not real.is_symlink()
    assert flows.load(real).columns[0].name == "a"


def test_an_output_of_a_dash_is_standard_output_or_an_error(tmp_path, capsys, monkeypatch):
    every_sort()[["a", "b", "visits"]].to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.chdir(tmp_path)
    main(["fit", "t.csv", "--members=1", *QUICK_WORDS, "-o", "m.flow"])
    capsys.readouterr()
    main(["score", "m.flow", "t.csv", "-o", "-"])
    assert capsys.readouterr().out.startswith("a,b,visits,log_density")
    with pytest.raises(SystemExit):
        main(["export", "m.flow", "-o", "-"])
    assert "argument -o/--output: expected a file; got '-'" in capsys.readouterr().err


# Targets and conditions


def refused(*words: str) -> str:
    """Return the error line of a command."""
    return error_message(main, words, error=SystemExit)


@pytest.mark.slow
def test_the_verbs_of_the_command_line_know_the_target(tmp_path, capsys):
    source, model, picture = (str(tmp_path / name) for name in ("t.csv", "t.flow", "p.png"))
    clinic(80).dropna().to_csv(source, index=False)
    fit = ["fit", source, "--target", "visits", "-o", model, "--members", "2"]
    main([*fit, "--recipe", "quick"])
    for verb in (
        ["predict", model, source],
        ["score", model, source, "--anomalies", "3"],
        ["sample", model, "-n", "4", "--given", "age=30"],
    ):
        capsys.readouterr()
        main(verb)
        lines = capsys.readouterr().out.splitlines()
        assert "visits" in lines[0]
        assert len(lines) > 3
    assert "fit the table without a target" in refused("sample", model)
    plot = ["plot", model, source, "-o", picture]
    density, frame = flows.load(model), pd.read_csv(source)
    for extra, arguments in (
        ([], {}),
        (["--along", "ward"], {"along": "ward"}),
        (["--row", "2"], {"row": 2}),
    ):
        main([*plot, *extra])
        figure = density.plot(frame.set_axis(range(1, len(frame) + 1)), **arguments)
        assert figure._repr_png_() == Path(picture).read_bytes()
    assert "is a target; name another column" in refused(*plot, "--along", "visits")


# The format of files


@pytest.fixture(scope="module")
def european(tmp_path_factory):
    """Return a folder with a European table and its density."""
    folder, rng = tmp_path_factory.mktemp("european"), np.random.default_rng(0)
    columns = {"größe": rng.normal(170, 9, 80).round(1), "gewicht": rng.normal(70, 9, 80).round(2)}
    frame = pd.DataFrame({**columns, "ort": rng.choice(["Köln", "Bonn"], 80)})
    frame.to_csv(folder / "t.csv", index=False, **EUROPEAN)
    gaps = frame.assign(gewicht=frame["gewicht"].mask(frame.index % 3 == 0))
    gaps.to_csv(folder / "gaps.csv", index=False, **EUROPEAN)
    frame.to_parquet(folder / "t.parquet", index=False)
    words = [f"--{name}={value}" for name, value in EUROPEAN.items()]
    main(["fit", f"{folder}/t.csv", "-o", f"{folder}/m.flow", *words, "--members=1", *QUICK_WORDS])
    return folder


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("sample m.flow -n 9", ["größe", "gewicht"]),
        ("score m.flow t.csv", ["größe", "log_density"]),
        ("predict m.flow t.csv --column gewicht", ["mean", "q0.95"]),
        ("impute m.flow gaps.csv", ["größe", "gewicht"]),
        ("sample m.flow --given-rows gaps.csv", ["größe", "gewicht"]),
    ],
)
def test_files_have_the_format_of_the_table_of_the_fit(european, monkeypatch, words, numbers):
    monkeypatch.chdir(european)
    main([*words.split(), "-o", "out.csv"])
    found = pd.read_csv("out.csv", **EUROPEAN)
    assert found[numbers].dtypes.map(lambda kind: kind.kind == "f").all()
    if "ort" in found:
        assert set(found["ort"]) <= {"Köln", "Bonn"}


def test_options_name_another_format(european, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(european)
    words = "sample m.flow -n 4 --sep , --decimal . --encoding utf-8 -o"
    main([*words.split(), f"{tmp_path}/s.csv"])
    assert pd.read_csv(tmp_path / "s.csv")["gewicht"].dtype == float
    main(["score", "m.flow", "t.csv", "-o", f"{tmp_path}/s.tsv"])  # the ending names the tab
    assert pd.read_csv(tmp_path / "s.tsv", sep="\t", decimal=",", encoding="latin-1").shape[1] == 6
    with pytest.raises(SystemExit, match="has another separator; to read the file, pass --sep ,"):
        main(["score", "m.flow", f"{tmp_path}/s.csv"])
    capsys.readouterr()
    main(["probability", "m.flow", "gewicht=70.."])
    assert capsys.readouterr().out.startswith("probability;low;high;integration_error\n0,")


def test_wrong_combinations_are_refused_before_the_density_is_loaded(tmp_path):
    none = str(tmp_path / "none.flow")
    for words, said in (
        (["predict", none, "--column", "a"], "predict needs either a table or --given"),
        (["sample", none, "--given-rows", "t.csv", "-n", "3"], "leave out -n, --given"),
        (["sample", none, "--sep="], "--sep is empty"),
        (["impute", none, "t.csv", "--thousands", ",", "--decimal", ","], "are both ','"),
    ):
        with pytest.raises(SystemExit, match=said):
            main(words)


def test_a_table_in_place_of_a_density_is_named(european, monkeypatch):
    monkeypatch.chdir(european)
    with pytest.raises(SystemExit, match=r"t\.csv: is a table and no density; `flows inspect`"):
        main(["info", "t.csv"])


# Check


@pytest.fixture(scope="module")
def checkable(tmp_path_factory):
    """Return a folder with a table and its density by a short automatic recipe."""
    folder = tmp_path_factory.mktemp("checks")
    rows = np.random.default_rng(0).normal(size=(80, 2)).round(3)
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(folder / "t.csv", index=False)
    with shortened():
        run("fit", folder / "t.csv", "-o", folder / "m.flow", "--members", 5)
    return folder


@pytest.mark.slow
def test_check_prints_draws_and_stores_what_python_returns(checkable, tmp_path, capsys):
    model, output = tmp_path / "m.flow", tmp_path / "check.png"
    model.write_bytes((checkable / "m.flow").read_bytes())
    before = model.read_bytes()
    run("check", model, checkable / "t.csv", "-o", output)
    out = capsys.readouterr().out
    assert out.startswith("check of the fit on its 80 training rows\n")
    assert model.read_bytes() == before
    assert plt.imread(output).shape[1] == 1104
    frame = pd.read_csv(checkable / "t.csv")
    frame.index += 1  # rows of a file are numbered from 1
    assert str(flows.load(model).check(frame)) + "\n" == out
    run("check", model, checkable / "t.csv", "--store")
    capsys.readouterr()
    run("info", model)
    assert capsys.readouterr().out.endswith(f"\n\n{out}")
    with shortened():
        run("verify", model, checkable / "t.csv")


@pytest.mark.slow
def test_check_takes_refits_within_minutes(checkable, capsys, short_recipe):
    words = ["check", checkable / "m.flow", checkable / "t.csv"]
    run(*words, "--refits", 5, "--minutes", 0.001)
    assert "1 refit of 5, for lack of time" in capsys.readouterr().out
    message = error(capsys, *words, "-o", checkable / "check.pdf")
    assert "a picture goes into a .png file" in message
    pd.DataFrame({"a": [1.0], "b": [2.0]}).to_csv(checkable / "new.csv", index=False)
    message = error(capsys, "check", checkable / "m.flow", checkable / "new.csv", "--refits", 1)
    assert "refits = 1: need the training table" in message


@pytest.mark.slow
def test_anomalies_can_be_kept_at_a_rate_of_false_discoveries(checkable, tmp_path, capsys):
    new = pd.read_csv(checkable / "t.csv").assign(a=lambda frame: frame["a"].iloc[::-1].to_numpy())
    new.loc[[3, 7, 9]] = [[9.0, -9.0], [-9.0, 9.0], [12.0, 12.0]]
    new.to_csv(tmp_path / "new.csv", index=False)
    words = ["score", checkable / "m.flow", tmp_path / "new.csv"]
    out = tmp_path / "odd.csv"
    run(*words, "--anomalies", "--fdr", 0.4, "-o", out)
    found = pd.read_csv(out)
    density = flows.load(checkable / "m.flow")
    assert set(found["row"]) == {*np.flatnonzero(density.discoveries(new, 0.4)) + 1}
    assert {4, 8, 10} <= set(found["row"])
    assert found["log_density"].is_monotonic_increasing
    run(*words, "--anomalies", 2, "--fdr", 0.4, "-o", out)
    assert len(pd.read_csv(out)) == 2
    run("score", checkable / "m.flow", checkable / "t.csv", "--anomalies", "--fdr", 0.001)
    assert capsys.readouterr().out.count("\n") == 1  # the names of the columns alone
    assert "needs a number of rows, or --fdr" in error(capsys, *words, "--anomalies")
    assert "belongs to --anomalies" in error(capsys, *words, "--fdr", 0.1)
    assert "must be above 0 and below 1" in error(capsys, *words, "--anomalies", "--fdr", 2)
