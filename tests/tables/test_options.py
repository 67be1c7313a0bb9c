"""The options of a fit: each is one field, and every front end has it."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pipeline import ROOT

import flows
from flows.__main__ import main
from flows.tables import options
from flows.tables.options import options_of

TAKERS = {
    "fit": (flows.fit, options.FitOptions),
    "inspect": (flows.inspect, options.InspectOptions),
    "DensityEstimator": (flows.DensityEstimator, options.DensityOptions),
    "DensityRegressor": (flows.DensityRegressor, options.RegressorOptions),
}
FIELD = """
    colour: Annotated[str | None, Option(None, "the colour of the rows.", metavar="NAME")]

"""
# What a user sees of the new option, and what becomes of its value. A fit returns its options here.
FRONT_ENDS = """
import contextlib, inspect, io
import numpy as np
from sklearn.base import clone
import flows
from flows.__main__ import main
from flows.command_line import verbs
from flows.density import estimator as estimators, fitting

for each in (flows.fit, flows.inspect, flows.DensityEstimator, flows.DensityRegressor):
    assert inspect.signature(each).parameters["colour"].default is None
    assert "\\n        colour: the colour of the rows.\\n" in each.__doc__
for verb in ("fit", "inspect"):
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main([verb, "--help"])
    assert "--colour NAME" in said.getvalue() and "the colour of the rows" in said.getvalue()

class Fitted(dict):
    save = lambda self, path: fits.append(self)

fits, rows = [], np.eye(3)
for module in (fitting, verbs, estimators):
    module.fit_table = lambda read, model, options, **_: Fitted(options)
fits.append(flows.fit(rows, colour="red"))
estimator = clone(flows.DensityEstimator().set_params(colour="red"))
assert estimator.get_params()["colour"] == "red"
fits.append(estimator.fit(rows).density_)
fits.append(flows.DensityRegressor(colour="red").fit(rows, rows[0]).density_)
main(["fit", "t.csv", "-o", "m.flow", "--colour=red"])
assert [each["colour"] for each in fits] == 4 * ["red"]
assert flows.fit(rows)["colour"] is None
print(flows.__file__)
"""


def test_a_new_option_is_one_field(tmp_path: Path):
    """In a copy of the library with one more field, all front ends have the option."""
    shutil.copytree(ROOT / "flows", tmp_path / "flows", ignore=shutil.ignore_patterns("*.pyc"))
    file = tmp_path / "flows" / "tables" / "options.py"
    before, after = file.read_text().split("\n\nclass InspectOptions(", 1)
    file.write_text(f"{before}{FIELD}\nclass InspectOptions({after}")
    words = [sys.executable, "-c", FRONT_ENDS]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "flows" / "__init__.py")


@pytest.mark.parametrize("name", TAKERS)
def test_the_signature_and_the_docstring_have_all_options(name: str):
    taker, kind = TAKERS[name]
    found = inspect.signature(taker).parameters
    known = options_of(kind)
    assert {each: found[each].default for each in known if each in found} == {
        each: option.default for each, (_, option) in known.items()
    }
    words = " ".join((taker.__doc__ or "").split())
    for each, (_, option) in known.items():
        assert f" {each}: {' '.join(option.text.split())} " in words
    assert "**options" not in words
    assert not any(each.kind is each.VAR_KEYWORD for each in found.values())


@pytest.mark.parametrize("verb", ["fit", "inspect"])
def test_the_help_of_the_command_line_has_all_options(verb: str, capsys: Any):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for name, (_, option) in options_of(TAKERS[verb][1]).items():
        assert f" {option.flag or f'--{name}'} " in said
        assert (option.shell or option.text.rstrip(".")) in said


@pytest.mark.parametrize("name", TAKERS)
def test_an_unknown_keyword_is_a_type_error(name: str):
    own = {} if name.startswith("Density") else {"frame": np.zeros((3, 2))}
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword .* 'member'$"):
        TAKERS[name][0](**own, member=3)


def test_values_of_a_user_become_text():
    given = {"columns": {0: "integer"}, "na": [-999], "group": 1, "weights": None, "target": "y"}
    found = options.resolve(options.FitOptions, given, "fit")
    assert (found["columns"], found["na"]) == ({"0": "integer"}, ["-999"])
    assert (found["group"], found["weights"], found["target"]) == ("1", None, ["y"])
    assert options.resolve(options.FitOptions, found, "fit") == found
    with pytest.raises(TypeError, match=r"^columns = \['age'\]: must map names to kinds"):
        flows.inspect(np.zeros((3, 2)), columns=["age"])


def test_a_regressor_keeps_groups_in_one_fold_and_takes_marks_of_missing_values():
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(20), 3)
    X = pd.DataFrame({"who": who, "x": rng.normal(size=60), "year": 2020})
    X.loc[4, "x"] = -999
    y = rng.normal(size=60)
    small = {"hidden": 4, "bins": 3}
    fitted = flows.DensityRegressor(group="who", na=[-999], members=5, settings=small).fit(X, y)
    assert [column.name for column in fitted.density_.columns] == ["x", "target"]
    scores = fitted.density_.record.row_scores
    assert all(len(set(scores.fold[who == each])) == 1 for each in range(20))
    assert np.isfinite(fitted.predict(X)).all()
    assert np.isfinite(fitted.log_prob(X, y)).all()
    with pytest.raises(ValueError, match="year"):
        flows.DensityRegressor(strict=True).fit(X, y)
