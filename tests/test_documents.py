"""The documents: their links have targets, their Python runs, their commands exist.

The examples in the docstrings of ``flows`` run, too.
"""

from __future__ import annotations

import ast
import doctest
import re
import shutil
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from pipeline import ROOT, text

import flows
from common.settings import read_yaml
from flows.networks import registry
from stages.pipeline import schema

PATTERNS = ("*.md", "docs/*.md", "studies/*/*.md", "benchmarks/*.md")
NAMES = sorted(str(p.relative_to(ROOT)) for pattern in PATTERNS for p in ROOT.glob(pattern))
LINK = re.compile(r"\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]\(([^()\s]+)\)")
CODE = (".py", ".c", ".h")
MODULES = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("flows/**/*.py"))
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<content>.*?)^```$", flags=re.M | re.S)


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


@cache
def defined(path: str) -> set[str]:
    """Return the names that a Python file defines: ``function``, ``Class.method``, ``CONSTANT``."""
    found: set[str] = set()

    def collect(body: Sequence[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                collect(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    collect(ast.parse(text(path)).body, "")
    return found


def defines(path: str, name: str) -> bool:
    """Return whether a file of code defines a name: in C, a function or a macro."""
    if path.endswith(".py"):
        return name in defined(path)
    name = re.escape(name)
    return bool(re.search(rf"^(# *define {name}\b|\w[\w *]*\b{name}\()", text(path), flags=re.M))


@pytest.mark.parametrize(
    ("path", "name", "there"),
    [
        ("flows/bijections/coupling.py", "Coupling", True),
        ("flows/bijections/coupling.py", "Coupling.forward", True),
        ("flows/bijections/coupling.py", "forward", False),  # a method is named with its class
        ("flows/bijections/coupling.py", "Bijection", False),  # imported
        ("flows/evaluation/report.py", "HEADLINE", True),
        ("flows/networks/population.py", "Description", True),
        ("flows/kernels/tile.h", "begin_flushing", True),
        ("flows/kernels/tile.h", "TILE", True),
        ("flows/kernels/adam.h", "begin_flushing", False),  # called
    ],
)
def test_names_at_the_top_of_a_file_and_in_its_classes_are_defined(
    path: str, name: str, there: bool
) -> None:
    assert defines(path, name) is there


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


@pytest.mark.parametrize("name", [name for name in NAMES if "```python" in text(name)])
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


@pytest.mark.parametrize("name", [name for name in MODULES if ">>> " in text(name)])
def test_the_examples_of_a_module_print_their_outputs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module(".".join(Path(name).with_suffix("").parts).removesuffix(".__init__"))
    monkeypatch.chdir(tmp_path)  # an example may write a file
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(module, optionflags=flags)
    assert result.attempted
    assert result.failed == 0


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_the_make_targets_and_modules_in_a_document_exist(name: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", text("Makefile"), flags=re.M))
    pieces = re.findall(r"`([^`\n]+)`", prose(name))
    for block in BLOCK.finditer(text(name)):
        if block["language"] in ("console", "sh", "bash"):
            pieces += block["content"].splitlines()
    for piece in pieces:
        assert {*re.findall(r"(?:^|[$;&] ?|\s)make ([a-z][a-z-]*)", piece)} <= targets, piece
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


def test_the_page_of_settings_has_the_defaults_of_the_library() -> None:
    training = flows.TrainingSettings().model_dump()
    shown = {key.removeprefix("train."): cells[2] for key, cells in settings_in("Training").items()}
    del shown["members"]  # of flows.build
    assert {key: yaml.safe_load(word) for key, word in shown.items()} == training
    of_images, of_vectors = {}, {}
    for key, cells in settings_in("Architectures").items():
        if "." not in key:
            of_images[key] = cells[2]
        elif cells[3] != "\u2013":
            of_vectors[key.removeprefix("models.")] = yaml.safe_load(cells[3])
    models = read_yaml(ROOT / "params.yaml")["models"]
    defaults = {name: registry.find(name)().model_dump() for name in models}
    assert of_vectors == flat(defaults)
    images = flows.GlowImage().model_dump()
    assert of_images == {key: str(value) for key, value in images.items()}
    del images["mixing"]
    assert flows.RealNVPImage().model_dump() == images
