"""Exact draws of a joint density given labels alone, or given nothing.

A member knows the probability of any labels, and draws numbers given labels. With ``o`` the known
labels of a row, A the sets in which unknown labels lie, and w the weights of the members::

    P_m(o, A) = P_m(c_o, c_u in A)            in closed form; 1 without labels
    r(c, x)   = sum_m s_m q_m(c, x | c_o, c_u in A),    s_m = w_m P_m(o, A) / sum_k w_k P_k(o, A)
              = sum_m w_m q_m(c, x) / sum_k w_k P_k(o, A)                 if c agrees with o and A

Draws from r have equal weights in the ensemble. Without constraints, and without intervals of
numbers, all of them are effective.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator

from flows.core.arrays import Array, Whole
from flows.core.rows import Rows, codes_of
from flows.mixtures.mixture import Mixture
from flows.mixtures.truncated_mixture import codes_inside
from flows.networks.population import ensemble_log_prob
from flows.recipe.ensemble import Ensemble, different
from flows.tables.posterior.region import Intervals

Sets = Mapping[int, Whole]  # the codes of the allowed labels, by column


class GivenLabels:
    """The members of an ensemble given known labels, and sets of unknown labels.

    Args:
        ensemble: the ensemble.
        log_mass: the members' log-probabilities of the constraints, ``(M,)``.
    """

    def __init__(self, ensemble: Ensemble, log_mass: Array) -> None:
        self.ensemble, self.log_mass, self.sizes = ensemble, log_mass, ensemble.sizes
        self.member_weights = ensemble.member_weights.numpy()

    def codes(self, rows: Array) -> Whole:
        """Return the codes of the labels of rows ``(n, D)``, ``(n, C)``; -1 for unknown labels."""
        return codes_of(rows[:, : len(self.sizes)], self.sizes)

    def sets(self, intervals: Intervals) -> Sets:
        """Return the codes of the labels inside intervals, by column of labels."""
        sizes = dict(enumerate(self.sizes))
        return {d: codes_inside(own, sizes[d]) for d, own in intervals.items() if d in sizes}

    def log_prob(self, rows: Array, sets: Sets) -> Array:
        """Return log P_m(o, A) of rows ``(n, D)``, ``(n, M)``."""
        if not self.sizes:
            return np.zeros((len(rows), self.ensemble.members))
        codes = self.codes(rows)
        log_p = {id(each): self._inside(each, sets, codes)[1] for each in self._densities}
        return np.stack([log_p[id(each)] for each in self.ensemble.labels], axis=1)

    def draw(self, row: Array, sets: Sets, count: int, generator: Generator) -> Array:
        """Draw complete rows from r, ``(count, D)``, which are not rounded.

        Some of the rows may break the constraints.

        Args:
            row: the row ``(D,)``, with known labels alone.
            sets: the allowed labels.
            count: the number of rows.
            generator: the source of the draws.
        """
        log_p = self.log_prob(row[None], sets)[0]
        with np.errstate(divide="ignore"):
            log_w = np.log(self.member_weights) + log_p
        shares = np.exp(log_w - np.logaddexp.reduce(log_w))
        member = generator.choice(len(shares), size=count, p=shares / shares.sum())
        known, codes = self.codes(row[None]), np.empty((count, len(self.sizes)), np.int64)
        for density in self._densities:
            is_own = [each is density for each in self.ensemble.labels]
            own = np.flatnonzero(np.array(is_own)[member])
            if len(own):
                inside, _ = self._inside(density, sets, known)
                given = Rows.of_labels(known.repeat(len(own), axis=0), self.sizes)
                codes[own] = inside.draw_missing(given, generator)[0].codes
        return np.column_stack([codes, self.ensemble.draw_given(codes, member, generator)])

    def log_proposal(self, log_q: Array, row: Array, sets: Sets) -> Array:
        """Return log r, ``(n,)``, of rows with the labels that are known or allowed.

        Args:
            log_q: the members' log-densities of the rows given the constraints, ``(n, M)``.
            row: the row of ``draw``, ``(D,)``.
            sets: the allowed labels.
        """
        log_p = ensemble_log_prob(self.log_prob(row[None], sets), self.member_weights)
        return ensemble_log_prob(log_q + self.log_mass, self.member_weights) - log_p

    @property
    def _densities(self) -> list[Mixture]:
        return different(self.ensemble.labels)

    def _inside(self, density: Mixture, sets: Sets, codes: Whole) -> tuple[Mixture, Array]:
        """Return a density of labels inside sets, and the log-probabilities of codes and sets."""
        density = density.marginal(0)
        inside = density.with_labels(sets) if sets else density
        log_p = inside.log_labels(codes)
        if sets:
            log_p = log_p + np.log(self._mass(density, sets))
        return inside, log_p

    @staticmethod
    def _mass(density: Mixture, sets: Sets) -> float:
        """Return the probability that labels lie in sets."""
        within = [density.shares[j][:, allowed].sum(axis=1) for j, allowed in sets.items()]
        return float(density.weights @ np.prod(within, axis=0))
