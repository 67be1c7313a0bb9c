"""The options of a fit: each is one field, and every front end has it."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import SHORT_RECIPE

import flows
from flows.__main__ import main
from flows.tables.columns import options
from flows.tables.columns.options import options_of

TAKERS = {
    "fit": (flows.fit, options.FitOptions),
    "inspect": (flows.inspect, options.InspectOptions),
    "DensityEstimator": (flows.DensityEstimator, options.DensityOptions),
    "DensityRegressor": (flows.DensityRegressor, options.RegressorOptions),
}


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


@pytest.mark.slow
def test_a_regressor_keeps_groups_in_one_fold_and_takes_marks_of_missing_values():
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(20), 3)
    X = pd.DataFrame({"who": who, "x": rng.normal(size=60), "year": 2020})
    X.loc[4, "x"] = -999
    y = rng.normal(size=60)
    small = {**SHORT_RECIPE, "hidden": 4, "bins": 3}
    how = {"group": "who", "na": [-999], "members": 5, "settings": small}
    fitted = flows.DensityRegressor(**how).fit(X, y)
    assert [column.name for column in fitted.density_.columns] == ["x", "target"]
    scores = fitted.density_.record.row_scores
    assert all(len(set(scores.fold[who == each])) == 1 for each in range(20))
    assert np.isfinite(fitted.predict(X)).all()
    assert np.isfinite(fitted.log_prob(X, y)).all()


def test_values_of_a_user_become_text():
    given = {"columns": {0: "integer"}, "na": [-999], "group": 1, "weights": None, "target": "y"}
    found = options.resolve(options.FitOptions, given, "fit")
    assert (found["columns"], found["na"]) == ({"0": "integer"}, ["-999"])
    assert (found["group"], found["weights"], found["target"]) == ("1", None, ["y"])
    assert options.resolve(options.FitOptions, found, "fit") == found
    with pytest.raises(TypeError, match=r"^columns = \['age'\]: must map names to kinds"):
        flows.inspect(np.zeros((3, 2)), columns=["age"])
