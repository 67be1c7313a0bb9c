"""Draws and probabilities of a joint density given labels alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from closed_forms import LABELS, NUMBERS, drawn, labelled

import flows
from flows.core.settings import Recipe
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from flows.recipe.ensemble import Ensemble
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.kinds import Category, Real
from flows.tables.posterior.posterior import Goal
from flows.tables.posterior.region import Region


def region_of(row: list[float], **intervals: tuple[float, float]) -> Region:
    own = {LABELS.index(name): np.array([ends]) for name, ends in intervals.items()}
    return Region.of_conditions(np.array([*row, *[np.nan] * 3]), own, {})


def test_the_density_of_numbers_given_labels_is_exact(with_labels: flows.Density):
    frame, numbers, codes = drawn(50)
    found, error = with_labels.log_prob_and_error(frame, given=[*LABELS])
    truth = labelled()
    expected = truth.log_prob(numbers, codes) - truth.log_labels(codes)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (error == 0).all()


def test_known_labels_have_the_sum_over_the_unknown_ones(with_labels: flows.Density):
    frame, _, codes = drawn(20)
    known = frame.assign(**{LABELS[1]: None}, **dict.fromkeys(NUMBERS, np.nan))
    every = [
        labelled().log_labels(np.column_stack([codes[:, :1], np.full(20, code), codes[:, 2:]]))
        for code in range(labelled().sizes[1])
    ]
    np.testing.assert_allclose(with_labels.log_prob(known), np.logaddexp.reduce(every), rtol=1e-9)


@pytest.mark.parametrize("sets", [{}, {LABELS[1]: (-0.5, 1.5)}])
def test_all_draws_are_effective_and_have_the_conditional_distribution(
    with_labels: flows.Density, sets: dict[str, tuple[float, float]]
):
    region = region_of([0.0, np.nan, np.nan], **sets)
    ((_, posterior),) = with_labels._array.posteriors(region, goal=Goal(20_000, most=32_768))
    assert posterior.effective == pytest.approx(len(posterior.values))
    truth = labelled()
    rows = truth.sample_rows(400_000, np.random.default_rng(5))
    met = (rows.codes[:, 0] == 0) & ((rows.codes[:, 1] <= 1) | (not sets))
    own = rows.take(np.flatnonzero(met))
    evidence = np.logaddexp.reduce(posterior.log_evidence)
    assert np.exp(evidence) == pytest.approx(met.mean(), abs=0.003)
    mean = posterior.weights @ posterior.values[:, 3:]
    np.testing.assert_allclose(mean, own.numbers.mean(axis=0), atol=0.06)
    for j in (1, 2):
        shares = np.bincount(posterior.values[:, j].astype(int), posterior.weights)
        expected = np.bincount(own.codes[:, j]) / len(own.codes)
        np.testing.assert_allclose(shares, expected, atol=0.015)


def test_the_probabilities_of_labels_given_labels_are_exact(with_labels: flows.Density):
    one = pd.DataFrame({LABELS[0]: ["a"]})
    found = with_labels.predict(one, LABELS[2]).iloc[0]
    codes = np.array([[0, -1, code] for code in range(4)])
    log_p = labelled().log_labels(codes)
    expected = np.exp(log_p - np.logaddexp.reduce(log_p))
    np.testing.assert_allclose(found[[*"abcd"]].astype(float), expected, rtol=1e-9)
    assert np.isnan(found["effective_draws"])


@pytest.mark.slow
def test_a_fit_predicts_numbers_from_one_of_sixty_labels():
    """A mixture that approximates the fit would not know the labels."""
    rng = np.random.default_rng(0)
    code = np.arange(600) % 60
    middle = rng.normal(size=60) * 10
    frame = pd.DataFrame(
        {
            "town": [f"t{k:02}" for k in code],
            "x": middle[code] + 0.1 * rng.normal(size=600),
            "y": rng.normal(size=600),
        }
    )
    density = flows.fit(frame, members=2, settings={"recipe": Recipe(most_steps=400)})
    towns = pd.DataFrame({"town": [f"t{k:02}" for k in range(60)]})
    found = density.predict(towns, "x")
    far = np.abs(found["mean"] - middle) > 0.5
    assert far.mean() <= 0.05
    assert found["sd"].median() < 0.4


@pytest.mark.slow
def test_5040_combinations_of_labels_are_drawn_and_summed_with_their_errors():
    """Three columns of 105, 16 and 3 labels, and two numbers."""
    rng, sizes = np.random.default_rng(4), (105, 16, 3)
    shares = [rng.dirichlet(np.full(size, 0.3), 6) for size in sizes]
    covariances = np.tile(0.3 * np.eye(2), (6, 1, 1))
    truth = Mixture(np.full(6, 1 / 6), 2 * rng.normal(size=(6, 2)), covariances, shares)
    names = ["dest", "carrier", "origin"]
    fields = [
        Category(name, labels=tuple(f"{name}{k:03}" for k in range(size)))
        for name, size in zip(names, sizes, strict=True)
    ]
    maps = ColumnMaps([*fields, Real("x"), Real("y")])
    ensemble = Ensemble([GaussianMixture.of(truth)], [1.0], [truth.marginal(0)], maps)
    density = flows.Density(ensemble)
    x = truth.sample_rows(8, rng).numbers
    rows = pd.DataFrame({**dict.fromkeys(names), "x": x[:, 0], "y": x[:, 1]})
    found, error = density.log_prob_and_error(rows)
    assert (np.abs(found - truth.log_prob(x)) <= 4 * error + 1e-9).all()
    assert (error < 0.15).all()
    shares_of = density.predict(rows, "origin")[[*fields[2].labels]].to_numpy(float)
    for code in range(3):
        own = np.tile([-1, -1, code], (8, 1))
        expected = np.exp(truth.log_prob(x, own) - truth.log_prob(x))
        np.testing.assert_allclose(shares_of[:, code], expected, atol=0.17)
    one = density.predict(pd.DataFrame({"carrier": [fields[1].labels[0]]}), "dest").iloc[0, :105]
    own = np.column_stack([np.arange(105), np.zeros(105), np.full(105, -1)]).astype(np.int64)
    expected = np.exp(truth.log_labels(own) - truth.log_labels(own * [0, 1, 1] - [1, 0, 0]))
    np.testing.assert_allclose(one.astype(float), expected, rtol=1e-9, atol=1e-15)
