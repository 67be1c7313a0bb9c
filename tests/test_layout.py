"""The tests mirror the packages: ``tests/core/test_rows.py`` tests ``flows/core/rows.py``."""

from __future__ import annotations

from pathlib import Path

from pipeline import ROOT

TESTS = Path(__file__).parent
FILES = sorted(path.relative_to(TESTS) for path in TESTS.rglob("test_*.py"))
# Packages beside flows, whose tests have the names of what they test, like files at the top
OTHERS = {"benchmarks", "common", "stages", "studies", "tools", "published"}


def mirrors(path: Path) -> bool:
    """Return whether a test file has the name of a module of flows, or of the package itself."""
    package, name = ROOT / "flows" / path.parent, path.stem.removeprefix("test_")
    return package.is_dir() and name in {package.name, *(each.stem for each in package.iterdir())}


def test_a_test_file_has_the_name_of_a_module_or_of_its_package():
    own = [path for path in FILES if path.parts[0] not in OTHERS and len(path.parts) > 1]
    assert [str(path) for path in own if not mirrors(path)] == []
