"""The progress bar: in a notebook, in a terminal, and in a file."""

from __future__ import annotations

import io
import re
import sys
from types import SimpleNamespace

import pytest
from tqdm import tqdm

from flows.core.progress import progress, show_state, timed


class ZMQInteractiveShell:
    """The name of ipykernel's shell."""


class Widget(tqdm):
    """In place of the bar of ``tqdm.notebook``, which needs ipywidgets."""


@pytest.mark.parametrize("has_widgets", [False, True])
def test_a_notebook_shows_a_bar_at_once(capsys, monkeypatch, has_widgets):
    class Colab(ZMQInteractiveShell):
        pass

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=Colab))
    monkeypatch.setitem(sys.modules, "tqdm.notebook", SimpleNamespace(tqdm=Widget))
    found = {"ipywidgets": object()} if has_widgets else {}
    monkeypatch.setattr("flows.core.progress.find_spec", found.get)
    with progress("fit", 1000, "step") as bar:
        assert type(bar) is (Widget if has_widgets else tqdm)
        bar.update(500)
        show_state(bar, "at work")
        shown = capsys.readouterr().err
    assert "fit:  50%" in shown
    assert "at work" in shown
    assert "\n" not in shown  # the line is updated in place
    with monkeypatch.context() as patch:  # a worker of a notebook
        patch.setattr(sys, "stderr", io.StringIO())
        with progress("fit", 1000, "step") as bar:
            bar.update(500)
        assert sys.stderr.getvalue() == ""


def test_ipython_in_a_terminal_is_not_a_notebook(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    with progress("fit", 1000, "step") as bar:
        bar.update(500)
    assert capsys.readouterr().err == ""


def test_without_a_terminal_a_line_comes_after_ten_seconds_then_each_minute(capfd, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with progress("fit", 1000, "step") as bar:
        for second in range(0, 200):
            now[0] = float(second)
            show_state(bar, "at work")
            bar.update()
    lines = [line for line in capfd.readouterr().err.replace("\r", "").split("\n") if line.strip()]
    shown = [re.fullmatch(r"fit: \d+ of 1000 steps after (0[0-3]:\d\d), at work", x) for x in lines]
    assert [each and each[1] for each in shown] == ["00:10", "01:10", "02:10", "03:10"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [((3, 5), "score: 10,000 rows will take about 41 s\n"), ((3, 3.1), "")],
)
def test_the_time_of_long_work_is_expected_from_its_second_part(capfd, monkeypatch, seconds, said):
    now = iter([0, *seconds, 60])
    monkeypatch.setattr("flows.core.progress.time.monotonic", lambda: next(now))
    with progress("score", 10_000, "row") as bar:
        update = timed(bar)
        for _ in range(3):
            update(500)
    assert capfd.readouterr().err == said
