"""The code among the dependencies of a DVC stage is the code that its script imports.

``pyproject.toml`` lists the allowed imports between packages, and ``make lint`` checks them.
"""

from __future__ import annotations

import re
from copy import deepcopy

import grimp
import pytest
import yaml
from pipeline import ROOT, expand, paths, text

IMPORTS = grimp.build_graph(
    "common", "flows", "stages", exclude_type_checking_imports=True, cache_dir=None
)
TRUTHS, MODELS = (sorted(IMPORTS.find_children(f"flows.{room}")) for room in ("truths", "models"))
SCHEMA, FILES = "stages.pipeline.schema", "stages.pipeline.files"
CODE = ("common/", "flows/", "stages/")
REGISTRY, ARCHITECTURE = "flows.networks.registry", "flows.networks.architecture"


def heavy(module: str) -> list[str]:
    """Return the imports of a module without core, the registry and the base of architectures."""
    light = ("flows.core", ARCHITECTURE, REGISTRY)
    imported = IMPORTS.find_modules_directly_imported_by(module)
    return [each for each in imported if not each.startswith(light)]


# Imports that count for a stage only if its script contains one of these words. The imports are
# inside functions, or check a name in the settings, which changes no byte of a result.
BUILDS = "build|read_model"
READS_TRUTH = r"read_prepared\(\)|read_target\(\)"
COUNT_FOR = (
    {(SCHEMA, "flows.truths"): "make_truth"}
    | {(SCHEMA, each): r"\.architecture\(" for each in (ARCHITECTURE, REGISTRY)}
    | {(FILES, each): "read_prepared" for each in heavy(FILES)}
    | {(FILES, "flows.truths"): READS_TRUTH}
    | {(each, what): BUILDS for each in (ARCHITECTURE, *MODELS) for what in heavy(each)}
)
STAGES = expand(yaml.safe_load(text("dvc.yaml")), yaml.safe_load(text("params.yaml")))


def file_of(module: str) -> str:
    place = ROOT / module.replace(".", "/")
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return str(file.relative_to(ROOT))


def executed(script: str, name: str = "") -> set[str]:
    """Return the files that a script imports for the model ``name``, with their C files."""
    own, graph = text(file_of(script)), deepcopy(IMPORTS)
    for (importer, imported), word in COUNT_FOR.items():
        if not re.search(word, own):
            graph.remove_import(importer=importer, imported=imported)
    by_name = {
        f"make_truth|{READS_TRUTH}": TRUTHS,
        "label_and_color": MODELS,
        BUILDS: [f"flows.models.{name}"],
    }
    for word, modules in by_name.items():
        for module in set(modules) & graph.modules if re.search(word, own) else ():
            graph.add_import(importer=script, imported=module)
    found = {file_of(each) for each in {script, *graph.find_upstream_modules(script)}}
    beside = {c for file in found for c in (ROOT / file).parent.glob("*.[ch]")}
    return found | {str(file.relative_to(ROOT)) for file in beside}


@pytest.mark.parametrize("name", STAGES)
def test_the_deps_of_a_stage_are_the_files_that_it_imports(name: str) -> None:
    files = executed(*STAGES[name]["cmd"].removeprefix("python -m ").split())
    deps = [dep for dep in paths(STAGES[name]["deps"]) if f"{dep}/".startswith(CODE)]
    covered = {dep: {file for file in files if f"{file}/".startswith(f"{dep}/")} for dep in deps}
    assert sorted(files - set().union(*covered.values())) == [], "not among the deps"
    assert [dep for dep in deps if not covered[dep]] == [], "among the deps, but never executed"
