"""Tables on the command line and in Python: fit, sample, score, info and plot.

Training is cut short: what is learnt is not asked here.
"""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import flows
from flows import Density, plotting
from flows.__main__ import _parser, main
from flows.core.errors import UserError
from flows.density import fit_table
from flows.networks import registry

KINDS = {"age": "integer", "share": "interval:0:1", "price": "positive"}
SHORT = {"recipe": "fixed", "epochs": 3, "couplings": 2, "hidden": 8}
WORDS = (
    [f"--column={name}={kind}" for name, kind in KINDS.items()]
    + [f"-S{key}={value}" for key, value in SHORT.items()]
    + ["--members=3"]
)
MODELS = [
    name for name in registry.names() if not name.endswith("_image")
]  # of tables; a reader's own is among them


def make(n=120, seed=0):
    rng = np.random.default_rng(seed)
    share = rng.beta(2, 3, n)
    return pd.DataFrame(
        {
            "age": rng.integers(20, 80, n),
            "bmi": rng.normal(25, 4, n),
            "share": share,
            "price": np.exp(rng.normal(3 * share)),
        }
    )


def run(*words):
    main([str(word) for word in words])


def error(capsys, *words):
    """The one line that a command ends with, its exit status being 1."""
    with pytest.raises(SystemExit) as caught:
        run(*words)
    message = str(caught.value)
    assert message.startswith("flows: ")
    assert "\n" not in message
    assert capsys.readouterr().out == ""
    return message


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table in both formats, the same with another column, and a density of it.

    The one with another column has its columns the other way round.
    """
    folder = tmp_path_factory.mktemp("tables")
    frame = make()
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet", index=False)
    frame.assign(who=[f"p{i}, jr" for i in range(len(frame))])[
        [*reversed(frame.columns), "who"][::-1]
    ].to_csv(folder / "more.csv", index=False)
    run("fit", folder / "t.csv", "-o", folder / "m.flow", *WORDS)
    return folder


@pytest.fixture
def density(folder):
    return Density.load(folder / "m.flow")


def scored(folder, out, table="t.csv", *words):
    run("score", folder / "m.flow", folder / table, "-o", out, *words)
    return pd.read_parquet(out) if out.suffix == ".parquet" else pd.read_csv(out)


# Fit


def test_the_same_command_gives_the_same_bytes_from_either_format(folder, tmp_path):
    for name in ("t.csv", "t.parquet"):
        run("fit", folder / name, "-o", tmp_path / "m.flow", *WORDS)
        assert (tmp_path / "m.flow").read_bytes() == (folder / "m.flow").read_bytes()


def test_python_gives_what_the_command_line_gives(folder, density):
    fitted = flows.fit(make(), members=3, columns=KINDS, settings=SHORT)
    assert (fitted.log_prob(make()) == density.log_prob(make())).all()
    assert fitted.sample(50).equals(density.sample(50))


def test_fit_of_a_network_is_training():
    network = flows.build("realnvp", (2,), {"couplings": 2, "hidden": 4})
    assert (
        flows.fit(
            network,
            np.random.default_rng(0).normal(size=(50, 2)),
            settings=flows.TrainingSettings(epochs=1),
        )
        is network
    )


def test_an_array_and_one_column_can_be_fitted():
    rows = np.random.default_rng(0).normal(size=(50, 1))
    density = fit_table(rows, members=1, settings=SHORT)
    assert density.log_prob(rows).shape == (50,)
    assert list(density.sample(5).columns) == ["x0"]


@pytest.mark.parametrize("factor", [1000, 1 / 7])
def test_another_unit_shifts_every_log_density_by_the_logarithm_of_the_factor(factor):
    """A rounded column among them: its step is in the new unit too."""
    frame = make()[["bmi", "age"]].astype(float)
    before, after = (
        fit_table(each, members=2, settings=SHORT).log_prob(each)
        for each in (frame, factor * frame)
    )
    np.testing.assert_allclose(before - after, 2 * np.log(factor), rtol=0, atol=1e-6)


def test_a_rounded_column_is_said_on_standard_error(folder, tmp_path, capsys):
    run(
        "fit",
        folder / "t.csv",
        "-o",
        tmp_path / "m.flow",
        *(word for word in WORDS if "age" not in word),
    )
    assert capsys.readouterr().err.startswith("column age holds 5")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--column=agee=integer"],
            "there is no column agee; the columns are: age, bmi, share, price",
        ),
        (["--column=age=whole"], "column age: 'whole' is no kind"),
        (["--column=bmi=interval:0:1"], "column bmi, row 1 holds"),
        (["--members=0"], "members"),
        (["--model=nothing"], f"no model 'nothing' of tables; these are: {', '.join(MODELS)}"),
        (
            ["--model=realnvp_image"],
            f"no model 'realnvp_image' of tables; these are: {', '.join(MODELS)}",
        ),
        (["-Sepochs=many"], "epochs = 'many'"),
        (["-Shiden=3"], "hiden is not a known key"),
        (["-Scouplings=0"], "couplings = 0"),
        (["-Swithout=[margins, coling]"], "without.1 = 'coling'"),
    ],
)
def test_what_is_wrong_with_a_command_is_one_line(folder, tmp_path, capsys, words, said):
    assert said in error(capsys, "fit", folder / "t.csv", "-o", tmp_path / "m.flow", *WORDS, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.assign(bmi="fat"), "column bmi, row 1 holds 'fat'"),
        (lambda frame: frame.assign(bmi=7), "column bmi holds 7 in every row"),
        (lambda frame: frame.assign(bmi=frame["price"]), "column price equals bmi"),
        (lambda frame: frame.assign(bmi=2 * frame["price"] + 1), "linear combination"),
        (
            lambda frame: frame.assign(bmi=frame["bmi"].mask(frame.index == 4)),
            "column bmi, row 5 holds no value",
        ),
        (lambda frame: frame[:12], "12 rows"),
        (lambda frame: frame[:0], "no rows"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(tmp_path, capsys, change, said):
    change(make()).to_csv(tmp_path / "t.csv", index=False)
    assert said in error(
        capsys,
        "fit",
        tmp_path / "t.csv",
        "-o",
        tmp_path / "m.flow",
        "-Srecipe=fixed",
        "-Sepochs=1",
        "--members=1",
    )
    assert not (tmp_path / "m.flow").exists()


def test_a_density_is_not_written_over_a_folder_or_another_table(folder, capsys):
    before = (folder / "more.csv").read_bytes()
    for place in (folder / "more.csv", folder):
        assert "is a folder or a table" in error(capsys, "fit", folder / "t.csv", "-o", place)
    assert (folder / "more.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "output"),
    [
        ("fit t.csv", "t.csv"),
        ("sample m.flow", "m.flow"),
        ("score m.flow t.csv", "t.csv"),
        ("score m.flow t.csv --anomalies 3", "link.csv"),
        ("plot m.flow t.csv", "t.csv"),
        ("plot m.flow t.csv", "m.flow"),
    ],
)
def test_nothing_that_a_verb_reads_is_written_over(
    folder, tmp_path, capsys, monkeypatch, words, output
):
    for name in ("t.csv", "m.flow"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "link.csv").symlink_to(tmp_path / "t.csv")
    monkeypatch.chdir(tmp_path)
    assert "is read by this command" in error(capsys, *words.split(), "-o", tmp_path / output)
    assert all(
        (tmp_path / name).read_bytes() == (folder / name).read_bytes()
        for name in ("t.csv", "m.flow")
    )


@pytest.mark.parametrize("name", ["page.csv", "page.flow", "page"])
def test_a_picture_goes_into_a_png_file_alone(folder, tmp_path, capsys, name):
    assert "a picture goes into a .png file" in error(
        capsys, "plot", folder / "m.flow", folder / "t.csv", "-o", tmp_path / name
    )
    assert not list(tmp_path.iterdir())


def test_rows_with_missing_values_are_dropped_and_counted_where_that_is_asked_for(tmp_path, capsys):
    frame = make()
    frame.loc[[4, 7], "bmi"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    run("fit", tmp_path / "t.csv", "-o", tmp_path / "m.flow", "--missing=drop", *WORDS)
    assert "left out: 2 rows with a missing value" in capsys.readouterr().err
    run("score", tmp_path / "m.flow", tmp_path / "t.csv", "--missing=drop")
    captured = capsys.readouterr()
    assert "left out: 2 rows" in captured.err
    assert len(captured.out.splitlines()) == 119


# Sample


def test_a_million_samples_are_within_their_bounds_and_whole(density):
    frame = density.sample(1_000_000)
    assert list(frame.columns) == ["age", "bmi", "share", "price"]
    assert frame["age"].dtype == np.int64
    assert frame["share"].between(0, 1, inclusive="neither").all()
    assert (frame["price"] > 0).all()
    assert np.isfinite(frame.to_numpy()).all()


def test_samples_are_the_same_for_a_seed_and_read_back_as_they_were(
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


@pytest.mark.parametrize("model", ["nsf", "vae"])
def test_no_samples_are_a_frame_of_the_same_columns(density, model):
    fitted = (
        density
        if model == "nsf"
        else fit_table(make(), model, members=1, settings={"recipe": "fixed", "epochs": 1})
    )
    none = fitted.sample(0)
    assert len(none) == 0
    assert (none.dtypes == fitted.sample(1).dtypes).all()


def test_members_are_drawn_by_their_weights(density):
    apart = density.sample(2000)
    density.network.weights[:] = density.network.weights.new_tensor([0.0, 1.0, 0.0])
    alone = density.sample(2000)
    assert not alone.equals(apart)
    assert alone["bmi"].between(-1e3, 1e3).all()
    np.testing.assert_allclose(density.log_prob(alone), density.log_prob_members(alone)[:, 1])


# Score


def test_rows_are_written_in_order_with_log_densities_whatever_the_formats(
    folder, density, tmp_path, capsys
):
    frame = make()
    log_q, members = density.log_prob(frame), density.log_prob_members(frame)
    for table in ("t.csv", "t.parquet"):
        for out in ("o.csv", "o.parquet"):
            found = scored(folder, tmp_path / out, table)
            np.testing.assert_allclose(
                found[frame.columns].to_numpy(float), frame.to_numpy(float), rtol=1e-15
            )
            assert found.dtypes.map(lambda kind: kind.kind in "if").all()
            np.testing.assert_allclose(found["log_density"], log_q, rtol=0, atol=1e-6)
            np.testing.assert_allclose(
                found["log_density_sd"], members.std(axis=1, ddof=1), rtol=0, atol=1e-6
            )
    run("score", folder / "m.flow", folder / "t.csv")
    scored(folder, tmp_path / "o.csv")
    assert capsys.readouterr().out == (tmp_path / "o.csv").read_text()


def test_columns_are_found_by_name_and_others_passed_through_as_they_are(folder, tmp_path):
    found, plain = (
        scored(folder, tmp_path / "a.csv", "more.csv"),
        scored(folder, tmp_path / "b.csv"),
    )
    assert found["log_density"].equals(plain["log_density"])
    lines = zip(
        (folder / "more.csv").read_text().splitlines(),
        (tmp_path / "a.csv").read_text().splitlines(),
        strict=True,
    )
    assert all(after.startswith(before + ",") for before, after in lines)


def test_pieces_give_what_the_whole_gives(folder, tmp_path, monkeypatch):
    whole, lowest = (
        scored(folder, tmp_path / "a.csv"),
        scored(folder, tmp_path / "c.csv", "t.csv", "--anomalies", 9),
    )
    monkeypatch.setattr("flows.data.table.stream.__defaults__", (7,))
    np.testing.assert_allclose(scored(folder, tmp_path / "b.csv"), whole, rtol=0, atol=2e-6)
    np.testing.assert_allclose(
        scored(folder, tmp_path / "d.csv", "t.csv", "--anomalies", 9), lowest, rtol=0, atol=2e-6
    )


def test_a_row_that_no_column_of_this_kind_can_hold_has_no_density(density):
    frame = make()[:4].astype(float)
    frame.loc[0, "age"], frame.loc[1, "share"], frame.loc[2, "price"] = 30.5, 1.0, -2.0
    assert np.isneginf(density.log_prob(frame)).tolist() == [True, True, True, False]


def test_the_spread_of_a_row_without_a_density_is_0(folder, tmp_path):
    make()[:3].assign(price=[1.0, -2.0, 3.0]).to_csv(tmp_path / "t.csv", index=False)
    found = scored(folder, tmp_path / "o.csv", tmp_path / "t.csv")
    assert np.isneginf(found["log_density"]).tolist() == [False, True, False]
    assert (found["log_density_sd"] == 0).tolist() == [False, True, False]


def test_a_renamed_column_is_told_in_one_line(folder, tmp_path, capsys):
    make().rename(columns={"bmi": "BMI"}).to_csv(tmp_path / "t.csv", index=False)
    assert "holds no column bmi; its columns are: age, BMI, share, price" in error(
        capsys, "score", folder / "m.flow", tmp_path / "t.csv"
    )


def test_a_bad_row_at_the_end_leaves_no_half_of_a_file(folder, tmp_path, capsys):
    frame = make().astype(object)
    frame.loc[119, "bmi"] = "oops"
    frame.to_csv(tmp_path / "t.csv", index=False)
    said = error(capsys, "score", folder / "m.flow", tmp_path / "t.csv", "-o", tmp_path / "o.csv")
    assert "column bmi, row 120 holds 'oops'" in said
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("log_density", []),
        ("log_density_sd", []),
        ("row", ["--anomalies=3"]),
        ("tail_probability", ["--anomalies=3"]),
    ],
)
def test_a_column_that_score_would_write_over_is_refused(folder, tmp_path, capsys, name, words):
    make().assign(**{name: 7}).to_csv(tmp_path / "t.csv", index=False)
    assert f"column {name}: `score` adds a column of this name" in error(
        capsys, "score", folder / "m.flow", tmp_path / "t.csv", *words
    )


@pytest.mark.parametrize("content", [b"", b"no such thing" * 20])
def test_what_is_no_model_is_named(folder, tmp_path, capsys, content):
    (tmp_path / "bad.flow").write_bytes(content)
    for verb in ("info", "sample", "score"):
        assert "bad.flow" in error(
            capsys, verb, tmp_path / "bad.flow", *([folder / "t.csv"] if verb == "score" else [])
        )


# Anomalies


def folds(density, n=40):
    """A density as a recipe with two folds leaves it.

    Members 0 and 2 did not see the first, member 1 the second.
    """
    rng = np.random.default_rng(0)
    network = density.network
    network.history |= {
        "held_out": rng.normal(-8, 2, n),
        "fold": np.repeat([0, 1, -1], [15, 15, n - 30]),
    }
    network.description = {
        **network.description,
        "training": {"members": [{"fold": 0}, {"fold": 1}, {"fold": 0}]},
    }
    network.weights[:] = network.weights.new_tensor([0.2, 0.5, 0.3])
    return density


def test_the_tail_probability_is_its_formula(density):
    log_q = folds(density).log_prob_members(make())
    fold, held_out = density.network.history["fold"], density.network.history["held_out"]
    first, second = np.log(0.4 * np.exp(log_q[:, 0]) + 0.6 * np.exp(log_q[:, 2])), log_q[:, 1]
    for found, a, b in zip(density.tail_probability(log_q), first, second, strict=True):
        assert found == (1 + sum(held_out[fold == 0] <= a) + sum(held_out[fold == 1] <= b)) / 31


def test_the_least_likely_rows_come_with_their_numbers_and_tail_probabilities(
    folder, density, tmp_path
):
    folds(density).save(tmp_path / "m.flow")
    run(
        "score",
        tmp_path / "m.flow",
        folder / "more.csv",
        "--anomalies",
        5,
        "-o",
        tmp_path / "o.csv",
    )
    found = pd.read_csv(tmp_path / "o.csv")
    log_q = density.log_prob(make())
    assert found["row"].tolist() == (np.argsort(log_q)[:5] + 1).tolist()
    assert found["who"].tolist() == [f"p{row - 1}, jr" for row in found["row"]]
    assert found["log_density"].is_monotonic_increasing
    expected = density.tail_probability(density.log_prob_members(make()))[found["row"] - 1]
    np.testing.assert_allclose(found["tail_probability"], expected, rtol=0, atol=1e-6)


def test_it_is_said_why_there_are_no_tail_probabilities(folder, tmp_path, capsys):
    assert (
        scored(folder, tmp_path / "o.csv", "t.csv", "--anomalies", 3)["tail_probability"]
        .isna()
        .all()
    )
    assert capsys.readouterr().err.startswith("tail_probability is empty: only the found recipe")


def test_anomaly_scores_are_calibrated_and_the_recipe_is_told():
    """A share p of fresh rows has a tail probability up to p.

    Within three deviations of a share among 100 held-out rows.
    """
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20_100))
    frame = pd.DataFrame({"a": x, "b": x**2 + y})
    density = flows.fit(frame[:100], members=5, settings={"couplings": 2, "hidden": 8, "bins": 4})
    found = density.tail_probability(density.log_prob_members(frame[100:]))
    for share in (0.05, 0.2, 0.5):
        assert abs((found <= share).mean() - share) < 3 * np.sqrt(share * (1 - share) / 100)
    assert "found recipe on 100 rows" in repr(density)
    assert "log-density of unseen rows" in repr(density)


# Info, and the program


def test_info_says_columns_kinds_members_and_training(folder, density, capsys):
    run("info", folder / "m.flow")
    said = capsys.readouterr().out
    assert said == f"{density}\n"
    for word in (
        "nsf of 3 members",
        "couplings 2",
        "column age: integer",
        "column share: interval:0:1",
        "column bmi: real",
        "seed 0",
    ):
        assert word in said


def test_what_is_fitted_and_what_is_read_back_say_the_same(density, tmp_path):
    fitted = fit_table(make(), members=1, settings=SHORT)
    fitted.save(tmp_path / "m.flow")
    assert str(fitted) == str(Density.load(tmp_path / "m.flow"))


@pytest.mark.parametrize(
    ("names", "page"), [(["bmi"], "margins.png"), (["bmi", "share"], "pairs.png")]
)
def test_pairs_are_drawn_where_there_are_two_columns(folder, tmp_path, monkeypatch, names, page):
    fit_table(make()[names], members=1, settings=SHORT).save(tmp_path / "m.flow")
    figures, drawn = dict(plotting.FIGURES), []
    monkeypatch.setattr(
        plotting, "draw", lambda name, scene, path: drawn.append((name, figures[name][1](scene)))
    )
    run("plot", tmp_path / "m.flow", folder / "t.csv", "-o", tmp_path / "page.png")
    assert [name for name, _ in drawn] == [page]


@pytest.mark.parametrize("table", ["t.csv", "t.parquet", "more.csv"])
def test_a_picture_is_drawn_of_a_table_the_same_each_time(folder, tmp_path, table):
    for name in ("a.png", "b.png"):
        run("plot", folder / "m.flow", folder / table, "-o", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def start(*words, **others):
    return subprocess.run(
        [sys.executable, "-m", "flows", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        **others,
    )


def test_the_program_is_quiet_in_a_pipe_and_ends_with_one_line_and_status_1(folder):
    done = start("score", folder / "m.flow", folder / "t.csv")
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(pd.read_csv(io.StringIO(done.stdout))) == 120
    done = start("score", folder / "m.flow", folder / "nothing.csv")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"flows: {folder / 'nothing.csv'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "fit t.csv -o m --column a",
            "argument --column: expected a name and a value with = between them; got 'a'",
        ),
        (
            "fit t.csv -o m -S a",
            "argument -S: expected a name and a value with = between them; got 'a'",
        ),
        (
            "score m t.csv --anomalies 0",
            "argument --anomalies: expected a whole number of at least 1 and below 2**63; got '0'",
        ),
        (
            "sample m -n many",
            "argument -n: expected a whole number of at least 1 and below 2**63; got 'many'",
        ),
        (
            "sample m --seed -1",
            "argument --seed: expected a whole number of at least 0 and below 2**63; got '-1'",
        ),
    ],
)
def test_an_option_says_what_it_expects(capsys, words, said):
    with pytest.raises(SystemExit):
        run(*words.split())
    assert capsys.readouterr().err.endswith(f"{said}\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("1e-3", 0.001),
        ("box", "box"),
        ("[margins, cooling]", ["margins", "cooling"]),
        ('["margins"]', ["margins"]),
        ("[", "["),
    ],
)
def test_a_setting_is_a_number_a_word_or_a_list(text, value):
    assert _parser().parse_args(["fit", "t.csv", "-o", "m", "-S", f"key={text}"]).settings == [
        ("key", value)
    ]


@pytest.mark.parametrize(("verb", "images"), [("fit", False), ("score", True), ("plot", False)])
def test_help_says_which_verb_takes_images(capsys, verb, images):
    with pytest.raises(SystemExit):
        run(verb, "--help")
    assert (".npy" in capsys.readouterr().out) is images


def test_help_comes_without_torch():
    code = (
        "import sys, flows.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: print({'torch', 'pandas', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    for verb in ("fit", "sample", "score", "info", "plot"):
        assert verb in done.stdout


def test_a_reader_that_has_enough_is_no_error(folder):
    command = f"{sys.executable} -m flows sample {folder / 'm.flow'} -n 60000 | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "age,bmi,share,price\n"
    assert done.stderr == ""


def test_python_names_what_is_wrong_with_a_frame(density):
    with pytest.raises(UserError, match="holds no column price"):
        density.log_prob(make().drop(columns="price"))
    with pytest.raises(UserError, match="rows of 4 numbers"):
        density.log_prob(np.zeros((3, 5)))
