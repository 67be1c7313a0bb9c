"""A table on standard input."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from frames import every_sort

from flows.__main__ import main


def test_a_table_is_read_from_standard_input(tmp_path, capsys, monkeypatch):
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    give(every_sort()[["a", "visits"]].to_csv(index=False).encode())
    main(["inspect", "-"])
    assert capsys.readouterr().out.splitlines()[0] == "learned   a       real"
    give(b"a,b\n1,2\n")
    with pytest.raises(SystemExit, match=r"^flows: standard input: the table has 1 row; a fit"):
        main(["inspect", "-"])
