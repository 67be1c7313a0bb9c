"""Dependencies as they are in the source: what a stage imports is what DVC watches for it, and no room imports from a later one.

The graph is read from the syntax trees; nothing is imported. An import counts where it is executed: at the top of a file that is reached,
or inside a function whose name is used somewhere in what is reached. `if TYPE_CHECKING` is never executed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline import ROOT, Clone, expand, paths

ROOMS = ("flows", "stages", "studies", "benchmarks", "tools")
FILES = sorted(
    str(path.relative_to(ROOT)) for room in ROOMS for path in (ROOT / room).rglob("*.py")
)
MOST = {"plot": 20}  # deps of a stage; 10 of any other
# Files by name, in place of a list of them: `import_module(f"flows.models.{name}")` reaches the one that a stage's command names,
# or all of them where it names none.
BY_NAME = re.compile(r"^((?:\w+\.)+)\{\w+\}$")
# Every stage checks the whole of params.yaml, so stages/pipeline/settings.py imports the catalogues of targets and models. A wrong name stops
# a stage, a right one changes none of its bytes: for the results the catalogue is a dependency only of a stage whose own files name
# the function that takes something out of it, a truth, or a label and a colour.
CHECKS = {
    ("stages/pipeline/settings.py", "flows/targets/__init__.py"): "make_truth",
    ("stages/pipeline/settings.py", "flows/networks/registry.py"): "label_and_color",
}
# Executed by every import of the library, but no more than a table of names and where they are found: where one is used, as in
# `flows.build`, the graph has an edge to its home.
TABLE_OF_NAMES = "flows/__init__.py"

Imports = set[
    tuple[str, str]
]  # modules, and a name in each that is meant ("" is the module itself)


@dataclass(frozen=True)
class Chunk:
    """Code that is executed together: the top of a file, or a function of it. What it imports, and the names that it uses."""

    imports: frozenset[tuple[str, str]]
    names: frozenset[str]


def only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def inside(node: ast.AST, functions: list[tuple[str, ast.FunctionDef]]) -> Iterator[ast.AST]:
    """All nodes below ``node`` that are executed with it; functions among them are put on the list in place, methods with a dot."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            functions.append(
                (f".{child.name}" if isinstance(node, ast.ClassDef) else child.name, child)
            )
        elif not only_for_types(child):
            yield child
            yield from inside(child, functions)


def chunk(path: str, nodes: Iterable[ast.AST], modules: dict[str, str]) -> Chunk:
    """``modules``: what in this file stands for a file of this repository. A function of such a file is named ``file:function``."""
    imports: Imports = set()
    names: set[str] = set()
    for node in nodes:
        match node:
            case ast.Import():
                imports |= {(alias.name, "") for alias in node.names}
            case ast.ImportFrom():
                assert not node.level, "a relative import"
                imports |= {(node.module or "", alias.name) for alias in node.names}
                names |= {alias.name for alias in node.names}
            case ast.Attribute(value=ast.Name(id="flows"), attr=attribute):  # as in `flows.build`
                imports.add(("flows", attribute))
                names.add(attribute)
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in modules:
                names.add(
                    f"{modules[module]}:{name}" if name in functions_of(modules[module]) else name
                )
            case ast.Attribute(attr=name):
                names.add(f".{name}")
            case ast.Name(id=name):
                names.add(f"{path}:{name}")
            case ast.Call(
                func=ast.Name(id="import_module"), args=[ast.JoinedStr() as text, *_]
            ) if found := BY_NAME.match(ast.unparse(text)[2:-1]):
                imports.add((found[1].rstrip("."), "*"))
    return Chunk(frozenset(imports), frozenset(names))


@cache
def chunks(path: str) -> dict[str, Chunk]:
    """The chunks of a file by the name of the function; "" is its top."""
    todo: list[tuple[str, ast.FunctionDef]] = []
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules |= {
                alias.asname or alias.name: file
                for alias in node.names
                if (file := file_of(f"{node.module}.{alias.name}"))
            }
    found = {"": [chunk(path, inside(tree, todo), modules)]}
    while todo:
        name, function = todo.pop()
        found.setdefault(name, []).append(chunk(path, inside(function, todo), modules))
    return {
        name: Chunk(
            frozenset().union(*(part.imports for part in parts)),
            frozenset().union(*(part.names for part in parts)),
        )
        for name, parts in found.items()
    }


@cache
def functions_of(path: str) -> set[str]:
    return {
        node.name
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }


@cache
def homes() -> dict[str, str]:
    """The public names of `flows`, and the modules where they are found."""
    tree = ast.parse((ROOT / TABLE_OF_NAMES).read_text(encoding="utf-8"))
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES"
    )
    return ast.literal_eval(table)


