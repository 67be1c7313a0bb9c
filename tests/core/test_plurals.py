"""Counts with their nouns."""

from __future__ import annotations

import pytest

from flows.core.plurals import counted


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 different rows"), (1, "1 different row"), (2, "2 different rows")]
)
def test_a_noun_is_in_the_plural_unless_there_is_one(count: int, words: str):
    assert counted(count, "different row") == words


def test_an_irregular_plural_is_given():
    assert [counted(n, "copy", "copies") for n in (1, 3)] == ["1 copy", "3 copies"]
