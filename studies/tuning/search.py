"""Search for settings with Optuna, or score a list of cases; both are in ``params.yaml`` of this folder. From the top folder::

    python -m studies.tuning.search --search realnvp

A trial is one batched run (``score.py``). What is finished is kept in ``store/``: the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import torch
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

import flows
from flows.core import seeds
from flows.core.errors import UserError, errors_in_one_line, one_line
from stages.shared import files
from stages.shared import settings as pipeline
from stages.shared.settings import PARAMS
from studies.common import digest
from studies.tuning import score, settings
from studies.tuning.score import Result
from studies.tuning.settings import HERE, METRICS, ListSettings, SearchSettings, changed, changes_text

CODE = (Path(flows.__file__).parent, Path(pipeline.__file__), Path(score.__file__))  # what a score depends on
COMPLETE = (TrialState.COMPLETE,)


@dataclass(frozen=True)
class Search:
    """The cases of ``content`` are scored first, then points of its space. ``params`` are the pipeline's; ``score`` is of ``score.py``."""

    content: SearchSettings | ListSettings
    params: dict[str, Any]
    score: Callable[..., Result]

    def check(self) -> None:
        """Raises ``UserError`` where something is not allowed, or changes nothing, before anything is trained."""
        now = self._of_model({})
        for changes in self.content.cases.values():
            self._of_model(changes)
        for name, values in self.content.space.items():
            if [self._of_model({name: end}) for end in values.ends] == [now] * len(values.ends):
                raise UserError(f"{name}: changes nothing of {self.content.model}, whose own section may override it")

    def fingerprint(self) -> str:
        """Another one for other settings, code or torch, or another table: what was found with them is not shared."""
        rows = files.TRAIN.read_bytes() if self.params["data"]["target"] == pipeline.TABLE and files.TRAIN.exists() else b""
        table = hashlib.sha256(rows).hexdigest()
        return _digest([self.content.model_dump(exclude={"cases", "trials"}), self.params, torch.__version__, table, *map(digest, CODE)])

    def run(self, study: optuna.Study, *, join: bool = False) -> pd.DataFrame:
        """A row for every case and every trial: ``case`` (empty for a trial), the settings of the space, and what the score gave.

        A trial's point depends on the finished trials alone: a search that was stopped goes on as if it hadn't been. ``join``: another process is at
        work on the study, so try points that differ from its.
        """
        if not join:
            self._cases(study)
        while (done := len(study.get_trials(deepcopy=False, states=COMPLETE))) < self.content.trials:
            seed = None if join else seeds.integer(self.content.seed, "tuning", done)
            study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=join)
            trial = study.ask({name: values.distribution() for name, values in self.content.space.items()})
            result = self._result(study, f"trial {done + 1} of {self.content.trials}", _point(trial))
            value = result[_metric(result)]
            study.tell(trial, value if math.isfinite(value) else math.inf)
        points = [_point(trial) for trial in study.get_trials(deepcopy=False, states=COMPLETE)]
        return pd.DataFrame([*self._cases(study), *({"case": "", **point, **self._result(study, "", point)} for point in points)])

    def _cases(self, study: optuna.Study) -> list[dict[str, Any]]:
        now = self._of_model({})
        known = {name: now[name.split(".")[-1]] for name in self.content.space}
        return [{"case": name, **known, **self._result(study, name, changes)} for name, changes in self.content.cases.items()]

    def _result(self, study: optuna.Study, name: str, changes: dict[str, Any]) -> Result:
        """The score, which the study keeps under the changes: nothing is trained twice."""
        key, started = _digest(changes), time.monotonic()
        if key not in study.user_attrs:
            scores = self.score(pipeline.check_all(changed(self.params, changes)), self.content, name)
            result = {key: float(value) for key, value in scores.items()}
            study.set_user_attr(key, result)
            number = f"{METRICS[_metric(result)]} {result[_metric(result)]:.4f}"
            print(f"{name}: {number}; {changes_text(changes)} ({time.monotonic() - started:.0f} s)", flush=True)
        return study.user_attrs[key]

    def _of_model(self, changes: dict[str, Any]) -> dict[str, Any]:
        """All that the settings say about the model's architecture and training, by the last part of their names."""
        checked, model = pipeline.check_all(changed(self.params, changes)), self.content.model
        return {**checked.training(model).model_dump(exclude={"members", "log_every"}), **checked.architecture(model)}


def committed(group: str, name: str) -> Search:
    """What ``params.yaml`` of this folder has under ``searches`` or ``lists``."""
    content = settings.find(group, name)
    pipeline.load().section(content.model)  # their errors name the file or the model
    params = pipeline.read_yaml(PARAMS)
    own = {**params, "models": {content.model: params["models"][content.model]}}  # what is said of other models matters to no score
    return Search(content, own, score.folds if group == "searches" else score.truth)


def opened(storage: str, name: str) -> optuna.Study:
    """A study in a database, made if not there."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
    except (ImportError, ValueError, OptunaError, SQLAlchemyError) as error:  # no driver, no such address, no answer
        raise UserError(f"{storage}: {one_line(error)}") from None


def _metric(result: Result) -> str:
    """What is to be small."""
    return next(metric for metric in METRICS if metric in result)


def _point(trial: optuna.Trial | FrozenTrial) -> dict[str, Any]:
    """Real numbers of four digits: what is shown is what was trained."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in trial.params.items()}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(prog="search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--search", metavar="NAME", help="a search of studies/tuning/params.yaml")
    what.add_argument("--list", metavar="NAME", help="a list of cases of studies/tuning/params.yaml")
    parser.add_argument("--join", action="store_true", help="another process is at work on the same search: help it")
    parser.add_argument("--storage", metavar="URL", help="a database that several machines share, in place of a file in store/")
    words = parser.parse_args()
    group, name = ("searches", words.search) if words.search else ("lists", words.list)
    search = committed(group, name)
    search.check()
    (HERE / "store" / group).mkdir(parents=True, exist_ok=True)
    study = opened(words.storage or f"sqlite:///{HERE}/store/{group}/{name}.db", f"{name}-{search.fingerprint()}")
    files.write_csv(HERE / f"results/{group}/{name}.csv", search.run(study, join=words.join), float_format="%.7g")


if __name__ == "__main__":
    with errors_in_one_line("search", stopped="stopped; what is finished is kept, and the same command goes on from there"):
        main()
