"""Rows that lack one number each, after the maps of single columns."""

from __future__ import annotations

import numpy as np
import torch
from helpers import field

from flows.core.arrays import as_points
from flows.networks.lines import Lines
from flows.networks.preprocessing import Preprocessing
from flows.tables.columns.column_maps import ColumnMaps


def test_lines_are_the_maps_of_complete_rows():
    rng = np.random.default_rng(0)
    rows = np.exp(rng.standard_normal((200, 3)) @ rng.standard_normal((3, 3)))
    fields = [field(name, kind="positive") for name in "abc"]
    preprocessing = Preprocessing((3,), 2, ColumnMaps(fields))
    preprocessing.add_margins()
    preprocessing.add_whitening()
    preprocessing.fit(np.stack([rows[:100], rows[100:]], axis=1), margins=True, whiten=True)
    columns, own = np.array([2, 0, 1, 0]), np.array([3, 0, 0, 1, 2])
    lacking = rows[:4].copy()
    lacking[np.arange(4), columns] = np.nan
    x = np.exp(rng.standard_normal((5, 6)))
    lines = Lines(preprocessing, lacking, columns)
    found, slope = lines.at(own, x)
    for r, k in np.ndindex(5, 6):
        complete = lacking[own[r]][None].copy()
        complete[0, columns[own[r]]] = x[r, k]
        expected, log_det = preprocessing.map_columns(as_points(complete).expand(2, -1, -1))
        z = lines.z[:, :, own[r]].clone()
        z[:, lines.feature[own[r]]] = found[:, r, k]
        torch.testing.assert_close(z, expected[..., 0])
        torch.testing.assert_close(lines.log_det[:, own[r]] + slope[:, r, k], log_det[..., 0])
        whole, of_mixing = preprocessing.mix_columns(z[..., None])
        torch.testing.assert_close(whole, preprocessing(as_points(complete).expand(2, -1, -1))[0])
        assert of_mixing.shape == (2, 1)
