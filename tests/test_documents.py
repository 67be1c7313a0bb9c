"""The documents: their links have targets, their Python runs, their commands exist.

The examples in the docstrings of ``flows`` run, too.
"""

from __future__ import annotations

import doctest
import re
import shutil
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from helpers import further
from pipeline import ROOT, text

import flows
from common.settings import read_yaml
from stages.pipeline import schema

PATTERNS = ("*.md", "docs/*.md", "studies/*/*.md", "benchmarks/*.md")
NAMES = sorted(str(p.relative_to(ROOT)) for pattern in PATTERNS for p in ROOT.glob(pattern))
LINK = re.compile(r"\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]\(([^()\s]+)\)")
CODE = (".py", ".c", ".h")
MODULES = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("flows/**/*.py"))
LONG = ("docs/images.md", "docs/tables.md", "flows/tables/density/frame_density.py")  # take seconds
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<content>.*?)^```$", flags=re.M | re.S)


def cases(names: Iterable[str]) -> list[Any]:
    """Return the names as cases of a test, of which the long ones are slow."""
    return [further(name) if name in LONG else name for name in names]


def prose(name: str) -> str:
    """Return a document without its blocks of code."""
    return BLOCK.sub("", text(name))


def links(name: str) -> list[tuple[str, str, str]]:
    """Return the links of a document to files of the repository.

    A link is its words, the path from the top folder, and the text after ``#``.
    """
    found = []
    for words, target in LINK.findall(prose(name)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            place = (ROOT / name).parent / path if path else ROOT / name
            found.append((words, str(place.resolve().relative_to(ROOT)), anchor))
    return found


def anchors(name: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", prose(name), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def defines(path: str, name: str) -> bool:
    """Return whether a file defines a name: a class, a function, a constant or a macro."""
    name = re.escape(name.rpartition(".")[2])
    ways = rf"^ *(async def|def|class) {name}\b|^ *{name}\b[^=\n]*=|^# *define {name}\b"
    in_c = rf"|^\w[\w *]*\b{name}\(" if not path.endswith(".py") else ""
    return bool(re.search(ways + in_c, text(path), flags=re.M))


def test_the_api_reference_has_every_public_name_once() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("docs/api/*.md"))
    assert sorted(re.findall(r"^::: flows\.(\w+)$", pages, flags=re.M)) == sorted(flows.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file_that_defines_its_name(name: str) -> None:
    """A link may lead to a heading. Words in backticks must be the name of the file or the code.

    A link to code has no line number.
    """
    for words, path, anchor in links(name):
        link, word = f"[{words}] leads to {path}", words.strip("`")
        assert (ROOT / path).exists(), f"{link}, which does not exist"
        if path.endswith(".md"):
            assert not anchor or anchor in anchors(path), f"{link}, which has no heading #{anchor}"
        else:
            assert not anchor, f"{link}#{anchor}, but it has to name a function and no line"
        if word.endswith(CODE):
            assert f"/{path}".endswith(f"/{word}"), f"{link}, another file"
        elif path.endswith(CODE) and re.fullmatch(r"`[A-Za-z_][\w.]*`", words):
            assert defines(path, word), f"{link}, which does not define it"


@pytest.mark.parametrize("name", cases(name for name in NAMES if "```python" in text(name)))
def test_the_python_of_a_document_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block with ``>>>`` must print its shown output; any other block must be valid Python.

    The blocks of a document share their names.
    """
    monkeypatch.chdir(tmp_path)  # an example may write a file
    shared: dict[str, object] = {}
    for block in BLOCK.finditer(text(name)):
        language, content = block.groups()
        if language == "python" and ">>> " not in content:
            compile(content, name, "exec")
        elif language == "python":
            line, said = text(name)[: block.start()].count("\n"), list[str]()
            example = doctest.DocTestParser().get_doctest(content, shared, name, name, line)
            runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
            result = runner.run(example, out=said.append, clear_globs=False)
            shared = example.globs
            assert result.attempted
            assert result.failed == 0, "".join(said)


@pytest.mark.parametrize("name", cases(name for name in MODULES if ">>> " in text(name)))
def test_the_examples_of_a_module_print_their_outputs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of a method goes on after that of its class."""
    module = import_module(".".join(Path(name).with_suffix("").parts).removesuffix(".__init__"))
    monkeypatch.chdir(tmp_path)  # an example may write a file
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner, names = doctest.DocTestRunner(optionflags=flags), dict[str, dict[str, Any]]()
    for example in sorted(doctest.DocTestFinder().find(module)):  # a class before its methods
        example.globs.update(names.get(example.name.rpartition(".")[0], {}))
        runner.run(example, clear_globs=False)
        names[example.name] = example.globs
    assert runner.tries
    assert runner.failures == 0


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_the_make_targets_and_modules_in_a_document_exist(name: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", text("Makefile"), flags=re.M))
    pieces = re.findall(r"`([^`\n]+)`", prose(name))
    for block in BLOCK.finditer(text(name)):
        if block["language"] in ("console", "sh", "bash"):
            pieces += block["content"].splitlines()
    for piece in pieces:
        assert {*re.findall(r"(?:^|[$;&] ?|\s)make ([a-z][a-z_-]*)", piece)} <= targets, piece
        for module in re.findall(
            r"python -m ((?:benchmarks|flows|stages|studies|tools)[\w.]*)", piece
        ):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), piece


@pytest.mark.parametrize("name", [name for name in NAMES if "dvc exp run -S" in text(name)])
def test_the_settings_of_an_experiment_can_be_set(name: str, tmp_path: Path) -> None:
    for command in re.findall(r"dvc exp run (-S [^`\n]+)", text(name)):
        overrides = re.findall(r"-S '?(.+?)'?(?= -S|$)", command)
        apply_overrides(shutil.copy(ROOT / "params.yaml", tmp_path), overrides)
        schema.load(tmp_path / "params.yaml")


def settings_in(section: str) -> dict[str, list[str]]:
    """Return the cells of the tables below a heading of docs/settings.md, by key, without links."""
    (content,) = re.findall(rf"^## {section}\n(.*?)(?=^## )", text("docs/settings.md"), re.M | re.S)
    cells = {}
    for line in re.findall(r"^\| (`.*) \|$", content, flags=re.M):
        keys, *others = LINK.sub(r"\1", line).split(" | ")
        cells.update(dict.fromkeys(re.findall(r"`(\S+)`", keys), others))
    return cells


def flat(settings: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested settings by their keys with dots."""
    found = {}
    for key, value in settings.items():
        found.update(
            flat(value, f"{prefix}{key}.")
            if isinstance(value, dict) and value
            else {f"{prefix}{key}": value}
        )
    return found


def test_the_page_of_settings_has_every_key_of_the_pipeline_with_its_default() -> None:
    shown = settings_in("Training") | settings_in("Data and evaluation")
    shown |= {key: cells[:3] for key, cells in settings_in("Architectures").items() if "." in key}
    params = flat(read_yaml(ROOT / "params.yaml"))
    expected = {key: value for key, value in params.items() if value != {} or key == "data.columns"}
    assert {key: yaml.safe_load(cells[2]) for key, cells in shown.items()} == expected
