"""The documents: their links lead somewhere, their Python runs, their commands are there.

``python tests/test_documents.py`` mends the line numbers of links into the code, where lines have
moved.
"""

from __future__ import annotations

import ast
import doctest
import re
import subprocess
from itertools import chain
from pathlib import Path

import pytest
import yaml
from pipeline import ROOT, text, uncommented

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "studies/*/README.md", "benchmarks/README.md")
    for path in ROOT.glob(pattern)
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
LINK = re.compile(r"\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]\(([^()\s]+)\)")
BLOCK = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?^```(?P<language>\w*)\n(?P<content>.*?)^```$",
    flags=re.M | re.S,
)


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
    """The lines of a file where ``symbol`` is defined; in C, where its name stands.

    It is a ``Class.method``, a ``function`` or a ``CONSTANT``.
    """
    if not path.endswith(".py"):
        return [
            number
            for number, line in enumerate(text(path).splitlines(), 1)
            if re.search(rf"\b{re.escape(symbol)}\b", line)
        ]
    found: list[int] = []

    def visit(body: list[ast.stmt], before: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                if before + node.name == symbol:
                    found.append(node.lineno)
                visit(node.body, f"{before}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.extend(
                    node.lineno
                    for target in targets
                    if isinstance(target, ast.Name) and before + target.id == symbol
                )

    visit(ast.parse(text(path)).body, "")
    return found


def wrong_lines(name: str) -> dict[str, str]:
    """Links into code whose line doesn't define what they name.

    ``path#L3`` as it is and as it has to be, or why there is none.
    """
    wrong = {}
    for symbol, path, anchor in links(name):
        if re.fullmatch(r"L\d+", anchor):
            lines = lines_of(symbol, path) if (ROOT / path).is_file() else []
            if int(anchor[1:]) not in lines:
                wrong[f"{symbol}]({path}#{anchor}"] = (
                    f"L{lines[0]}" if lines else f"nothing: {path} has no {symbol}"
                )
    return wrong


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file_and_every_anchor_to_a_heading(name: str) -> None:
    for words, path, anchor in links(name):
        assert (ROOT / path).exists(), f"{name}: [{words}] leads to {path}, which is not there"
        if anchor and path.endswith(".md"):
            assert anchor in anchors(path), (
                f"{name}: [{words}] leads to #{anchor}, which is no heading of {path}"
            )


@pytest.mark.parametrize("name", NAMES)
def test_every_link_to_a_line_of_code_names_what_is_defined_there(name: str) -> None:
    assert wrong_lines(name) == {}, "`python tests/test_documents.py` mends these"


def test_each_formula_of_flows_from_zero_is_linked_to_its_code() -> None:
    """A section with a formula has a link to a line."""
    sections = re.split(r"^## ", text("docs/flows-from-zero.md"), flags=re.M)[1:]
    assert len(sections) >= 6
    for section in sections:
        assert "```math" not in section or re.search(r"\.py#L\d+", section), section.splitlines()[0]


@pytest.mark.parametrize("name", [name for name in NAMES if "```python" in text(name)])
def test_the_python_of_a_document_runs(name: str) -> None:
    """A block with ``>>>`` is run and must print what it shows; any other must be valid Python.

    A document's blocks share their names.
    """
    shared: dict[str, object] = {}
    for block in BLOCK.finditer(text(name)):
        if block["language"] != "python":
            continue
        if ">>> " not in block["content"]:
            compile(block["content"], block["file"] or name, "exec")
            continue
        example = doctest.DocTestParser().get_doctest(
            block["content"], shared, name, name, text(name)[: block.start()].count("\n")
        )
        said: list[str] = []
        result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(
            example, out=said.append, clear_globs=False
        )
        shared = example.globs
        assert result.attempted
        assert result.failed == 0, "".join(said)


def test_the_readme_is_a_screen_and_a_half_and_has_python_in_its_first_half() -> None:
    lines = text("README.md").splitlines()
    assert len(lines) <= 130
    assert len(re.findall(r"\S+", text("README.md"))) <= 1500
    (block,) = (
        block for block in BLOCK.finditer(text("README.md")) if block["language"] == "python"
    )
    assert text("README.md")[: block.end()].count("\n") <= len(lines) / 2
    assert len(block["content"].splitlines()) <= 12


def commands() -> list[tuple[str, str]]:
    """What the documents tell the reader to run.

    In blocks for a terminal, and between backticks.
    """
    found = []
    for name in NAMES:
        blocks = (
            block["content"]
            for block in BLOCK.finditer(text(name))
            if block["language"] in ("console", "sh", "bash")
        )
        for piece in chain(
            re.findall(r"`([^`\n]+)`", prose(name)), *(content.splitlines() for content in blocks)
        ):
            found.append((name, piece))
    return found


def test_every_make_target_and_every_module_that_a_document_names_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", text("Makefile"), flags=re.M))
    for name, command in commands():
        if name == "CHANGELOG.md":  # of what was there once
            continue
        for target in re.findall(r"(?:^|[$;&] ?|\s)make ([a-z][a-z-]*)", command):
            assert target in targets, f"{name}: make {target}"
        for module in re.findall(
            r"python -m ((?:benchmarks|flows|stages|studies|tools)[\w.]*)", command
        ):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), (
                f"{name}: python -m {module}"
            )


def test_every_key_of_the_settings_has_a_comment_in_the_files_that_docs_show() -> None:
    """The model that ``docs/extending.md`` adds, as a reader copies it."""
    (block,) = (
        block
        for block in BLOCK.finditer(text("docs/extending.md"))
        if block["file"] == "params.yaml"
    )
    assert uncommented(block["content"]) == []
    assert list(yaml.safe_load(block["content"])) == ["nice"]


def test_no_tracked_text_holds_a_path_of_a_machine() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split("\0")
    for name in filter(None, tracked):
        path = ROOT / name
        if (
            path.suffix in {".png", ".gif", ".npz"}
            or not path.is_file()
            or name.startswith("tests/")
        ):
            continue
        found = re.search(r"(?<![\w.])/(?:work|root|home|tmp)/\w", path.read_text(encoding="utf-8"))
        assert not found, f"{name}: {found and found[0]}"


def mend() -> None:
    """Write the right line into every link to a line of code."""
    for name in NAMES:
        content = text(name)
        for link, right in wrong_lines(name).items():
            symbol, _, target = link.partition("](")
            if not right.startswith("L"):
                print(f"{name}: [{symbol}] leads to {right}")
                continue
            path, _, anchor = target.partition("#")
            content = re.sub(
                rf"(\[`?{re.escape(symbol)}`?\]\([^()\s]*{re.escape(Path(path).name)})#{anchor}\)",
                rf"\1#{right})",
                content,
            )
        (ROOT / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    mend()
