"""The cells of the study of digits: one density or sampler, on one split.

Log-densities are of y = x + u in levels. What is not finite is kept. Curves and bits of an image,
and the images that the figures show, are arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.networks.images import ImageFlow
from flows.training import workers
from scipy.special import logsumexp

from studies.digits import digits, latents, networks, peers
from studies.digits.digits import Fitted, Protocol
from studies.engine import Cell, Family

PACKAGES = (*workers.PACKAGES, "normflows", "pyvinecopulib")
Scored = tuple[dict[str, Array], dict[str, Array]]


def network(
    model: str,
    split: str,
    members: int,
    training: dict[str, Any],
    protocol: Protocol,
    settings: dict[str, Any] | None = None,
    shape: tuple[int, ...] = (1, 8, 8),
) -> Scored:
    """One of our models: a row a network."""
    data = digits.split(split, protocol["seed"], protocol["train"], protocol["test"])
    train, _, test, _ = data
    span, seed = range(members), protocol["seed"]
    fitted = networks.fit(model, shape, settings or {}, training, span, train, test, seed)
    return scores(data, fitted, members, protocol, shown=model != "vector")


def peer(name: str, split: str, protocol: Protocol) -> Scored:
    """Another density: one row."""
    data = digits.split(split, protocol["seed"], protocol["train"], protocol["test"])
    return scores(data, peers.fit(name, data[0], protocol["seed"]), 1, protocol)


def held_out(split: str, protocol: Protocol) -> Scored:
    """Held-out digits against held-out digits: what perfect samples score."""
    data = digits.split(split, protocol["seed"], protocol["train"], protocol["test"])
    return scores(data, None, 1, protocol)


FAMILIES = {
    "network": Family(network, tolerance=0.05),
    "peer": Family(peer, tolerance=0.05),
    "held_out": Family(held_out, tolerance=0.05),
    "small": Family(network, tolerance=0.05),
}


def cells(params: dict[str, Any]) -> Iterator[Cell]:
    """All cells of ``params.yaml``."""
    shared = {"protocol": params["protocol"]}
    for split in params["splits"]:
        yield Cell(f"held_out/{split}", {"split": split, **shared})
        for name in params["peers"]:
            yield Cell(f"peer/{name}/{split}", {"name": name, "split": split, **shared})
    for (name, words), split in product(params["networks"].items(), params["splits"]):
        own = {**words, "split": split, "members": words["members"][split]}
        yield Cell(f"network/{name}/{split}", {**own, **shared})
    for name, words in params["small"]["networks"].items():
        own = {**words, "split": "random", "members": 2}
        yield Cell(f"small/{name}", {**own, "protocol": params["small"]["protocol"]})


def scores(
    data: tuple[Array, ...],
    fitted: Fitted | None,
    count: int,
    protocol: Protocol,
    shown: bool = False,
) -> Scored:
    """Bits per dimension and the scores of samples, of so many networks; without a fit, those of
    the test images themselves. ``shown``: walk through the latents of a flow over images.
    """
    train, labels, test, digit = data
    seed = protocol["seed"]
    judge = digits.Judge(train, labels, protocol["neighbours"], seed)
    rows: dict[str, Any] = {"accuracy": np.full(count, judge.accuracy(test, digit))}
    arrays: dict[str, Array] = {}
    if fitted and fitted.log_q:
        log_q = digits.densities(
            fitted.log_q, test, protocol["draws"], seed, np.random.Generator.random
        )
        bits = digits.estimates(log_q)
        rows |= {key: each.mean(0) for key, each in bits.items()}
        arrays |= {key: each.mean(1) for key, each in bits.items()}
        if count > 1:
            mixed = logsumexp(log_q, axis=2) - np.log(count)
            arrays |= digits.estimates(mixed, "ensemble_bits")
    if fitted is None or fitted.draw:
        rng, size = numpy_generator(seed, "sample"), len(test) // 2
        orders = [rng.permutation(len(test)) for _ in range(protocol["samples"])]
        if fitted is None:
            fakes = np.concatenate([test[order[-size:]] for order in orders])[:, None]
        else:
            fakes = fitted.draw(size * len(orders), rng)
        judged = [judge.mean_scores(test, orders, fakes[:, m]) for m in range(fakes.shape[1])]
        rows |= dict(pd.DataFrame(judged))
        first = np.nan_to_num(fakes[: digits.SHOWN, 0])
        arrays |= {"samples": first, "nearest": judge.nearest(first)[0]}
        flow = fitted.network if fitted else None
        if shown and isinstance(flow, ImageFlow):
            arrays["between"] = latents.between(flow, test[:8:2], test[1:8:2])
            arrays["anew"] = latents.anew(flow, test[:4], rng)
    images = {"samples", "nearest", "between", "anew"}
    kept = {k: x.astype(np.uint8 if k in images else np.float32) for k, x in arrays.items()}
    if fitted and fitted.network:
        kept |= curves(fitted.network.history)
    return rows, kept


def curves(history: dict[str, Array]) -> dict[str, Array]:
    """Mean and deviation over networks; negative log-likelihoods in bits per dimension."""
    found = {"epoch": history["epoch"]}
    for key, values in history.items():
        if key != "epoch":
            scaled = values / (digits.PIXELS * np.log(2)) if key.endswith("_nll") else values
            found |= {key: scaled.mean(1), f"{key}_sd": scaled.std(1)}
    return {key: each.astype(np.float32) for key, each in found.items()}
