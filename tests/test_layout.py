"""The tests mirror the packages: ``tests/core/test_rows.py`` tests ``flows/core/rows.py``."""

from __future__ import annotations

from pathlib import Path

from pipeline import ROOT

TESTS = Path(__file__).parent
FILES = sorted(path.relative_to(TESTS) for path in TESTS.rglob("test_*.py"))
# The packages beside flows, whose tests are named after what they test; and published results
OTHERS = {"benchmarks", "common", "stages", "studies", "tools", "published"}
# What files at the top test, which is no module of flows
TOP = {
    "test_documents.py": "the documents",
    "test_extending.py": "the model of docs/extending.md",
    "test_layout.py": "the tests themselves",
    "test_main.py": "flows/__main__.py",
    "test_new_kind.py": "the kind of docs/extending.md",
    "test_new_question.py": "the question of docs/extending.md",
    "test_package.py": "the wheel",
    "test_require.py": "constraints in fits, files and all questions",
    "test_types.py": "the exports of flows/__init__.py",
}


def mirrors(path: Path) -> bool:
    """Return whether a test file has the name of a module of flows, or of the package itself."""
    package, name = ROOT / "flows" / path.parent, path.stem.removeprefix("test_")
    return package.is_dir() and name in {package.name, *(each.stem for each in package.iterdir())}


def test_a_test_file_has_the_name_of_a_module_or_of_its_package():
    others = OTHERS | TOP.keys()
    assert [str(path) for path in FILES if path.parts[0] not in others and not mirrors(path)] == []


def test_files_and_folders_that_mirror_no_module_exist():
    assert [name for name in TOP if not (TESTS / name).is_file()] == []
    assert [name for name in OTHERS if not (TESTS / name).is_dir()] == []
