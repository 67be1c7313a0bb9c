"""Search for settings with Optuna, from the top folder::

    python -m studies.tuning.search realnvp 'models.realnvp.couplings=range(4,33)' 'train.noise_factor=interval(1,2)' --trials 40

``space.py`` has the grammar. A trial trains one population on all folds of the training rows at once (``score.py``). What is finished
is kept (``store.py``): the same command goes on after a stop, and helps where another process is at work on the same storage.
``--list`` and ``--search`` run what ``params.yaml`` of this folder holds; that is how DVC runs this.
"""

from __future__ import annotations

import argparse
import math
import re
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import FrozenTrial, TrialState

from flows import seeds
from stages import files
from stages.settings import PARAMS, UserError, check, errors_in_one_line, load
from studies.tuning import space, store
from studies.tuning.score import FIRST_FREE_SEED, Folds, Result, Score, Truth, quantity

HERE = Path("studies/tuning")
NOW = "now"  # the case that changes nothing


@dataclass(frozen=True)
class Search:
    """``cases`` (changes of ``params`` by name) are scored first, then ``trials`` points of the ``space``. ``params`` has what is ``fixed`` too.

    Two searches of the same ``name`` that differ in anything but ``cases`` and ``trials`` don't share what they found.
    """

    name: str
    model: str
    params: dict[str, Any]
    score: Score
    cases: dict[str, dict[str, Any]]
    space: dict[str, BaseDistribution]
    trials: int = 0
    seed: int = 0
    fixed: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raises ``UserError`` where something can't be trained or scored, before anything is."""
        for changes in self.cases.values():
            self.score.check(check(space.changed(self.params, changes)), self.model)
        space.check_space(self.params, self.model, self.space)
        for name, distribution in self.space.items():
            for value in space.ends(distribution):
                self.score.check(check(space.changed(self.params, {name: value})), self.model)

    def study_names(self) -> list[str]:
        """Of the cases and of the points of the space."""
        settings = [self.params[key] for key in ("data", "prepare", "train", "models", "references")]
        common = store.fingerprint([self.model, settings, repr(self.score)])
        searched = store.fingerprint([common, {key: distribution_to_json(value) for key, value in self.space.items()}, self.seed])
        return [f"{self.name}-cases-{common}", f"{self.name}-{searched}"]

    def run(self, storage: str) -> pd.DataFrame:
        """A row for every case and every trial: ``case`` (empty for a trial), the settings of the space, and what the score gave."""
        with store.studies(storage, self.study_names()) as ((cases, points), first):
            if first:
                known = [trial.user_attrs["changes"] for trial in _trials(cases, TrialState.COMPLETE, TrialState.WAITING)]
                for name, changes in self.cases.items():
                    if changes not in known:
                        cases.enqueue_trial({}, user_attrs={"case": name, "changes": changes})
                        known.append(changes)
            while _trials(cases, TrialState.WAITING):
                trial = cases.ask()
                self._try(cases, trial, trial.user_attrs["changes"], trial.user_attrs["case"])
            while (begun := len(_trials(points, TrialState.COMPLETE, TrialState.RUNNING))) < self.trials:
                # A sampler of its own for each trial: a search that was stopped goes on as if it hadn't been. With several at
                # work the order is not given anyway, and the same seed would make them try the same.
                points.sampler = optuna.samplers.TPESampler(seed=seeds.integer(self.seed, "tuning", begun) if first else None)
                trial = points.ask(self.space)
                changes = {name: space.rounded(value) for name, value in trial.params.items()}
                self._try(points, trial, changes, f"trial {begun + 1} of {self.trials}")
            return pd.DataFrame(self._rows(cases, points))

    def _try(self, study: optuna.Study, trial: optuna.Trial, changes: dict[str, Any], name: str) -> None:
        started = time.monotonic()
        trial.set_user_attr("changes", changes)
        again = next((old.user_attrs["result"] for old in _trials(study, TrialState.COMPLETE) if old.user_attrs["changes"] == changes), None)
        settings = check(space.changed(self.params, changes))
        self.score.check(settings, self.model)
        result: Result = again or self.score(settings, self.model, name)
        value = result[self.score.metric(self.model)]
        trial.set_user_attr("result", result)
        study.tell(trial, value if math.isfinite(value) else math.inf)
        number = quantity(self.score.metric(self.model), value)
        print(f"{name}: {number}; {space.changes_text(changes)} ({time.monotonic() - started:.0f} s)", flush=True)

    def _rows(self, cases: optuna.Study, points: optuna.Study) -> Iterator[dict[str, Any]]:
        scored = [(trial.user_attrs["changes"], trial.user_attrs["result"]) for trial in _trials(cases, TrialState.COMPLETE)]
        for name, changes in self.cases.items():
            for known, result in scored:
                if known == changes:
                    yield {"case": name, **{key: space.current(self.params, key) for key in self.space}, **result}
                    break
        for trial in _trials(points, TrialState.COMPLETE):
            yield {"case": "", **trial.user_attrs["changes"], **trial.user_attrs["result"]}


