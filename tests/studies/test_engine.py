"""The engine of the studies, with a study of three cells: runs, stored rows and checks."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from flows.core.errors import UserError
from studies import __main__, engine
from studies.engine import Cell, Family, Study

CALLS: list[tuple[float, float]] = []


def power(base: float, exponent: float, broken: bool = False) -> Any:
    """Return two replicates, and an array if the base is even."""
    CALLS.append((base, exponent))
    if broken:
        raise ZeroDivisionError("no such power")
    scores = {"value": np.array([base**exponent, -(base**exponent)]), "lost": np.array([np.nan, 0])}
    return (scores, {"halves": np.full(3, base / 2)}) if base % 2 == 0 else scores


def cells(params: dict[str, Any]) -> Iterator[Cell]:
    for base in params["bases"]:
        yield f"power/{base}", {"base": base, **params["power"]}
    yield "power/small", {"base": 1, "exponent": 0}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The study ``toy`` with the bases 2, 3 and, for the check, 1."""
    module = ModuleType("studies.toy.cells")
    vars(module).update(cells=cells, FAMILIES={"power": Family(power)}, PACKAGES=("numpy",))
    monkeypatch.setitem(sys.modules, "studies.toy.cells", module)
    monkeypatch.setattr(engine, "NAMES", ("toy",))
    monkeypatch.delenv("FLOWS_WORKERS", raising=False)
    CALLS.clear()
    write(tmp_path)
    return module