def file_of(module: str) -> str | None:
    """The file of a module of this repository."""
    if module.split(".")[0] not in ROOMS:
        return None
    place = module.replace(".", "/")
    return next(
        (path for path in (f"{place}.py", f"{place}/__init__.py") if (ROOT / path).is_file()), None
    )


def meant(imports: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The files that imports mean, those by name left out. Of a package that says nothing there is none."""
    for module, name in imports:
        if module == "flows" and name in homes():
            module, name = homes()[name], ""
        if (
            name != "*"
            and (path := (name and file_of(f"{module}.{name}")) or file_of(module))
            and path != TABLE_OF_NAMES
        ):
            yield path


def executed(path: str) -> Iterator[str]:
    """The packages around a file, which are executed before it. One without code changes nothing."""
    for folder in Path(path).parents:
        package = str(folder / "__init__.py")
        if (
            package not in (path, TABLE_OF_NAMES)
            and (ROOT / package).is_file()
            and has_code(package)
        ):
            yield package


@cache
def has_code(path: str) -> bool:
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    return any(
        not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body
    )


def closure(start: str, words: Iterable[str] = ()) -> set[str]:
    """The files that a run of ``start`` with the ``words`` of its command line executes."""
    return _closure(
        start,
        frozenset(words) & {Path(path).stem for path in FILES}
        | frozenset(words) & {Path(path).parent.name for path in FILES},
    )


@cache
def _closure(start: str, words: frozenset[str]) -> set[str]:
    reached, names, size = {start, *executed(start)}, {f"{start}:main"}, (0, 0)
    while size != (size := (len(reached), len(names))):
        sources = sorted(path for path in reached if path.endswith(".py"))
        room = [path for path in sources if Path(path).parent == Path(start).parent]
        own = {
            re.split("[:.]", name)[-1]
            for path in room
            for each in chunks(path).values()
            for name in each.names
        }
        for path in sources:
            unfollowed = {
                target
                for (file, target), taker in CHECKS.items()
                if file == path and taker not in own
            }
            for name, part in chunks(path).items():
                if {name, f"{path}:{name}"} & {"", *names} or name.startswith(".__"):
                    names |= {
                        each for each in part.names if each.partition(":")[0] not in unfollowed
                    }
                    reached |= followed(part, words, unfollowed)
    return reached


def followed(part: Chunk, words: Iterable[str], unfollowed: set[str]) -> set[str]:
    """The files that the imports of a chunk execute."""
    found = set(meant(part.imports)) - unfollowed
    for module, _ in (each for each in part.imports if each[1] == "*"):
        folder = ROOT / module.replace(".", "/")
        members = {
            each.stem: each
            for each in folder.iterdir()
            if file_of(f"{module}.{each.stem}") and each.stem != "__init__"
        }
        chosen = members.keys() & set(words) or members.keys()
        found |= {str(file_of(f"{module}.{name}")) for name in chosen}
    found |= {package for target in found for package in executed(target)}
    # What is compiled is beside the Python that compiles it.
    return found | {
        str(file.relative_to(ROOT))
        for target in found
        for file in (ROOT / target).parent.glob("*.[ch]")
    }


def stages() -> dict[str, tuple[dict[str, Any], str]]:
    """Every stage by a name of its own, and the folder that its paths start from. Those of studies
    are left out: their rows hang on settings and versions (``studies/engine.py``), not on source.
    """
    found = {}
    for file in (ROOT / "benchmarks/dvc.yaml", ROOT / "dvc.yaml"):
        folder = file.parent.relative_to(ROOT)
        params = file.with_name("params.yaml")
        described = expand(
            yaml.safe_load(file.read_text(encoding="utf-8")),
            yaml.safe_load(params.read_text(encoding="utf-8")) if params.is_file() else {},
        )
        for name, stage in described.items():
            found[str(folder / name)] = stage, str(folder / stage.get("wdir", ""))
    return {name: found[name] for name in found if "deps" in found[name][0]}


STAGES = stages()


def code_deps(name: str) -> list[str]:
    """The declared dependencies of a stage that are code, seen from the top folder."""
    stage, folder = STAGES[name]
    places = [
        str((ROOT / folder / dep).resolve().relative_to(ROOT)) for dep in paths(stage["deps"])
    ]
    own = [place for place in places if Path(place).parts[0] in ROOMS]
    return [each for each in own if each.endswith(".py") or any((ROOT / each).glob("**/*.py"))]


def covers(declared: str, path: str) -> bool:
    return path == declared or path.startswith(f"{declared}/")


@pytest.mark.parametrize("name", STAGES)
def test_declared_dependencies_are_the_code_that_a_stage_executes(name: str) -> None:
    module, *words = STAGES[name][0]["cmd"].split("python -m ")[1].split()
    needed, declared = closure(str(file_of(module)), words), code_deps(name)
    assert (
        sorted(path for path in needed if not any(covers(dep, path) for dep in declared)) == []
    ), "executed, but not among the deps in dvc.yaml"
    assert [dep for dep in declared if not any(covers(dep, path) for path in needed)] == [], (
        "among the deps in dvc.yaml, but never executed"
    )


@pytest.mark.parametrize("name", [name for name in STAGES if "/" not in name])
def test_dependencies_of_the_main_pipeline_are_few(name: str) -> None:
    assert len(STAGES[name][0]["deps"]) <= MOST.get(name, 10)


# Rooms

# What each room may import from, besides itself. Models are found by name, so nothing before the stages imports one.
EARLIER: dict[str, set[str]] = {
    "flows/core": set(),
    "flows/targets": {"flows/core"},
    "flows/data": {"flows/core"},
    "flows/plotting": {"flows/core"},
    "flows/bijections": {"flows/core"},
    "flows/networks": {"flows/core", "flows/bijections"},
    "flows/models": {"flows/core", "flows/bijections", "flows/networks"},
    "flows/training": {"flows/core", "flows/bijections", "flows/networks"},
    "flows/evaluation": {"flows/core", "flows/bijections", "flows/networks"},
    "flows/references": {"flows/core", "flows/bijections", "flows/networks"},
    "flows": set(),  # its table of names imports nothing
    "stages": {"flows"},
    "benchmarks": {"flows", "stages"},
    "studies/engine": {"flows", "stages"},
    "studies/forest_plot": {"flows", "stages", "studies/verdicts"},
    "studies/verdicts": {"flows", "stages"},
    "studies/tables": {"flows", "stages", "studies/engine"},
    "studies/digits": {"flows", "stages", "studies/engine", "studies/tables"},
    "studies/claims": {
        *("flows", "stages", "studies/digits", "studies/engine", "studies/forest_plot"),
        "studies/verdicts",
    },
    "studies": {"flows"},  # the command; what it runs is found by name
    "tools": {"flows", "stages", "studies", "benchmarks"},  # the tables of the documents are theirs
}


def imported(path: str) -> set[str]:
    """The files that a file imports, wherever in it; those by name left out."""
    return {target for part in chunks(path).values() for target in meant(part.imports)} - {path}


def room(path: str) -> str:
    return next(
        (each for each in EARLIER if "/" in each and (covers(each, path) or path == f"{each}.py")),
        Path(path).parts[0],
    )


@pytest.mark.parametrize("path", FILES)
def test_no_file_imports_from_a_later_room(path: str) -> None:
    own = room(path)
    allowed = {own, *EARLIER[own]}
    late = [
        target
        for target in sorted(imported(path))
        if not any(covers(each, target) or target == f"{each}.py" for each in allowed)
    ]
    assert late == [], f"{own} may import from {', '.join(sorted(allowed))}"


def test_no_import_runs_in_a_circle() -> None:
    try:
        TopologicalSorter({path: imported(path) for path in FILES}).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("path", [path for path in FILES if room(path).startswith("flows")])
def test_the_library_knows_nothing_of_the_pipelines_tools(path: str) -> None:
    modules = {module.split(".")[0] for part in chunks(path).values() for module, _ in part.imports}
    assert not modules & {"dvc", "hydra", "omegaconf", "optuna"}


def test_figures_and_the_check_of_settings_need_no_torch() -> None:
    """At the top of what they import, that is: torch takes seconds to load."""
    todo = [path for path in FILES if room(path) == "flows/plotting"] + [
        "stages/pipeline/settings.py",
        "stages/pipeline/files.py",
    ]
    seen: set[str] = set()
    while todo:
        seen.add(path := todo.pop())
        top = chunks(path)[""].imports
        assert "torch" not in {module.split(".")[0] for module, _ in top}, path
        todo += [target for target in {*meant(top), *executed(path)} if target not in seen]


def test_a_package_that_says_nothing_is_no_dependency() -> None:
    assert not has_code("stages/__init__.py")
    assert has_code("flows/bijections/__init__.py")
    imported_at_its_top = {module for module, _ in chunks(TABLE_OF_NAMES)[""].imports}
    assert imported_at_its_top <= {"__future__", "importlib", "os", "typing"}, (
        "it is no mere table of names any more: every stage depends on it"
    )


# The same, seen by DVC


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "stale"),
    [
        ("flows/targets/ring.py", {"generate"}),
        ("flows/models/glow.py", {"train@glow", "evaluate@glow", "plot"}),
        ("flows/plotting/summary.py", {"plot"}),
        ("flows/__init__.py", set()),
    ],
)
def test_an_edit_makes_stale_what_depends_on_it_and_no_more(
    clone: Clone, path: str, stale: set[str]
) -> None:
    with (clone.folder / path).open("a", encoding="utf-8") as file:
        file.write("\n# a remark\n")
    assert clone.status() == stale
