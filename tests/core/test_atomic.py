"""A file is replaced as a whole, or the old file stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.core import atomic


def test_only_the_file_and_its_folder_are_created(tmp_path: Path):
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
def test_a_failure_leaves_the_old_file(tmp_path: Path, error: type[BaseException]):
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


def test_a_failure_before_writing_raises_the_original_error(tmp_path: Path):
    with pytest.raises(RuntimeError, match="too early"), atomic.replacing(tmp_path / "file.csv"):
        raise RuntimeError("too early")
    assert list(tmp_path.iterdir()) == []
