"""The functions that MkDocs calls for `make site`: hooks, an extension of griffe, and diagrams.

The pages of the repository stay in their folders, so that their links also work on GitHub. On the
site, a link to a Python file of ``flows`` leads to the API reference, and a link to another text
file leads to a page that shows the file.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import griffe
import mmdr
import nbconvert
import nbformat
import ziamath
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from flows.tables.columns import options

ROOT = Path(__file__).resolve().parent.parent
LOG = get_plugin_logger("website")  # a warning fails the strict build
LINK = re.compile(r"\[([^\[\]]+)\]\(([^()\s#:]+)\)")
COPIED = (".css", ".csv", ".gif", ".json", ".png")  # files that a browser shows or saves
STYLE = "tools/website.css"  # as in mkdocs.yml
NOTEBOOKS = "docs/notebooks/"
EXECUTED = ROOT / "build" / "notebooks"  # by `make notebooks`
LANGUAGES = {"": "text", ".cff": "yaml", ".h": "c"}
FROM_NETWORK = re.compile(
    r"""<(?:img|link|script|source)\b[^>]*\b(?:href|src)="?(?:https?:)?//[^>]*"""
    r"""|url\(["']?(?:https?:)?//[^)]*|class="mermaid\b"""
)
MODULES = {  # by path
    path: re.sub(r"(/__init__)?\.py$", "", path).replace("/", ".")
    for path in sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("flows/**/*.py"))
}
del MODULES["flows/__init__.py"]  # the public names, which the pages in docs/api describe


# Hooks


def on_config(config: MkDocsConfig) -> None:
    """Add the pages of the modules to the navigation, by package."""
    packages: dict[str, list[str]] = {}
    for path, module in MODULES.items():
        folder = ".".join(Path(path).parent.parts)
        packages.setdefault(folder, []).append(f"modules/{module}.md")
    config["nav"].append({"Modules": [{name: pages} for name, pages in packages.items()]})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the pages of the navigation, the files that they link to, and pages of modules."""
    pages = [name for name in leaves(config["nav"]) if not name.startswith(("modules/", NOTEBOOKS))]
    links = {target(page, link[2]) for page in pages for link in LINK.finditer(text_of(page))}
    copied = {link for link in links if link.endswith(COPIED)}
    others = {link for link in links - copied if not link.startswith(NOTEBOOKS)}
    shown = {link for link in others - {*pages, *MODULES} if (ROOT / link).exists()}
    written: dict[str, str | bytes] = {f"source/{link}.md": source_page(link) for link in shown}
    for module in MODULES.values():
        options = "    options: {show_root_heading: false, show_root_toc_entry: true}"
        written[f"modules/{module}.md"] = f"# {module}\n\n::: {module}\n{options}"
    found = [file for file in files if file.src_dir != config.docs_dir]  # of the theme
    for name in (*pages, *sorted(copied), STYLE):
        found.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    written |= notebooks()
    for name, content in sorted(written.items()):
        found.append(File.generated(config, name, content=content))
    return Files(found)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with links that lead to pages of the site.

    A link to code leads to the API reference or to a source page, and a link to the script of a
    notebook to the executed notebook.
    """
    folder = os.path.dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        words, path = link[1], target(page.file.src_uri, link[2])
        if module := MODULES.get(path):
            # A word in backticks is the name of the file, or a name in it: here a public one
            name = re.fullmatch(r"`([A-Za-z]\w*(\.[A-Za-z]\w*)*)(?<!\.py)`", words)
            return f"[{words}][{module}.{name[1]}]" if name else f"[{words}][{module}]"
        shown = f"source/{path}.md"
        if path.startswith(NOTEBOOKS):
            shown = path.removesuffix(".py") + ".md"
        if files.get_file_from_path(shown):
            return f"[{words}]({os.path.relpath(shown, folder)})"
        return link[0]

    return LINK.sub(moved, markdown)


def on_env(env: Any, config: MkDocsConfig, files: Files) -> None:
    """Warn of each argument of a public name that its docstring leaves out."""
    python = config.plugins["mkdocstrings"].get_handler("python")
    for member in python.collect("flows", python.get_options({})).members.values():
        if member.is_alias and member.target_path.startswith("flows."):
            warn_of_arguments(member.final_target, member.path)


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


def notebooks() -> dict[str, str | bytes]:
    """Return the pages of the executed notebooks, their pictures and the notebooks, by path."""
    found: dict[str, str | bytes] = {}
    for path in sorted(EXECUTED.glob("*.ipynb")):
        notebook = nbformat.read(path, nbformat.NO_CONVERT)
        for cell in notebook.cells:  # progress bars and notices go to standard error
            if cell.cell_type == "code":
                cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
        names = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
        body, resources = nbconvert.MarkdownExporter().from_notebook_node(notebook, names)
        title, _, rest = body.strip().partition("\n")
        download = f"[Download this notebook]({path.name})"
        found[f"{NOTEBOOKS}{path.stem}.md"] = f"{title}\n\n{download}\n{rest}"
        found[f"{NOTEBOOKS}{path.name}"] = nbformat.writes(notebook)
        found |= {NOTEBOOKS + name: data for name, data in resources["outputs"].items()}
    return found


# The API reference


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
        self._visit(pkg)

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
        for member in (*found.functions.values(), *found.classes.values(), *found.modules.values()):
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
