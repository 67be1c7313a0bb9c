"""The documents: their links lead somewhere, their Python runs, their commands are there.

``python tests/test_documents.py`` mends the line numbers of links into the code, where lines have
moved.
"""

from __future__ import annotations

import doctest
import re
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from pipeline import ROOT, text

from stages.pipeline import settings

PATTERNS = ("*.md", "docs/*.md", "studies/*/README.md", "benchmarks/README.md")
NAMES = sorted(str(p.relative_to(ROOT)) for pattern in PATTERNS for p in ROOT.glob(pattern))
LINK = re.compile(r"\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]\(([^()\s]+)\)")
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<content>.*?)^```$", flags=re.M | re.S)


def prose(name: str) -> str:
    """A document without its blocks of code."""
    return BLOCK.sub("", text(name))


def links(name: str) -> list[tuple[str, str, str]]:
    """What a document links to within the repository.

    The words, the path from the top folder, what follows ``#``.
    """
    found = []
    for words, target in LINK.findall(prose(name)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            place = (ROOT / name).parent / path if path else ROOT / name
            found.append((words.strip("`"), str(place.resolve().relative_to(ROOT)), anchor))
    return found


def anchors(name: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", prose(name), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def lines_of(symbol: str, path: str) -> list[int]:
    """The lines where a ``Class.method``, ``function`` or ``CONSTANT`` is defined, in C named."""
    lines = list(enumerate(text(path).splitlines(), 1))
    if not path.endswith(".py"):
        return [n for n, line in lines if re.search(rf"\b{re.escape(symbol)}\b", line)]
    for depth, part in enumerate(map(re.escape, symbol.split("."))):
        start = rf"{' ' * 4 * depth}((class|def) {part}\b|{part}\b[^(]*=)"
        lines = [
            later
            for k, (_, line) in enumerate(lines)
            if re.match(start, line)
            for later in (lines[k:] if depth < symbol.count(".") else lines[k : k + 1])
        ]
    return [n for n, _ in lines]


def wrong_lines(name: str) -> dict[str, str]:
    """Links into code whose line doesn't define what they name.

    ``path#L3`` as it is and as it has to be, or why there is none.
    """
    wrong = {}
    for symbol, path, anchor in links(name):
        if re.fullmatch(r"L\d+", anchor):
            lines = lines_of(symbol, path)
            if int(anchor[1:]) not in lines:
                right = f"L{lines[0]}" if lines else f"nothing: {path} has no {symbol}"
                wrong[f"{symbol}]({path}#{anchor}"] = right
    return wrong


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file_a_heading_or_the_line_that_it_names(name: str) -> None:
    for words, path, anchor in links(name):
        assert (ROOT / path).exists(), f"[{words}] leads to {path}, which is not there"
        if anchor and path.endswith(".md"):
            assert anchor in anchors(path), f"[{words}] leads to #{anchor}, no heading of {path}"
    assert wrong_lines(name) == {}, "`python tests/test_documents.py` mends these"


@pytest.mark.parametrize("name", [name for name in NAMES if "```python" in text(name)])
def test_the_python_of_a_document_runs(name: str) -> None:
    """A block with ``>>>`` is run and must print what it shows; any other must be valid Python.

    A document's blocks share their names.
    """
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


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_every_make_target_and_every_module_that_a_document_names_is_there(name: str) -> None:
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
        settings.load(tmp_path / "params.yaml")


def mend() -> None:
    """Write the right line into every link to a line of code."""
    for name in NAMES:
        content = text(name)
        for link, right in wrong_lines(name).items():
            symbol, _, target = link.partition("](")
            if not right.startswith("L"):
                print(f"{name}: [{symbol}] leads to {right}")
                continue
            file, _, anchor = Path(target).name.partition("#")
            place = rf"(\[`?{re.escape(symbol)}`?\]\([^()\s]*{re.escape(file)})#{anchor}\)"
            content = re.sub(place, rf"\1#{right})", content)
        (ROOT / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    mend()
