"""flowjax, compiled: all epochs of a call are one XLA program, and the networks one ``vmap``."""

from __future__ import annotations

import math
import time
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

from benchmarks.peers import CLIP, Peer, Recipe
from flows.core.arrays import Array
from flows.training.optimizer import WARM_UP


class FlowJAX(Peer):
    """flowjax's ``coupling_flow``, whose couplings swap in two dimensions. Same parameters.

    Its scale from noise to data is ``softplus(s) + 0.01``. Shuffling, noise, clipping and the schedule are inside the compiled
    program. The steps of an epoch are exactly equal: the ``n mod steps`` last points of a shuffled epoch sit it out, as they do
    in the library's own ``get_batches``.
    """

    def __init__(self, networks: int, hidden: int, couplings: int) -> None:
        super().__init__(networks, hidden, couplings)

        def network(key: Any) -> Any:
            return coupling_flow(key, base_dist=StandardNormal((2,)), flow_layers=couplings, nn_width=hidden, nn_depth=2)

        population = eqx.filter_vmap(network)(jr.split(jr.key(0), networks))
        self.initial, self.static = eqx.partition(population, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable))
        self.trained = self.initial
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(self.initial)) // networks
        self.programs: dict[Any, Any] = {}  # compiled training, by what it depends on
        self._densities = jax.jit(jax.vmap(lambda trainable, x: self._flow(trainable).log_prob(x), in_axes=(0, None), out_axes=1))
        self._samples = jax.jit(
            jax.vmap(lambda trainable, key, n: self._flow(trainable).sample(key, (n,)), in_axes=(0, 0, None), out_axes=1), static_argnums=2
        )

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        self.points = jnp.asarray(recipe.sharpened(points), dtype=jnp.float32)
        self.noise = jnp.float32(recipe.noise)
        self.total = jnp.float32(recipe.steps(len(points)) * epochs)
        self.trained = self.initial
        optimizer = optax.chain(optax.clip_by_global_norm(CLIP) if recipe.noise else optax.identity(), optax.scale_by_adam())
        self.state = jax.vmap(optimizer.init)(self.initial)
        self.keys = jr.split(jr.key(1), self.networks)
        depends_on = (self.points.shape, recipe.batch_size, recipe.learning_rate, recipe.noise > 0)
        if depends_on not in self.programs:
            begin = time.perf_counter()
            train = jax.jit(jax.vmap(self._trainer(recipe, optimizer), in_axes=(0, 0, 0, None, None, None, None)))
            self.programs[depends_on] = train.lower(*self._arguments(1)).compile()
            self.compile_seconds += time.perf_counter() - begin
        self.program = self.programs[depends_on]

    def advance(self, epochs: int) -> None:
        self.trained, self.state, self.keys = jax.block_until_ready(self.program(*self._arguments(epochs)))

    def log_prob(self, points: Array) -> Array:
        return np.asarray(self._densities(self.trained, jnp.asarray(points, dtype=jnp.float32)), dtype=np.float64)

    def sample(self, n: int, seed: int) -> Array:
        return np.asarray(self._samples(self.trained, jr.split(jr.key(seed), self.networks), n), dtype=np.float64)

    def _arguments(self, epochs: int) -> tuple[Any, ...]:
        return self.trained, self.state, self.keys, self.points, self.noise, self.total, jnp.int32(epochs)

    def _flow(self, trainable: Any) -> Any:
        return paramax.unwrap(eqx.combine(trainable, self.static))

    def _trainer(self, recipe: Recipe, optimizer: optax.GradientTransformation) -> Any:
        """Training of one network. How many epochs, and of how many, are arguments: another length needs no other program."""
        rows = len(self.points)
        steps = recipe.steps(rows)
        size = rows // steps

        def loss(trainable: Any, batch: Any) -> Any:
            return -self._flow(trainable).log_prob(batch).mean()

        def step(carry: Any, batch: Any) -> Any:
            trainable, state, done, total = carry
            updates, state = optimizer.update(jax.grad(loss)(trainable, batch), state)
            rate = recipe.learning_rate * (_one_cycle(done / total) if recipe.noise else 1.0)
            trainable = jax.tree.map(lambda parameter, update: parameter - rate * update, trainable, updates)
            return (trainable, state, done + 1, total), None

        def train(trainable: Any, state: Any, key: Any, points: Any, noise: Any, total: Any, epochs: Any) -> Any:
            def epoch(_: Any, carry: Any) -> Any:
                trainable, state, key = carry
                key, order, fresh = jr.split(key, 3)
                visited = jr.permutation(order, points)
                if recipe.noise:
                    visited = visited + noise * jr.normal(fresh, visited.shape)
                done = optax.tree.get(state, "count").astype(jnp.float32)
                batches = visited[: steps * size].reshape(steps, size, -1)
                (trainable, state, _, _), _ = jax.lax.scan(step, (trainable, state, done, total), batches)
                return trainable, state, key

            return jax.lax.fori_loop(0, epochs, epoch, (trainable, state, key))

        return train


def _one_cycle(progress: Any) -> Any:
    """``flows.training.optimizer.one_cycle`` for a traced ``progress``."""
    rise = 0.04 + 0.96 * (1 - jnp.cos(math.pi * progress / WARM_UP)) / 2
    fall = (1 + jnp.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2
    return jnp.where(progress < WARM_UP, rise, fall)
