"""The cells of labels: the code of a label stands for an interval of the line.

The code k stands for the cell from k - 1/2 to k + 1/2. The first cell extends to minus infinity,
and the last cell to infinity, so the cells tile the line. In all functions, ``last`` is the code of
the last label.
"""

import numpy as np

from flows.core.arrays import Array

NEAR = 0.1  # share of the mass that is near the codes of all categories


def within(u: Array, code: Array, last: int) -> tuple[Array, Array]:
    """Map ``u`` between 0 and 1 into the cell of ``code``; return x and the slope dx/du.

    The infinite cells of the first and the last label use ``u / (1 - u)``. A tail that falls as a
    power, such as the tail of Student's t distribution, is then smooth in ``u``.
    """
    return _in_cell(u, u / (1 - u), 1 / (1 - u) ** 2, code, last)


def share_near(count: int) -> float:
    """Return the share s of ``log_density_in_cell`` for ``count`` categories."""
    return max(0.5, NEAR ** (1 / count))


def _in_cell(u: Array, far: Array, steep: Array, code: Array, last: int) -> tuple[Array, Array]:
    """Return x and dx/du in the cell of ``code``.

    In an infinite cell, x is at the distance ``far`` from the end, and the slope is ``steep``.
    """
    x = np.where(code == last, code - 0.5 + far, np.where(code == 0, 0.5 - far, code - 0.5 + u))
    return x, np.where((code == 0) | (code == last), steep, 1.0)


def log_density_in_cell(x: Array, last: int, count: int) -> Array:
    """Return the logarithm of a density within the cell of ``x``, which integrates to 1::

        1                                     in an inner cell
        s                                     if t < 1, in an infinite cell
        s / (1 + s (t - 1) / (1 - s))^2       otherwise

    t is the distance from the end of the cell, and s is max(1 / 2, NEAR^(1 / count)) for ``count``
    categories: at least half of the mass is near the code of one category, and at least the share
    ``NEAR`` is near the codes of all categories.
    """
    s = share_near(count)
    far = np.maximum(0.0, np.maximum(0.5 - x, x - last + 0.5))
    outer = np.log(s) - 2 * np.log1p(s / (1 - s) * np.maximum(far - 1, 0.0))
    return np.where(far > 0, outer, 0.0)


def stretched(x: Array, last: int) -> tuple[Array, Array]:
    """Stretch the outer cells from width 1 to infinity with ``within``.

    Return the images of ``x``, and the logarithms of the slopes.
    """
    code = x.round().clip(0, last)
    image, slope = within(np.where(code == 0, 0.5 - x, x - code + 0.5), code, last)
    return image, np.log(slope)


def narrowed(x: Array, last: int) -> tuple[Array, Array]:
    """Apply the inverse of ``stretched``; return the images of ``x`` and the log-slopes."""
    far = np.maximum(0.0, np.maximum(0.5 - x, x - last + 0.5))  # distance into an outer cell
    end = np.where(x < last / 2, 0.5, last - 0.5)
    return np.where(far > 0, end + np.sign(x - end) * far / (1 + far), x), -2 * np.log1p(far)
