"""The parser of the command line."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from flows.__main__ import main
from flows.networks import registry
from flows.tables.command_line import verbs
from flows.tables.command_line.parser import VERBS, parser


def run(*words):
    main([str(word) for word in words])


@pytest.mark.parametrize(
    ("words", "option", "said"),
    [
        ("fit t.csv -o m --column a", "--column", "a name and a value with = between them; got"),
        ("score m t.csv --anomalies 0", "--anomalies", "a whole number of at least 1 and below "),
        ("fit t.csv -o m --recipe fixed", "--recipe", "auto or quick; got 'fixed'"),
        ("sample m --seed -1", "--seed", "a whole number of at least 0 and below "),
    ],
)
def test_the_error_of_an_option_names_the_expected_value(capsys, words, option, said):
    with pytest.raises(SystemExit):
        run(*words.split())
    assert f"argument {option}: expected {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("1e-3", 0.001), ("box", "box"), ('["a", b]', ["a", "b"]), ("[", "[")],
)
def test_settings_are_parsed_as_numbers_words_or_lists(text, value):
    arguments = parser().parse_args(["fit", "t.csv", "-o", "m", "-S", f"key={text}"])
    assert arguments.settings == [("key", value)]


def test_the_recipe_has_one_option(capsys):
    words = ["fit", "t.csv", "-o", "m"]
    assert parser().parse_args([*words, "--recipe", "quick"]).settings == [("recipe", "quick")]
    with pytest.raises(SystemExit):
        run(*words, "-S", "recipe=quick")
    assert "recipe has an option of its own: --recipe auto or quick" in capsys.readouterr().err


def test_help_does_not_import_torch():
    code = (
        "import sys, flows.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: print({'torch', 'pandas', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    for verb in ("fit", "sample", "score", "impute", "predict", "export", "info", "plot"):
        assert verb in done.stdout


def test_every_verb_has_a_function_or_a_question():
    there = {*vars(verbs), *verbs.QUESTIONS, "inspect"}  # `inspect` has a module of its own
    assert {*VERBS} <= there


def test_help_names_the_models_of_tables():
    of_tables = {
        name: cls for name in registry.names() if "auto" in (cls := registry.find(name)).recipes
    }
    arguments = {each.dest: each for each in parser()._actions[-1].choices["fit"]._actions}
    said = arguments["architecture"].help
    assert {*re.findall(r"[a-z_]+", said)} >= of_tables.keys()


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("flows 0.")
