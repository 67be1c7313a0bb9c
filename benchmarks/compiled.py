"""flowjax, compiled: all epochs of a call are one XLA program, and the networks one ``vmap``."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import paramax
from flowjax.distributions import StandardNormal
from flowjax.flows import coupling_flow

from benchmarks.peers import CLIP, Recipe
from flows.core.arrays import Array
from flows.training.optimizer import WARM_UP_SHARE


class FlowJAX:
    """flowjax's ``coupling_flow``, whose couplings swap in two dimensions. Same parameters.

    Its scale from noise to data is ``softplus(s) + 0.01``. Shuffling, noise, clipping and the
    schedule are inside the compiled program. The steps of an epoch are exactly equal: the
    ``n mod steps`` last points of a shuffled epoch are left out, as in the library's own
    ``get_batches``.
    """

    def __init__(self, networks: int, hidden: int, couplings: int) -> None:
        def network(key: Any) -> Any:
            sizes = {"flow_layers": couplings, "nn_width": hidden, "nn_depth": 2}
            return coupling_flow(key, base_dist=StandardNormal((2,)), **sizes)

        def fixed(leaf: Any) -> bool:
            return isinstance(leaf, paramax.NonTrainable)

        population = eqx.filter_vmap(network)(jr.split(jr.key(0), networks))
        self.initial, self.static = eqx.partition(population, eqx.is_inexact_array, is_leaf=fixed)
        self.networks = networks
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(self.initial)) // networks

        def density(trainable: Any, x: Any) -> Any:
            return self._flow(trainable).log_prob(x)

        self._densities = jax.jit(jax.vmap(density, in_axes=(0, None), out_axes=1))

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        data = jnp.asarray(points, dtype=jnp.float32)
        steps = recipe.steps(len(points))
        size = len(points) // steps
        optimizer = optax.adam(recipe.learning_rate)
        if recipe.noise:  # the schedule is ``flows.training.optimizer.one_cycle``
            rise = {"pct_start": WARM_UP_SHARE, "div_factor": 25}
            schedule = optax.cosine_onecycle_schedule(steps * epochs, recipe.learning_rate, **rise)
            optimizer = optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(schedule))

        def loss(trainable: Any, batch: Any) -> Any:
            return -self._flow(trainable).log_prob(batch).mean()

        def step(carry: Any, batch: Any) -> Any:
            trainable, state = carry
            updates, state = optimizer.update(jax.grad(loss)(trainable, batch), state)
            return (optax.apply_updates(trainable, updates), state), None

        def epoch(_: Any, carry: Any) -> Any:
            trainable, state, key = carry
            key, order, fresh = jr.split(key, 3)
            visited = jr.permutation(order, data)
            if recipe.noise:
                visited = visited + recipe.noise * jr.normal(fresh, visited.shape)
            batches = visited[: steps * size].reshape(steps, size, -1)
            (trainable, state), _ = jax.lax.scan(step, (trainable, state), batches)
            return trainable, state, key

        def train(trainable: Any, state: Any, key: Any, epochs: Any) -> Any:
            return jax.lax.fori_loop(0, epochs, epoch, (trainable, state, key))

        self.trained = self.initial
        self.carried = [jax.vmap(optimizer.init)(self.initial), jr.split(jr.key(1), self.networks)]
        program = jax.jit(jax.vmap(train, in_axes=(0, 0, 0, None)))
        self.program = program.lower(self.trained, *self.carried, jnp.int32(1)).compile()

    def advance(self, epochs: int) -> None:
        trained = self.program(self.trained, *self.carried, jnp.int32(epochs))
        self.trained, *self.carried = jax.block_until_ready(trained)

    def log_prob(self, points: Array) -> Array:
        log_q = self._densities(self.trained, jnp.asarray(points, dtype=jnp.float32))
        return np.asarray(log_q, dtype=np.float64)

    def _flow(self, trainable: Any) -> Any:
        return paramax.unwrap(eqx.combine(trainable, self.static))
