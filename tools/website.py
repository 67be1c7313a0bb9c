"""The functions that MkDocs calls for `make site`: hooks, an extension of griffe, and diagrams.

The pages of the repository stay in their folders, so that their links also work on GitHub. On the
site, a link to a Python file of ``flows`` leads to the API reference, and a link to another text
file leads to a page that shows the file.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Iterator
from functools import cache
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any

import griffe
import mmdr
import ziamath
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from flows.tables import options

ROOT = Path(__file__).resolve().parent.parent
LOG = get_plugin_logger("website")  # a warning fails the strict build
LINK = re.compile(r"\[([^\[\]]+)\]\(([^()\s#:]+)\)")
COPIED = (".css", ".csv", ".gif", ".json", ".png")  # files that a browser shows or saves
STYLE = "tools/website.css"  # as in mkdocs.yml
LANGUAGES = {"": "text", ".cff": "yaml", ".h": "c"}
FROM_NETWORK = re.compile(
    r"""<(?:img|link|script|source)\b[^>]*\b(?:href|src)="?(?:https?:)?//[^>]*"""
    r"""|url\(["']?(?:https?:)?//[^)]*|class="mermaid\b"""
)

REFERENCE = {  # the public names; the strict build fails for a name that is missing
    "Densities of tables": (
        *("inspect", "fit", "load", "save"),
        *("Density", "DensityEstimator", "DensityRegressor", "Field", "Column"),
    ),
    "Architectures": (
        *("RealNVP", "Glow", "NSF", "Conditional", "FlowMatching", "VAE", "GAN"),
        *("RealNVPImage", "GlowImage", "Architecture"),
    ),
    "Building and training": ("build", "train", "TrainingSettings", "check_bijection"),
    "Populations": ("Population", "ensemble_log_prob", "Flow", "GaussianMixture", "StandardNormal"),
    "Truths and evaluation": ("Mixture", "Problem"),
}


# Hooks


