"""Write files of a version of this library, and answers of the version about them.

Run as ``python tests/files/write.py VERSION`` with the version on the path: the files are
``version-VERSION-NAME.flow``, and the answers are in ``version-VERSION.json``. Files of 0.4.0 were
written at commit 3eeb2395, whose numerics are those of the release. ``tests/test_old_files.py``
compares the answers of later versions.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import flows
from flows.core.settings import Recipe

FOLDER = Path(__file__).parent
SMALL = flows.NSF(couplings=2, hidden=4, bins=3)
OF_TARGETS = flows.Conditional(hidden=4, bins=3)
RECIPE = Recipe.model_validate(
    {
        "halving_steps": (4, 8),
        "least_steps": 30,
        "most_steps": 40,
        "components": 2,
        "starts": 1,
        "ridges": (1e-3, 1e-2),
        "filler_components": (1, 2),
    }
)
N = 120


def numbers(r: np.random.Generator) -> pd.DataFrame:
    a = r.normal(size=N)
    frame = pd.DataFrame({"a": a, "pos": np.exp(a + r.normal(0, 1.5, N)), "n": r.poisson(4, N)})
    frame.loc[3:9, "a"] = np.nan
    return frame


def labels(r: np.random.Generator) -> pd.DataFrame:
    ward = r.choice(["north", "south", "west"], N)
    x = r.normal(2.0 * (ward == "north"), 1, N).round(2)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(r.integers(0, 300, N), "D")
    return pd.DataFrame({"ward": ward, "x": x, "flag": r.random(N) < 0.4, "day": day})


def capped(r: np.random.Generator) -> pd.DataFrame:
    cap = r.integers(5, 51, N)
    return pd.DataFrame({"cap": cap, "used": r.binomial(cap, 0.6), "x": r.normal(size=N)})


def several(r: np.random.Generator) -> pd.DataFrame:
    x = r.normal(size=N)
    a = np.minimum(x + r.normal(size=N), 3.5)
    return pd.DataFrame({"x": x, "a": a, "b": np.minimum(a + r.exponential(1, N), 4)})


def money(r: np.random.Generator) -> pd.DataFrame:
    paid = np.where(r.random(N) < 0.49, 0, np.round(0.7 + r.exponential(9, N), 2))
    return pd.DataFrame({"paid": paid, "x": r.normal(paid > 0, 1, N)})


def carried(r: np.random.Generator) -> pd.DataFrame:
    hour, minute = r.integers(0, 24, N), r.integers(0, 60, N)
    frame = pd.DataFrame({"hour": hour, "x": r.normal(hour, 4).round(1), "minute": minute})
    return frame.assign(time=100 * hour + minute)


FITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "numbers": (numbers, {"columns": {"pos": "positive"}}),
    "labels": (labels, {}),
    "target": (capped, {"target": "used", "require": ["used <= cap"], "mixtures": 0}),
    "targets": (several, {"target": ["a", "b"], "require": ["a <= b", "b <= 4"], "mixtures": 0}),
    "require": (capped, {"require": ["used <= cap", "x < 4 or cap > 9"]}),
    "product": (several, {"require": ["a * 2 <= b * 2 or b / a <= 100"]}),
    "peak": (money, {}),
    "carried": (carried, {}),
}


def rows(table: Any) -> pd.DataFrame:
    """Return six rows of a table: two complete rows, and four with a gap in the first column."""
    frame = table(np.random.default_rng(1)).iloc[20:26].reset_index(drop=True).astype(object)
    frame.iloc[2:, 0] = None
    return frame


def answers(density: flows.Density, table: Any) -> dict[str, Any]:
    """Return answers of a density about ``rows`` of a table."""
    frame = rows(table)
    last = density.targets[-1] if density.targets else density.columns[-1].name
    score, error = density.log_prob_and_error(frame)
    predicted = density.predict(frame.head(4), last)
    how: dict[str, Any] = {"given": frame.head(4)} if density.targets else {}
    drawn = density.sample(None if how else 3, seed=3, **how)
    return {
        "log_prob": score.tolist(),
        "log_prob_error": error.tolist(),
        "predict": json.loads(predicted.to_json(orient="split", double_precision=10)),
        "sample": drawn.to_csv(index=False),
    }


def main(version: str) -> None:
    warnings.simplefilter("ignore")
    found = {}
    for name, (table, options) in FITS.items():
        frame = table(np.random.default_rng(0))
        own, model = {"mixtures": 1, **options}, OF_TARGETS if name == "targets" else SMALL
        density = flows.fit(frame, model, members=2, settings={"recipe": RECIPE}, **own)
        path = FOLDER / f"version-{version}-{name}.flow"
        density.save(path)
        found[name] = answers(flows.load(path), table)
        print(f"{path.name}: {path.stat().st_size} bytes")
    (FOLDER / f"version-{version}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
