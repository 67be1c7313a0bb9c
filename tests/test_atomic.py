"""A file takes its place whole, or what was there before stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.core import atomic


def test_the_file_and_its_folder_are_made_and_nothing_else(tmp_path: Path):
    path = tmp_path / "new" / "file.csv"
    with atomic.replacing(path) as unfinished:
        unfinished.write_text("first")
        assert not path.exists()
    with atomic.replacing(path) as unfinished:
        unfinished.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_after_a_failure_all_is_as_before(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "file.csv"
    path.write_text("before")

    def fail() -> None:
        with atomic.replacing(path) as unfinished:
            unfinished.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_before_anything_is_written_is_told_as_it_is(tmp_path: Path):
    with pytest.raises(RuntimeError, match="too early"), atomic.replacing(tmp_path / "file.csv"):
        raise RuntimeError("too early")
    assert list(tmp_path.iterdir()) == []
