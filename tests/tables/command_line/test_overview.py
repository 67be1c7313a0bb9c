"""The verb inspect, and ``flows.inspect``."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
from frames import every_sort

import flows
from flows.__main__ import main


def test_a_table_is_inspected_without_training_and_without_torch(tmp_path, capsys):
    found = flows.inspect(every_sort())
    assert list(found.index) == list(every_sort())
    assert found.loc["total"].tolist()[:2] == ["carried", "2 a - b + 3"]
    assert found.loc["visits"].tolist()[:2] == ["learned", "integer:0:8"]
    assert found.loc["id", "use"] == "excluded"
    assert "samples compute it" in found.loc["copy", "notice"]
    assert found.loc["const", "notice"] == "holds 'x' in every row, and in samples"
    every_sort().drop(columns="stay").to_csv(tmp_path / "t.csv", index=False)
    capsys.readouterr()
    main(["inspect", str(tmp_path / "t.csv"), "--column", "visits=integer:0:20"])
    out, err = capsys.readouterr()
    assert "carried   total   2 a - b + 3" in out.splitlines()
    assert "learned   visits  integer:0:20" in out.splitlines()
    assert out.splitlines()[-1] == "2 excluded, 12 learned, 4 carried of 18 columns"
    assert "column total equals 2 a - b + 3, so samples compute it" in err
    code = "import sys, flows.tables.command_line.overview; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


NUMBERS = {"a": np.arange(20) % 7, "b": np.arange(20) % 5, "y": np.arange(20) % 3 + 0.5}


def test_inspect_prints_notices_on_columns_without_a_name(capsys):
    frame = pd.DataFrame({"": range(20), **NUMBERS})
    assert list(flows.inspect(frame).index) == ["a", "b", "y"]
    assert "column '' is left out: it has no name" in capsys.readouterr().err
