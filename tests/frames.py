"""Small tables that several test modules share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from closed_forms import gappy

WARDS = {"age": "integer", "share": "interval:0:1"}  # kinds of ``wards``
PEOPLE = {"grade": "category", "visits": "count"}  # kinds of ``people``
PRICES = {"age": "integer", "share": "interval:0:1", "price": "positive"}  # kinds of ``prices``


def wards() -> pd.DataFrame:
    """Return a table of whole numbers, labels, numbers and shares."""
    rng = np.random.default_rng(0)
    age, ward = rng.integers(20, 80, 120), np.array(["west", "east"])[rng.integers(0, 2, 120)]
    frame = pd.DataFrame({"age": age, "ward": ward, "bmi": age / 4 + rng.normal(10, 2, 120)})
    return frame.assign(share=rng.beta(2, 3, 120))


def gappy_wards() -> pd.DataFrame:
    """Return 12 rows like ``wards`` with missing values, and with one more column."""
    rng = np.random.default_rng(1)
    columns = {"who": [f"p{k}, jr" for k in range(12)], "age": rng.integers(20, 80, 12)}
    frame = pd.DataFrame({**columns, "ward": "east", "bmi": rng.normal(25, 4, 12).round(1)})
    frame = frame.assign(share=rng.beta(2, 3, 12)).astype(object)
    for row, name in ((1, "age"), (3, "ward"), (4, "bmi"), (4, "share"), (8, "bmi")):
        frame.loc[row, name] = np.nan
    return frame


def prices(n: int = 120, seed: int = 0) -> pd.DataFrame:
    """Return a table of whole numbers, numbers, shares and positive numbers."""
    rng = np.random.default_rng(seed)
    share = rng.beta(2, 3, n)
    columns = {"age": rng.integers(20, 80, n), "bmi": rng.normal(25, 4, n)}
    return pd.DataFrame({**columns, "share": share, "price": np.exp(rng.normal(3 * share))})


def pressures(n: int = 300) -> pd.DataFrame:
    """Return a table in which the pressure depends on the age and the ward."""
    rng = np.random.default_rng(0)
    ward = rng.choice(["north", "south", "west"], n)
    age = rng.integers(20, 80, n)
    pressure = 100 + age / 2 + 10 * (ward == "west") + rng.normal(0, 8, n)
    return pd.DataFrame({"age": age, "ward": ward, "pressure": pressure})


def clinic(n: int = 160, seed: int = 0) -> pd.DataFrame:
    """Return a table in which the count `visits` and the label `state` depend on `age`, `ward`."""
    rng = np.random.default_rng(seed)
    age, dose = rng.uniform(20, 80, n), rng.normal(size=n)
    ward = rng.choice(["a", "b"], n)
    visits = rng.poisson(np.exp(age / 40 + 0.5 * (ward == "b")))
    state = np.where(rng.logistic(size=n) < (age - 50) / 5, "ill", "well")
    columns = {"state": state, "age": age, "visits": visits, "dose": dose, "ward": ward}
    frame = pd.DataFrame(columns)
    frame.loc[rng.random(n) < 0.1, "dose"] = np.nan
    return frame


def every_sort(n: int = 240) -> pd.DataFrame:
    """Return a table with a column of every sort, learned or not."""
    r = np.random.default_rng(0)
    a, b = r.normal(size=n).round(3), r.gamma(2, 1, n).round(2)
    start = pd.Timestamp("2020-01-01")
    days = pd.to_timedelta(r.integers(0, 400, n), "D")
    shares = np.r_[[0.05] * 10, [0.01] * 50]
    return pd.DataFrame(
        {
            "id": [f"p{k:04}" for k in range(n)],
            "a": a,
            "const": "x",
            "b": b,
            "total": (2 * a - b + 3).round(3),
            "copy": a,
            "city": r.choice([f"city{k}" for k in range(60)], n, p=shares),
            "grade": r.choice(["1", "2", "3+"], n),
            "when": start + days,
            "day": (start + days[::-1]).strftime("%d.%m.%Y"),
            "visits": r.integers(0, 9, n).astype("int32"),
            "flag": r.integers(0, 2, n).astype(bool),
            "smoker": r.integers(0, 2, n),
            "number": np.arange(1001, 1001 + n),
            "ward": pd.Categorical(r.choice(list("abc"), n), categories=list("abcd")),
            "income": r.integers(1000, 99_999, n),
            "empty": np.nan,
            "stay": pd.to_timedelta(r.gamma(2, 100, n), "s"),
            "single": r.normal(size=n).astype("float32"),
        }
    )


HEIGHTS = pd.CategoricalDtype(["small", "mid", "tall"], ordered=True)


def people(n: int = 120) -> pd.DataFrame:
    """Return a table with labels of several types, one of them ordered."""
    rng = np.random.default_rng(0)
    size = pd.Categorical(np.array(["tall", "small", "mid"])[rng.integers(0, 3, n)], dtype=HEIGHTS)
    return prices(n)[["bmi"]].assign(
        ward=np.array(["west", "east"])[rng.integers(0, 2, n)],
        grade=rng.integers(1, 5, n),
        well=rng.uniform(size=n) < 0.5,
        size=size,
        visits=rng.poisson(0.5, n),
    )


def cities() -> pd.DataFrame:
    """Return a table with 199 labels of ten rows each, and 6 rare ones of 1 to 6 rows."""
    rng = np.random.default_rng(0)
    names = [f"big {k}" for k in range(199)] + [f"small {k}" for k in range(6)]
    city = rng.permutation(np.repeat(names, [10] * 199 + [*range(1, 7)]))
    return pd.DataFrame({"city": city, "x": rng.normal(size=len(city))})


def patients(n: int = 300) -> pd.DataFrame:
    """Return a table of positive numbers that depend on each other."""
    rng = np.random.default_rng(0)
    age = rng.uniform(20, 80, n)
    price = np.exp(age / 40 + 0.2 * rng.standard_normal(n))
    return pd.DataFrame({"age": age, "price": price, "size": price * rng.uniform(0.9, 1.1, n)})


def rows_of(*columns: Any, n: int = 100) -> np.ndarray:
    """Return rows with the given columns; a word stands for random values of this kind."""
    rng = np.random.default_rng(0)
    made = {
        "normal": lambda: rng.normal(size=n),
        "share": lambda: rng.uniform(size=n),
        "count": lambda: rng.poisson(20, n).astype(float),
    }
    return np.stack([made[c]() if isinstance(c, str) else c for c in columns], axis=1)


def amounts(rows, zeros, step, seed=0):
    """Return a table of amounts, of which a share are ``zeros``, and of a related column."""
    r = np.random.default_rng(seed)
    decimals = {1: 0, 0.1: 1, 0.01: 2}[step]
    is_zero, other = r.random(rows) < zeros, r.normal(size=rows)
    paid = np.exp(r.normal(4, 1, rows) + 0.3 * other)
    paid = np.maximum(np.round(paid, decimals), step)
    return pd.DataFrame({"paid": np.where(is_zero, 0.0, paid), "other": other})


def gappy_labels(n: int = 60) -> pd.DataFrame:
    """Return numbers, labels and counts with missing values, and a row without values."""
    table = pd.DataFrame(gappy(n)[1], columns=list("abc"))
    table["label"] = pd.Series(np.where(table["c"] > 0, "up", "down"))
    table["count"] = np.random.default_rng(1).poisson(3, n)
    table.loc[[2, 5, 7], "label"] = None
    table.loc[9] = np.nan
    return table


def cloud(n, dim=2, seed=0):
    """Return normal rows ``(n, dim)``."""
    return np.random.default_rng(seed).normal(size=(n, dim))


def two_moons(n, seed=0):
    """Two thin arcs, which no single Gaussian describes."""
    rng = np.random.default_rng(seed)
    angle, side = rng.uniform(0, np.pi, n), rng.choice([-1, 1], n)
    x = np.stack([np.cos(angle) + side / 2, side * np.sin(angle)], axis=1)
    x += 0.1 * rng.normal(size=(n, 2))
    return (x - x.mean(0)) / x.std(0)


def two_classes() -> pd.DataFrame:
    """Return two classes of rows, which differ in a number and in two labels."""
    rng = np.random.default_rng(5)
    which = rng.random(70) < 0.4
    ward = np.where(rng.random(70) < np.where(which, 0.9, 0.2), "north", "south")
    stay = np.where(which, rng.choice(["a", "b"], 70), rng.choice(["b", "c"], 70))
    return pd.DataFrame({"ward": ward, "x": rng.normal(3.0 * which, 1.0), "stay": stay})


def clusters(n: int = 200, dim: int = 2, seed: int = 0) -> np.ndarray:
    """Return rows of three clusters with different shapes."""
    rng = np.random.default_rng(seed)
    centers, factors = 3 * rng.normal(size=(3, dim)), rng.normal(size=(3, dim, dim))
    cluster = rng.integers(3, size=n)
    return centers[cluster] + np.einsum("nij,nj->ni", factors[cluster], rng.normal(size=(n, dim)))
