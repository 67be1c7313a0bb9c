"""The tables of the studies are made from the committed rows."""

from __future__ import annotations

import json

import pytest

from common.settings import read_yaml
from studies import engine
from studies.claims.report import CLAIMS


@pytest.mark.parametrize("name", engine.NAMES)
def test_the_committed_rows_give_the_tables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study, made = engine.Study(name), {}
    monkeypatch.setattr(f"studies.{name}.report.draw_figures", lambda *_: None, raising=False)
    study.write = made.__setitem__  # type: ignore[method-assign]
    study.report()
    assert made
    for file, content in made.items():
        assert (study.folder / file).read_text(encoding="utf-8") == content, file


def test_every_claim_has_a_verdict() -> None:
    text = (engine.HERE / "claims/claims.json").read_text(encoding="utf-8")
    found = {(e["section"], e["claim"], e["verdict"]) for e in json.loads(text)}
    asked = {
        (section["title"], number)
        for section in read_yaml(CLAIMS).values()
        for number, _ in enumerate(section["claims"], 1)
    }
    assert {each[:2] for each in found} == asked
    words = {"supported", "refuted", "equivalent", "inconclusive"}
    assert {verdict for *_, verdict in found} <= words