def on_config(config: MkDocsConfig) -> None:
    """Add the API reference to the navigation."""

    def entries(package: griffe.Module) -> list[Any]:
        return [page_of(package)] + [
            {each.name: entries(each) if each.is_init_module else page_of(each)}
            for each in inside(package)
        ]

    groups = [page_of_group(title) for title in REFERENCE]
    config["nav"].append({"API": ["api/index.md", *groups, {"Modules": entries(library())}]})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the pages of the navigation, the files that they link to, and the API reference."""
    pages = [name for name in leaves(config["nav"]) if not name.startswith("api/")]
    links = {target(page, link[2]) for page in pages for link in LINK.finditer(text_of(page))}
    copied = {link for link in links if link.endswith(COPIED)}
    shown = {link for link in links - copied if (ROOT / link).exists() and not identifier(link)}
    written = {f"source/{link}.md": source_page(link) for link in shown.difference(pages)}
    written |= dict(reference())
    found = [file for file in files if file.src_dir != config.docs_dir]  # of the theme
    for name in (*pages, *sorted(copied), STYLE):
        found.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    for name, content in sorted(written.items()):
        found.append(File.generated(config, name, content=content))
    return Files(found)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with links to code that lead to the API reference or to a source page."""

    def moved(link: re.Match[str]) -> str:
        words, path = link[1], target(page.file.src_uri, link[2])
        if name := identifier(path, words.strip("`")):
            return f"[{words}][{name}]"
        if files.get_file_from_path(f"source/{path}.md"):
            folder = os.path.dirname(page.file.src_uri)
            return f"[{words}]({os.path.relpath(f'source/{path}.md', folder)})"
        return link[0]

    return LINK.sub(moved, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Warn if a page would load something from the network."""
    top = Path(config.site_dir)
    for file in sorted(top.rglob("*")):
        if file.suffix in (".html", ".css"):
            for loaded in FROM_NETWORK.findall(file.read_text()):
                LOG.warning("%s loads from the network: %s", file.relative_to(top), loaded)


# Pages and links


def leaves(entry: Any) -> Iterator[str]:
    """Yield the paths in a part of the navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for each in entry.values() if isinstance(entry, dict) else entry:
            yield from leaves(each)


@cache
def text_of(path: str) -> str:
    return (ROOT / path).read_text()


def target(page: str, link: str) -> str:
    """Return the path from the top folder to the file that a link of a page leads to."""
    return os.path.normpath(os.path.join(os.path.dirname(page), link))


def identifier(path: str, name: str = "") -> str:
    """Return the entry of the API reference for a name in a file, or ``""`` if there is no entry.

    A word that is not a public name of the file has the entry of the module.
    """
    if not re.fullmatch(r"flows/.*\.py", path):
        return ""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    if not re.fullmatch(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*", name):
        return module
    try:
        library()[f"{module}.{name}".removeprefix("flows.")]
    except KeyError:
        return module
    return f"{module}.{name}"


def source_page(path: str) -> str:
    """Return a page with the lines of a file, or the names of the files in a folder."""
    place = ROOT / path
    if place.is_dir():
        lines = "\n".join(sorted(each.name for each in place.iterdir() if each.is_file()))
    else:
        lines = text_of(path).rstrip()
    language = LANGUAGES.get(place.suffix, place.suffix[1:])
    head = f"---\nsearch: {{exclude: true}}\n---\n# {path}"
    return f'{head}\n\n``````{language} linenums="1"\n{lines}\n``````\n'


# The API reference


@cache
def library() -> griffe.Module:
    """Return the package ``flows``; griffe reads the package and does not import it."""
    found = griffe.load(
        "flows",
        search_paths=[ROOT],
        extensions=griffe.load_extensions(Docstrings, "griffe_inherited_docstrings"),
        docstring_parser="google",
        resolve_aliases=True,
        allow_inspection=False,
    )
    assert isinstance(found, griffe.Module)
    return found


def inside(package: griffe.Module) -> list[griffe.Module]:
    """Return the modules in a package, without modules that the package only imports."""
    return [module for _, module in sorted(package.modules.items()) if not module.is_alias]


def modules(top: griffe.Module) -> Iterator[griffe.Module]:
    """Yield a module and all modules in it."""
    yield top
    for each in inside(top):
        yield from modules(each)


def page_of(module: griffe.Module) -> str:
    path = "api/" + module.path.replace(".", "/")
    return f"{path}/index.md" if module.is_init_module else f"{path}.md"


def page_of_group(title: str) -> str:
    return f"api/{title.lower().replace(' ', '-')}.md"


def reference() -> Iterator[tuple[str, str]]:
    """Yield the pages of the API reference: the groups of public names, and the modules.

    A public name is on the page of its group only.
    """
    exported = [each for each in library().members.values() if each.is_alias]
    public = {each.name: each.target_path for each in exported if "flows." in each.target_path}
    for name in sorted(set(public) ^ set(chain(*REFERENCE.values()))):
        LOG.warning("flows.%s: in one of REFERENCE and flows.__all__, but not in both", name)
    for name, path in public.items():
        warn_of_arguments(library()[path.removeprefix("flows.")], f"flows.{name}")
    overview = ["# API reference", "The public names of `flows`, by purpose."]
    for title, group in REFERENCE.items():
        file = page_of_group(title).removeprefix("api/")
        overview += [f"## [{title}]({file})", summary({name: public[name] for name in group})]
        options = "    options: {heading_level: 2, show_root_full_path: false}"
        entries = [f"::: flows.{name}\n{options}" for name in group]
        yield page_of_group(title), "\n\n".join([f"# {title}", *entries])
    overview.append("All other classes and functions are on the pages of their [modules][flows].")
    yield "api/index.md", "\n\n".join(overview)
    for module in modules(library()):
        moved = {name: path for name, path in public.items() if path == f"{module.path}.{name}"}
        filters = ["!^_", *(f"!^{name}$" for name in (public if module is library() else moved))]
        lines = [f"---\ntitle: {module.name}\n---", f"::: {module.path}"]
        lines[-1] += f"\n    options: {{filters: {json.dumps(filters)}}}"
        if moved:
            lines += ["Public names, which have pages of their own:", summary(moved)]
        yield page_of(module), "\n\n".join(lines)


def summary(names: dict[str, str]) -> str:
    """Return a table of public names, with the first sentences of their docstrings."""
    lines = ["| name | content |", "|---|---|"]
    for name, path in names.items():
        found = library()[path.removeprefix("flows.")]
        text = found.docstring.value if found.docstring else ""
        first = text.split("\n\n")[0].replace("\n", " ").rstrip(":")
        lines.append(f"| [`flows.{name}`][{path}] | {first} |")
    return "\n".join(lines)


def warn_of_arguments(found: Any, name: str) -> None:
    """Warn of each argument of a class, its methods or a function that the docstring leaves out.

    mkdocstrings itself warns of described arguments that do not exist.
    """
    if found.is_class:
        for member in found.functions.values():
            if not member.is_alias and not member.name.startswith("_"):
                warn_of_arguments(member, f"{name}.{member.name}")
    if not (found.is_class or found.is_function):
        return
    sections = found.docstring.parsed if found.docstring else []
    lists = [each.value for each in sections if each.kind.value == "parameters"]
    described = {each.name for arguments in lists for each in arguments}
    for parameter in found.parameters:
        if parameter.name not in described | {"self", "cls"}:
            LOG.warning("%s: the docstring lacks the argument %s", name, parameter.name)


class Docstrings(griffe.Extension):
    """Turns docstrings into Markdown, and fields of settings and named tuples into arguments.

    The options of a fit become arguments, too.
    """

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        for module in modules(pkg):
            self._visit(module)

    def _visit(self, found: Any) -> None:
        if found.docstring:
            found.docstring.value = re.sub(r"::$", ":", found.docstring.value, flags=re.M)
        if found.is_class:
            if any(each.path == "flows.core.settings.Section" for each in found.mro()):
                self._decorate(found, kw_only=True)
            if "NamedTuple" in map(str, found.bases):
                self._decorate(found, kw_only=False)
            if found.module.path == options.__name__ and found.name.endswith("Options"):
                self._describe(found)
        if found.is_function or "__init__" in found.functions:
            self._spell_out(found)
        for member in (*found.functions.values(), *found.classes.values()):
            if not member.is_alias:
                self._visit(member)

    def _decorate(self, found: griffe.Class, *, kw_only: bool) -> None:
        """Let griffe list the fields of a class as arguments, as for a dataclass."""
        keyword = griffe.ExprKeyword("kw_only", str(kw_only))
        call = griffe.ExprCall(griffe.ExprName("dataclasses.dataclass"), [keyword])
        found.decorators.append(griffe.Decorator(call, lineno=None, endlineno=None))

    def _describe(self, found: griffe.Class) -> None:
        """Give the options of a class their types and their texts."""
        for name, (hint, option) in options.options_of(getattr(options, found.name)).items():
            if name in found.members:
                found.members[name].annotation = type_of(hint)
                found.members[name].docstring = griffe.Docstring(option.text)

    def _spell_out(self, found: griffe.Class | griffe.Function) -> None:
        """List the options in the signature and the docstring, as ``options.spelled_out`` does."""
        function = found.functions["__init__"] if found.is_class else found
        last = [*function.parameters][-1] if len(function.parameters) else None
        if last and (unpacked := re.fullmatch(r"Unpack\[(\w+)\]", str(last.annotation))):
            kind = getattr(options, unpacked[1])
            found.docstring.value = options.spelled_docstring(found.docstring.value, kind)
            del function.parameters[last.name]
            for name, (hint, option) in options.options_of(kind).items():
                function.parameters.add(
                    griffe.Parameter(
                        name,
                        annotation=type_of(hint),
                        kind=griffe.ParameterKind.keyword_only,
                        default=repr(option.default),
                    )
                )


def type_of(hint: Any) -> str:
    return inspect.formatannotation(hint).replace("collections.abc.", "").replace("typing.", "")


# Diagrams and formulas are drawn here, because a script in the page would load from the network


def diagram(source: str, *_: Any, **__: Any) -> str:
    """Return a diagram of Mermaid as an image."""
    return f'<div class="diagram">{mmdr.render(source).svg()}</div>'


def formula(source: str, *_: Any, **__: Any) -> str:
    """Return a formula of LaTeX as an image, with its source for readers who do not see it."""
    image = ziamath.Latex(source, size=18, color="currentColor").svg()
    return f'<div class="formula" role="img" aria-label="{escape(source)}">{image}</div>'