def write(folder: Path, exponent: float = 2, **more: Any) -> None:
    params = {"bases": [2, 3], "power": {"exponent": exponent, **more}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def test_a_run_scores_missing_cells_and_keeps_the_others(toy: ModuleType, tmp_path: Path) -> None:
    assert engine.run(Study("toy", tmp_path), ["power/2"])
    assert engine.run(Study("toy", tmp_path))
    assert engine.run(Study("toy", tmp_path))
    assert sorted(CALLS) == [(1, 0), (2, 2), (3, 2)]
    study = Study("toy", tmp_path)
    digest = study.key("power/2")[1]
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert lines[:3] == [
        "cell,digest,replicate,lost,value",
        f"power/2,{digest},0,nan,4",
        f"power/2,{digest},1,0,-4",
    ]
    assert [line.split(",")[0] for line in lines[1:]] == sorted(
        line.split(",")[0] for line in lines[1:]
    )
    table = study.table("power", 2)
    assert list(table["value"]) == [4, -4]
    assert np.isnan(table["lost"][0])
    assert list(study.arrays("power/2")["halves"]) == [1, 1, 1]
    assert study.seconds("power/2") >= 0
    assert study.stored.runs[study.key("power/2")]["commit"]


def test_only_settings_and_version_make_a_cell_missing(toy: ModuleType, tmp_path: Path) -> None:
    engine.run(Study("toy", tmp_path))
    assert Study("toy", tmp_path).missing() == []
    toy.FAMILIES = {"power": Family(lambda base, exponent: {"value": 0}, version=1)}  # other source
    assert Study("toy", tmp_path).missing() == []
    toy.FAMILIES = {"power": Family(power, version=2)}
    assert len(Study("toy", tmp_path).missing()) == 3
    toy.FAMILIES = {"power": Family(power)}
    write(tmp_path, exponent=3)
    assert Study("toy", tmp_path).missing() == ["power/2", "power/3"]
    with pytest.raises(UserError, match="power/2 was not run: python -m studies run toy"):
        Study("toy", tmp_path).table("power/2")
    before = (tmp_path / "results.csv").read_bytes()
    engine.run(Study("toy", tmp_path))
    write(tmp_path, exponent=2)
    engine.run(Study("toy", tmp_path))
    assert (tmp_path / "results.csv").read_bytes() == before  # as before exponent 3


def test_a_cell_whose_arrays_were_overwritten_is_missing(toy: ModuleType, tmp_path: Path) -> None:
    engine.run(Study("toy", tmp_path))
    write(tmp_path, exponent=3)
    engine.run(Study("toy", tmp_path), ["power/2"])
    write(tmp_path, exponent=2)
    assert Study("toy", tmp_path).missing() == ["power/2"]  # its arrays were overwritten
    toy.FAMILIES = {"power": Family(lambda base, exponent: {"value": 0})}
    engine.run(Study("toy", tmp_path), ["power/2"])
    assert Study("toy", tmp_path).arrays("power/2") == {}  # no arrays of other settings
    toy.FAMILIES = {}
    with pytest.raises(UserError, match=r"cells\.py has power/2, and no family power in FAMILIES"):
        Study("toy", tmp_path)


def test_a_failed_cell_is_named_and_the_others_continue(
    toy: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, broken=True)
    assert not engine.run(Study("toy", tmp_path))
    assert Study("toy", tmp_path).missing() == ["power/2", "power/3"]
    assert "power/2: ZeroDivisionError: no such power" in capsys.readouterr().err
    with pytest.raises(UserError, match="not run yet: power/2 and 1 more"):
        Study("toy", tmp_path).report()


def test_a_fresh_run_scores_all_cells_again(toy: ModuleType, tmp_path: Path) -> None:
    engine.run(Study("toy", tmp_path))
    CALLS.clear()
    engine.run(Study("toy", tmp_path), ["power/3"], fresh=True)
    assert CALLS == [(3, 2)]
    engine.run(Study("toy", tmp_path), fresh=True)
    assert len(CALLS) == 4


def test_a_fresh_run_without_workers_drops_no_rows(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.run(Study("toy", tmp_path))
    monkeypatch.setenv("FLOWS_WORKERS", "nowhere")
    with pytest.raises(UserError, match="FLOWS_WORKERS = 'nowhere'"):
        engine.run(Study("toy", tmp_path), fresh=True)
    assert Study("toy", tmp_path).missing() == []


def test_a_second_run_at_the_same_time_is_rejected(toy: ModuleType, tmp_path: Path) -> None:
    toy.FAMILIES = {
        "power": Family(lambda base, exponent: {"value": engine.run(Study("toy", tmp_path))})
    }
    assert not engine.run(Study("toy", tmp_path), ["power/2"])
    toy.FAMILIES = {"power": Family(power)}
    assert engine.run(Study("toy", tmp_path))


def test_a_check_names_the_committed_and_the_new_number(toy: ModuleType, tmp_path: Path) -> None:
    engine.run(Study("toy", tmp_path))
    assert engine.check(Study("toy", tmp_path), ["power/2", "power/small"]) == []
    toy.FAMILIES = {
        "power": Family(lambda base, exponent: {"value": [4.1, -4], "lost": [np.nan, 0]})
    }
    found = engine.check(Study("toy", tmp_path), ["power/2"])
    assert found == ["power/2, replicate 0, value: 4 in results.csv, 4.1 now"]
    toy.FAMILIES = {
        "power": Family(toy.FAMILIES["power"].score, tolerance={"*": 1.0, "value": 0.01})
    }
    assert engine.check(Study("toy", tmp_path), ["power/2"]) == found
    toy.FAMILIES = {"power": Family(toy.FAMILIES["power"].score, tolerance={"*": 0.03})}
    assert engine.check(Study("toy", tmp_path), ["power/2"]) == []
    toy.FAMILIES = {
        "power": Family(
            lambda base, exponent: {"value": [4, -4, 0], "lost": 0}, tolerance={"*": 0.03}
        )
    }
    assert engine.check(Study("toy", tmp_path), ["power/2"]) == [
        "power/2: 2 replicates in results.csv, 3 now"
    ]
    toy.FAMILIES = {
        "power": Family(
            lambda base, exponent: {"value": [np.nan, -4], "lost": np.nan}, tolerance={"*": 0.03}
        )
    }
    found = engine.check(Study("toy", tmp_path), ["power/2"])
    assert [line.split(": ")[1] for line in found] == [
        "4 in results.csv, nan now",
        "0 in results.csv, nan now",
    ]


def test_a_changed_definition_of_a_column_makes_rows_outdated_and_keeps_them(
    toy: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine.run(Study("toy", tmp_path))
    before, key = (tmp_path / "results.csv").read_bytes(), Study("toy", tmp_path).key("power/2")
    for line in (runs := (tmp_path / "runs.csv").read_text().splitlines())[1:]:
        assert line.endswith(",1")
    # A line without a version, as in old files, counts as version 1
    older = "\n".join(line.rpartition(",")[0] for line in runs)
    (tmp_path / "runs.csv").write_text(f"{older}\n", encoding="utf-8")
    assert Study("toy", tmp_path).outdated() == {}

    def other(base: float, exponent: float) -> Any:
        scores = power(base, exponent)
        return {**(scores[0] if base % 2 == 0 else scores), "lost": 7}

    toy.FAMILIES = {"power": Family(other, changed={"lost": 2, "nowhere": 3})}
    monkeypatch.setitem(sys.modules, "studies.toy.report", ModuleType("studies.toy.report"))
    reported = list[str]()
    sys.modules["studies.toy.report"].report = lambda study: reported.append(study.name)  # type: ignore[attr-defined]
    study = Study("toy", tmp_path)
    assert study.key("power/2") == key
    assert study.missing() == []
    assert study.outdated() == {name: ["lost"] for name in study.cells}
    assert study.table("power", 2)["lost"][1] == 0
    capsys.readouterr()
    study.report()
    assert reported == ["toy"]
    said = "toy: 3 of 3 cells are outdated in lost (python -m studies run toy)\n"
    assert capsys.readouterr().err == said

    assert engine.check(Study("toy", tmp_path), ["power/2"]) == []  # lost is not compared
    said = "power/2: agrees to the last digit, except in columns with a new definition: lost"
    assert said in capsys.readouterr().out
    assert (tmp_path / "results.csv").read_bytes() == before

    CALLS.clear()
    assert engine.run(Study("toy", tmp_path), ["power/3"])
    assert CALLS == [(3, 2)]
    assert list(Study("toy", tmp_path).outdated()) == ["power/2", "power/small"]
    assert engine.run(Study("toy", tmp_path))
    assert engine.run(Study("toy", tmp_path))  # nothing is left to do
    assert sorted(CALLS) == [(1, 0), (2, 2), (3, 2)]
    study = Study("toy", tmp_path)
    assert study.outdated() == {}
    assert list(study.table("power", 2)["lost"]) == [7, 7]
    assert study.stored.runs[key]["version"] == "3"
    toy.FAMILIES = {"power": Family(other, changed={"lost": 2, "value": 4})}
    assert Study("toy", tmp_path).outdated() == {name: ["value"] for name in study.cells}
    toy.FAMILIES = {"power": Family(other, version=4, changed={"lost": 2, "value": 4})}
    assert Study("toy", tmp_path).outdated() == {}
    assert len(Study("toy", tmp_path).missing()) == 3


def test_a_failed_outdated_cell_keeps_its_rows(toy: ModuleType, tmp_path: Path) -> None:
    engine.run(Study("toy", tmp_path))
    before = (tmp_path / "results.csv").read_bytes()
    toy.FAMILIES = {"power": Family(lambda base, exponent: 1 / 0, changed={"lost": 2})}
    assert not engine.run(Study("toy", tmp_path))
    assert (tmp_path / "results.csv").read_bytes() == before
    assert len(Study("toy", tmp_path).outdated()) == 3


def test_cells_are_selected_by_a_seed_or_by_name(toy: ModuleType, tmp_path: Path) -> None:
    study = Study("toy", tmp_path)
    drawn = [tuple(engine.draw_cells(study, 2, seed)) for seed in (0, 0, 1, 2, 3, 4)]
    assert drawn[0] == drawn[1]
    assert len({*drawn}) > 1
    assert set(engine.draw_cells(study, 3, 1)) == set(study.cells)
    assert engine.select(study, ["power"]) == list(study.cells)
    assert engine.small(study) == ["power/small"]
    with pytest.raises(
        UserError,
        match="toy has no cell 'pwoer'; the families are: power; cells are named like power/2",
    ):
        engine.select(study, ["pwoer"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("bases: [2]\n", "params.yaml: power is missing"),
        ("bases: [2, 2]\npower: {exponent: 2}\n", "params.yaml: two cells are called power/2"),
        (
            "bases: [a/b, a_b]\npower: {exponent: 2}\n",
            "params.yaml: power/a/b and power/a_b would have the same power_a_b.npz",
        ),
        (
            "bases: [2]\npower: {exponent: 2, epxonent: 3}\n",
            "params.yaml: got an unexpected keyword argument 'epxonent'",
        ),
        ("bases: 2\npower: {exponent: 2}\n", "params.yaml: 'int' object is not iterable"),
        ("bases: [2\n", "params.yaml: not valid YAML"),
    ],
)
def test_invalid_settings_give_a_message_of_one_line(
    toy: ModuleType, tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / "params.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=says) as error:
        Study("toy", tmp_path)
    assert "\n" not in str(error.value)


def test_an_invalid_setting_of_another_file_is_reported_with_the_name_of_that_file(
    toy: ModuleType, tmp_path: Path
) -> None:
    def cells(params: dict[str, Any]) -> Iterator[Cell]:
        raise UserError("other.yaml: base is missing")

    toy.cells = cells  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"^other\.yaml: base is missing$"):
        Study("toy", tmp_path)


@pytest.mark.parametrize(
    "text", ["cell,replicate\npower/2,0\n", "digest,replicate\na,0\n", "cell,digest\n,a\n"]
)
def test_a_damaged_results_csv_is_named(toy: ModuleType, tmp_path: Path, text: str) -> None:
    (tmp_path / "results.csv").write_text(text, encoding="utf-8")
    with pytest.raises(
        UserError,
        match=r"results\.csv: line 2: it has no cell, no digest, or not one value per column",
    ):
        Study("toy", tmp_path).missing()


@pytest.mark.parametrize("name", engine.NAMES)
def test_the_committed_rows_match_the_committed_settings(name: str) -> None:
    study = Study(name)
    assert study.missing() == []
    assert (
        set(study.stored.rows)
        == set(study.stored.runs)
        == {study.key(cell) for cell in study.cells}
    )
    assert {cell.partition("/")[0] for cell in study.cells} == set(study.code.FAMILIES)


def test_an_unknown_study_gives_a_message_of_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(
        UserError,
        match="there is no study 'claim'; the studies are: claims, tables, target, digits, alarms, "
        "few_rows",
    ):
        Study("claim")
    with pytest.raises(SystemExit):
        __main__.main(["run", "claim"])
    assert "invalid choice: 'claim'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "keys", "allowed"),
    [
        ("claims", ("matching", "references"), "independent, gaussian, gmm, kde, sharpened_kde"),
        ("tables", ("peers",), "independent, gaussian, kernel"),
        ("tables", ("treated",), "nsf, mixture, kernel, noise"),
        ("tables", ("realistic", "peers"), "independent, gaussian, mixture, margins, stacked"),
        ("target", ("small", "methods"), "joint, ours, linear, forest"),
        ("digits", ("peers",), "normflows, independent"),
    ],
)
def test_an_unknown_method_in_the_settings_is_rejected_before_any_cell_runs(
    tmp_path: Path, name: str, keys: tuple[str, ...], allowed: str
) -> None:
    params = yaml.safe_load((engine.HERE / name / "params.yaml").read_text(encoding="utf-8"))
    section = params
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = ["forst"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    where = re.escape(f"params.yaml: {'.'.join(keys)}: 'forst' is not known; known are: {allowed}")
    with pytest.raises(UserError, match=where):
        Study(name, tmp_path)
