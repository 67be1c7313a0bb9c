"""Rows that lack one number each, after the maps of single columns."""

from __future__ import annotations

import torch
from torch import Tensor

from flows.core.arrays import Array, Whole
from flows.core.rows import by_value
from flows.networks.preprocessing import Preprocessing


class Lines:
    """n rows that lack one number each, after the maps of single columns of a preprocessing.

    A quadrature asks for the densities of many values of the unknown number of a row. The known
    values of the row are mapped once, and each unknown number alone. The columns that the rows lack
    may differ.

    Attributes:
        z: the features of the rows, ``(M, W, n)``, with a feature of 0 for the unknown number.
        log_det: the sums of log dz/dx over the known numbers, ``(M, n)``.
        feature: the feature of the unknown number of each row, ``(n,)``.

    Args:
        preprocessing: the maps.
        rows: the rows in the user's units, ``(n, D)``.
        columns: the column that each row lacks, which holds numbers, ``(n,)``.

    Raises ``NotImplementedError`` for a map to the real line that may mix columns.
    """

    @torch.no_grad()
    def __init__(self, preprocessing: Preprocessing, rows: Array, columns: Whole) -> None:
        self.columns, self.members = columns, preprocessing.members
        self.feature = columns - preprocessing.labels + preprocessing.indicators
        self._maps = {d: preprocessing.part([d]) for d, _ in by_value(columns)}
        x = torch.from_numpy(rows).T.repeat(self.members, 1, 1)
        slope = torch.zeros(self.members, len(rows), dtype=torch.float64)
        for d, own in by_value(columns):
            middle = self._maps[d].inverse(x.new_zeros(self.members, 1, 1))[0]
            x[:, d, own] = middle[:, 0]
            slope[:, own] = self._maps[d](middle)[1]
        self.z, log_det = preprocessing.map_columns(x)
        self.log_det = log_det - slope

    @torch.no_grad()
    def at(self, own: Whole, x: Array) -> tuple[Tensor, Tensor]:
        """Map K values of the unknown number of r rows.

        Args:
            own: the indices of the rows, ``(r,)``.
            x: the values, ``(r, K)``.

        Returns z and log dz/dx, ``(M, r, K)`` each.
        """
        z = torch.empty(self.members, *x.shape, dtype=torch.float64)
        log_slope = z.clone()
        for d, places in by_value(self.columns[own]):
            values = torch.from_numpy(x[places]).reshape(1, 1, -1).expand(self.members, -1, -1)
            shape = self.members, len(places), x.shape[1]
            for found, each in zip((z, log_slope), self._maps[d](values), strict=True):
                found[:, places] = each.reshape(shape)
        return z, log_slope
