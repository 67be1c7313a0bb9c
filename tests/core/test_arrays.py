"""Subsamples of rows."""

from __future__ import annotations

import numpy as np
import torch

from flows.core.arrays import subsample


def test_a_subsample_is_evenly_spaced_and_few_rows_are_all_kept():
    x = np.arange(22.0).reshape(11, 2)
    assert subsample(x, 11) is x
    assert subsample(x[:0], 3).shape == (0, 2)
    assert subsample(x, 3)[:, 0].tolist() == [0, 10, 20]
    assert torch.equal(subsample(torch.from_numpy(x), 3), torch.from_numpy(subsample(x, 3)))
    places = subsample(np.arange(10_000), 4_000)
    assert len(places) == 4_000
    assert set(np.diff(places)) == {2, 3}
