"""The effective number of rows."""

from __future__ import annotations

import numpy as np
import pytest

from flows.core.rows import effective_rows


def test_the_effective_number_of_rows_is_the_number_of_different_rows_for_equal_weights():
    assert effective_rows(np.arange(7)) == 7
    assert effective_rows(np.repeat(np.arange(7), 3)) == 7
    assert effective_rows(np.repeat(np.arange(2), [3, 1])) == pytest.approx(1.6)