def _trials(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=states)


# What is in params.yaml of this folder


def committed_list(name: str) -> Search:
    content = _content("lists", name)
    score = Truth(tuple(content["seeds"]), content["members"], content["fresh"], content.get("samples", False))
    if not content.get("only_reported") and min(score.seeds) < FIRST_FREE_SEED:
        raise UserError(f"{HERE / PARAMS}: lists.{name}.seeds = {list(score.seeds)}: must be at least {FIRST_FREE_SEED} each, or be only_reported")
    return Search(name, content["model"], _pipeline(content["model"]), score, {case: changes or {} for case, changes in content["cases"].items()}, {})


def committed_search(name: str) -> Search:
    content = _content("searches", name)
    return of_words(name, content["model"], content["settings"], Folds(content["folds"], content["members"]), content["trials"], content["seed"])


def of_words(name: str, model: str, words: list[str], score: Folds, trials: int, seed: int) -> Search:
    fixed, searched = space.parse(words)
    if not searched:
        raise UserError("nothing to search: name a setting with the values that it may have, as in train.noise_factor=interval(1,2)")
    return Search(name, model, space.changed(_pipeline(model), fixed), score, {NOW: {}}, searched, trials, seed, fixed)


def _content(group: str, name: str) -> dict[str, Any]:
    content = yaml.safe_load((HERE / PARAMS).read_text(encoding="utf-8"))[group]
    if name not in content:
        raise UserError(f"{HERE / PARAMS}: {group} has no {name}; it has: {', '.join(content)}")
    return content[name]


def _pipeline(model: str) -> dict[str, Any]:
    """The pipeline's settings without those of other models, and without a history, which nobody reads here."""
    load().model(model)  # their errors name the file or the model
    content = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    own = {key: value for key, value in content["models"][model].items() if key != "log_every"}
    return {**content, "models": {model: own}, "train": {**content["train"], "log_every": 1}}


def main() -> None:
    parser = argparse.ArgumentParser(prog="search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a model of params.yaml")
    parser.add_argument("settings", nargs="*", metavar="setting=values", help="what is searched, or set in all trials")
    parser.add_argument("--trials", type=_count, default=40, help="how many points are tried in all (40)")
    parser.add_argument("--folds", type=_folds, default=5, help="parts that the training rows are cut into (5)")
    parser.add_argument("--members", type=_count, default=2, help="networks a fold (2)")
    parser.add_argument("--seed", type=_seed, default=0, help="of the sampler (0)")
    parser.add_argument("--name", type=_name, help="of the results, results/<name>.csv, .md and .png (the model's)")
    parser.add_argument("--storage", help="a file, or the URL of a database (store/<name>.journal)")
    committed = parser.add_mutually_exclusive_group()
    committed.add_argument("--list", metavar="NAME", help="run a list of cases of studies/tuning/params.yaml")
    committed.add_argument("--search", metavar="NAME", help="run a search of studies/tuning/params.yaml")
    words = parser.parse_intermixed_args()
    if words.list or words.search:
        if words.model:
            parser.error(f"with --list or --search there is no model to name: {words.model}")
        search = committed_list(words.list) if words.list else committed_search(words.search)
        kind = "lists" if words.list else "searches"
    elif words.model:
        search = of_words(words.name or words.model, words.model, words.settings, Folds(words.folds, words.members), words.trials, words.seed)
        kind = "own"
    else:
        parser.error("name a model, and settings with the values that they may have")
    search.check()
    rows = search.run(words.storage or str(HERE / "store" / kind / f"{search.name}.journal"))
    results = HERE / "results" / kind
    files.write_csv(results / f"{search.name}.csv", rows, float_format="%.7g")
    if kind == "own":  # what is committed has a stage for it
        from studies.tuning import tables  # here, as nothing else needs its drawing

        tables.write(results / search.name, rows, search, shlex.join(sys.argv[1:]))


def _name(text: str) -> str:
    if not re.fullmatch(r"[\w-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} must be of letters, digits, - and _")
    return text


def _count(text: str) -> int:
    return _number(text, 1)


def _folds(text: str) -> int:
    return _number(text, 2)


def _seed(text: str) -> int:
    return _number(text, 0)


def _number(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least {least}")
    return int(text)


if __name__ == "__main__":
    with errors_in_one_line("search", stopped="stopped; what is finished is kept, and the same command goes on from there"):
        main()
