"""Intervals of answers: the formula, the answers of folds by brute force, and their widths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import t as student

import flows
from flows.__main__ import main
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.tables.questions import few_rows
from flows.tables.questions.curve import Curve
from flows.tables.questions.score import Score

QUICK: dict[str, Any] = {"settings": {"recipe": "quick"}, "members": 5}


def rows_of(n: int, seed: int = 0) -> pd.DataFrame:
    """Return rows of two Gaussians, with a label that depends on the first column."""
    rng = np.random.default_rng(seed)
    which = rng.random(n) < 0.4
    a = np.where(which, 2.0, -1.0) + rng.normal(size=n)
    b = 0.6 * a + rng.normal(size=n)
    kind = np.where(rng.random(n) < 1 / (1 + np.exp(-a)), "high", "low")
    return pd.DataFrame({"a": a, "b": b, "c": rng.normal(size=n), "kind": kind})


@pytest.fixture(scope="module")
def fitted() -> flows.Density:
    return flows.fit(rows_of(120), **QUICK)


@pytest.fixture(scope="module")
def of_target() -> flows.Density:
    return flows.fit(rows_of(120), target="b", **QUICK)


def test_an_interval_is_the_grouped_jackknife_of_the_folds():
    rng = np.random.default_rng(0)
    answers = rng.normal(size=(1, 6, 3))
    folds = answers[0, 1:]
    s = np.sqrt(4 / 5 * ((folds - folds.mean(axis=0)) ** 2).sum(axis=0))
    width = student.ppf(0.95, 4) * few_rows.FACTOR * s
    low, high = few_rows.interval(answers, 0.9)
    np.testing.assert_allclose([low, high], [answers[0, 0] - width, answers[0, 0] + width])


def test_a_probability_has_its_interval_on_the_logit_scale():
    folds = np.array([0.2, 0.25, 0.3])
    answers = np.array([0.25, *folds])[None, :, None]
    [low], [high] = few_rows.interval(answers, 0.95, is_probability=True)
    s = np.sqrt(2 / 3 * ((folds - 0.25) ** 2).sum()) / (0.25 * 0.75)
    odds = np.exp(student.ppf(0.975, 2) * few_rows.FACTOR * s) / 3
    assert [low, high] == pytest.approx([1 / 9 / odds / (1 + 1 / 9 / odds), odds / (1 + odds)])
    certain = few_rows.interval(np.array([[[1.0, 0.0]] * 4]), 0.95, is_probability=True)
    np.testing.assert_array_equal(certain, [[1, 0], [1, 0]])


def test_noise_of_draws_is_taken_out_of_the_folds_and_added_to_the_answer():
    rng = np.random.default_rng(1)
    truth = np.array([0.0, -2.0, -1.0, 0.0, 1.0, 2.0])
    answers = np.tile(truth[:, None], (9, 1, 4_000))
    parts = truth[:, None] + rng.normal(size=(8, 6, 4_000))
    answers[0], answers[1:] = parts.mean(axis=0), parts
    answers[:, 0] = 0.0  # no noise in the answer itself
    exact = few_rows.interval(truth[None, :, None], 0.95)
    width = np.square(few_rows.interval(answers, 0.95).high)
    assert width.mean() == pytest.approx(exact.high[0] ** 2, rel=0.02)
    answers[1:, 0] = parts[:, 0]
    own = np.square(few_rows.interval(answers, 0.95).high)
    assert (own - width).mean() == pytest.approx(1.96**2 / 8, rel=0.05)


def test_one_fold_leaves_no_interval():
    assert np.isnan(few_rows.interval(np.zeros((1, 2, 3)), 0.95)).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_outside_0_to_1_is_refused(fitted, level):
    with pytest.raises(UserError, match="must be between 0 and 1"):
        fitted.predict(rows_of(3), "a", interval=level)


def by_hand(density: flows.Density, frame: pd.DataFrame, x: Array) -> Array:
    """Return the density of each fold at values of ``a``, ``(F, n)``, normalised to mass 1.

    From the members' densities at a grid, and the record of the fit.
    """
    found, record = [], density.record
    weights = density.population.member_weights.numpy()
    log_q = density.log_prob_members(frame.loc[[0] * len(x)].assign(a=x))
    for fold in range(5):
        own = [m for m, member in enumerate(record.members) if member.fold == fold]
        q = np.exp(logsumexp(log_q[:, own], b=weights[own], axis=1))
        found.append(q / q.sum())
    return np.array(found)


@pytest.mark.slow
def test_folds_of_a_mean_and_of_a_label_agree_with_sums_on_a_grid(fitted):
    row = rows_of(3, 1)[:1].reset_index(drop=True)
    x = np.linspace(-9, 9, 4_001)
    means = by_hand(fitted, row, x) @ x
    found = fitted.predict(row, "a", interval=0.95).iloc[0]
    s = np.sqrt(4 / 5 * ((means - means.mean()) ** 2).sum())
    width = 2.776445 * few_rows.FACTOR * s
    assert found["mean_high"] - found["mean_low"] == pytest.approx(2 * width, rel=0.02)
    above = (by_hand(fitted, row, x) * (x > 1)).sum(axis=1)
    s = np.sqrt(4 / 5 * ((above - above.mean()) ** 2).sum())
    given = row.iloc[0].drop("a").to_dict()
    p = fitted.probability({"a": (1, None)}, given=given)
    odds = 2.776445 * few_rows.FACTOR * s / (p.probability * (1 - p.probability))
    ends = np.log(p.high / (1 - p.high)), np.log(p.low / (1 - p.low))
    assert ends[0] - ends[1] == pytest.approx(2 * odds, rel=0.02)


def test_every_answer_lies_in_its_interval(fitted):
    rows = rows_of(20, 2)
    for frame, column in ((rows, "a"), (rows[["b"]], "a"), (rows, "kind"), (rows[["c"]], "kind")):
        found = fitted.predict(frame, column, interval=0.9)
        for name in found.columns[:-1:3]:
            assert (found[f"{name}_low"] < found[name]).all()
            assert (found[name] < found[f"{name}_high"]).all()
        plain = fitted.predict(frame, column)
        pd.testing.assert_frame_equal(found[list(plain)], plain)


def test_scores_of_complete_rows_and_of_gaps_have_intervals(fitted):
    rows = rows_of(4, 3)
    rows.loc[1, "b"] = np.nan
    rows.loc[2, ["a", "c"]] = np.nan
    found = fitted.ask(Score(interval=0.95), rows)
    assert (found["log_density_low"] < found["log_density"]).all()
    assert (found["log_density"] < found["log_density_high"]).all()
    far = rows.assign(a=1e4)[:1]
    with pytest.warns(flows.TableNotice, match="1 of 1 answers have no interval: the folds or"):
        assert np.isnan(fitted.ask(Score(interval=0.95), far)["log_density_low"]).all()


@pytest.mark.slow
def test_a_target_has_intervals_unless_a_model_fills_its_context(of_target):
    rows = rows_of(4, 4)
    found = of_target.predict(rows, interval=0.95)
    assert (found["q0.5_low"] < found["q0.5_high"]).all()
    rows.loc[2, "a"] = np.nan
    with pytest.warns(flows.TableNotice, match="1 of 4 answers have no interval: a model that"):
        found = of_target.predict(rows, interval=0.95)
    assert found["mean_low"].isna().tolist() == [False, False, True, False]


def test_one_member_has_no_interval():
    density = flows.fit(rows_of(60)[["a", "b"]], settings={"recipe": "quick"}, members=1)
    with pytest.warns(flows.TableNotice, match="an interval needs members of two folds"):
        found = density.probability({"a": (0, None)})
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.slow
def test_a_probability_from_draws_near_1_has_no_interval_of_noise(fitted):
    for seed in range(4):
        found = fitted.probability({"a": (-6, None)}, seed=seed)
        assert found.draws > 0
        assert np.isnan(found.low) or found.low < found.high < 1
    opposite = fitted.probability({"a": (None, -6)})
    assert 0 < opposite.low < opposite.probability < opposite.high < 0.2


@pytest.mark.slow
def test_labels_that_are_called_like_ends_are_refused():
    rows = rows_of(60)[["a"]].assign(kind=np.tile(["x", "x_low"], 30))
    density = flows.fit(rows, **QUICK)
    assert len(density.predict(rows[:2], "kind")) == 2
    with pytest.raises(UserError, match="two columns x_low, a label and the end of an interval"):
        density.predict(rows[:2], "kind", interval=0.9)


def test_no_rows_have_no_intervals(fitted):
    assert fitted.predict(rows_of(3)[:0], "a", interval=0.9).empty


def test_curves_have_intervals_unless_another_value_is_unknown(fitted):
    rows = rows_of(2, 5)
    found = fitted.ask(Curve("a", interval=0.95), rows)
    assert (found["density_low"] >= 0).all()
    assert (found["density_low"] <= found["density"]).all()
    assert (found["density"] <= found["density_high"]).all()
    found = fitted.ask(Curve("kind", interval=0.95), rows)
    assert (found["density_high"] < 1).all()
    rows["b"] = np.nan
    with pytest.warns(flows.TableNotice, match="2 of 2 answers have no interval"):
        assert fitted.ask(Curve("a", interval=0.95), rows)["density_low"].isna().all()


def test_the_command_line_adds_the_ends_of_intervals(fitted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fitted.save("m.flow")
    rows_of(3, 6).to_csv("t.csv", index=False)
    main(["predict", "m.flow", "t.csv", "--column", "kind", "--interval", "0.9", "-o", "p.csv"])
    expected = fitted.predict(rows_of(3, 6), "kind", interval=0.9)
    found = pd.read_csv("p.csv")[list(expected)]
    np.testing.assert_allclose(found, expected.astype(float), atol=1e-6)
    main(["score", "m.flow", "t.csv", "--interval", "0.9", "-o", "s.csv"])
    assert [*pd.read_csv("s.csv")][-2:] == ["log_density_low", "log_density_high"]
    main(["probability", "m.flow", "a=1.."])
    assert capsys.readouterr().out.startswith("probability,low,high,integration_error\n")
    with pytest.raises(SystemExit, match="--interval does not go with --anomalies"):
        main(["score", "m.flow", "t.csv", "--anomalies", "2", "--interval", "0.9"])


@pytest.mark.slow
def test_widths_fall_like_the_root_of_the_number_of_rows():
    widths = []
    for n in (300, 1_200):
        own = []
        for seed in range(6):
            density = flows.fit(
                rows_of(n, 10 + seed)[["a", "b", "c"]], settings={"recipe": "quick"}
            )
            asked = [({"a": (0, None)}, {}), ({"b": (1, None)}, {}), ({"c": (0, None)}, {})]
            for event, given in [*asked, ({"a": (0, None)}, {"b": (0, None)})]:
                p = density.probability(event, given=given)
                own.append(np.log(p.high / (1 - p.high)) - np.log(p.low / (1 - p.low)))
        widths.append(np.exp(np.log(own).mean()))
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)
