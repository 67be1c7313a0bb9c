"""Training: independent members, equal bits for equal seeds, and never better than the truth."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import field, further
from torch.testing import assert_close

import flows
from flows import TrainingSettings, truths
from flows.core.scaler import Scaler
from flows.networks import registry
from flows.tables.columns.column_maps import ColumnMaps
from flows.training import trainer
from stages.pipeline.preparation import from_real

MEMBERS = 3
every_model = pytest.mark.parametrize("model", ["realnvp", "glow"])


def make(model="realnvp", members=MEMBERS, seed=0, transform="affine", **others):
    own = {"couplings": 2, "hidden": 8, "transform": transform, "bins": 4}
    return flows.build(
        registry.architecture(model, own), (2,), members=members, seed=seed, **others
    )


def settings(**changes):
    return TrainingSettings(**({"epochs": 5, "batch_size": 32, "log_every": 2} | changes))


def sample(n=64, seed=0, scale=1.0):
    rows = truths.make("ring").sample(n, np.random.default_rng(seed)) * scale
    return torch.from_numpy(rows).to(torch.get_default_dtype())


def train(flow, data=None, test=None, **changes):
    """Return ``flow`` after a short training, and its history."""
    data = sample() if data is None else data
    flows.train(flow, data, sample(32, seed=1) if test is None else test, settings(**changes))
    return flow, flow.history


def visits(flow, data, **changes):
    """Return every batch of a training, preprocessed and features first."""
    seen, objective = [], flow.objective

    def spy(points, generators):
        loss = objective(points, generators)

        def seeing(x):
            seen.append(x.clone())
            return loss(x)

        return seeing

    flow.objective = spy
    flows.train(flow, data, data, settings(**changes))
    return seen


def assert_same(one, other, members=slice(None)):
    """Assert that state and history of ``members`` have equal bits."""
    for key, tensor in one.state_dict().items():
        mine, its = (t[members] if t.ndim else t for t in (tensor, other.state_dict()[key]))
        assert torch.equal(mine, its), key
    for key in ("train_nll", "test_nll"):
        np.testing.assert_array_equal(one.history[key][:, members], other.history[key][:, members])


# Seeds and members


@every_model
@pytest.mark.parametrize("transform", ["affine", "spline"])
def test_the_same_seeds_give_the_same_bits(model, transform):
    assert_same(*(train(make(model, transform=transform))[0] for _ in range(2)))


def test_another_seed_of_the_weights_or_of_the_training_gives_another_flow():
    weights = [
        train(flow, seed=seed)[0].chain[0].conditioner.theta
        for flow, seed in ((make(), 0), (make(), 1), (make(seed=1), 0))
    ]
    assert not any(torch.equal(a, b) for a, b in pairwise(weights))


@pytest.mark.usefixtures("float64")  # for a small tolerance
@every_model
@pytest.mark.parametrize("clip", [1.0, 0.1])
def test_a_member_trains_the_same_alone_and_in_a_population(model, clip):
    together, history = train(make(model, 3), clip=clip)
    alone, of_one = train(make(model, 1), clip=clip)
    x = sample(50, seed=2)
    assert_close(together.log_prob(x)[:, :1], alone.log_prob(x), rtol=0, atol=1e-7)
    np.testing.assert_allclose(history["test_nll"][:, :1], of_one["test_nll"], atol=1e-7)


@pytest.mark.usefixtures("float64")
@every_model
def test_members_with_separate_data_train_as_on_shared_data(model):
    data = torch.stack([sample(seed=10 + m, scale=1 + m) for m in range(MEMBERS)], dim=1)
    own, history = train(make(model), data, data)
    assert history["train_nll"].shape == (3, MEMBERS)
    for m in range(MEMBERS):
        shared, its_history = train(make(model), data[:, m], data[:, m])
        assert_close(own.log_prob(data)[:, m], shared.log_prob(data[:, m])[:, m], rtol=0, atol=1e-7)
        np.testing.assert_allclose(
            history["train_nll"][:, m], its_history["train_nll"][:, m], atol=1e-7
        )


def test_a_failed_member_is_reported_and_does_not_change_the_others(capsys):
    """The report has the number of the member in the whole population."""
    healthy, broken = (make(members=range(4, 7)) for _ in range(2))
    train(healthy)
    assert capsys.readouterr().err == ""
    with torch.no_grad():
        broken.chain[0].conditioner.theta[1, 0] = math.nan
    assert np.isnan(train(broken)[1]["test_nll"][:, 1]).all()
    assert_same(healthy, broken, [0, 2])
    (report,) = capsys.readouterr().err.strip().splitlines()
    assert "member 5 was not finite" in report


# Units

KINDS = [field("income", "positive"), field("share", "interval", 0, 1)]


@pytest.mark.parametrize("columns", [[], KINDS], ids=["real", "kinds"])
@pytest.mark.parametrize("own", [False, True], ids=["shared rows", "rows per member"])
def test_the_scaler_is_fitted_to_real_rows_and_curves_are_in_the_users_units(columns, own):
    real, test = (sample(n, seed=n).double().numpy() * [5, 0.2] + 7 for n in (64, 32))
    if own:
        real = np.stack([np.roll(real, m, axis=0) * (m + 1) for m in range(MEMBERS)], axis=1)
    flat = real.reshape(-1, 2)
    rows, test = from_real(columns, flat).reshape(real.shape), from_real(columns, test)
    flow, history = train(
        make("glow", to_real=ColumnMaps(columns) if columns else None), rows, test
    )
    found, expected = flow.preprocessing.standardize.scaler, Scaler.fit(real)
    np.testing.assert_allclose(found.mean.squeeze(), expected.mean, rtol=1e-6)
    np.testing.assert_allclose(found.deviation.squeeze(), expected.deviation, rtol=1e-6)
    for key, x in (("train", rows), ("test", test)):
        nll = -flow.log_prob(x).detach().mean(0)
        np.testing.assert_allclose(history[f"{key}_nll"][-1], nll, atol=1e-5)


# What training does


def test_the_history_has_a_row_every_few_epochs_and_one_for_the_last():
    rows, flow, few = [], make(), settings(epochs=7, log_every=3)
    made = flows.train(flow, sample(), sample(32, 1), few, on_log=lambda *row: rows.append(row))
    assert made is flow
    history = dict(flow.history)
    assert list(history) == ["epoch", "train_nll", "test_nll"]
    epoch = history.pop("epoch").tolist()
    assert epoch == [at for at, _ in rows] == [3, 6, 7]
    for key, kept in history.items():
        assert kept.shape == (3, MEMBERS)
        np.testing.assert_array_equal([curves[key] for _, curves in rows], kept)
    assert not flow.training


def test_no_flow_beats_the_truth():
    """E log p - E log q is a KL divergence.

    On 20,000 fresh points no member scores more than three standard errors better.
    """
    target, fresh = truths.make("ring"), sample(20_000, seed=99)
    flow = flows.build(flows.RealNVP(couplings=3, hidden=8), (2,), members=MEMBERS)
    before = (-flow.log_prob(fresh).mean(0)).max()
    train(flow, sample(400), sample(100, seed=1), epochs=200, batch_size=200, log_every=200)
    with torch.no_grad():
        members = flow.log_prob(fresh).double()
    scores = torch.cat([members, flows.ensemble_log_prob(members)[:, None]], dim=1).numpy()
    gain = scores - target.log_prob(fresh.numpy().astype(np.float64))[:, None]
    assert (gain.mean(0) <= 3 * gain.std(0, ddof=1) / np.sqrt(len(gain))).all()
    assert (gain.mean(0) > -1).all()  # and it did learn
    assert -scores.mean(0).max() < before


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [(100, 33, [25, 25, 25, 25]), (10, 4, [4, 3, 3]), (10, 10, [10])],
)
def test_an_epoch_is_cut_into_equal_steps(n, batch_size, sizes):
    batches = visits(make(), sample(n), epochs=2, batch_size=batch_size)
    assert [batch.shape for batch in batches] == [(MEMBERS, 2, size) for size in 2 * sizes]


def rows_in_order(points):
    """Return the columns of ``(D, N)`` in sorted order, to compare sets of points."""
    return sorted(map(tuple, points.T.tolist()))


def test_without_noise_every_epoch_visits_each_point_once_in_a_new_order():
    data, flow = sample(40), make()
    batches = visits(flow, data, epochs=2, batch_size=20, noise=0)
    epochs = [torch.cat(batches[:2], dim=2), torch.cat(batches[2:], dim=2)]
    for epoch in epochs:
        for member, expected in zip(epoch, flow.preprocess(data)[0], strict=True):
            assert rows_in_order(member) == rows_in_order(expected)
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0][0], epochs[0][1])


@pytest.mark.parametrize("noise", [0, further(0.3)])
def test_many_rows_are_visited_in_pieces_each_row_once(noise):
    """Each piece is cut into steps; curves and initialisation use a subsample of the rows."""
    # Three pieces of two steps each; without pieces, there would be five steps
    count = 2 * trainer.POINTS_PER_PIECE + 1
    data, flow = sample(count), make()
    batches = visits(flow, data, epochs=1, batch_size=60_000, noise=noise, sharpen=0.0)
    assert [batch.shape[2] for batch in batches] == [43_691] * 5 + [43_690]
    whole, expected = torch.cat(batches, dim=2), flow.preprocess(data)[0]
    if not noise:
        for member, its in zip(whole, expected.expand(whole.shape), strict=True):
            assert torch.equal(
                member[:, np.lexsort(member.numpy())], its[:, np.lexsort(its.numpy())]
            )
    some = data[np.linspace(0, count - 1, trainer.POINTS_PER_PIECE).astype(int)]
    nll = -flow.log_prob(some).detach().mean(0)
    np.testing.assert_allclose(flow.history["train_nll"][-1], nll, atol=1e-5)


def test_noise_is_in_standardised_units_and_new_for_every_visit_and_member():
    """Noise of 0.5 increases the variance of each standardised feature to 1.25."""
    data = sample(200) * torch.tensor([100.0, 0.01])
    seen = torch.cat(visits(make(), data, epochs=60, batch_size=200, noise=0.5, sharpen=0.0), dim=2)
    assert_close(seen.var(2), torch.full((MEMBERS, 2), 1.25), rtol=0, atol=0.05)
    for member in seen:
        assert len(set(rows_in_order(member))) == seen.shape[2]
    assert not set(rows_in_order(seen[0])) & set(rows_in_order(seen[1]))
