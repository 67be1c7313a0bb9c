"""The types of columns in samples."""

from __future__ import annotations

import pandas as pd
import pytest
from frames import every_sort
from helpers import quick_fit, rng

from flows.__main__ import main

pytestmark = pytest.mark.usefixtures("few_samples")
N = 240


def of_many_types():
    r = rng()
    return pd.DataFrame(
        {
            "small": r.integers(0, 255, N).astype("uint8"),
            "sparse": pd.arrays.SparseArray(r.poisson(1, N)),
            "nullable": pd.array(r.poisson(3, N), "Int64"),
            "ordered": pd.Categorical(r.choice(list("abc"), N), list("cbad"), ordered=True),
            "names": pd.Categorical([f"p{k}" for k in range(N)]),
            "intervals": pd.cut(r.uniform(size=N), 40),
            "zone": pd.date_range("2020", periods=N, freq="7h", tz="Europe/Berlin"),
            "months": pd.period_range("2020-01", periods=N, freq="M"),
            "constant": [True] * N,
            "never": [pd.NaT] * N,
            "lists": [[1, 2], [3]] * (N // 2),
            "y": r.normal(size=N),
        }
    )


@pytest.fixture(scope="module")
def samples_of_many_types():
    return quick_fit(of_many_types()).sample(20)


@pytest.mark.parametrize("name", list(of_many_types()))
def test_samples_have_the_type_of_the_column(samples_of_many_types, name):
    assert str(samples_of_many_types[name].dtype) == str(of_many_types()[name].dtype)


@pytest.mark.slow
def test_samples_of_a_parquet_file_have_its_types(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    table = every_sort()
    table["born"] = table["when"].dt.date
    table.to_parquet(tmp_path / "t.parquet", index=False)
    quick = ["--members=1", "--recipe=quick"]
    main(["fit", str(tmp_path / "t.parquet"), "-o", str(tmp_path / "m.flow"), *quick])
    main(["sample", str(tmp_path / "m.flow"), "-n", "9", "-o", str(tmp_path / "s.parquet")])
    before, after = (pq.read_schema(tmp_path / name) for name in ("t.parquet", "s.parquet"))
    assert after.names == before.names
    differ = [a for a, b in zip(before, after, strict=True) if a.type != b.type]
    assert differ == []
