"""A population that is trained in slices by several workers, with the bytes of one process."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clusters import cluster, place
from pipeline import TINY

import flows
from flows import TrainingSettings, truths
from flows.core.errors import UserError
from flows.core.seeds import numpy_generators
from flows.kernels.build import library
from flows.networks import registry
from flows.networks.network_population import NetworkPopulation
from flows.training import slices, workers
from stages import generate, prepare
from stages import train as stage
from studies.claims.remedies import MixtureBase
from tools.verify import machines

RING = truths.make("ring").sample(96, np.random.default_rng(0))


pytestmark = pytest.mark.usefixtures("in_the_top_folder")


def train(model: str = "realnvp", members: int | range = 5, **changes: Any) -> NetworkPopulation:
    """A short training on rows that all members share."""
    own = {"couplings": 2} if "couplings" in registry.find(model).model_fields else {}
    settings = TrainingSettings(**{"epochs": 3, "log_every": 2, "batch_size": 32} | changes)
    population = flows.build(
        registry.architecture(model, {"hidden": 8} | own), (2,), members=members
    )
    return flows.train(population, RING[:64], RING[64:], settings, name=model)


def digest(population: NetworkPopulation, folder: Path) -> str:
    """Return the digest of the checkpoint: parameters, history and description."""
    flows.save(population, folder / "model")
    return hashlib.sha256((folder / "model").read_bytes()).hexdigest()


@pytest.mark.skipif(library() is None, reason="without kernels, last bits differ")
@pytest.mark.parametrize("model", ["realnvp", "glow", "nsf", "flow_matching", "vae", "gan"])
def test_a_population_trained_in_slices_has_the_same_bytes(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The population has all members, or a range of members."""
    for members in (5, range(3, 5)):
        digests = []
        for where in ("", 2):
            place(monkeypatch, where)
            digests.append(digest(train(model, members), tmp_path))
        assert digests[0] == digests[1]


def test_an_image_flow_trained_in_slices_differs_in_last_bits_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = np.random.default_rng(0).integers(4, size=(20, 1, 4, 4))
    own = {"levels": 4, "steps": [1], "hidden": 4}
    states = []
    for where in ("", 2):
        place(monkeypatch, where)
        population = flows.build(flows.GlowImage(**own), (1, 4, 4), members=3)
        flows.train(population, images, settings=TrainingSettings(epochs=2))
        states.append(population.state_dict())
    for key, one in states[0].items():
        torch.testing.assert_close(one, states[1][key], rtol=0, atol=1e-5)


def test_members_keep_their_own_rows_their_scaler_and_their_log_in_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = np.stack([RING[:64] * (1 + member) + member for member in range(3)], axis=1)
    seen, networks = [], []
    for where in ("", 2):
        place(monkeypatch, where)
        log: list[tuple[int, list[float]]] = []
        population = flows.train(
            flows.build(flows.RealNVP(couplings=2, hidden=8), (2,), members=3),
            rows,
            settings=TrainingSettings(epochs=5, log_every=2),
            on_log=lambda epoch, curves, log=log: log.append((epoch, curves["train_nll"].tolist())),
        )
        seen.append(log)
        networks.append(population)
    assert [epoch for epoch, _ in seen[0]] == [2, 4, 5]
    assert seen[0] == seen[1]
    for one, other in zip(*(each.state_dict().values() for each in networks), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_member_that_fails_in_a_slice_is_reported_by_its_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place(monkeypatch, 2)
    population = flows.build(flows.RealNVP(couplings=2, hidden=8), (2,), members=range(4, 8))
    with torch.no_grad():
        population.get_parameter("chain.bijections.1.conditioner.theta")[3, 0] = math.nan
    flows.train(population, RING, settings=TrainingSettings(epochs=2))
    said = "model: the loss of member 7 was not finite from epoch 1 on; the member stays in "
    assert capsys.readouterr().err == f"{said}the results\n"


def no_description(population: NetworkPopulation) -> None:
    population.description = {}


def another_base(population: NetworkPopulation) -> None:
    population.base = MixtureBase(2, 2, numpy_generators(0, "base", range(4)))


def another_order(population: NetworkPopulation) -> None:
    population.get_submodule("chain.bijections.0").kept = (1, 2)  # type: ignore[assignment]


def other_betas(population: NetworkPopulation) -> None:
    population.betas = (0.5, 0.9)  # type: ignore[misc]


@pytest.mark.parametrize("change", [no_description, another_base, another_order, other_betas])
def test_a_network_that_workers_cannot_build_is_trained_in_one_process(
    change: Callable[[NetworkPopulation], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place(monkeypatch, 2)
    population = flows.build(flows.RealNVP(couplings=2, hidden=8), (2,), members=4)
    assert slices.cut(population, "mine") == [slice(0, 2), slice(2, 4)]
    assert capsys.readouterr().err == ""
    change(population)
    assert slices.cut(population, "mine") == []
    said = "mine: trained in one process, as flows.build did not make it\n"
    assert capsys.readouterr().err == said


def test_invalid_rows_are_rejected_before_workers_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place(monkeypatch, 2)
    monkeypatch.setattr(workers, "completed", None)
    population = flows.build(flows.RealNVP(hidden=8), (2,), members=2)
    rows = np.where(RING[7] == RING, np.nan, RING)
    with pytest.raises(ValueError, match="row 7 of train holds nan, which is not finite"):
        flows.train(population, rows)


@pytest.mark.slow
def test_nothing_is_written_before_all_slices_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure, earlier files stay; workers then write the bytes of one process."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(TINY)
    (tmp_path / "data/source").mkdir(parents=True)
    outputs = [tmp_path / "models/realnvp.safetensors", tmp_path / "metrics/realnvp/history.csv"]
    place(monkeypatch, "")
    generate.main()
    prepare.main()
    stage.main("realnvp")
    before = [path.read_bytes() for path in outputs]
    place(monkeypatch, 2)
    real: Callable[..., dict[str, str]] = workers.identity
    with monkeypatch.context() as patched:
        patched.setattr(workers, "identity", lambda *same: {**real(*same), "torch": "another"})
        with pytest.raises(UserError, match="is not like the head"):
            stage.main("realnvp")
    assert [path.read_bytes() for path in outputs] == before
    for path in outputs:
        path.unlink()
    stage.main("realnvp")
    if library() is not None:
        assert [path.read_bytes() for path in outputs] == before


@pytest.mark.slow
@pytest.mark.skipif(library() is None, reason="without kernels, last bits differ")
def test_a_population_has_one_digest_wherever_its_slices_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In processes, and on a cluster with a worker without AVX-512 and a worker that is killed."""

    def trained(model: str, epochs: int) -> str:
        return digest(train(model, 10, epochs=epochs), tmp_path)

    runs = [("glow", 60), ("vae", 20), ("glow", 3000)]
    place(monkeypatch, "")
    here = {each: trained(*each) for each in runs}
    for where in (2, 3, 4):
        place(monkeypatch, where)
        assert all(trained(*each) == here[each] for each in runs[:2])
    with cluster(tmp_path, "one") as dask:
        dask.workers("two", **machines().get("one without AVX-512", {}))
        place(monkeypatch, dask.address)
        assert workers.count() == 2
        assert all(trained(*each) == here[each] for each in runs[:2])
        dask.workers("three")
        assert workers.count() == 3
        assert all(trained(*each) == here[each] for each in runs[:2])
        killer = threading.Timer(1, dask.kill, ["three"])
        killer.start()
        assert trained(*runs[2]) == here[runs[2]]
        assert not killer.is_alive()
        assert "three" not in dask.processes
